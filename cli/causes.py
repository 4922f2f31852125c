"""From an outcome back to what led to it, cause by cause: to a person's request, an observation or a time.

Rule of this room: every step is an event in the log; where the chain ends the log says why, or it is said that it does
not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRefused,
    Event,
    Fact,
    KillDelivered,
    KillDirected,
    KillRequested,
    Term,
)
from bus.nouns import TERMINAL, WOKEN, Glimpse, Position, TaskId, TaskState, TraceId
from bus.port import batch_events_max
from bus.services import (
    AppRemoved,
    AppSpecified,
    AppUpdated,
    AttemptScheduled,
    InstanceScheduled,
    RunCreated,
    RunUpdated,
    facts_of,
)
from bus.subjects import Kind
from cli.memory import Memory, at
from eventstore.story import state_of, wants

steps_max = 100
"""Causes of one outcome that are followed."""
replaced_max = 1000
"""Tasks, each in the place of the one before, that are followed to the first."""


class Step(NamedTuple):
    """An event on the way back, and what led to it if no event did."""

    event: Event
    seen: Glimpse | None = None
    since_cause_us: int | None = None


class Blame(NamedTuple):
    """Why something is as it is."""

    outcome: Event
    chain: tuple[Step, ...]
    """From the outcome back."""
    kill: tuple[Step, ...] = ()
    """Of a killed task: from the kill that reached furthest back."""
    existence: tuple[Step, ...] = ()
    """Why there was such a thing at all: from the event that wanted it back."""
    replaced: int = 0
    """How many tasks before it had its place."""
    asked: Event | None = None
    """The request of a client that all of it goes back to."""


async def blame(memory: Memory, noun: str, id_: str) -> Blame | None:
    """Why a thing is as it is; None if nothing is known of it."""
    outcome, wanted, kill = await _ends(memory, noun, id_)
    if outcome is None:
        return None
    chain = await _back(memory, outcome)
    if wanted is not None and outcome.position == wanted.position:
        chain = chain[:1]  # it is not more than wanted yet: why, is told as such
    killed = await _back(memory, kill) if kill is not None and not _holds(chain, kill) else ()
    existence, replaced = (await _existence(memory, wanted)) if wanted else ((), 0)
    last = (existence or chain)[-1].event
    trace = (wanted or outcome).trace or outcome.trace
    asked = last if last.by.kind is Kind.CLIENT else await _asked(memory, trace, outcome.position)
    return Blame(outcome, chain, killed, existence, replaced, asked)


def _holds(chain: tuple[Step, ...], event: Event) -> bool:
    return any(step.event.position == event.position for step in chain)


class _Ends(NamedTuple):
    """Where the ways back begin."""

    outcome: Event | None
    """The event that says how a thing is now."""
    wanted: Event | None
    """The event that wanted it."""
    kill: Event | None
    """Of a killed task: the kill that came nearest to it before it ended."""


async def _ends(memory: Memory, noun: str, id_: str) -> _Ends:
    outcome = newest = wanted = kill = None
    tells = _TELLS[noun]
    async for event in memory.mentioning(noun, id_):
        newest = event
        if tells(event, id_):
            outcome = event
        if wanted is None and _wants(event, noun, id_):
            wanted = event
        if noun == "task" and outcome is None and isinstance(event.fact, _KILLS):
            kill = event if kill is None or _nearness(event) >= _nearness(kill) else kill
    killed = outcome is not None and state_of(outcome, TaskId(id_)) is TaskState.KILLED
    return _Ends(outcome or newest, wanted, kill if killed else None)


_KILLS = (KillRequested, KillDirected, KillDelivered)


def _nearness(event: Event) -> int:
    """How far on its way to the task's process a kill is."""
    return next(index for index, cls in enumerate(_KILLS) if isinstance(event.fact, cls))


def _wants(event: Event, noun: str, id_: str) -> bool:
    if noun == "run":
        return isinstance(event.fact, RunCreated) and event.fact.run == id_
    return noun == "task" and wants(event, TaskId(id_))


def _ends_task(event: Event, id_: str) -> bool:
    return state_of(event, TaskId(id_)) in TERMINAL


