"""Resources, ranges, and the table of a task's states."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bus.nouns import (
    MOVES,
    NOTHING,
    TERMINAL,
    Ranges,
    Resources,
    TaskState,
    normal,
    parse_resources,
    total,
    within,
    without,
)

PAIRS = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=6)
"""Ranges as anybody might write them: unordered, overlapping, some empty."""
AMOUNTS = st.builds(
    Resources,
    cpu_milli=st.integers(0, 999_999),
    mem_mb=st.integers(0, 10**9),
    disk_mb=st.integers(0, 10**9),
    ports=PAIRS.map(normal),
)


def numbers(ranges: list[tuple[int, int]] | Ranges) -> set[int]:
    """What ranges stand for."""
    return {number for low, high in ranges for number in range(low, high + 1)}


@given(PAIRS)
def test_normal_ranges_are_the_same_numbers_in_one_form(pairs: list[tuple[int, int]]) -> None:
    """Ascending, disjoint, with a gap between neighbours, and normal already."""
    ranges = normal(pairs)
    assert numbers(ranges) == numbers(pairs)
    assert all(low <= high for low, high in ranges)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(ranges))
    assert normal(ranges) == ranges


@given(PAIRS, PAIRS)
def test_without_takes_exactly_the_taken_away(pairs: list[tuple[int, int]], taken: list[tuple[int, int]]) -> None:
    """The difference of the sets, again in normal form."""
    left = without(normal(pairs), normal(taken))
    assert numbers(left) == numbers(pairs) - numbers(taken)
    assert normal(left) == left


@given(PAIRS, PAIRS)
def test_within_says_whether_nothing_is_left(pairs: list[tuple[int, int]], more: list[tuple[int, int]]) -> None:
    """A subset of the numbers, of one range or of many."""
    for ranges in (normal(pairs), normal(pairs[:1]), normal([*pairs[:1], *more])):
        assert within(ranges, normal(more)) == (numbers(ranges) <= numbers(more))


@given(AMOUNTS, AMOUNTS)
def test_what_is_added_can_be_taken_away_again(one: Resources, other: Resources) -> None:
    """The books balance, as long as no port is counted twice."""
    assume(not numbers(one.ports) & numbers(other.ports))
    assert (one + other) - other == one
    assert (one + other).port_count == one.port_count + other.port_count


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_order_of_adding_does_not_matter(one: Resources, other: Resources, third: Resources) -> None:
    """Sums are sums."""
    assert one + other == other + one
    assert (one + other) + third == one + (other + third)
    assert one + NOTHING == one
    assert total([one, other, third]) == one + other + third
    assert total([]) == NOTHING


@given(AMOUNTS, AMOUNTS)
def test_covers_is_an_order(one: Resources, other: Resources) -> None:
    """Everything covers itself and nothing; a sum covers its parts; who covers each other is equal."""
    assert one.covers(one)
    assert one.covers(NOTHING)
    assert (one + other).covers(one)
    assert not (one.covers(other) and other.covers(one)) or one == other


@given(AMOUNTS, AMOUNTS)
def test_what_covers_can_give(one: Resources, other: Resources) -> None:
    """If `other` fits into `one`, taking it away leaves nothing negative, and both add up again."""
    assume(one.covers(other))
    rest = one - other
    assert min(rest.cpu_milli, rest.mem_mb, rest.disk_mb) >= 0
    assert rest + other == one


@pytest.mark.parametrize(
    "more",
    [Resources(cpu_milli=1001), Resources(mem_mb=2), Resources(disk_mb=3), Resources(ports=((4, 5),))],
    ids=["cpu", "memory", "disk", "ports"],
)
def test_each_kind_of_resource_counts(more: Resources) -> None:
    """One that is short is enough not to fit."""
    have = Resources(cpu_milli=1000, mem_mb=1, disk_mb=2, ports=((1, 4),))
    assert not have.covers(more)
    assert have.covers(have - more - more) is True
    assert not more.empty
    assert NOTHING.empty


@given(AMOUNTS)
def test_the_text_of_resources_is_read_back(amount: Resources) -> None:
    """What people see is what they may write."""
    assert parse_resources(str(amount)) == amount


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpus:4;mem:8192;ports:[31000-32000]", Resources(cpu_milli=4000, mem_mb=8192, ports=((31000, 32000),))),
        (" cpus : 0.5 ; disk:10 ; ", Resources(cpu_milli=500, disk_mb=10)),
        ("ports:[5-6, 1-2,3-4]", Resources(ports=((1, 6),))),
        ("cpus:0.001", Resources(cpu_milli=1)),
        ("", NOTHING),
    ],
)
def test_the_text_of_mesos_is_understood(text: str, expected: Resources) -> None:
    """(Mesos: `docs/configuration/agent.md`)"""
    assert parse_resources(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cpus", "'cpus': expected cpus:N, mem:MB, disk:MB or ports:[LOW-HIGH,...]"),
        ("gpus:1", "'gpus:1': expected cpus:N, mem:MB, disk:MB or ports:[LOW-HIGH,...]"),
        ("cpus:1;cpus:2", "'cpus:2': cpus is given twice"),
        ("mem:-1", "'mem:-1': expected a number of at most 12 digits and 3 decimals, not negative"),
        ("mem:many", "'mem:many': expected a number of at most 12 digits and 3 decimals, not negative"),
        ("cpus:1e9", "'cpus:1e9': expected a number of at most 12 digits and 3 decimals, not negative"),
        ("cpus:nan", "'cpus:nan': expected a number of at most 12 digits and 3 decimals, not negative"),
        ("cpus:1.2345", "'cpus:1.2345': expected a number of at most 12 digits and 3 decimals, not negative"),
        ("ports:31000-32000", "'ports:31000-32000': expected [LOW-HIGH,...]"),
        ("ports:[]", "'ports:[]': expected [LOW-HIGH,...]"),
        ("ports:[2-1]", "'ports:[2-1]': 2-1 is not a range of ports between 1 and 65535"),
        ("ports:[0-1]", "'ports:[0-1]': 0-1 is not a range of ports between 1 and 65535"),
        ("ports:[1-65536]", "'ports:[1-65536]': 1-65536 is not a range of ports between 1 and 65535"),
    ],
)
def test_a_wrong_text_is_refused_with_the_part_and_what_is_allowed(text: str, error: str) -> None:
    """Exactly."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is compared in full
        parse_resources(text)
    assert str(refused.value) == error


def reachable(start: TaskState) -> set[TaskState]:
    """Every state a task can come to."""
    seen, waiting = {start}, [start]
    while waiting:
        for state in MOVES[waiting.pop()]:
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return seen


def test_every_state_of_a_task_can_be_reached() -> None:
    """From STAGING; only UNKNOWN is no state of a task's own."""
    assert set(MOVES) == set(TaskState) - {TaskState.UNKNOWN}
    assert reachable(TaskState.STAGING) == set(MOVES)


def test_terminal_is_where_the_table_ends() -> None:
    """Derived from the table, and what Mesos calls terminal."""
    assert {state for state in MOVES if not MOVES[state]} == TERMINAL
    names = {"FINISHED", "FAILED", "KILLED", "ERROR", "DROPPED", "GONE"}
    assert {state.name for state in TERMINAL} == names


def test_every_task_can_end() -> None:
    """No state is a trap, and none may follow itself."""
    for state, following in MOVES.items():
        assert reachable(state) & TERMINAL
        assert state not in following
