"""What can be asked of Metronome: its jobs, their runs, and why runs wait.

Rule of this room: answers come from the folded state alone; they look and do not touch.
"""

from __future__ import annotations

from heapq import nlargest

import msgspec

from bus.nouns import JobId, Now, Source, TaskState, TaskStatus, second
from bus.queries import (
    Check,
    JobExplainQuestion,
    JobExplanation,
    JobRow,
    QueryRefused,
    RunRow,
    RunsQuestion,
)
from components.metronome.state import Attempt, Job, MetronomeState, Run


def jobs(state: MetronomeState, _question: bytes, _now: Now) -> list[JobRow]:
    """Every job and how it went, by name."""
    return [
        JobRow(
            job=state.specs[job.version].job,
            active=len(job.active),
            successes=job.successes,
            failures=job.failures,
            next_run_at=job.next_at,
            last_success_at=job.last_success_at,
            last_failure_at=job.last_failure_at,
        )
        for _, job in sorted(state.jobs.items())
        if job.version is not None
    ]


def runs(state: MetronomeState, question: bytes, _now: Now) -> list[RunRow]:
    """The runs that were asked for, also of jobs that are no more; oldest first."""
    asked = msgspec.msgpack.decode(question, type=RunsQuestion) if question else RunsQuestion()
    if asked.run is not None:
        run = state.run(asked.run)
        found = [run] if run and asked.job in (None, run.job) else []
    elif asked.job is not None:
        found = _all(state.jobs[asked.job]) if asked.job in state.jobs else []
    else:
        found = [run for job in state.jobs.values() for run in _all(job)]
    latest = nlargest(max(asked.limit, 0), found, key=lambda run: (run.created_at, run.run))
    return [_row(run) for run in reversed(latest)]


def _all(job: Job) -> list[Run]:
    return [*job.finished.values(), *job.active.values()]


def _row(run: Run) -> RunRow:
    launched = [attempt for attempt in run.attempts if not attempt.waits]
    return RunRow(
        run=run.run,
        job=run.job,
        state=run.state,
        created_at=run.created_at,
        finished_at=run.finished_at,
        tasks=tuple(_status(attempt) for attempt in launched),
        agent=launched[-1].agent if launched else None,
        schedule=run.schedule,
        nominal=run.nominal,
        message=run.message or run.stopping,
    )


def _status(attempt: Attempt) -> TaskStatus:
    return attempt.status or TaskStatus(task=attempt.task, state=TaskState.STAGING, source=Source.MASTER)


# ---- why runs wait ----------------------------------------------------------------------------------------------


def explain(state: MetronomeState, question: bytes, now: Now) -> JobExplanation:
    """Why a job's runs wait: the latest answer for each node."""
    asked = msgspec.msgpack.decode(question, type=JobExplainQuestion)
    spec = state.spec(asked.job)
    if spec is None:
        raise QueryRefused(f"job {asked.job} does not exist")
    verdicts = sorted(state.verdicts.get(asked.job, {}).items())
    retries = [run.retry_at for run in state.jobs[asked.job].active.values() if run.retry_at is not None]
    return JobExplanation(
        job=asked.job,
        waiting=_waiting(state, asked.job),
        needed=spec.run.resources,
        checks=tuple(Check(unfit=unfit, at=verdict.at) for _, verdict in verdicts for unfit in verdict.unfit),
        delay_until=min(retries, default=None),
        note=_note(state, asked.job, min(retries, default=None), now),
    )


def _waiting(state: MetronomeState, job: JobId) -> int:
    return sum(len(group) for version, group in state.waiting.items() if state.specs[version].job.id == job)


def _note(state: MetronomeState, job: JobId, retry_at: Now | None, now: Now) -> str:
    waiting = _waiting(state, job)
    if not waiting and retry_at is not None:
        return f"after a failure the next attempt is due in {max(0, retry_at - now) / second:.1f} s"
    if not waiting:
        return "nothing waits: every active run is launched"
    if not state.admitted:
        return "the master has not admitted metronome yet"
    verdicts = state.verdicts[job].values()
    if not verdicts:
        return "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    unfits = [unfit for verdict in verdicts for unfit in verdict.unfit]
    counts = {reason: sum(unfit.reason == reason for unfit in unfits) for reason in sorted({u.reason for u in unfits})}
    return "; ".join(f"{reason} on {count} of {len(verdicts)} nodes" for reason, count in counts.items())
