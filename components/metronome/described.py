"""How what Metronome remembers of its jobs changes: they are described, described anew, removed.

Rule of this room: only `fold` comes here.
"""

from __future__ import annotations

from bus.nouns import JobId, Now
from bus.services import JobSpecified
from components.metronome.books import depend, fires_next, forget_if_empty, forget_job, owe, release, settle
from components.metronome.state import Job, MetronomeState, Spec, Version


def job_specified(state: MetronomeState, fact: JobSpecified, n: int, at: Now) -> None:
    """A job exists as described."""
    job, before = state.jobs.get(fact.job.id), state.spec(fact.job.id)
    if job is None:
        job = state.jobs[fact.job.id] = Job(version=None)
    if job.version is None:
        state.removed.pop(fact.job.id, None)
        job.successes = job.failures = 0
        job.last_success_at = job.last_failure_at = job.success_run = None
        job.success_n, job.success_began_n, job.began_n = 0, n, n
    else:
        release(state, job.version)
    job.version = Version(str(n))
    state.specs[job.version] = Spec(job=fact.job, users=1)
    _fires(state, fact.job.id, _nexts(fact))
    depend(state, fact.job.id, before.parents if before else (), fact.job.parents)
    owe(state, fact.job.id, at)


def _nexts(said: JobSpecified) -> dict[str, Now]:
    """When each schedule of a job fires, as it was said."""
    if said.nexts or said.next_at is None:
        return said.nexts
    return {schedule.id: said.next_at for schedule in said.job.enabled}


def _fires(state: MetronomeState, job_id: JobId, nexts: dict[str, Now]) -> None:
    for schedule in state.jobs[job_id].nexts | nexts:
        fires_next(state, job_id, schedule, nexts.get(schedule))


def job_removed(state: MetronomeState, job_id: JobId, at: Now) -> None:
    """A job is no more."""
    job, spec = state.jobs[job_id], state.spec(job_id)
    assert job.version is not None, f"{job_id} is removed twice"
    assert spec is not None, f"{job_id} is not described"
    assert job_id not in state.children, f"{job_id} is removed, and {list(state.children[job_id])} depend on it"
    _fires(state, job_id, {})
    depend(state, job_id, spec.parents, ())
    release(state, job.version)
    job.version = None
    owe(state, job_id, at)
    state.removed[job_id] = None
    for run in job.active.values():
        run.job_removed = True
        settle(state, run)
    if len(state.removed) > state.removed_jobs_kept_max:
        forget_job(state, next(iter(state.removed)))
    forget_if_empty(state, job_id)
