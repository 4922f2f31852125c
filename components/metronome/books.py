"""The books Metronome keeps beside its jobs and runs: what is due, what waits, what may be forgotten.

Rule of this room: only `fold` comes here. Every entry follows from a job or a run, and is made and unmade with it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from bus.events import Event
from bus.nouns import JobId, Now, TaskId
from components.component import because
from components.metronome.dependencies import ready
from components.metronome.state import Attempt, MetronomeState, Run, Version, attempts_kept_max

# ---- what is due ------------------------------------------------------------------------------------------------


def settle(state: MetronomeState, run: Run) -> None:
    """What follows from any change of a run: whether it is adrift, and when it is due."""
    if run.adrift:
        state.adrift[run.run] = None
    elif state.adrift:
        state.adrift.pop(run.run, None)
    due = run.next_due()
    if due != run.due:
        run.due = _due(state, "run", run.run, run.due, due)


def fires_next(state: MetronomeState, job_id: JobId, schedule: str, at: Now | None) -> None:
    """A schedule of a job fires at that time, or no more."""
    nexts = state.jobs[job_id].nexts
    _due(state, "job", f"{job_id} {schedule}", nexts.pop(schedule, None), at)
    if at is not None:
        nexts[schedule] = at


def owe(state: MetronomeState, job_id: JobId, at: Now) -> None:
    """What follows from any change of a job that depends on others, and of those: whether a run of it is due."""
    job = state.jobs[job_id]
    since = at if job.owed_at is None else job.owed_at
    job.owed_at = _due(state, "child", job_id, job.owed_at, since if ready(state, job_id) else None)


def _due(state: MetronomeState, kind: str, name: str, before: Now | None, at: Now | None) -> Now | None:
    if before != at:
        if before is not None:
            del state.dues[bisect_left(state.dues, (before, kind, name))]
        if at is not None:
            insort(state.dues, (at, kind, name))
    return at


def depend(state: MetronomeState, child: JobId, before: Iterable[JobId], after: Iterable[JobId]) -> None:
    """A job depends on other jobs than before."""
    for parent in before:
        del state.children[parent][child]
        if not state.children[parent]:
            del state.children[parent]
    for parent in after:
        state.children.setdefault(parent, {})[child] = None


# ---- what waits -------------------------------------------------------------------------------------------------


def wait(state: MetronomeState, run: Run, task: TaskId, event: Event) -> None:
    """A run has one more attempt, and that waits for an offer."""
    run.attempts.append(Attempt(task=task))
    run.attempt_count, run.retry_at = run.attempt_count + 1, None
    state.tasks[task] = run.run
    if run.version not in state.waiting:
        want_offers(state, event)
        state.waiting[run.version], state.hungry = {}, True
    state.waiting[run.version][task] = run.run
    state.verdicts.setdefault(run.job, {})
    for old in run.attempts[:-attempts_kept_max]:
        del state.tasks[old.task]
    del run.attempts[:-attempts_kept_max]


def want_offers(state: MetronomeState, event: Event) -> None:
    """Something is due to be asked for with this event, if nothing was before."""
    if not (state.hungry or state.given_back):
        state.wanted_for = because(event)


def wait_no_more(state: MetronomeState, run: Run, attempt: Attempt) -> None:
    """An attempt was launched, or is wanted no more."""
    group = state.waiting[run.version]
    del group[attempt.task]
    if not group:
        del state.waiting[run.version]
        if not any(state.specs[version].job.id == run.job for version in state.waiting):
            del state.verdicts[run.job]


def withdraw(state: MetronomeState, run: Run) -> None:
    """An attempt that was never launched is none."""
    if run.attempts and run.attempts[-1].waits:
        attempt = run.attempts.pop()
        wait_no_more(state, run, attempt)
        del state.tasks[attempt.task]


# ---- what is forgotten ------------------------------------------------------------------------------------------


def release(state: MetronomeState, version: Version) -> None:
    """One user less of a description; the last one takes it along."""
    spec = state.specs[version]
    spec.users -= 1
    if not spec.users:
        del state.specs[version]


def forget_run(state: MetronomeState, run: Run) -> None:
    """A finished run can be asked for no more; all of it is in the log."""
    del state.jobs[run.job].finished_as(run.state)[run.run]
    del state.runs[run.run], state.ended[run.run]
    for attempt in run.attempts:
        del state.tasks[attempt.task]


def forget_oldest(state: MetronomeState) -> None:
    """Of the finished runs of all jobs, the one that ended first."""
    run = state.run(next(iter(state.ended)))
    assert run is not None, f"{next(iter(state.ended))} has ended and is not known"
    forget_run(state, run)
    forget_if_empty(state, run.job)


def forget_if_empty(state: MetronomeState, job_id: JobId) -> None:
    """A removed job is gone with its last run."""
    job = state.jobs.get(job_id)
    if job and job.version is None and not job.active and not job.finished:
        state.removed.pop(job_id, None)
        del state.jobs[job_id]


def forget_job(state: MetronomeState, job_id: JobId) -> None:
    """What is left of a removed job can be asked for no more."""
    job = state.jobs[job_id]
    del state.removed[job_id]
    for run in job.finished:
        forget_run(state, run)
    forget_if_empty(state, job_id)
