"""The one shape of every component: a mind (decide, fold) and hands.

    hear ─► decide(state, input, now) ─► append ─► fold(state, event) ─► hands

Rule of this room: `decide` may look, only `fold` may touch, and neither knows a clock, chance or the world.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from bus.events import (
    AgentStarted,
    Event,
    ExecutorStarted,
    Fact,
    LeaderElected,
    LeaderResigned,
    LogKept,
    RequestRefused,
    Term,
)
from bus.nouns import NOBODY, WOKEN, Glimpse, Noun, Now, Position, Refusal, RequestId, TraceId, second
from bus.subjects import Author, Kind
from components.pieces import canonical, in_turns

answers_kept_s = 24 * 3600
"""How long the same request gets the same answer again."""


_START = Now(0)
_NOWHERE = Position(0)


class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a request was answered, and when."""

    at: Now
    to: str
    fact: Fact


@dataclass(slots=True, kw_only=True)
class State:
    """What every component remembers; each adds its own. Changed by `apply` only."""

    n: int = 0
    """Number of the last event folded. Ids the component makes are named after it."""
    at: Now = _START
    epoch: int = 0
    heard: Position = _NOWHERE
    answers: dict[str, Answer] = field(default_factory=dict)
    """By who asked and the request (`_answered`), oldest first: nobody can use up another's request id."""
    epochs: dict[str, int] = field(default_factory=dict)
    """The newest term heard of, of everybody who owns a log and was heard."""


class Entry(msgspec.Struct, kw_only=True, gc=False):
    """One of the many things that a state remembers. Made of what was there before it, it is in no ring, as no noun is;
    making one takes a fifth of what a dataclass takes."""


S = TypeVar("S", bound=State)
S_contra = TypeVar("S_contra", bound=State, contravariant=True)


class Sight(Noun, frozen=True):
    """Something a component's hands saw. It may be seen twice: the state must tell an old sight from a new one."""

    type: ClassVar[str]
    """The wire name: what it is called in the log, on the first event of the decision it led to."""
    vouches: ClassVar[bool] = False
    """Whether it leads to a word about all of the state: then it comes with the state's hash."""


SIGHTS: dict[str, type[Sight]] = {WOKEN.type: Sight}
"""Every sight by its wire name. That a time came is none, and its name is taken."""
T = TypeVar("T", bound=type[Sight])


def sight(name: str) -> Callable[[T], T]:
    """Declare a sight under its wire name."""

    def declare(cls: T) -> T:
        assert name not in SIGHTS, f"{name} is declared twice"
        cls.type = name
        SIGHTS[name] = cls
        return cls

    return declare


class Heard(NamedTuple):
    """Another author's event, addressed to this component."""

    event: Event


class Seen(NamedTuple):
    """An observation by this component's own hands."""

    sight: Sight
    state_hash: str = ""
    """Of the state it is decided on, if that was made already."""


class Wake(NamedTuple):
    """The moment `wake_at` named has come."""


Input = Heard | Seen | Wake


class UnknownSight(ValueError):
    """A decision was led to by a sight that this release does not know, or not in this form."""


def glimpse_of(told: Input) -> Glimpse | None:
    """What the log says of an input that is no event."""
    match told:
        case Seen(sight=seen):
            return Glimpse(seen.type, msgspec.to_builtins(seen))
        case Wake():
            return WOKEN
        case Heard():
            return None


def input_of(glimpse: Glimpse) -> Seen | Wake:
    """The input again that the log tells of. Raises UnknownSight."""
    if glimpse.type == WOKEN.type:
        return Wake()
    try:
        return Seen(msgspec.convert(glimpse.fields, SIGHTS[glimpse.type]))
    except KeyError:
        raise UnknownSight(f"{glimpse.type!r} is not a sight this release knows") from None
    except msgspec.ValidationError as error:
        raise UnknownSight(f"{glimpse.type}: {error}") from None


class Say(msgspec.Struct, frozen=True, gc=False):
    """A fact to be appended to the component's own log.

    Cause, trace and actor are the heard event's unless given; `request` marks the one answer to a request.
    """

    fact: Fact
    to: str = NOBODY
    cause: Position | None = None
    trace: TraceId | None = None
    actor: str | None = None
    request: RequestId | None = None


class Because(NamedTuple):
    """What led to an event, kept in the state for a later decision that follows from it: its cause, actor and trace."""

    cause: Position | None
    actor: str | None
    trace: TraceId | None


def because(event: Event) -> Because:
    """What led to an event of the component's own. (fold)"""
    return Because(event.cause, event.actor, event.trace)


def answer(heard: Event, fact: Fact) -> Say:
    """The answer to a request, to the one who asked."""
    return Say(fact, to=heard.by.id, request=asked(heard))


def asked(heard: Event) -> RequestId | None:
    """The id of a request. Only clients ask: were an owner of a log answered under the id that its answer bears, both
    would answer each other for ever."""
    return heard.request if heard.by.kind is Kind.CLIENT else None


def refuse(heard: Event, reason: Refusal, message: str, held_by: tuple[str, ...] = ()) -> Say:
    """The refusal of a request, to the one who asked."""
    return answer(heard, RequestRefused(reason=reason, message=message, held_by=held_by))


See = Callable[[Sight], Awaitable[None]]
"""Gives an observation to the loop; waits while the loop has too many."""
Query = Callable[[Any, bytes, Now], object]
"""Answers one question from the folded state. Raises bus.queries.QueryRefused."""
Ask = Callable[[bytes], Awaitable[object]]
"""Answers one question from the world. Raises bus.queries.QueryRefused."""


