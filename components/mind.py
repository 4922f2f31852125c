"""A component's state and what it has said but not yet published: the half of the loop that never waits.

Rule of this room: no await. Bytes of the own log in, decisions as bytes out, folded as they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import msgspec

from bus import codec, logs
from bus.access import IdentityRenewed
from bus.codec import Foreign, Unreadable
from bus.events import Event, EventUnreadable, Fact, LeaderResigned, Term
from bus.nouns import MASTER, Glimpse, Now, Position, Refusal
from bus.port import Message, Record, batch_bytes_max, batch_events_max
from bus.subjects import Author, Kind
from components.component import Component, Heard, Input, S, Say, apply, asked, consider, glimpse_of, refuse

log = logs.get_logger()

Clock = Callable[[], Now]
_MASTER = Author(Kind.MASTER, MASTER)


class LogUnreadable(Exception):
    """The component's own log holds an event this release cannot read: start a release at least as new."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The events of one decision, with their bytes."""

    events: Sequence[Event]
    messages: Sequence[Message]


def complaint(unreadable: Unreadable) -> Say:
    """What the author of an event is told that cannot be read."""
    event = unreadable.event
    if asked(event) is not None:
        return refuse(event, Refusal.INVALID, str(unreadable))
    fact = EventUnreadable(
        unreadable=event.position,
        unreadable_type=unreadable.type,
        unreadable_version=unreadable.version,
        message=str(unreadable),
    )
    return Say(fact, to=event.by.id)


def stamped(component: Component[S], state: S, say: Say, told: Input | None, now: Now, heard: Position) -> Event:
    """The event that says `say` next in a component's log."""
    because = told.event if isinstance(told, Heard) else None
    return Event(
        by=component.author,
        to=say.to,
        fact=say.fact,
        at=now,
        n=state.n + 1,
        epoch=state.epoch,
        last=False,
        heard=heard,
        cause=say.cause or (because.position if because else None),
        actor=say.actor or (because.behind if because else None),
        trace=say.trace or (because.trace if because else None),
        request=say.request,
    )


