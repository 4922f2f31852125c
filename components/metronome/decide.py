"""How Metronome decides: hear, do what is due, ask for offers if something waits for them.

That something waits is due at once and decided by itself: it has another addressee than the answer to who asked for it,
so that each of the two is one event, which is in the stream sooner than both together.

Rule of this room: only the master's word counts for offers and tasks, only clients are answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import (
    Event,
    FrameworkAdmitted,
    FrameworkDisconnected,
    FrameworkRegistered,
    FrameworkRevived,
    OfferMade,
    TaskReconciled,
    TaskUpdated,
)
from bus.nouns import MASTER, JobId, Now, RunId
from bus.secrets import SecretsNamed
from bus.services import ScheduleSkipped
from bus.subjects import Author, Kind
from components.component import Because, Heard, Input, Say, Wake
from components.metronome.config import MetronomeConfig
from components.metronome.offers import hear_offers
from components.metronome.requests import hear_request
from components.metronome.runs import follow, hear_update, run_due
from components.metronome.schedules import fire
from components.metronome.state import MetronomeState
from components.referring import hear_names

_MASTER = Author(Kind.MASTER, MASTER)
dues_max = 150
"""Decided about in one decision; each is at most four events."""
skips_max = 5000
"""Missed firings in one decision, of all schedules: each is looked for, and nobody else is heard meanwhile."""


def decide(config: MetronomeConfig, state: MetronomeState, told: Input, now: Now) -> Iterator[Say]:
    """What Metronome says to one input."""
    if state.to_register:
        yield _register(config)
    if isinstance(told, Heard):
        yield from _hear(config, state, told.event, now)
    elif state.revives:
        yield _revive(config, state)
    elif isinstance(told, Wake):
        yield from _do_what_is_due(state, now)


def _hear(config: MetronomeConfig, state: MetronomeState, event: Event, now: Now) -> Iterator[Say]:
    if event.by == _MASTER:
        yield from _hear_master(config, state, event, now)
    elif event.by.kind is Kind.CLIENT:
        yield from hear_request(state, event, now)


def _hear_master(config: MetronomeConfig, state: MetronomeState, event: Event, now: Now) -> Iterator[Say]:
    match event.fact:
        case FrameworkAdmitted(secrets=names):
            yield Say(TaskReconciled(), to=MASTER)
            yield from hear_names(state.secrets, SecretsNamed(names=names, whole=True))
        case SecretsNamed() as fact:
            yield from hear_names(state.secrets, fact)
        case FrameworkDisconnected() if state.admitted:
            yield _register(config)
        case OfferMade() as fact if state.admitted:  # else it is from before we registered, and void
            yield from hear_offers(config, state, fact)
        case TaskUpdated() as fact:
            yield from hear_update(state, fact, now)


def _register(config: MetronomeConfig) -> Say:
    fact = FrameworkRegistered(name=config.id, role=config.role, failover_timeout_s=config.failover_timeout_s)
    return Say(fact, to=MASTER)


def _revive(config: MetronomeConfig, state: MetronomeState) -> Say:
    why = state.wanted_for or Because(None, None, None)
    return Say(FrameworkRevived(framework=config.id), MASTER, cause=why.cause, trace=why.trace, actor=why.actor)


def _do_what_is_due(state: MetronomeState, now: Now) -> Iterator[Say]:
    skipped = 0
    for at, kind, name in state.dues[:dues_max]:
        if at > now or skipped >= skips_max:
            return
        if kind == "job":
            job, _, schedule = name.partition(" ")
            for say in fire(state, JobId(job), schedule, now):
                skipped += say.fact.count if isinstance(say.fact, ScheduleSkipped) else 0
                yield say
        elif kind == "child":
            yield from follow(state, JobId(name), now)
        elif (run := state.run(RunId(name))) is not None:
            yield from run_due(state, run, now)


def wake_at(state: MetronomeState) -> Now | None:
    """When the next firing, deadline or attempt is due; at once while there is a term to register for, or offers are to
    be asked for."""
    if state.to_register or state.revives:
        return Now(0)
    return state.dues[0][0] if state.dues else None
