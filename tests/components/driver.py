"""Plays the runtime for one component: no bus, no clock, no hands.

What the component says is stamped and folded as it comes, exactly as `components.runtime` does it: live events have
position 0 while they are folded; in `Stage.log` they have the positions they got in the stream afterwards.

    stage = Stage(component(MasterConfig()))
    stage.begin()                                             # leader.elected
    events = stage.hear(Author(Kind.AGENT, "a1"), AgentRegistered(...))
    stage.settle()                                            # what wake_at says is due now
    stage.advance(15)                                         # seconds, waking the component whenever it wants
    assert stage.rebuilt() == stage.hash()                    # fold of the bytes of its log gives the same state
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from bus.codec import decode, encode, subject
from bus.events import Event, Fact
from bus.nouns import Now, Position, RequestId, TraceId, second
from bus.port import batch_bytes_max, batch_events_max
from bus.services import facts_of
from bus.subjects import CLUSTER, Author
from components.component import (
    Component,
    Heard,
    Input,
    Say,
    Seen,
    Sight,
    State,
    Wake,
    apply,
    consider,
    state_hash,
)

S = TypeVar("S", bound=State)
F = TypeVar("F", bound=Fact)

START = Now(1_800_000_000 * second)
NOWHERE = Position(0)
wakes_max = 10_000


def drive(component: Component[S], state: S, told: Input, now: Now, *, heard: Position = NOWHERE) -> list[Event]:
    """One decision: every fact said is stamped and folded before the next is asked for; then the state is checked."""
    events: list[Event] = []
    for say in consider(component, state, told, now):
        event = stamped(component, state, say, told, now, heard)
        apply(component, state, event)
        events.append(event)
    component.check(state)
    assert len(events) <= batch_events_max, f"{len(events)} events in one decision"
    assert sum(len(encode(event)) for event in events) <= batch_bytes_max
    return [msgspec.structs.replace(event, last=event is events[-1]) for event in events]


def stamped(component: Component[S], state: S, say: Say, told: Input, now: Now, heard: Position) -> Event:
    """The event that says `say` next in the component's log."""
    source = told.event if isinstance(told, Heard) else None
    return Event(
        by=component.author,
        to=say.to,
        fact=say.fact,
        at=max(now, state.at),
        n=state.n + 1,
        epoch=state.epoch,
        last=False,
        heard=max(state.heard, heard, source.position if source else Position(0)),
        cause=say.cause if say.cause is not None else (source.position if source else None),
        actor=say.actor if say.actor is not None else (source.behind if source else None),
        trace=say.trace if say.trace is not None else (source.trace if source else None),
        request=say.request,
    )


class Stage(Generic[S]):
    """A component alone on a stream: others' events are made up by the test, time is what the test says."""

    def __init__(self, component: Component[S], now: Now = START) -> None:
        self.component, self.now = component, now
        self.state = component.start()
        self.position = Position(0)
        self.heard = Position(0)
        self.log: list[Event] = []
        """Everything the component said, with positions."""
        self.numbers: Counter[Author] = Counter()

    def begin(self) -> list[Event]:
        """A new term: its first event is folded and returned."""
        term = self.component.term(epoch=self.state.epoch + 1, node="test", instance=f"i{self.state.epoch + 1}")
        event = stamped(self.component, self.state, Say(term), Wake(), self.now, self.heard)
        event = msgspec.structs.replace(event, epoch=term.epoch, last=True)
        apply(self.component, self.state, event)
        self.component.check(self.state)
        return self._placed([event])

    def said(
        self,
        by: Author,
        fact: Fact,
        *,
        heard: Position | None = None,
        request: str | None = None,
        trace: str | None = None,
        actor: str | None = None,
        n: int | None = None,
    ) -> Event:
        """An event of somebody else, at the next position; by default its author has heard everything before it."""
        before = self.position
        self.position = Position(before + 1)
        self.numbers[by] = n if n is not None else self.numbers[by] + 1
        return Event(
            by=by,
            to=self.component.author.id,
            fact=fact,
            at=self.now,
            n=0 if request is not None else self.numbers[by],
            epoch=1,
            heard=before if heard is None else heard,
            request=None if request is None else RequestId(request),
            trace=None if trace is None else TraceId(trace),
            actor=actor,
            position=self.position,
        )

    def hear_event(self, event: Event) -> list[Event]:
        """The component's decision on an event: one from `said`, or one it heard before."""
        self.heard = max(self.heard, event.position)
        return self._decided(Heard(event))

    def hear(
        self,
        by: Author,
        fact: Fact,
        *,
        heard: Position | None = None,
        request: str | None = None,
        trace: str | None = None,
        actor: str | None = None,
        n: int | None = None,
    ) -> list[Event]:
        """Somebody says `fact` and the component hears it."""
        return self.hear_event(self.said(by, fact, heard=heard, request=request, trace=trace, actor=actor, n=n))

    def see(self, sight: Sight) -> list[Event]:
        """The component's hands saw something."""
        return self._decided(Seen(sight))

    def wake(self) -> list[Event]:
        """One decision on a Wake."""
        return self._decided(Wake())

    def settle(self) -> list[Event]:
        """Wake the component while `wake_at` says that something is due now. A wake without end fails."""
        events: list[Event] = []
        for _ in range(wakes_max):
            due = self.component.wake_at(self.state)
            if due is None or due > self.now:
                return events
            said = self.wake()
            assert said or self.component.wake_at(self.state) != due, f"wake_at stays {due} and nothing is said"
            events += said
        raise AssertionError(f"still due after {wakes_max} wakes: {[event.type for event in events[-10:]]}")

    def advance(self, seconds: float) -> list[Event]:
        """Let time pass, waking the component at each moment it named."""
        end = Now(self.now + round(seconds * second))
        events = self.settle()
        while (due := self.component.wake_at(self.state)) is not None and due <= end:
            self.now = Now(max(self.now, due))
            events += self.settle()
        self.now = end
        return events

    def hash(self) -> str:
        """The hash of the live state."""
        return state_hash(self.state)

    def rebuilt(self) -> str:
        """The hash of the state folded anew from the bytes of the log, as a restarted process would."""
        return state_hash(self.refolded())

    def refolded(self) -> S:
        """The state folded anew from the bytes of the log."""
        state = self.component.start()
        for event in self.log:
            apply(self.component, state, decode(subject(CLUSTER, event), encode(event), event.position))
        return state

    def restart(self) -> list[Event]:
        """The process dies and a new one rebuilds from the log and begins a term."""
        assert self.rebuilt() == self.hash(), "the log does not give the live state"
        self.state = self.refolded()
        return self.begin()

    def _decided(self, told: Input) -> list[Event]:
        return self._placed(drive(self.component, self.state, told, self.now, heard=self.heard))

    def _placed(self, events: Sequence[Event]) -> list[Event]:
        placed = []
        for event in events:
            self.position = Position(self.position + 1)
            placed.append(msgspec.structs.replace(event, position=self.position))
        self.log += placed
        return placed


def only(events: Sequence[Event], fact: type[F]) -> list[F]:
    """The facts of one class among events, and among what rides on them."""
    return [each for event in events for each in facts_of(event.fact) if isinstance(each, fact)]


def types(events: Sequence[Event]) -> list[str]:
    """The wire names of events, in order."""
    return [event.type for event in events]
