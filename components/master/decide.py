"""How the master decides: who spoke, or fell silent, or what time it is; then it offers what that made possible.

Rule of this room: agents speak about their own tasks, frameworks about their own offers, clients ask frameworks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from bus.events import Event
from bus.nouns import AgentId, FrameworkId, Now, Refusal
from bus.secrets import SecretGiven, SecretWithdrawn
from bus.subjects import Kind
from bus.vouching import CheckpointConfirmed, CheckpointDisputed
from components.component import Heard, Input, Say, Seen, Sight, Wake, asked, refuse, sight
from components.master.accepts import go_on_with
from components.master.agents import hear_agent, lose_agent, say_changes, say_unreachable
from components.master.alarms import AlarmSeen, hear_witness, raised, see_alarm
from components.master.checkpoints import StoreStands, make_checkpoint
from components.master.config import MasterConfig
from components.master.frameworks import Revived, hear_framework, lose_framework
from components.master.identities import ASKED, FounderSeen, hear_access, see_founder, shut_out
from components.master.limits import REMOVALS, put_off
from components.master.offers import expire, make_offers
from components.master.ranked import Ranked
from components.master.removals import kill_orphans, remove_frameworks
from components.master.secrets import hear_secret
from components.master.state import MasterState
from components.master.tasks import go_on_answering


@sight("pings.missed")
class PingsMissed(Sight, frozen=True):
    """An agent or a framework did not answer so many pings in a row."""

    kind: Kind
    id: str
    since_n: int
    """The number of the master's event since which it was to answer: after a newer one this sight is old."""
    missed: int
    unheard: int = 0
    """Of an agent that has never answered this master: how many have not, it among them."""


def decide(config: MasterConfig, ranked: Ranked, state: MasterState, told: Input, now: Now) -> Iterator[Say]:
    """What the master says to one input."""
    since_n, revived = state.n, None
    match told:
        case Heard(event):
            revived = yield from _hear(config, state, event, now)
        case Seen(PingsMissed(kind=Kind.AGENT) as sight):
            yield from _lose_agent(config, state, sight, now)
        case Seen(PingsMissed() as sight):
            yield from lose_framework(state, FrameworkId(sight.id), sight.since_n, now)
        case Seen(AlarmSeen() as sight):
            yield from see_alarm(state, sight)
        case Seen(FounderSeen() as sight):
            yield from see_founder(state, sight)
        case Seen(StoreStands() as sight, state_hash=known):
            yield from make_checkpoint(config, state, sight, known)
        case Wake():
            yield from _go_on(config, state, now)
    yield from make_offers(config, ranked, state, now, since_n, revived)


def _lose_agent(config: MasterConfig, state: MasterState, sight: PingsMissed, now: Now) -> Iterator[Say]:
    agent = state.agents.get(AgentId(sight.id))
    if agent is None or not agent.active or agent.admitted_n != sight.since_n:
        return  # from before it was admitted again
    why = put_off(config, state, sight.unheard, now)
    if why is None:
        yield from lose_agent(state, agent, sight.missed)
    elif REMOVALS not in state.alarms:
        yield Say(raised(REMOVALS, why))


def _hear(config: MasterConfig, state: MasterState, event: Event, now: Now) -> Generator[Say, None, Revived]:
    if shut_out(state, event.by.id):
        if asked(event) is not None:
            yield refuse(event, Refusal.REVOKED, f"{event.by.id} is let in no more")
        return None
    match event.by.kind:
        case Kind.CLIENT if isinstance(event.fact, ASKED):
            yield from hear_access(state, event, now)
        case Kind.AGENT:
            yield from hear_agent(state, event)
        case Kind.FRAMEWORK:
            return (yield from hear_framework(config, state, event, now))
        case Kind.CLIENT if isinstance(event.fact, CheckpointDisputed | CheckpointConfirmed):
            yield from hear_witness(state, event)
        case Kind.CLIENT if isinstance(event.fact, SecretGiven | SecretWithdrawn):
            yield from hear_secret(config, state, event)
        case Kind.CLIENT:
            yield refuse(event, Refusal.INVALID, "nothing is asked of the master: ask the framework it is about")
    return None


def _go_on(config: MasterConfig, state: MasterState, now: Now) -> Iterator[Say]:
    """What an earlier decision left over, else what time has brought."""
    if state.unfinished:
        agent = state.agents[next(iter(state.unfinished))]
        yield from say_changes(state, agent) if agent.active else say_unreachable(state, agent)
    elif state.accepts:
        yield from go_on_with(config, state, state.accepts[0], now)
    elif state.reconciling:
        yield from go_on_answering(state)
    elif state.orphans:
        yield from kill_orphans(state)
    else:
        yield from expire(config, state, now)
        yield from remove_frameworks(state, now)
