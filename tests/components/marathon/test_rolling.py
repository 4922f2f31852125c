"""The rolling arithmetic, over all small numbers: never too few up, never too many there, always an end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from random import Random

import pytest

from components.marathon import rolling
from components.marathon.rolling import Counts, Moves, least_up, most_there, moves

FRACTIONS = (0.0, 0.1, 0.25, 0.3, 0.5, 0.66, 0.75, 0.9, 1.0)
MOST = 6


@pytest.mark.parametrize(
    ("wanted", "minimum", "over", "least", "most"),
    [
        (1, 1.0, 1.0, 1, 2),
        (1, 0.0, 0.0, 0, 1),
        (1, 0.5, 0.5, 1, 2),
        (4, 0.5, 0.25, 2, 5),
        (4, 1.0, 0.0, 4, 5),
        (10, 0.3, 0.1, 3, 11),
        (3, 0.66, 0.33, 2, 3),
        (3, 1.0, 0.2, 3, 4),
        (5, 0.9, 0.1, 5, 6),
    ],
)
def test_the_limits_are_marathons(wanted, minimum, over, least, most):
    """With all old instances up. Marathon: ceil, floor, and one more if both are the same."""
    assert least_up(wanted, minimum) == least
    assert most_there(Counts(wanted, wanted, 0, 0, 0, 0), minimum, over) == most


@pytest.mark.parametrize(
    ("counts", "minimum", "over", "expected"),
    [
        (Counts(4, 4, 0, 0, 0, 0), 1.0, 1.0, Moves(kill=0, start=4)),
        (Counts(4, 4, 0, 0, 0, 0), 0.5, 0.0, Moves(kill=2, start=0)),
        (Counts(4, 2, 0, 0, 0, 2), 0.5, 0.0, Moves()),
        (Counts(4, 2, 0, 0, 0, 0), 0.5, 0.0, Moves(start=2)),
        (Counts(4, 4, 0, 0, 0, 0), 0.0, 0.0, Moves(kill=4)),
        (Counts(1, 1, 0, 0, 0, 0), 1.0, 0.0, Moves(start=1)),
        (Counts(1, 1, 0, 1, 0, 0), 1.0, 0.0, Moves(kill=1)),
        (Counts(2, 5, 0, 0, 0, 0), 1.0, 0.0, Moves(kill=3)),
        (Counts(4, 1, 3, 0, 0, 0), 0.5, 1.0, Moves(kill=2, start=4)),
        (Counts(2, 1, 1, 0, 0, 0), 1.0, 0.0, Moves(kill=1)),
        (Counts(2, 0, 0, 2, 1, 0), 1.0, 1.0, Moves(surplus=1)),
    ],
)
def test_what_is_done_now(counts, minimum, over, expected):
    assert moves(counts, minimum, over) == expected


def test_canaries_run_beside_all_of_the_old():
    """Whatever the fractions are; what dies of the old is replaced, so that no capacity is lost."""
    assert moves(Counts(4, 4, 0, 0, 0, 0), 0.0, 0.0, canaries=2) == Moves(start=2)
    assert moves(Counts(4, 4, 0, 1, 1, 0), 0.0, 0.0, canaries=2) == Moves()
    assert moves(Counts(4, 1, 0, 2, 0, 0), 0.0, 0.0, canaries=2) == Moves(start=1)
    assert moves(Counts(2, 2, 0, 0, 0, 0), 0.0, 0.0, canaries=9) == Moves(start=2)


class Replacement:
    """One app, replaced as the arithmetic says, by a world that takes its time."""

    def __init__(self, random: Random, wanted: int, old_up: int, old_down: int, minimum: float, over: float) -> None:
        self.random, self.minimum, self.over = random, minimum, over
        self.wanted, self.old_up, self.old_down = wanted, old_up, old_down
        self.new_up = self.new_down = self.dying = 0

    @property
    def counts(self) -> Counts:
        return Counts(self.wanted, self.old_up, self.old_down, self.new_up, self.new_down, self.dying)

    @property
    def done(self) -> bool:
        return self.counts == Counts(self.wanted, 0, 0, self.wanted, 0, 0)

    def act(self) -> None:
        """One move at a time, as `levels` does it, with all that must hold."""
        while found := rolling.moves(self.counts, self.minimum, self.over):
            before = self.counts
            if found.kill:
                self.kill_old()
            elif found.start:
                self.new_down += 1
            else:
                self.kill_new()
            self.check(before)

    def kill_old(self) -> None:
        if self.old_down:
            self.old_down -= 1
        else:
            self.old_up -= 1
        self.dying += 1

    def kill_new(self) -> None:
        if self.new_down:
            self.new_down -= 1
        else:
            self.new_up -= 1
        self.dying += 1

    def check(self, before: Counts) -> None:
        now = self.counts
        least = least_up(self.wanted, self.minimum)
        assert now.up >= min(before.up, least), f"{before} -> {now}: fewer than {least} are up"
        most = most_there(before, self.minimum, self.over)
        assert now.there <= max(before.there, most), f"{before} -> {now}: more than {most} are there"

    def happen(self) -> bool:
        """One thing in the world; whether there was any."""
        found: list[Callable[[], None]] = []
        if self.dying:
            found.append(self.die)
        if self.new_down:
            found.append(self.come_up)
        if found:
            self.random.choice(found)()
        return bool(found)

    def die(self) -> None:
        self.dying -= 1

    def come_up(self) -> None:
        self.new_down -= 1
        self.new_up += 1

    def fail(self) -> None:
        """Something goes wrong, and it can go wrong with anything that is up."""
        if self.old_up and self.random.random() < 0.5:
            self.old_up -= 1
            self.old_down += self.random.random() < 0.5
        elif self.new_up:
            self.new_up -= 1
            self.new_down += self.random.random() < 0.5


def replace_all(wanted: int, old_up: int, old_down: int, minimum: float, over: float, failures: int = 0) -> None:
    """Replace every instance; fails if that does not end."""
    replacement = Replacement(Random(wanted), wanted, old_up, old_down, minimum, over)
    for _ in range(1000):
        replacement.act()
        if failures and replacement.random.random() < 0.3:
            replacement.fail()
            failures -= 1
        elif not replacement.happen():
            break
    assert replacement.done, f"it stands at {replacement.counts}"


@pytest.mark.parametrize(("minimum", "over"), list(product(FRACTIONS, FRACTIONS)))
def test_every_replacement_ends_within_its_limits(minimum, over):
    """Whatever is there before: too few, too many, some of them not up."""
    for wanted, old_up, old_down in product(range(MOST), range(MOST), range(MOST)):
        replace_all(wanted, old_up, old_down, minimum, over)


@pytest.mark.parametrize(("minimum", "over"), list(product(FRACTIONS, FRACTIONS)))
def test_failures_on_the_way_change_nothing(minimum, over):
    for wanted, old_up in product(range(MOST), range(MOST)):
        replace_all(wanted, old_up, 0, minimum, over, failures=5)


def everything() -> None:
    for minimum, over in product(FRACTIONS, FRACTIONS):
        test_every_replacement_ends_within_its_limits(minimum, over)


# ---- planted bugs -----------------------------------------------------------------------------------------------


def the_floor_is_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "least_up", lambda wanted, minimum: int(wanted * minimum))


def the_dying_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rolling.moves
    monkeypatch.setattr(rolling, "moves", lambda counts, minimum, over: right(counts._replace(dying=0), minimum, over))


def tight_limits_stay_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "most_there", lambda counts, minimum, over: int(counts.wanted * (1 + over) + 1e-9))


def the_sick_hold_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "_stuck", lambda counts: False)


@pytest.mark.parametrize(
    "bug", [the_floor_is_a_ceiling, the_dying_are_forgotten, tight_limits_stay_tight, the_sick_hold_the_place]
)
def test_a_planted_bug_is_found(bug, monkeypatch):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        everything()
