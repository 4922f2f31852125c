"""Jobs that run after others: which is ready, and what a job may depend on.

A job is *ready* when nothing of it runs and every job it depends on has succeeded since the beginning of its own last
success. So no success goes unused, not even one that comes while it runs, and none is used twice: a run that fails is
not begun again before another success comes. What came before the job was there does not count.

(Metronome: `JobSpecDependencyActor.scala`, which remembers successes only until it is restarted, and begins one more
run beside one that is active)

Rule of this room: it looks, and every answer follows from the state.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.documents import Complaint, JobSpec
from bus.nouns import JobId
from components.metronome.state import MetronomeState


def ready(state: MetronomeState, job_id: JobId) -> bool:
    """Whether a job is to run because those it depends on have succeeded."""
    job = state.jobs[job_id]
    if job.active:
        return False
    spec = state.spec(job_id)
    if spec is None or not spec.dependencies:
        return False
    successes = [state.jobs[parent].success_n for parent in spec.parents]
    return min(successes) > job.success_began_n and max(successes) > job.began_n


def waits_for(state: MetronomeState, job_id: JobId) -> tuple[JobId, ...]:
    """Of the jobs it depends on, those that still have to succeed."""
    job, spec = state.jobs[job_id], state.spec(job_id)
    parents = spec.parents if spec else ()
    return tuple(parent for parent in parents if state.jobs[parent].success_n <= job.success_began_n)


def wrong_parents(state: MetronomeState, spec: JobSpec) -> Iterator[Complaint]:
    """What is wrong with the jobs it is to depend on."""
    for index, parent in enumerate(spec.parents):
        if state.spec(parent) is None and parent != spec.id:
            yield Complaint(f"job {parent} does not exist", ("dependencies", index, "id"))
    circle = _circle(state, spec)
    if circle:
        yield Complaint(f"jobs would wait for each other: {' -> '.join(circle)}", ("dependencies",))


def _circle(state: MetronomeState, spec: JobSpec) -> list[JobId]:
    """The way from a job through those it depends on back to itself; empty if there is none."""
    came_from = dict.fromkeys(spec.parents, spec.id)
    line = list(came_from)
    for job in line:
        if job == spec.id:
            break
        known = state.spec(job)
        for parent in known.parents if known else ():
            if parent not in came_from:
                came_from[parent] = job
                line.append(parent)
    if spec.id not in came_from:
        return []
    way = [spec.id]
    while len(way) == 1 or way[-1] != spec.id:
        way.append(came_from[way[-1]])
    return way[::-1]
