"""How Marathon decides: hear, bring the apps to what they are to be, ask for offers if something waits for them.

A task's new status is passed on by itself, and a request is answered by itself. What follows for the app, its
deployment and the offers is seen from the state, is due at once and is decided next: so who waits hears it in one
event, and no sooner or later for what else there is to say. Likewise what is one event is not kept waiting for that
offers are wanted: each of the two alone is in the stream sooner than both together.

Rule of this room: only the master's word counts for offers and tasks, only clients are answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile

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
from bus.nouns import MASTER, Now, second
from bus.secrets import SecretsNamed
from bus.subjects import Author, Kind
from components.component import Heard, Input, Say, Seen, Sight, Wake
from components.marathon.config import MarathonConfig
from components.marathon.deployments import advance
from components.marathon.health import see_check, see_readiness
from components.marathon.levels import changes_max, level
from components.marathon.offers import hear_offers
from components.marathon.requests import hear_request
from components.marathon.sights import CheckSeen, ReadinessSeen
from components.marathon.state import MarathonState
from components.marathon.unreachable import overdue
from components.marathon.updates import hear_update
from components.referring import hear_names

_MASTER = Author(Kind.MASTER, MASTER)
reconciled_max = 1000
"""Tasks asked for in one event."""
rounds_max = 3
"""Of bringing deployments on in one decision."""
advancing_max = 300
"""Events after which deployments are brought on by the next decision: undoing one may take as many again."""
events_max = 950
"""In one decision, until what is missing or too much is due in the next one."""


def decide(config: MarathonConfig, state: MarathonState, told: Input, now: Now) -> Iterator[Say]:
    """What Marathon says to one input."""
    first = state.n
    if state.to_register:
        yield _register(config)
    if isinstance(told, Heard):
        yield from _hear(config, state, told.event, now)
        if isinstance(told.event.fact, TaskUpdated) or told.event.by.kind is Kind.CLIENT:
            return
    elif isinstance(told, Seen):
        yield from _see(state, told.sight, now)
    elif isinstance(told, Wake):
        yield from _ask_for_unconfirmed(config, state, now)
    yield from overdue(state, now)
    yield from _deploy(state, first, now)
    if state.n - first != 1:
        yield from _revive(config, state, told, now)


def _deploy(state: MarathonState, first: int, now: Now) -> Iterator[Say]:
    """Bring apps to what they are to be, and deployments on; what goes beyond the decision begun at `first` is due."""
    for _ in range(rounds_max):
        n = state.n
        if n - first < advancing_max:
            yield from advance(state, now)
        yield from level(state, min(changes_max, (events_max - (state.n - first)) // 2))
        if state.n == n or state.uneven:
            return


def _hear(config: MarathonConfig, state: MarathonState, event: Event, now: Now) -> Iterator[Say]:
    if event.by == _MASTER:
        yield from _hear_master(config, state, event, now)
    elif event.by.kind is Kind.CLIENT:
        yield from hear_request(state, event, now)


def _see(state: MarathonState, sight: Sight, now: Now) -> Iterator[Say]:
    match sight:
        case CheckSeen() as seen:
            yield from see_check(state, seen, now)
        case ReadinessSeen() as seen:
            yield from see_readiness(state, seen)


def _hear_master(config: MarathonConfig, state: MarathonState, event: Event, now: Now) -> Iterator[Say]:
    match event.fact:
        case FrameworkAdmitted(secrets=names):
            yield Say(TaskReconciled(), to=MASTER)
            yield from hear_names(state.secrets, SecretsNamed(names=names, whole=True))
        case SecretsNamed() as fact:
            yield from hear_names(state.secrets, fact)
        case FrameworkDisconnected() if state.admitted:  # else we have just registered anyway
            yield _register(config)
        case OfferMade() as fact if state.admitted:  # else it is from before we registered, and void
            yield from hear_offers(config, state, fact, now)
        case TaskUpdated() as fact:
            yield from hear_update(state, fact, now)


def _register(config: MarathonConfig) -> Say:
    fact = FrameworkRegistered(name=config.id, role=config.role, failover_timeout_s=config.failover_timeout_s)
    return Say(fact, to=MASTER)


def _ask_for_unconfirmed(config: MarathonConfig, state: MarathonState, now: Now) -> Iterator[Say]:
    """Ask the master for launches that nobody reports."""
    if not state.admitted:
        return
    before = now - round(config.launch_timeout_s * second)
    late = takewhile(lambda task: state.unconfirmed[task] <= before, state.unconfirmed)
    tasks = tuple(task for task, _ in zip(late, range(reconciled_max), strict=False))
    if tasks:
        yield Say(TaskReconciled(tasks=tasks), to=MASTER)


def _revive(config: MarathonConfig, state: MarathonState, told: Input, now: Now) -> Iterator[Say]:
    """Want offers again if something waits for one, or waited long enough after a failure.

    Where nobody is heard it has the cause of what waits.
    """
    due = bool(state.delays) and state.delays[0][0] <= now
    if state.revives or (state.admitted and due):
        why = state.wanted_for if state.revives and isinstance(told, Wake) else None
        cause, actor, trace = why or (None, None, None)
        yield Say(FrameworkRevived(framework=config.id), to=MASTER, cause=cause, actor=actor, trace=trace)


def wake_at(config: MarathonConfig, state: MarathonState) -> Now | None:
    """When the next delay is over or the next launch is late; at once while anything is due."""
    if state.to_register or state.uneven or state.done or state.revives:
        return Now(0)
    if not state.admitted:
        return None
    dues = [first for first, _ in (*state.delays[:1], *state.lost[:1], *state.deadlines[:1])]
    for asked_at in state.unconfirmed.values():
        dues.append(Now(asked_at + round(config.launch_timeout_s * second)))
        break
    return min(dues, default=None)
