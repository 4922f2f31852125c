"""One decision made again, step by step beside what is recorded of it.

Rule of this room: as long as both say the same there is one state; where they part, what is computed now goes on with
the state it has, what was recorded with a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from bus.codec import Unreadable
from bus.events import Event
from bus.nouns import Now, Position
from components.component import Component, Heard, Input, State, Wake, apply, consider
from components.differing import same
from components.mind import complaint, stamped

Mind = Component[Any]
Told = Input | Unreadable
"""What leads to a decision: an input, or an event that could not be read, which leads to a complaint."""


class Unfoldable(Exception):
    """This release cannot fold what is recorded; the text says which event, and why."""


class Again:
    """One decision, made again on `state`, which it changes."""

    def __init__(self, mind: Mind, state: State, told: Told, heard: Position, now: Now) -> None:
        self.state = state
        """After `compare`: with what was recorded folded, whatever was computed."""
        self.said: list[Event] = []
        """What is said now, as far as it was computed."""
        self.raised = ""
        """What the decision failed with, if it did."""
        self._mind, self._heard, self._now = mind, heard, now
        self._told = Heard(told.event) if isinstance(told, Unreadable) else told
        self._says = iter((complaint(told),)) if isinstance(told, Unreadable) else consider(mind, state, told, now)

    def speaks(self) -> bool:
        """Whether anything is said, or fails. Nothing is folded."""
        return self._say() is not None or bool(self.raised)

    def compare(self, recorded: Sequence[Event], *, to_the_end: bool) -> bool:
        """Whether it says what is recorded; if not, it is computed to the end, or just up to where they part."""
        for index, event in enumerate(recorded):
            computed = self._say()
            if computed is None or not same(computed, event):
                self._part(computed, recorded[index:], to_the_end=to_the_end)
                return False
            fold(self._mind, self.state, [event])
        computed = self._say()
        if computed is None and not self.raised:
            return True
        self._part(computed, (), to_the_end=to_the_end)
        return False

    def finish(self, computed: Event | None) -> None:
        """Say and fold the rest."""
        while computed is not None:
            try:
                apply(self._mind, self.state, computed)
            except Exception as error:
                self.raised = f"its fold raised {_name(error)}"
                return
            computed = self._say()

    def say(self) -> Event | None:
        """The first that is said."""
        return self._say()

    def _part(self, computed: Event | None, recorded: Sequence[Event], *, to_the_end: bool) -> None:
        kept = deepcopy(self.state) if to_the_end else self.state
        if to_the_end:
            self.finish(computed)
        self.state = kept
        fold(self._mind, kept, recorded)

    def _say(self) -> Event | None:
        try:
            say = next(self._says, None)
        except Exception as error:
            self.raised = f"it raised {_name(error)}"
            return None
        if say is None:
            return None
        told = None if isinstance(self._told, Wake) else self._told
        self.said.append(stamped(self._mind, self.state, say, told, self._now, self._heard))
        return self.said[-1]


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def fold(mind: Mind, state: State, recorded: Sequence[Event]) -> None:
    """Fold what is recorded. Raises Unfoldable."""
    for event in recorded:
        try:
            apply(mind, state, event)
        except Exception as error:  # whatever it is: the state is of no use from here on
            raise Unfoldable(f"event {event.n} of {event.by}, {event.type}: {_name(error)}") from error
