"""The end of a connection: everything that waits learns of it, and so does everything that comes later."""

from __future__ import annotations

import asyncio

import pytest

from bus.append import append_surely
from bus.nouns import Now, Position
from bus.port import Bus, BusClosed
from bus.subjects import ask, own_log
from tests.contract.places import CLUSTER, SCHEDULER, Place
from tests.contract.speech import asks, chain, fence

SLOW = ask(CLUSTER, SCHEDULER, "slow")
NEWS = own_log(CLUSTER, SCHEDULER)


async def think(question: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""


async def answers(bus: Bus) -> None:
    await bus.query(SLOW, b"", timeout_s=3600)


async def reads(bus: Bus) -> None:
    await anext(bus.follow(NEWS, after=Position(0)))


async def appends(bus: Bus) -> None:
    await bus.append(chain(SCHEDULER, "late"), fence(SCHEDULER, 0))


async def appends_surely(bus: Bus) -> None:
    await append_surely(bus, chain(SCHEDULER, "late"), fence(SCHEDULER, 0))


async def requests(bus: Bus) -> None:
    await bus.append([asks("late", "r1")], None)


async def looks(bus: Bus) -> None:
    await bus.last(NEWS)


async def looks_back(bus: Bus) -> None:
    await bus.first_since(Now(0))


async def serves(bus: Bus) -> None:
    await bus.serve(SLOW, think)


@pytest.mark.parametrize("wait", [answers, reads], ids=lambda wait: wait.__name__)
async def test_what_waits_ends_when_the_connection_does(place: Place, wait: object) -> None:
    """A reader without news, a question without an answer: both end with BusClosed at once."""
    bus, other = await place.look(), await place.connect()
    await other.serve(SLOW, think)
    assert callable(wait)
    waiting = asyncio.create_task(wait(bus))
    for _ in range(20):  # until it really waits
        await other.last(place.all)
    assert not waiting.done()
    await bus.close()
    with pytest.raises(BusClosed):
        await waiting


@pytest.mark.parametrize(
    "call",
    [answers, reads, appends, appends_surely, requests, looks, looks_back, serves],
    ids=lambda call: call.__name__,
)
async def test_every_later_call_says_that_the_bus_is_closed(place: Place, call: object) -> None:
    """And nothing is written or served any more."""
    bus, other = await place.connect(), await place.connect()
    await bus.close()
    await bus.close()
    assert callable(call)
    with pytest.raises(BusClosed):
        await call(bus)
    assert await other.last(place.all) is None


async def test_a_reader_with_news_ends_too(place: Place) -> None:
    """What it had not taken when the connection closed, it does not get."""
    bus, other = await place.connect(), await place.connect()
    await other.append(chain(place.author, *"abc"), fence(place.author, 0))
    groups = bus.follow(place.all, after=Position(0))
    await anext(groups)
    await other.append(chain(place.author, *"def", n=4), fence(place.author, 3))
    await bus.close()
    with pytest.raises(BusClosed):
        await anext(groups)
    await groups.aclose()


async def test_a_reader_may_be_closed_after_its_connection(place: Place) -> None:
    """Leaving in any order is quiet."""
    bus, other = await place.connect(), await place.connect()
    await other.append(chain(place.author, *"abc"), fence(place.author, 0))
    groups = bus.follow(place.all, after=Position(0))
    await anext(groups)
    await bus.close()
    await groups.aclose()
