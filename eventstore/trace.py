"""The twelve steps of one task, as rows: each with its event, or with why it did not happen.

The steps are the seed's: a client finds the scheduler, the master offers, the scheduler declines; the client asks, the
master offers again, the scheduler accepts; master, agent and executor launch; the status comes back the same way.
Rule of this room: pure, and every task gets all twelve rows. A launch is timed from the client's request on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bus.events import Event, Fact, OfferDeclined, TaskDelivered, TaskLaunched, TaskReported, TaskUpdated
from bus.nouns import TERMINAL, TaskId, TaskState, TaskStatus
from bus.queries import Trace, TraceRow
from bus.services import AppUpdated, InstanceDismissed, RunCreated, RunUpdated
from bus.subjects import Kind
from eventstore.story import Looking, Story, first, state_of, status_of, story_of

WORDS = {
    1: "The client learns how to connect to the scheduler.",
    2: "The master sends resource offers to the scheduler.",
    3: "The scheduler declines: no client's request is pending.",
    4: "The client initiates the launch of a process.",
    5: "The master sends resource offers.",
    6: "The scheduler accepts an offer and asks the master to launch the task.",
    7: "The master directs the agent to launch the task.",
    8: "The agent launches the task through an executor.",
    9: "The executor reports the task's status to the agent.",
    10: "The agent reports the task's status to the master.",
    11: "The master reports the task's status to the scheduler.",
    12: "The scheduler reports the process's status to the client.",
}
"""The seed's steps. (`seed.txt`, steps 1 to 12)"""
NECESSARY = "What the task replaces came to an end."
"""Of the row between 4 and 5 that only a replacement has; it counts as step 4 again."""
request_step = 4

_TELLERS: dict[int, tuple[Kind, tuple[type[Fact], ...]]] = {
    9: (Kind.EXECUTOR, (TaskReported,)),
    10: (Kind.AGENT, (TaskReported,)),
    11: (Kind.MASTER, (TaskUpdated,)),
    12: (Kind.FRAMEWORK, (AppUpdated, RunUpdated)),
}
"""Who tells a status at which step, and how."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step: its event, or none, and what a reader should know about it."""

    step: int
    event: Event | None
    note: str
    words: str


def trace_of(task: TaskId) -> Looking[Trace]:
    """The twelve steps of a task, found by asking. Raises UnknownTask."""
    story = yield from story_of(task)
    steps = [*_steps_of_request(story), *_steps_of_launch(story), *_steps_of_status(story)]
    return Trace(task=task, rows=_mark_slowest(_timed(steps)), trace=story.trace, replaces=story.replaces)


def _steps_of_request(story: Story) -> list[_Step]:
    steps = [
        _step(1, story.located, "", _why_not_located(story)),
        _step(2, story.made_before, "", "the scheduler had no offer before the request"),
        _step(3, story.declined, _why_declined(story.declined), "the scheduler had declined no offer before"),
        _step(4, story.requested, _by_schedule(story), "no client's request with this trace is in this store"),
    ]
    if story.necessary is not None:
        steps.append(_Step(request_step, story.necessary, _why_necessary(story), NECESSARY))
    return steps


def _steps_of_launch(story: Story) -> list[_Step]:
    launched = first(
        story.own, lambda event: isinstance(event.fact, TaskLaunched) and event.fact.task.task == story.task
    )
    delivered = first(
        story.own, lambda event: isinstance(event.fact, TaskDelivered) and event.fact.task.task == story.task
    )
    why_not = _why_not(story)
    return [
        _step(5, story.made, _already_there(story), why_not),
        _step(6, story.accepted, "", why_not),
        _step(7, launched, "", why_not),
        _step(8, delivered, "", why_not),
    ]


def _steps_of_status(story: Story) -> list[_Step]:
    shown, why_not = shown_state(story.own, story.task), _why_not(story)
    steps = []
    for step in _TELLERS:
        told = next((event for event in story.own if _tells(event, step, story.task, shown)), None)
        status = status_of(told, story.task) if told else None
        steps.append(_step(step, told, _said(status) if status else "", why_not))
    return steps


def _tells(event: Event, step: int, task: TaskId, shown: TaskState | None) -> bool:
    kind, facts = _TELLERS[step]
    return (
        event.by.kind is kind and isinstance(event.fact, facts) and shown is not None and state_of(event, task) is shown
    )