class Mind(Generic[S]):
    """State, and what of it is not yet in the stream."""

    def __init__(self, component: Component[S], cluster: str, clock: Clock) -> None:
        self.component, self.cluster, self.clock = component, cluster, clock
        self.state = component.start()
        self.prev = b""
        self.heard = Position(0)
        self.whole = True
        """Whether the last event folded from the log ended its decision."""
        self.resigned = True
        """Whether nobody leads, by the log: it is empty, or its last event is `leader.resigned`."""
        self._epochs: dict[str, int] = {}
        """Terms of others that were heard of and are in none of the own events yet. 0: all there were are forgotten."""
        self.torn: Position | None = None
        """Where two lie behind my last event, with numbers beyond the next one, and one extends the other: an event of
        mine is missing before them, or somebody has my key. Nothing in the log itself tells which."""
        self._beyond: bytes | None = None
        """The hash of the last message of the log with a number beyond the next one."""

    def remember(self, record: Record) -> None:
        """Fold one message of the own log; pass over what is foreign on it."""
        unreadable = None
        try:
            event = codec.decode(record.subject, record.body, 0)  # no position: folding must not know it
        except Foreign as foreign:
            log.error("foreign message on my log", position=record.position, why=str(foreign))
            return
        except Unreadable as error:
            event, unreadable = error.event, error
        if not self.extends(event):
            self._pass_over(record, event)
            return
        if unreadable is not None:
            raise LogUnreadable(f"#{record.position} {record.subject}: {unreadable}")
        apply(self.component, self.state, event)
        self.prev, self.whole = codec.link(record.body), event.last
        self.resigned = isinstance(event.fact, LeaderResigned)
        self.heard = self.state.heard
        self.torn = self._beyond = None

    def extends(self, event: Event) -> bool:
        """Whether it is the next of the own log."""
        return event.n == self.state.n + 1 and event.prev == self.prev

    def _pass_over(self, record: Record, event: Event) -> None:
        """A replay, or a forged number; or I am past a hole."""
        if event.n > self.state.n + 1:
            if event.prev == self._beyond:
                self.torn = record.position
            self._beyond = codec.link(record.body)
        log.error("event that does not extend my chain", position=record.position, n=event.n)

    def now(self) -> Now:
        """The clock, but never before the last event."""
        return Now(max(self.clock(), self.state.at))

    def begin(self, node: str, instance: str) -> Decided:
        """The event that begins a term; folded by `remember` once it is in the log, for another may be faster."""
        term: Term = self.component.term(
            epoch=self.state.epoch + 1, node=node, instance=instance, settings=self.component.settings
        )
        event = stamped(self.component, self.state, Say(term), None, self.now(), self.heard)
        event = msgspec.structs.replace(event, epoch=term.epoch, last=True, prev=self.prev)
        return Decided([event], [Message(codec.subject(self.cluster, event), codec.encode(event))])

    def add(self, fact: Fact, heard: Position | None = None) -> Decided:
        """A fact of the loop's own (`component.SAID_BY_THE_LOOP`), after everything addressed here up to `heard`."""
        self.heard = max(self.heard, heard or self.heard)
        return self._finish([self._say(Say(fact), None, self.now())])

    def decide(self, told: Input) -> Decided | None:
        """Decide on one input and fold what follows from it."""
        if isinstance(told, Heard):
            self.heard = told.event.position
            if self._is_my_own(told.event) or self._is_of_an_older_term(told.event):
                return None
            if isinstance(told.event.fact, IdentityRenewed) and told.event.by == _MASTER:
                self._epochs[told.event.fact.author] = 0
                return None
        now = self.now()
        said = [self._say(say, told, now) for say in consider(self.component, self.state, told, now)]
        return self._finish(said, glimpse_of(told)) if said else None

    def _is_my_own(self, event: Event) -> bool:
        """Whether it is from and to this component: nobody speaks to itself, and who answered it would never end."""
        if event.by != self.component.author:
            return False
        log.error("event from myself to myself", position=event.position, type=event.type)
        return True

    def _is_of_an_older_term(self, event: Event) -> bool:
        """Whether a newer term of the same author was heard: then this is a replay, whoever said it. (a fence lets
        nothing of an older term onto a log)"""
        if not event.n:
            return False  # a client's, who has no terms
        by = str(event.by)
        newest = self._epochs.get(by, self.state.epochs.get(by, 0))
        if event.epoch < newest:
            log.error("event of an older term", by=by, position=event.position, epoch=event.epoch, newest=newest)
            return True
        if event.epoch > newest:
            self._epochs[by] = event.epoch
        return False

    def complain(self, unreadable: Unreadable) -> Decided | None:
        """Tell the author of an event that it cannot be read."""
        event, self.heard = unreadable.event, unreadable.event.position
        if self._is_my_own(event):
            return None
        say = complaint(unreadable)
        return self._finish([self._say(say, Heard(event), self.now())])

    def _say(self, say: Say, told: Input | None, now: Now) -> Event:
        event = stamped(self.component, self.state, say, told, now, self.heard)
        if self._epochs:
            event, self._epochs = msgspec.structs.replace(event, epochs=self._epochs), {}
        apply(self.component, self.state, event)
        return event

    def _finish(self, said: list[Event], seen: Glimpse | None = None) -> Decided:
        self.component.check(self.state)
        events, messages, size = [], [], 0
        first, last = said[0], said[-1]
        for event in said:
            whole = msgspec.structs.replace(
                event, prev=self.prev, last=event is last, seen=seen if event is first else None
            )
            body = codec.encode(whole)
            self.prev = codec.link(body)
            events.append(whole)
            messages.append(Message(codec.subject(self.cluster, whole), body))
            size += len(body)
        assert len(events) <= batch_events_max, f"{self.component.author}: {len(events)} events in one decision"
        assert size <= batch_bytes_max, f"{self.component.author}: {size} bytes in one decision"
        return Decided(events, messages)
