"""What clients ask of Metronome: one answer each.

Rule of this room: a request is answered in the decision that hears it, and a refused one changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import Event, KillRequested
from bus.nouns import Now, Refusal
from bus.services import (
    JobRequested,
    RemovalRequested,
    RunRequested,
    RunStopped,
    ScheduleRemovalRequested,
    ScheduleRequested,
    SchedulerLocated,
    StopRequested,
    SwitchRequested,
)
from components.component import Say, answer
from components.metronome.jobs import change_schedule, no_job, refused, remove, specify
from components.metronome.runs import create, stop
from components.metronome.state import MetronomeState, Run

grace_s_max = 31_536_000


def hear_request(state: MetronomeState, event: Event, now: Now) -> Iterator[Say]:
    """The answer to a client."""
    match event.fact:
        case JobRequested() as fact:
            yield specify(state, event, fact, now)
        case ScheduleRequested() | SwitchRequested() | ScheduleRemovalRequested() as fact:
            yield change_schedule(state, event, fact, now)
        case RemovalRequested() as fact:
            yield remove(state, event, fact)
        case RunRequested() as fact if state.spec(fact.job) is None:
            yield no_job(event, fact.job)
        case RunRequested() as fact:
            yield create(state, fact.job, event, now)
        case StopRequested() as fact:
            yield from _stop(state, event, fact)
        case KillRequested() as fact:
            yield from _kill(state, event, fact)
        case SchedulerLocated():
            return
        case _ if event.request is not None:
            yield refused(event, Refusal.INVALID, f"metronome knows nothing of {event.type}")


# ---- runs -------------------------------------------------------------------------------------------------------


def _stop(state: MetronomeState, event: Event, fact: StopRequested) -> Iterator[Say]:
    run = state.run(fact.run)
    if run is None or run.job != fact.job:
        yield refused(event, Refusal.NOT_FOUND, f"job {fact.job} has no run {fact.run}")
    elif run.ended:
        yield _not_running(event, run)
    else:
        yield from _stopped(event, run, "stopped on request", None)


def _kill(state: MetronomeState, event: Event, fact: KillRequested) -> Iterator[Say]:
    """A run whose task is killed by hand is stopped. (Metronome: a killed run is FAILED)"""
    run = state.run_of(fact.task)
    if run is None:
        yield refused(event, Refusal.NOT_FOUND, f"no run has a task {fact.task}")
    elif run.ended:
        yield _not_running(event, run)
    elif run.current is None or run.current.task != fact.task:
        yield refused(event, Refusal.NOT_RUNNING, f"{fact.task} is over: {run.attempt(fact.task).state}")
    elif fact.grace_s is not None and not 0 <= fact.grace_s <= grace_s_max:
        wrong = f"Expected `float` from 0 to {grace_s_max}, found {fact.grace_s} - at `$.grace_s`"
        yield refused(event, Refusal.INVALID, wrong)
    else:
        yield from _stopped(event, run, f"task {fact.task} was killed on request", fact.grace_s)


def _stopped(event: Event, run: Run, reason: str, grace_s: float | None) -> Iterator[Say]:
    said = answer(event, RunStopped(job=run.job, run=run.run, reason=run.stopping or reason))
    yield from stop(run, said, grace_s)


def _not_running(event: Event, run: Run) -> Say:
    return refused(event, Refusal.NOT_RUNNING, f"run {run.run} has ended: {run.state}")