def shown_state(own: Sequence[Event], task: TaskId) -> TaskState | None:
    """The state that steps 9 to 12 are about: RUNNING, or how the task ended if it never ran."""
    states = [state for event in own if (state := state_of(event, task)) is not None]
    if TaskState.RUNNING in states:
        return TaskState.RUNNING
    return next((state for state in states if state in TERMINAL), None)


def _step(step: int, event: Event | None, note: str, why_not: str) -> _Step:
    return _Step(step, event, note if event else why_not, WORDS[step])


def _said(status: TaskStatus) -> str:
    """A status in words."""
    said = [
        status.state.value,
        *([status.reason.value] if status.reason else []),
        *([status.message] if status.message else []),
    ]
    return ": ".join(said)


def _schedule(story: Story) -> RunCreated | None:
    """The run, if nobody asked for it but a schedule."""
    fact = story.requested.fact if story.requested else None
    return fact if isinstance(fact, RunCreated) and fact.schedule is not None else None


def _why_not_located(story: Story) -> str:
    run = _schedule(story)
    if run is not None:
        return f"no client: schedule {run.schedule} of job {run.job} fired"
    return "the client did not say how it found the scheduler"


def _by_schedule(story: Story) -> str:
    run = _schedule(story)
    return f"no client: schedule {run.schedule} of job {run.job} fired" if run is not None else ""


def _why_declined(declined: Event | None) -> str:
    if declined is None or not isinstance(declined.fact, OfferDeclined) or not declined.fact.unfit:
        return ""
    reasons = ", ".join(sorted({unfit.reason for unfit in declined.fact.unfit}))
    return f"something was pending then, and did not fit: {reasons}"


def _why_necessary(story: Story) -> str:
    assert story.necessary is not None
    assert story.replaces is not None
    status = status_of(story.necessary, story.replaces)
    return f"{story.replaces} is replaced: {_said(status) if status else story.necessary.type}"


def _already_there(story: Story) -> str:
    if story.made and story.requested and story.made.position < story.requested.position:
        return "the offer was already there when the request came"
    return ""


def _why_not(story: Story) -> str:
    """Why a step of the launch has no event."""
    end = first(story.own, lambda event: state_of(event, story.task) in TERMINAL)
    status = status_of(end, story.task) if end else None
    if end and status:
        return f"did not happen: {end.by} says {_said(status)}"
    for event in story.own:
        if isinstance(event.fact, InstanceDismissed) and event.fact.task == story.task:
            return f"did not happen: dismissed by {event.by}: {event.fact.reason}"
    states = [status for event in story.own if (status := status_of(event, story.task)) is not None]
    return f"not yet: last heard {_said(states[-1])}" if states else "not yet"


def _timed(steps: Sequence[_Step]) -> list[TraceRow]:
    rows: list[TraceRow] = []
    for step in steps:
        if step.event is None:
            rows.append(TraceRow(step=step.step, words=step.words, note=step.note))
        else:
            rows.append(_row(step, step.event, _since_previous(step, step.event, rows)))
    return rows


def _row(step: _Step, event: Event, since_previous_us: int | None) -> TraceRow:
    return TraceRow(
        step=step.step,
        words=step.words,
        position=event.position,
        at=event.at,
        since_previous_us=since_previous_us,
        by=str(event.by),
        to=event.to,
        type=event.type,
        note=step.note,
    )


def _since_previous(step: _Step, event: Event, above: Sequence[TraceRow]) -> int | None:
    """The time since the newest event of the rows above that is before this one; a launch's, since the request."""
    before = [
        (row.position, row.at)
        for row in above
        if row.position is not None
        and row.at is not None
        and row.position < event.position
        and (step.step <= request_step or row.step >= request_step)
    ]
    return event.at - max(before)[1] if before else None


def _mark_slowest(rows: Sequence[TraceRow]) -> tuple[TraceRow, ...]:
    """The rows, with the longest hop of the launch marked."""
    hops = [row.since_previous_us or 0 if row.step > request_step else 0 for row in rows]
    longest = max(hops)
    slowest = hops.index(longest) if longest > 0 else None
    return tuple(msgspec.structs.replace(row, slowest=index == slowest) for index, row in enumerate(rows))
