"""Deciding again what a log says was decided, and comparing: the same state, input and time must say the same.

    own log  ─►  fold  ─►  the state before   ─┐
    inbox    ─►  the input it heard            ├─►  decide  ─►  compare with what is recorded  ─►  fold what is recorded
    own log  ─►  what it saw, and when         ─┘

Of an input that led to no event only this is known: between which two decisions it was heard. It is a difference if
it leads to an event now at both ends of that time (so a filter that ran out in between is none). A wake that says
nothing leaves no trace; one that was due at once and would speak now is a difference.
Rule of this room: the past is not changed. Whatever is computed now, what was recorded is folded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import msgspec

from bus import codec
from bus.codec import Unreadable
from bus.events import Event, Term
from bus.nouns import WOKEN, Now, Position
from bus.port import Record
from bus.subjects import Author
from components.again import Again, Mind, Told, Unfoldable, fold
from components.component import SAID_BY_THE_LOOP, TERMS, Heard, Seen, State, UnknownSight, Wake, input_of
from components.differing import Checked, Difference, Kind, changes, said

computed_max = 20
"""Differences in one log that are computed to the end, at the price of a copy of the state; the others, up to where
they part."""
_LOOP = TERMS | SAID_BY_THE_LOOP
"""What the loop says, not the component: there is nothing to decide again."""


class Unknown(Exception):
    """What led to a decision is not known; the text says why."""


class Decision(NamedTuple):
    """The events of one decision as they are folded, without positions, and where they lie."""

    events: Sequence[Event]
    position: Position
    last: Position

    @property
    def first(self) -> Event:
        return self.events[0]


class Recomputing:
    """One component's log, decided again as it is read in the order of the stream.

    `minds` has the component for the settings of each of its terms: each folds the log from its beginning, for what a
    process remembers of the past depends on what it was started with.
    """

    def __init__(self, author: Author, minds: Mapping[str, Mind]) -> None:
        self.author = author
        self.decided: Counter[str] = Counter()
        """Decisions by what led to them."""
        self.silent = 0
        """Inputs that led to no event."""
        self.untold = 0
        """Decisions of terms that do not say what their author was set up with."""
        self._minds = minds
        self._states: dict[str, State] = {settings: mind.start() for settings, mind in minds.items()}
        self._settings = ""
        self._n, self._prev = 0, b""
        self._heard, self._at = Position(0), Now(0)
        self._inbox: deque[Heard | Unreadable] = deque()
        self._events: list[Event] = []
        self._begun = Position(0)
        self._parted = 0
        self._woken = True
        """Whether the last decision was one of a wake, as far as is known."""

    def go_on_from(self, states: Mapping[str, State], settings: str, prev: bytes) -> None:
        """Begin in the middle of the log, in a term with these settings: with what each of the minds remembers."""
        self._states, self._settings, self._prev = dict(states), settings, prev
        state = self._states[settings]
        self._n, self._heard, self._at = state.n, state.heard, state.at

    def hear(self, told: Heard | Unreadable) -> None:
        """Something in the stream is addressed to the component."""
        if told.event.position > self._heard:
            self._inbox.append(told)

    def take(self, record: Record, told: Event | Unreadable) -> list[Checked]:
        """The next message of the log; the decision it ends, made again. Raises Unfoldable."""
        event = told.event if isinstance(told, Unreadable) else told
        if event.n != self._n + 1 or event.prev != self._prev:
            return []  # foreign, or said twice: nobody folded it
        if isinstance(told, Unreadable):
            raise Unfoldable(f"event {event.n} of {event.by}: {told}")
        self._n, self._prev = event.n, codec.link(record.body)
        if not self._events:
            self._begun = record.position
        self._events.append(msgspec.structs.replace(event, position=Position(0)))
        if not event.last:
            return []
        decision, self._events = Decision(self._events, self._begun, record.position), []
        return list(self._decision(decision))

    def unfoldable(self, position: Position, why: str) -> Checked:
        """The end of what can be decided again: a difference, too."""
        found = Difference(
            kind=Kind.UNFOLDABLE, author=str(self.author), position=position, n=self._n, at=self._at, told="", note=why
        )
        return Checked(str(self.author), position, position, "", found)

    def _decision(self, decision: Decision) -> Iterator[Checked]:
        first, folded = decision.first, ""
        if isinstance(first.fact, Term):
            self._settings, self._woken = first.fact.settings, False
        if self._settings not in self._minds:
            self.untold += 1
        elif type(first.fact) in _LOOP:
            yield from self._silent_before(first)
            self.decided[first.type] += 1
        else:
            yield from self._not_woken(decision)
            yield from self._silent_before(first)
            yield self._again(decision)
            folded = self._settings
            self._woken = first.seen == WOKEN
        for settings, state in self._states.items():
            if settings != folded:
                fold(self._minds[settings], state, decision.events)
        while self._inbox and self._inbox[0].event.position <= first.heard:
            self._inbox.popleft()
        self._heard, self._at = max(self._heard, first.heard), first.at

    # ---- a decision -------------------------------------------------------------------------------------------------

    def _again(self, decision: Decision) -> Checked:
        first, mind, state = decision.first, self._minds[self._settings], self._states[self._settings]
        try:
            told = self._told(first)
        except Unknown as error:
            self.decided["unknown"] += 1
            fold(mind, state, decision.events)
            return self._apart(decision, "", Kind.UNDECIDABLE, note=str(error))
        self.decided[_kind(told)] += 1
        if isinstance(told, Wake) and not _due(mind, state, first.at):
            note = f"the next time at which it wants to be woken is {mind.wake_at(state)}"
            fold(mind, state, decision.events)
            return self._apart(decision, words(told), Kind.WOKEN, note=note)
        again = Again(mind, state, told, first.heard, first.at)
        equal = again.compare(decision.events, to_the_end=self._parted < computed_max)
        self._states[self._settings] = again.state
        if equal:
            return Checked(str(self.author), decision.position, decision.last, words(told), None)
        return self._apart(decision, words(told), Kind.OTHER, again)

    def _told(self, first: Event) -> Told:
        """What led to a decision. Raises Unknown."""
        if first.seen is not None:
            try:
                return input_of(first.seen)
            except UnknownSight as error:
                raise Unknown(str(error)) from None
        if first.heard <= self._heard:
            raise Unknown("the log does not say what led to it")
        for told in self._inbox:
            if told.event.position == first.heard:
                return told
        raise Unknown(f"the event at position {first.heard} that led to it is not in this history")

    def _apart(self, decision: Decision, told: str, kind: Kind, again: Again | None = None, note: str = "") -> Checked:
        self._parted += 1
        recorded = tuple(map(said, decision.events))
        computed = tuple(map(said, again.said)) if again else ()
        found = Difference(
            kind=kind,
            author=str(self.author),
            position=decision.position,
            n=decision.first.n,
            at=decision.first.at,
            told=told,
            recorded=recorded,
            computed=computed,
            changed=changes(recorded, computed) if again else (),
            note=again.raised if again else note,
        )
        return Checked(str(self.author), decision.position, decision.last, told, found)

    # ---- what left no trace -----------------------------------------------------------------------------------------

    def _silent_before(self, first: Event) -> Iterator[Checked]:
        """The inputs that were heard since the decision before, and led to nothing."""
        led = first.seen is None and type(first.fact) not in _LOOP
        for told in self._inbox:
            position = told.event.position
            if position > first.heard or (led and position == first.heard):
                return
            self.silent += 1
            yield from self._unsaid(first, position, told, Kind.SILENT)

    def _not_woken(self, decision: Decision) -> Iterator[Checked]:
        """A wake that is due comes before anything more is heard or seen; between two wakes one input has its turn."""
        first, mind, state = decision.first, self._minds[self._settings], self._states[self._settings]
        turn_taken = any(told.event.position < first.heard for told in self._inbox)
        if first.seen == WOKEN or (self._woken and not turn_taken):
            return
        if _due(mind, state, self._at):
            yield from self._unsaid(first, decision.position, Wake(), Kind.NOT_WOKEN)

    def _unsaid(self, before: Event, position: Position, told: Told, kind: Kind) -> Iterator[Checked]:
        """What an input would lead to now that led to nothing, between the last decision and that of `before`."""
        mind, state = self._minds[self._settings], self._states[self._settings]
        heard = max(self._heard, position) if kind is Kind.SILENT else self._heard
        if not all(Again(mind, state, told, heard, now).speaks() for now in (self._at, before.at)):
            return
        self._parted += 1
        again = Again(mind, deepcopy(state), told, heard, self._at)
        again.finish(again.say())
        found = Difference(
            kind=kind,
            author=str(self.author),
            position=position,
            n=before.n,
            at=self._at,
            told=words(told),
            computed=tuple(map(said, again.said)),
            note=again.raised,
        )
        yield Checked(str(self.author), position, position, words(told), found)


def words(told: Told) -> str:
    """An input, for people."""
    match told:
        case Heard(event=event):
            return f"heard #{event.position} {event.by} {event.type}"
        case Unreadable(event=event, type=type_):
            return f"could not read #{event.position} {event.by} {type_}"
        case Seen(sight=seen):
            fields = (f"{name}={value}" for name, value in msgspec.to_builtins(seen).items())
            return " ".join(("saw", seen.type, *fields))
        case Wake():
            return "was woken"


def _kind(told: Told) -> str:
    match told:
        case Heard() | Unreadable():
            return "heard"
        case Seen():
            return "seen"
        case Wake():
            return "woken"


def _due(mind: Mind, state: State, now: Now) -> bool:
    due = mind.wake_at(state)
    return due is not None and due <= now
