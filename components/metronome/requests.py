"""What clients ask of Metronome: one answer each.

Rule of this room: a request is answered in the decision that hears it, and a refused one changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bus.documents import DocumentError, JobSpec, check_document
from bus.events import Event, KillRequested
from bus.nouns import JobId, Now, Refusal
from bus.services import (
    JobRemoved,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunRequested,
    RunStopped,
    SchedulerLocated,
    StopRequested,
)
from components.component import Say, answer, refuse
from components.metronome.cron import parse_cron, parse_zone
from components.metronome.runs import create, stop
from components.metronome.schedules import first_firing
from components.metronome.state import MetronomeState, Run, schedule_of
from components.metronome.tasks import largest_task_bytes
from components.referring import unknown_secret

job_bytes_max = 128 * 1024
"""A job, and each of its tasks, on the bus."""
grace_s_max = 31_536_000
message_chars_max = 1000
"""What was asked may be as large as an event; the words of its refusal are not."""


def hear_request(state: MetronomeState, event: Event, now: Now) -> Iterator[Say]:
    """The answer to a client."""
    match event.fact:
        case JobRequested() as fact:
            yield _specify(state, event, fact, now)
        case RemovalRequested() as fact:
            yield _remove(state, event, fact)
        case RunRequested() as fact if state.spec(fact.job) is None:
            yield _no_job(event, fact.job)
        case RunRequested() as fact:
            yield from create(state, fact.job, event, now)
        case StopRequested() as fact:
            yield from _stop(state, event, fact)
        case KillRequested() as fact:
            yield from _kill(state, event, fact)
        case SchedulerLocated():
            return
        case _ if event.request is not None:
            yield _refuse(event, Refusal.INVALID, f"metronome knows nothing of {event.type}")


def _refuse(event: Event, reason: Refusal, message: str) -> Say:
    return refuse(event, reason, message[:message_chars_max])


def _no_job(event: Event, job: JobId) -> Say:
    return _refuse(event, Refusal.NOT_FOUND, f"job {job} does not exist")


# ---- jobs -------------------------------------------------------------------------------------------------------


def _specify(state: MetronomeState, event: Event, fact: JobRequested, now: Now) -> Say:
    known = state.spec(fact.job.id)
    wrong = _wrong(state, fact.job)
    if wrong is not None:
        return _refuse(event, Refusal.INVALID, wrong)
    if known is None and fact.update:
        return _no_job(event, fact.job.id)
    if known is not None and not fact.update:
        return _refuse(event, Refusal.ALREADY_EXISTS, f"a job with id {fact.job.id} already exists")
    if known is not None and schedule_of(known) == schedule_of(fact.job):
        next_at = state.jobs[fact.job.id].next_at  # the same schedule goes on, whatever else changed
    else:
        next_at = first_firing(fact.job, now)
    changed = "updated" if fact.update else "created"
    return answer(event, JobSpecified(job=fact.job, changed=changed, next_at=next_at))


def _wrong(state: MetronomeState, spec: JobSpec) -> str | None:
    try:
        check_document(spec)
    except DocumentError as error:
        return str(error)
    for index, schedule in enumerate(spec.schedules):
        for name, text, parse in (("cron", schedule.cron, parse_cron), ("timezone", schedule.timezone, parse_zone)):
            try:
                parse(text)
            except ValueError as error:
                return f"{error} - at `$.schedules[{index}].{name}`"
    unknown = unknown_secret(spec.run, state.secrets, "$.run")
    if unknown is not None:
        return unknown
    size = max(len(msgspec.msgpack.encode(spec)), largest_task_bytes(spec))
    if size > job_bytes_max:
        return f"the job makes messages of {size} bytes, at most {job_bytes_max} are allowed - at `$`"
    return None


def _remove(state: MetronomeState, event: Event, fact: RemovalRequested) -> Say:
    if fact.job is None:
        return _refuse(event, Refusal.INVALID, "expected the id of a job - at `$.job`")
    if state.spec(fact.job) is None:
        return _no_job(event, fact.job)
    active = state.jobs[fact.job].active
    if active and not fact.stop_runs:
        runs = f"{len(active)} runs are" if len(active) > 1 else f"run {next(iter(active))} is"
        return _refuse(event, Refusal.RUNS_ACTIVE, f"{runs} active: stop them first, or remove the job with them")
    return answer(event, JobRemoved(job=fact.job))


# ---- runs -------------------------------------------------------------------------------------------------------


def _stop(state: MetronomeState, event: Event, fact: StopRequested) -> Iterator[Say]:
    run = state.run(fact.run)
    if run is None or run.job != fact.job:
        yield _refuse(event, Refusal.NOT_FOUND, f"job {fact.job} has no run {fact.run}")
    elif run.ended:
        yield _not_running(event, run)
    else:
        yield from _stopped(event, run, "stopped on request", None)


def _kill(state: MetronomeState, event: Event, fact: KillRequested) -> Iterator[Say]:
    """A run whose task is killed by hand is stopped. (Metronome: a killed run is FAILED)"""
    run = state.run_of(fact.task)
    if run is None:
        yield _refuse(event, Refusal.NOT_FOUND, f"no run has a task {fact.task}")
    elif run.ended:
        yield _not_running(event, run)
    elif run.current is None or run.current.task != fact.task:
        yield _refuse(event, Refusal.NOT_RUNNING, f"{fact.task} is over: {run.attempt(fact.task).state}")
    elif fact.grace_s is not None and not 0 <= fact.grace_s <= grace_s_max:
        wrong = f"Expected `float` from 0 to {grace_s_max}, found {fact.grace_s} - at `$.grace_s`"
        yield _refuse(event, Refusal.INVALID, wrong)
    else:
        yield from _stopped(event, run, f"task {fact.task} was killed on request", fact.grace_s)


def _stopped(event: Event, run: Run, reason: str, grace_s: float | None) -> Iterator[Say]:
    said = answer(event, RunStopped(job=run.job, run=run.run, reason=run.stopping or reason))
    yield from stop(run, said, grace_s)


def _not_running(event: Event, run: Run) -> Say:
    return _refuse(event, Refusal.NOT_RUNNING, f"run {run.run} has ended: {run.state}")
