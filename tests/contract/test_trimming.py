"""Where the stream begins: an administrator trims it at the front, and no reader skips ahead without a word."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest

from bus.nouns import Position
from bus.port import Bus, Fence, Message, OutcomeUnknown, Record, StreamTrimmed
from bus.subjects import Author, Kind, own_log
from tests.contract.places import CLUSTER, Place, read
from tests.contract.speech import AGENT, AGENTS, ALL, chain, fence
from tests.contract.test_follow import fill

SLACK = 1000
"""What may stay before the position asked for."""


async def test_the_extent_of_a_stream(place: Place) -> None:
    """Nothing: it begins behind its end. Then from the first to the last, in bytes."""
    bus = await place.connect()
    nothing = await bus.extent()
    assert (nothing.first, nothing.last, nothing.size) == (1, 0, 0)
    last = await fill(bus, place.author, 10, size=100)
    found = await bus.extent()
    assert (found.first, found.last) == (1, last)
    assert 1000 <= found.size <= 3000


async def test_trimming_drops_the_front_and_nothing_else(place: Place) -> None:
    """All from the position asked for is there as it was, and the log goes on at the next position."""
    bus = await place.connect()
    last = await fill(bus, place.author, 5000)
    before = await read(bus, place.all, 1000, after=4000)
    await (await place.administrator()).trim(Position(4001))
    found = await bus.extent()
    assert 4001 - SLACK <= found.first <= 4001
    assert found.last == last
    assert await read(bus, place.all, 1000, after=4000) == before
    assert await bus.append([*chain(place.author, "on")], fence(place.author, last)) == last + 1
    assert (await read(bus, place.log, 1, after=last))[0].position == last + 1


async def test_a_position_behind_the_end_is_refused(place: Place) -> None:
    """A stream cannot begin behind its last message; nothing is dropped."""
    bus = await place.connect()
    await fill(bus, place.author, 10)
    with pytest.raises(ValueError, match="ends at position 10, it cannot begin at 11"):
        await (await place.administrator()).trim(Position(11))
    assert (await bus.extent()).first == 1


async def test_what_was_trimmed_is_not_skipped(place: Place) -> None:
    """A reader that asks for it is told where the stream begins, of the stream and of each log; the rest is read."""
    bus, agent = await place.connect(), await place.connect(AGENT)
    await agent.append(chain(AGENT, "a"), fence(AGENT, 0))
    await fill(bus, place.author, 4999)
    await (await place.administrator()).trim(Position(4001))
    first = (await bus.extent()).first
    for reader, log in ((bus, place.all), (bus, place.log), (agent, AGENTS)):
        for after in (0, 1, first - 2):
            with pytest.raises(StreamTrimmed, match=f"begins at position {first}, position {after + 1} was") as trimmed:
                await anext(reader.follow(log, after=Position(after)))
            assert trimmed.value.first == first
    for log in (place.all, place.log):
        assert len(await read(bus, log, 5001 - first, after=first - 1)) == 5001 - first
    assert await agent.last(AGENTS) is None


async def test_a_reader_that_is_overtaken_by_a_trim_does_not_skip(place: Place) -> None:
    """It stops in the middle, the stream is trimmed past it: what comes is contiguous, or it is told."""
    bus, writer = await place.connect(), await place.connect()
    last = await fill(writer, place.author, 20_000, size=2000)
    groups = bus.follow(place.log, after=Position(0))
    found = list(await anext(groups))
    await (await place.administrator()).trim(Position(last))
    with suppress(StreamTrimmed):
        while len(found) < last:
            found += await anext(groups)
    assert [record.position for record in found] == list(range(1, len(found) + 1))
    assert len(found) == last or len(found) < last - SLACK


async def test_a_reader_that_has_everything_outlives_a_trim(place: Place) -> None:
    """Nothing it has not seen was dropped: it goes on with what comes."""
    bus, writer = await place.connect(), await place.connect()
    last = await fill(writer, place.author, 5000)
    async with aclosing(bus.follow(place.log, after=Position(0))) as groups:
        found: list[Record] = []
        while len(found) < last:
            found += await anext(groups)
        await (await place.administrator()).trim(Position(last - 10))
        await fill(writer, place.author, 5, last=last)
        while len(found) < last + 5:
            found += await anext(groups)
    assert [record.position for record in found] == list(range(1, last + 6))


async def test_nothing_that_is_to_stay_goes_while_others_append(place: Place) -> None:
    """Three writers never stop; the stream is trimmed ten times, up to what the slowest of them said last: all behind
    each position asked for is there."""
    bus, looking = await place.connect(), await place.look()
    last = await fill(bus, place.author, 3000)
    authors = [Author(Kind.AGENT, name) for name in ("a1", "a2", "a3")]
    enough = asyncio.Event()
    writers = [asyncio.create_task(write(await place.connect(author), author, enough)) for author in authors]
    for _ in range(10):
        goal = (await bus.extent()).last + 2000
        while (await bus.extent()).last < goal:
            await asyncio.sleep(0)
        newest = [await looking.last(own_log(CLUSTER, author)) for author in authors]
        asked = min(record.position for record in newest if record)
        await (await place.administrator()).trim(asked)
        assert (await bus.extent()).first <= asked
    enough.set()
    await asyncio.gather(*writers)
    found = await bus.extent()
    assert found.first > last
    kept = await read(looking, ALL, found.last - found.first + 1, after=found.first - 1)
    for author in authors:
        numbers = [int(record.body) for record in kept if record.subject.startswith(own_log(CLUSTER, author)[:-1])]
        assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def write(bus: Bus, author: Author, enough: asyncio.Event) -> None:
    """Append numbered messages to an author's log until it is enough."""
    last, number = Position(0), 0
    while not enough.is_set():
        messages = [Message(f"{own_log(CLUSTER, author)[:-1]}word.said._", b"%d" % (number + n)) for n in range(50)]
        last = await append_bodies(bus, messages, Fence(own_log(CLUSTER, author), last))
        number += 50


async def append_bodies(bus: Bus, messages: list[Message], under: Fence) -> Position:
    """Append what is no event, surely: a stream that is being trimmed takes nothing for a moment."""
    while True:
        with suppress(OutcomeUnknown):
            return await bus.append(messages, under)
        newest = await bus.last(under.log)
        if newest is not None and newest.body == messages[-1].body:
            return newest.position