def _tells_app(event: Event, id_: str) -> bool:
    return any(_is_about(fact, id_) for fact in facts_of(event.fact))


def _is_about(fact: Fact, id_: str) -> bool:
    match fact:
        case AppUpdated(app=app) | AppRemoved(app=app):
            return app == id_
        case AppSpecified(app=spec):
            return spec.id == id_
        case _:
            return False


def _tells_agent(event: Event, id_: str) -> bool:
    match event.fact:
        case AgentAdmitted(agent=agent) | AgentMarked(agent=agent) | AgentRefused(agent=agent):
            return agent == id_
        case _:
            return False


_TELLS: dict[str, Callable[[Event, str], bool]] = {
    "task": _ends_task,
    "app": _tells_app,
    "agent": _tells_agent,
    "run": lambda event, id_: isinstance(event.fact, RunUpdated) and event.fact.run == id_,
    "offer": lambda event, _id: event.type.startswith("offer."),
}
"""Of each thing, which events say how it is; the newest of them is its outcome."""
NOUNS = tuple(_TELLS)


# ---- back -------------------------------------------------------------------------------------------------------


async def _back(memory: Memory, outcome: Event) -> tuple[Step, ...]:
    """The outcome, what led to it, what led to that ..."""
    steps: list[Step] = []
    event: Event | None = outcome
    while event is not None and len(steps) < steps_max:
        cause = await at(memory, event.cause) if event.cause is not None else None
        since = event.at - cause.at if cause is not None else None
        seen = await _seen(memory, event) if event.cause is None and event.by.kind is not Kind.CLIENT else None
        steps.append(Step(event, seen, since))
        event = cause
    return tuple(steps)


async def _seen(memory: Memory, event: Event) -> Glimpse | None:
    """What led to the decision an event belongs to: it stands on the first event of it."""
    for _ in range(batch_events_max):
        if event.seen is not None or isinstance(event.fact, Term):
            return event.seen
        before = await at(memory, Position(event.position - 1)) if event.position > 1 else None
        if before is None or before.by != event.by or before.n != event.n - 1 or before.last:
            return None
        event = before
    return None


async def _existence(memory: Memory, wanted: Event) -> tuple[tuple[Step, ...], int]:
    """Back to why the first of all those in a place was wanted; how many there were before this one."""
    chain = await _back(memory, wanted)
    replaced = 0
    while replaced < replaced_max:
        before = await _wanted_before(memory, wanted, chain)
        if before is None:
            break
        replaced, wanted = replaced + 1, before
        if replaced == 1 or before.cause is None:
            chain += await _back(memory, before)
    root = await _run_created(memory, wanted) if isinstance(wanted.fact, AttemptScheduled) else wanted
    if root is not None and not _holds(chain, root):
        chain += tuple(step for step in await _back(memory, root) if not _holds(chain, step.event))
    return chain, replaced


async def _run_created(memory: Memory, attempt: Event) -> Event | None:
    """The event that began the run which an attempt belongs to."""
    assert isinstance(attempt.fact, AttemptScheduled)
    async for event in memory.mentioning("run", attempt.fact.run):
        if _wants(event, "run", attempt.fact.run):
            return event
    return None


async def _wanted_before(memory: Memory, wanted: Event, chain: tuple[Step, ...]) -> Event | None:
    """The event that wanted the task in whose place one was wanted."""
    replaces = wanted.fact.replaces if isinstance(wanted.fact, InstanceScheduled) else None
    if replaces is None or chain[-1].event.by.kind is Kind.CLIENT:
        return None
    async for event in memory.mentioning("task", replaces):
        if _wants(event, "task", replaces):
            return event
    return None


async def _asked(memory: Memory, trace: TraceId | None, before: Position) -> Event | None:
    """The newest request before an outcome, of the command whose trace it has."""
    found = None
    if trace is not None:
        async for event in memory.mentioning("trace", trace):
            if event.position > before:
                break
            if event.by.kind is Kind.CLIENT and event.type.endswith(".requested"):
                found = event
    return found


def is_woken(seen: Glimpse) -> bool:
    """Whether it was a time that came."""
    return seen == WOKEN
