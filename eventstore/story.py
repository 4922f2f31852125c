"""Which events tell the story of one task: what to look up, what follows from it, what to look up next.

Rule of this room: pure. It asks by yielding and is sent the events; who answers, a store or a list, is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from bus.events import Event, Fact, OfferAccepted, OfferDeclined, OfferMade, TaskReported, TaskUpdated
from bus.nouns import TERMINAL, OfferId, Position, TaskId, TaskInfo, TaskState, TaskStatus, TraceId
from bus.services import (
    AppUpdated,
    AttemptScheduled,
    DeploymentStarted,
    InstanceScheduled,
    RunCreated,
    RunUpdated,
    SchedulerLocated,
)
from bus.subjects import Kind
from eventstore.errors import UnknownTask

task_events_max = 10_000
trace_events_max = 200
"""A command's own events lead its trace."""
run_events_max = 1000
offers_max = 16


class Mentioning(NamedTuple):
    """The first events that mention a thing."""

    noun: str
    id: str
    limit: int


class At(NamedTuple):
    """The event at a position."""

    position: Position


class Latest(NamedTuple):
    """The newest event of a type (kind, noun, participle) before a position, by or to somebody."""

    type: tuple[str, str, str]
    before: Position
    author: str | None = None
    to_whom: str | None = None


Lookup = Mentioning | At | Latest
T = TypeVar("T")
Looking = Generator[Lookup, Sequence[Event], T]
"""A search that yields what it must look up and returns what it found."""
F = TypeVar("F", bound=Fact)


@dataclass(slots=True, kw_only=True)
class Story:
    """What was found about a task; None: it is not in the store."""

    task: TaskId
    own: Sequence[Event]
    """Every event that mentions the task."""
    trace: TraceId | None
    framework: str | None
    wanted: Event | None
    """The scheduler wanted it: deployment.started or run.created with it, instance.scheduled or attempt.scheduled."""
    accepted: Event | None
    located: Event | None = None
    requested: Event | None = None
    """By a client; or the run.created of a schedule that fired."""
    replaces: TaskId | None = None
    necessary: Event | None = None
    """The event that made a replacement necessary."""
    declined: Event | None = None
    made_before: Event | None = None
    made: Event | None = None


def story_of(task: TaskId) -> Looking[Story]:
    """Find all that belongs to a task's twelve steps. Raises UnknownTask."""
    own = yield Mentioning("task", task, task_events_max)
    if not own:
        raise UnknownTask(f"no event in this store mentions task {task}")
    accepted = first(own, lambda event: launched_by(event, task) is not None)
    wanted = first(own, lambda event: wants(event, task))
    origin = accepted or wanted
    info = launched_by(accepted, task) if accepted else None
    story = Story(
        task=task,
        own=own,
        trace=info.trace if info and info.trace else (origin.trace if origin else None),
        framework=origin.by.id if origin else None,
        wanted=wanted,
        accepted=accepted,
    )
    yield from _find_request(story, info)
    yield from _find_what_it_replaces(story)
    yield from _find_offers(story)
    return story


def _find_request(story: Story, info: TaskInfo | None) -> Looking[None]:
    if story.trace is not None:
        traced = yield Mentioning("trace", story.trace, trace_events_max)
        story.located = first(traced, lambda event: isinstance(event.fact, SchedulerLocated))
        story.requested = first(
            traced, lambda event: event.by.kind is Kind.CLIENT and event.type.endswith(".requested")
        )
    run = info.run if info else run_of(story.wanted)
    if story.requested is None and run is not None:
        told = yield Mentioning("run", run, 1)
        story.requested = first(told, lambda event: isinstance(event.fact, RunCreated))


def _find_what_it_replaces(story: Story) -> Looking[None]:
    if story.wanted is None:
        return
    story.replaces = yield from _before_it(story.wanted)
    if story.replaces is None:
        return
    cause = story.wanted.cause
    events = (yield At(cause)) if cause is not None else ()
    if not events:
        updates = yield Mentioning("task", story.replaces, task_events_max)
        events = [
            event
            for event in updates
            if event.position < story.wanted.position and state_of(event, story.replaces) in TERMINAL
        ]
    if events and (story.requested is None or events[-1].position != story.requested.position):
        story.necessary = events[-1]


def _before_it(wanted: Event) -> Looking[TaskId | None]:
    """The task of whose work a wanted one is to go on."""
    if isinstance(wanted.fact, InstanceScheduled):
        return wanted.fact.replaces
    if isinstance(wanted.fact, DeploymentStarted):
        return None
    run = run_of(wanted)
    assert run is not None, f"#{wanted.position}: {wanted.type}"
    told = yield Mentioning("run", run, run_events_max)
    before = [
        event.fact.task
        for event in told
        if isinstance(event.fact, RunCreated | AttemptScheduled)
        and event.fact.task is not None
        and event.position < wanted.position
    ]
    return before[-1] if before else None


def _find_offers(story: Story) -> Looking[None]:
    if story.accepted is not None and isinstance(story.accepted.fact, OfferAccepted):
        story.made = yield from _made(story.accepted.fact.offers)
    if story.framework is None:
        return
    before = (story.requested or story.wanted or story.own[0]).position
    declined = yield Latest((Kind.FRAMEWORK, "offer", "declined"), before, author=story.framework)
    if declined and isinstance(declined[0].fact, OfferDeclined):
        story.declined = declined[0]
        story.made_before = yield from _made(declined[0].fact.offers)
    else:
        made = yield Latest((Kind.MASTER, "offer", "made"), before, to_whom=story.framework)
        story.made_before = made[0] if made else None


def _made(offers: Sequence[OfferId]) -> Looking[Event | None]:
    """The event that made offers; the latest, if they were made apart."""
    found: Event | None = None
    for offer in offers[:offers_max]:
        for event in (yield Mentioning("offer", offer, 1)):
            if isinstance(event.fact, OfferMade) and (found is None or event.position > found.position):
                found = event
    return found


def first(events: Iterable[Event], test: Callable[[Event], bool]) -> Event | None:
    """The first event that passes a test."""
    return next((event for event in events if test(event)), None)


def wants(event: Event, task: TaskId) -> bool:
    """Whether an event says that its scheduler wants the task."""
    match event.fact:
        case InstanceScheduled() | RunCreated() | AttemptScheduled() as fact:
            return fact.task == task
        case DeploymentStarted(scheduled=scheduled):
            return task in scheduled
    return False


def launched_by(event: Event, task: TaskId) -> TaskInfo | None:
    """The task as an acceptance of offers asks for it."""
    if not isinstance(event.fact, OfferAccepted):
        return None
    return next((info for info in event.fact.launch if info.task == task), None)


def run_of(event: Event | None) -> str | None:
    """The run whose attempt is wanted."""
    return event.fact.run if event and isinstance(event.fact, RunCreated | AttemptScheduled) else None


def status_of(event: Event, task: TaskId) -> TaskStatus | None:
    """The status of the task that an event tells."""
    match event.fact:
        case TaskReported() | TaskUpdated() | AppUpdated() | RunUpdated():
            status = event.fact.status
            return status if status is not None and status.task == task else None
        case _:
            return None


def state_of(event: Event, task: TaskId) -> TaskState | None:
    """The state of the task that an event tells."""
    status = status_of(event, task)
    return status.state if status else None
