"""What is decided and not yet published: whole decisions, in order, in as many appends as is quickest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from bus.events import Event, LeaderElected
from bus.nouns import Now
from bus.port import Message, batch_events_max
from bus.subjects import Author, Kind
from components.mind import Decided
from components.outbox import Outbox, events_one_by_one_max, events_waiting_max, gather_events, gather_s
from tests.simulation.clock import VirtualLoop

pytestmark = pytest.mark.timeout(10)
T = TypeVar("T")
ME = Author(Kind.MASTER, "main")


def decision(first_n: int, size: int) -> Decided:
    """A decision whose events have these numbers."""
    term = LeaderElected(epoch=1, node="x", instance="y")
    events = [Event(by=ME, to="_", fact=term, at=Now(0), n=first_n + k) for k in range(size)]
    return Decided(events, [Message("dc.master.main.leader.elected._", b"x")] * size)


def filled(*sizes: int) -> Outbox:
    """An outbox with decisions of these sizes, numbered from 1."""
    outbox, n = Outbox(), 1
    for size in sizes:
        outbox.put(decision(n, size))
        n += size
    return outbox


async def appends(outbox: Outbox, count: int) -> list[list[int]]:
    """The numbers of the events of so many appends, each acknowledged before the next."""
    found = []
    for _ in range(count):
        taken = await outbox.take()
        assert len(taken.messages) == len(taken.events)
        found.append([event.n for event in taken.events])
        outbox.sent(taken)
    return found


async def test_few_single_events_travel_one_by_one() -> None:
    """A batch of few costs more than the few."""
    assert await appends(filled(1, 1, 1), 3) == [[1], [2], [3]]


async def test_many_travel_together() -> None:
    """From the bound on, whatever has gathered is one append."""
    many = events_one_by_one_max + 1
    assert await appends(filled(*[1] * many), 1) == [list(range(1, many + 1))]


def test_behind_many_more_are_gathered() -> None:
    """What is decided soon after an append of many waits for company; behind an append of few, nothing waits."""
    many = events_one_by_one_max + 1
    assert virtually(appended_at(1, many, 2, 2)) == [0.0, 0.0, gather_s, gather_s]


def test_enough_are_not_kept_waiting() -> None:
    many = events_one_by_one_max + 1
    assert virtually(appended_at(many, gather_events, gather_events, 1)) == [0.0, 0.0, 0.0, gather_s]


def test_enough_may_come_while_it_waits() -> None:
    async def story() -> float:
        outbox = filled(events_one_by_one_max + 1)
        await appends(outbox, 1)
        outbox.put(decision(outbox.sent_n + 1, 2))
        waits = asyncio.ensure_future(appends(outbox, 1))
        await asyncio.sleep(gather_s / 2)
        outbox.put(decision(outbox.sent_n + 3, gather_events))
        assert [len(one) for one in await waits] == [2 + gather_events]
        return asyncio.get_running_loop().time()

    assert virtually(story()) == gather_s / 2


async def appended_at(*sizes: int) -> list[float]:
    """When decisions of these sizes were appended, each decided once the one before it was."""
    outbox, at = Outbox(), list[float]()
    for size in sizes:
        outbox.put(decision(outbox.sent_n + 1, size))
        await appends(outbox, 1)
        at.append(asyncio.get_running_loop().time())
    return at


def virtually(story: Coroutine[None, None, T]) -> T:
    """What becomes of a story in which time passes only where somebody waits."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(story)
    finally:
        loop.close()


async def test_a_decision_is_never_cut() -> None:
    """Not by what stands before it, and not by the largest append."""
    assert await appends(filled(1, 3, 1), 2) == [[1], [2, 3, 4, 5]]
    half = batch_events_max // 2 + 1
    assert [len(one) for one in await appends(filled(half, half, 1), 2)] == [half, half + 1]


async def test_what_is_sent_is_counted() -> None:
    """The mind may go on once few enough wait, and who waits for an event is told when it is in the stream."""
    outbox = filled(*[batch_events_max] * (events_waiting_max // batch_events_max), 1)
    await appends(outbox, 1)
    await outbox.room()
    await outbox.wait_sent(batch_events_max)
    assert outbox.sent_n == batch_events_max
