"""What can be asked of Metronome: its jobs, their runs, and why runs wait.

Rule of this room: answers come from the folded state alone; they look and do not touch.
"""

from __future__ import annotations

from collections import Counter
from heapq import nlargest

import msgspec

from bus.job_rows import AttemptRow, JobRow, QueuedRow, RunRow, RunsQuestion
from bus.nouns import JobId, Now, Source, TaskState, TaskStatus, second
from bus.queries import QueryRefused
from bus.waiting_rows import Check, JobExplainQuestion, JobExplanation, Wants
from components.explaining import shortage
from components.metronome.dependencies import waits_for
from components.metronome.state import Attempt, Job, MetronomeState, Run


def jobs(state: MetronomeState, _question: bytes, _now: Now) -> list[JobRow]:
    """Every job and how it went, by name."""
    return [_job_row(state, name, job) for name, job in sorted(state.jobs.items()) if job.version is not None]


def _job_row(state: MetronomeState, name: JobId, job: Job) -> JobRow:
    assert job.version is not None, f"{name} is removed"
    return JobRow(
        job=state.specs[job.version].job,
        active=len(job.active),
        successes=job.successes,
        failures=job.failures,
        next_run_at=job.next_at,
        last_success_at=job.last_success_at,
        last_failure_at=job.last_failure_at,
        nexts=job.nexts,
        dependants=tuple(sorted(state.children.get(name, ()))),
        waits_for=waits_for(state, name),
    )


def runs(state: MetronomeState, question: bytes, _now: Now) -> list[RunRow]:
    """The runs that were asked for, also of jobs that are no more; oldest first."""
    asked = msgspec.msgpack.decode(question, type=RunsQuestion) if question else RunsQuestion()
    found = [run for run in _asked_for(state, asked) if _is_asked(run, asked)]
    latest = nlargest(max(asked.limit, 0), found, key=_age)
    return [_row(run) for run in reversed(latest)]


def _asked_for(state: MetronomeState, asked: RunsQuestion) -> list[Run]:
    if asked.run is not None:
        run = state.run(asked.run)
        return [run] if run and asked.job in (None, run.job) else []
    if asked.job is not None:
        return _all(state.jobs[asked.job]) if asked.job in state.jobs else []
    return [run for job in state.jobs.values() for run in _all(job)]


def _is_asked(run: Run, asked: RunsQuestion) -> bool:
    return asked.active in (None, not run.ended) and asked.state in (None, run.state)


def _all(job: Job) -> list[Run]:
    return [*job.finished, *job.active.values()]


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
        attempts=tuple(_attempt_row(attempt) for attempt in launched),
        parents=run.parents,
        retry_at=run.retry_at,
    )


def _status(attempt: Attempt) -> TaskStatus:
    return attempt.status or TaskStatus(task=attempt.task, state=TaskState.STAGING, source=Source.MASTER)


def _attempt_row(attempt: Attempt) -> AttemptRow:
    assert attempt.launched_at is not None, f"{attempt.task} was not launched"
    return AttemptRow(
        task=attempt.task,
        state=attempt.status.state if attempt.status else None,
        created_at=attempt.launched_at,
        finished_at=attempt.finished_at,
        agent=attempt.agent,
    )


def queue(state: MetronomeState, _question: bytes, _now: Now) -> list[QueuedRow]:
    """The jobs whose runs wait for an offer: who waits longest is first."""
    waiting: dict[JobId, list[Run]] = {}
    for group in state.waiting.values():
        for run_id in group.values():
            run = state.run(run_id)
            assert run is not None, f"{run_id} waits and is not known"
            waiting.setdefault(run.job, []).append(run)
    rows = [_queued(state, job, sorted(runs, key=_age)) for job, runs in waiting.items()]
    return sorted(rows, key=lambda row: (row.since, row.job))


def _age(run: Run) -> tuple[Now, int]:
    return run.created_at, run.created_n


def _queued(state: MetronomeState, job: JobId, runs: list[Run]) -> QueuedRow:
    return QueuedRow(
        job=job,
        runs=tuple(run.run for run in runs),
        needed=state.specs[runs[0].version].job.run.resources,
        since=runs[0].created_at,
        reasons=_reasons(state, job),
    )


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
        wants=Wants(resources=spec.run.resources, constraints=spec.run.constraints),
    )


def _waiting(state: MetronomeState, job: JobId) -> int:
    return sum(len(group) for version, group in state.waiting.items() if state.specs[version].job.id == job)


def _note(state: MetronomeState, job: JobId, retry_at: Now | None, now: Now) -> str:
    waiting = _waiting(state, job)
    if not waiting and retry_at is not None:
        return f"after a failure the next attempt is due in {max(0, retry_at - now) / second:.1f} s"
    if not waiting:
        return _idle(state, job, now)
    if not state.admitted:
        return "the master has not admitted metronome yet"
    verdicts = state.verdicts[job].values()
    if not verdicts:
        return "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    return shortage([verdict.unfit for verdict in verdicts])


def _idle(state: MetronomeState, job_id: JobId, now: Now) -> str:
    """Why nothing of a job waits, and when something will."""
    job, parents = state.jobs[job_id], waits_for(state, job_id)
    if job.active:
        return "nothing waits: every active run is launched"
    if parents:
        return f"it runs once {' and '.join(parents)} {'have' if len(parents) > 1 else 'has'} succeeded"
    if job.next_at is not None:
        name = min(job.nexts, key=lambda each: (job.nexts[each], each))
        return f"nothing waits: schedule {name} fires in {max(0, job.next_at - now) / second:.0f} s"
    return "nothing waits: nobody runs it, and no schedule fires"


def _reasons(state: MetronomeState, job: JobId) -> dict[str, int]:
    """Why a job's runs do not fit, by how many nodes said so."""
    unfits = [unfit for verdict in state.verdicts.get(job, {}).values() for unfit in verdict.unfit]
    return dict(sorted(Counter(unfit.reason for unfit in unfits).items()))
