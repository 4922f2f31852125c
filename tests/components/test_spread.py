"""A check that costs the same however much there is to look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from components.component import State, looked_at_max, spread


@dataclass(slots=True, kw_only=True)
class Shelf(State):
    """Things that may be looked at."""

    things: list[int] = field(default_factory=list)


def looks(decisions: list[int], things: int) -> list[int]:
    """At which of these numbers a shelf with so many things is looked at."""
    looked: list[int] = []
    check = spread(lambda shelf: looked.append(shelf.n), lambda shelf: len(shelf.things))
    for n in decisions:
        check(Shelf(n=n, things=[0] * things))
    return looked


def test_few_things_are_looked_at_after_every_decision() -> None:
    """Whatever a decision's length."""
    assert looks([1, 2, 5, 6], looked_at_max - 1) == [1, 2, 5, 6]


def test_many_things_are_looked_at_once_in_so_many_events() -> None:
    """As many as there are times what one decision may look at."""
    assert looks(list(range(1, 13)), 3 * looked_at_max) == [4, 8, 12]


def test_another_history_is_looked_at_at_once() -> None:
    """A state that is behind the last one looked at, or far ahead of it: a rebuilt one."""
    assert looks([100, 3, 5000], 3 * looked_at_max) == [100, 3, 5000]


def test_what_the_check_says_is_passed_on() -> None:
    """It raises where the check does, and looks again next time."""

    def fail(shelf: Shelf) -> None:
        raise AssertionError(f"after {shelf.n}")

    check = spread(fail, lambda shelf: len(shelf.things))
    for n in (1, 1, 2):
        with pytest.raises(AssertionError, match=f"after {n}"):
            check(Shelf(n=n))