class Hands(Protocol[S_contra]):
    """What touches the world for a component. Hands never append; what they see they give to the loop."""

    asks: Mapping[str, Ask]
    """Queries only the world can answer, e.g. a task's log."""

    async def run(self, state: S_contra, see: See) -> None:
        """Make the world match the folded state of a new term, then keep seeing until cancelled.

        `state` may be read only before the first await. An exception ends the process.
        """

    def act(self, event: Event) -> None:
        """An event of this component is in the log: begin what it says. Never waits, may be told during `run` only."""


class Witness(Protocol):
    """What an instance that stands by does with a checkpoint of the one that leads."""

    async def check(self, checkpoint: Event, state_hash: str, chain: str) -> None:
        """Compare it with the own state's hash just before it, and the own store's chain (hex) at its `upto`."""


def _whole(fact: Fact) -> Fact:
    return fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Component(Generic[S]):
    """A mind and hands, under the name of one log."""

    author: Author
    term: Callable[..., Term]
    """What begins a term: leader.elected, agent.started or executor.started."""
    start: Callable[[], S]
    fold: Callable[[S, Event], None]
    """In place; the only writer of state. Must not look at `event.last`, `event.prev` or `event.seen`."""
    decide: Callable[[S, Input, Now], Iterator[Say]]
    """A generator: each fact it yields is folded before it goes on, so the rest of the decision sees it."""
    wake_at: Callable[[S], Now | None]
    """The next moment somebody must decide; a moment in the past means at once. Cheap: asked after every input."""
    check: Callable[[S], None]
    """Asserts what must hold between decisions; the message tells the story."""
    queries: Mapping[str, Query] = field(default_factory=dict)
    hands: Callable[[], Hands[S]] | None = None
    settings: str = ""
    """The config it was made with, from `settings_of`; recorded by each term."""
    projection: Callable[[S], None] | None = None
    """Shows something of the state to the world. Told it as it is folded from the log itself: once it is rebuilt, and
    while another instance leads; a leader's hands are told each event instead."""
    in_short: Callable[[Fact], Fact] = _whole
    """What is kept of the answer to a request, to be said again when that is heard again."""
    witness: Witness | None = None
    """Compares what an instance that stands by holds with the leader's checkpoints."""


def settings_of(name: str, config: object, *, leave_out: Collection[str] = ()) -> str:
    """A component's name and config as canonical JSON; without what no decision looks at and nobody may read."""
    fields = msgspec.to_builtins(config)
    shown = {field: value for field, value in fields.items() if field not in leave_out}
    return msgspec.json.encode({name: shown}, order="sorted").decode()


looked_at_max = 32
"""Things that a check may look at after each decision."""


def spread(check: Callable[[S], None], size: Callable[[S], int]) -> Callable[[S], None]:
    """A check after every decision while there are few things to look at; of many, after so many more events.

    So what a decision costs does not grow with what there is. `size` says how many things `check` looks at.
    """
    checked_n = 0

    def checked(state: S) -> None:
        nonlocal checked_n
        if not 0 <= state.n - checked_n <= size(state) // looked_at_max:
            check(state)
            checked_n = state.n

    return checked


TERMS: frozenset[type[Fact]] = frozenset({LeaderElected, AgentStarted, ExecutorStarted})
"""What begins a term. (To look a class up takes a third of what `isinstance` takes to deny)"""
SAID_BY_THE_LOOP: frozenset[type[Fact]] = frozenset({LeaderResigned, LogKept})
"""What no component has to know about: it is the runtime's own."""


def apply(component: Component[S], state: S, event: Event) -> None:
    """Fold one event of the component's own log, with what all components remember."""
    n, fact, heard = event.n, event.fact, event.heard
    said = type(fact)
    assert n == state.n + 1, f"{component.author}: event {n} after {state.n}"
    assert event.at >= state.at, f"{component.author} #{n}: {event.at} is before {state.at}"
    state.n, state.at = n, event.at
    if heard > state.heard:
        state.heard = heard
    if said in TERMS:
        assert isinstance(fact, Term)
        assert fact.epoch == state.epoch + 1, f"{component.author}: term {fact.epoch} after {state.epoch}"
        state.epoch = fact.epoch
    if event.epochs:
        state.epochs.update(event.epochs)
    if event.request is not None:
        answered = _answered(event.to, event.request)
        if answered in state.answers:
            return  # the same answer said again: folded once already
        _remember(state, event, component.in_short(fact), answered)
    if said not in SAID_BY_THE_LOOP:
        component.fold(state, event)


def _answered(who: str, request: RequestId) -> str:
    return f"{who} {request}"


def _remember(state: State, event: Event, fact: Fact, answered: str) -> None:
    while state.answers:
        oldest = next(iter(state.answers))
        if state.answers[oldest].at + answers_kept_s * second > event.at:
            break
        del state.answers[oldest]
    state.answers[answered] = Answer(event.at, event.to, fact)


def consider(component: Component[S], state: S, told: Input, now: Now) -> Iterator[Say]:
    """`decide`, but the same request gets the same answer again instead of a second decision."""
    request = asked(told.event) if isinstance(told, Heard) else None
    given = state.answers.get(_answered(told.event.by.id, request)) if isinstance(told, Heard) and request else None
    if given is not None:
        yield Say(given.fact, to=given.to, request=request)
        return
    yield from component.decide(state, told, now)


def state_hash(state: State) -> str:
    """SHA-256 (hex) of the canonical form of a state: equal states have equal hashes, on every machine."""
    told = sha256()
    for piece in canonical(state):
        told.update(piece)
    return told.hexdigest()


async def state_hash_in_turns(state: State) -> str:
    """The same, with turns for others on the event loop; empty if the state was changed meanwhile."""
    n, told = state.n, sha256()
    async for piece in in_turns(canonical(state)):
        told.update(piece)
    return told.hexdigest() if state.n == n else ""
