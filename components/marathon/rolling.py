"""The arithmetic of a rolling replacement: how many of the old are killed now, how many new ones are started now.

    least up     ceil(instances × minimumHealthCapacity)
    most there   floor(instances × (1 + maximumOverCapacity)); one more if both are the same and all of them are up

Rule of this room: numbers in, numbers out. What is asked for is a function of what is there, not of what was done
before: so it is the same after a crash, and whatever fails meanwhile. (Marathon: `TaskReplaceActor.scala`)
"""

from __future__ import annotations

import math
from typing import NamedTuple

_tiny = 1e-9
"""So that 10 × 0.3 is 3 and not a little more."""


class Counts(NamedTuple):
    """The instances of an app while it is replaced. *Up*: running, and healthy and ready if that is checked."""

    wanted: int
    old_up: int
    old_down: int
    new_up: int
    new_down: int
    """Those that wait for an offer included."""
    dying: int
    """Being killed and still there."""

    @property
    def old(self) -> int:
        return self.old_up + self.old_down

    @property
    def new(self) -> int:
        return self.new_up + self.new_down

    @property
    def up(self) -> int:
        return self.old_up + self.new_up

    @property
    def there(self) -> int:
        return self.old + self.new + self.dying


class Moves(NamedTuple):
    """What is to be done now."""

    kill: int = 0
    """Of the old; those that are not up first."""
    start: int = 0
    surplus: int = 0
    """Of the new there are so many too many; those that are not up first."""

    def __bool__(self) -> bool:
        return any(self)


def least_up(wanted: int, minimum: float) -> int:
    """How many instances stay up. (Marathon: minimumHealthCapacity)"""
    return math.ceil(wanted * minimum - _tiny)


def most_there(counts: Counts, minimum: float, over: float) -> int:
    """How many instances there may be, those being killed included. (Marathon: maximumOverCapacity)"""
    most = math.floor(counts.wanted * (1 + over) + _tiny)
    tight = most == least_up(counts.wanted, minimum)
    return most + 1 if tight and counts.up >= most else most


def moves(counts: Counts, minimum: float, over: float, canaries: int | None = None) -> Moves:
    """What is to be done now; with `canaries`, until somebody says that they are good."""
    if canaries is not None:
        beside = max(min(canaries, counts.wanted), counts.wanted - counts.old)
        return Moves(start=max(0, beside - counts.new))
    kept = max(0, least_up(counts.wanted, minimum) - counts.new_up)
    kill = max(0, counts.old - kept)
    room = most_there(counts, minimum, over) - counts.there
    start = max(0, min(counts.wanted - counts.new, room))
    surplus = max(0, counts.new - counts.wanted)
    if not (kill or start or surplus) and _stuck(counts):
        kill = 1
    return Moves(kill, start, surplus)


def _stuck(counts: Counts) -> bool:
    """Nothing more may be there, and some of the old are not up: then one of these makes room, which lowers nothing.
    (Marathon waits for ever)"""
    return bool(counts.old_down and not counts.new_down and not counts.dying)
