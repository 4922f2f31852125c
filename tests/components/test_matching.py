"""Fitting on an offer: the numbers in the words, and the choice of ports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nouns import Ranges, Resources, normal
from components.matching import Shortfall, amount, fit, take

FREE = Resources(cpu_milli=4000, mem_mb=8192, disk_mb=100, ports=((31000, 31004),))


def test_what_fits_lacks_nothing():
    assert fit(FREE, FREE) == []
    assert fit(FREE, Resources(cpu_milli=1), (0,) * 5) == []


def test_each_failed_check_is_said_with_its_numbers():
    """Marathon's reasons, with what was needed and had in words."""
    needed = Resources(cpu_milli=4500, mem_mb=9000, disk_mb=101)
    assert fit(FREE, needed, (0,) * 6) == [
        Shortfall("InsufficientCpus", "4.5 cpus", "4 cpus"),
        Shortfall("InsufficientMemory", "9000 MB", "8192 MB"),
        Shortfall("InsufficientDisk", "101 MB", "100 MB"),
        Shortfall("InsufficientPorts", "6 ports", "5 ports"),
    ]


def test_small_shares_of_a_cpu_are_not_rounded_away():
    assert fit(Resources(cpu_milli=99_999_999), Resources(cpu_milli=100_000_000)) == [
        Shortfall("InsufficientCpus", "100000 cpus", "99999.999 cpus")
    ]


def test_a_required_port_must_be_offered():
    """Marathon: requirePorts."""
    assert fit(FREE, Resources(), (8080, 31001), required=True) == [
        Shortfall("InsufficientPorts", "ports 8080,31001", "ports 31000-31004")
    ]
    assert take(FREE, Resources(), (31001, 0), required=True).ports == (31001, 31000)


def test_a_port_that_is_not_required_is_preferred():
    """Marathon: PortsMatcher; without requirePorts the number of the definition is no condition."""
    assert take(FREE, Resources(), (31003, 0)).ports == (31003, 31000)
    assert take(FREE, Resources(), (8080, 0)).ports == (31000, 31001)


def test_any_port_is_the_next_behind_the_last():
    """A port just given back waits until all others had their turn."""
    assert take(FREE, Resources(), (0, 0), after=31002).ports == (31003, 31004)
    assert take(FREE, Resources(), (0, 0), after=31003).ports == (31004, 31000)
    assert take(FREE, Resources(), (0,), after=31004).ports == (31000,)


def test_what_does_not_fit_cannot_be_taken():
    with pytest.raises(AssertionError, match="do not fit"):
        take(FREE, Resources(cpu_milli=4001))


def test_amounts_are_read_back_from_words():
    assert [amount(words) for words in ("4.5 cpus", "512 MB", "2 ports", "ports 8080")] == [4.5, 512.0, 2.0, None]


RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=4).map(
    lambda pairs: normal((min(pair), max(pair)) for pair in pairs)
)


@given(RANGES, st.lists(st.integers(0, 60), max_size=6), st.booleans(), st.integers(0, 60))
def test_taken_ports_are_offered_distinct_and_as_many_as_wanted(
    ranges: Ranges, wanted: list[int], required: bool, after: int
) -> None:
    """Whatever is offered and wanted: either a shortfall is said, or the ports are right."""
    wanted = [port for index, port in enumerate(wanted) if port == 0 or port not in wanted[:index]]
    free = Resources(ports=ranges)
    if fit(free, Resources(), wanted, required=required):
        return
    taken = take(free, Resources(), wanted, required=required, after=after)
    assert len(set(taken.ports)) == len(wanted)
    assert free.covers(taken.resources)
    assert taken.resources.port_count == len(wanted)
    if required:
        assert all(asked in (0, got) for asked, got in zip(wanted, taken.ports, strict=True))
