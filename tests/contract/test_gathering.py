"""Following for who stores: the same messages in the same order, in groups that are worth a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from bus.gathering import gathered
from bus.nouns import Position
from bus.port import Bus, Gather, Record
from tests.contract.places import CLUSTER, LEADER, Place
from tests.contract.speech import bare, fence
from tests.simulation.clock import run_virtually

SOON = Gather(0.1, 5.0, 1000)


async def groups_of(bus: Bus, log: str, count: int, gather: Gather = SOON, after: int = 0) -> list[Sequence[Record]]:
    """What is given until so many messages have come."""
    found: list[Sequence[Record]] = []
    async with aclosing(bus.follow(log, after=Position(after), gather=gather)) as groups:
        async for records in groups:
            found.append(records)
            if sum(map(len, found)) >= count:
                break
    return found


async def fill(bus: Bus, place: Place, first: int, count: int) -> None:
    """So many small messages, the last with the number of its position."""
    for start in range(first, first + count, 1000):
        messages = [bare(place.author, b"%d" % n) for n in range(start, min(start + 1000, first + count))]
        await bus.append(messages, fence(place.author, Position(start - 1)))


async def test_what_is_there_is_one_group(place: Place) -> None:
    """The first message, and all that was said by the end of the pause behind it."""
    bus = await place.connect()
    await fill(bus, place, 1, 50)
    [group] = await groups_of(bus, place.log, 50)
    assert [record.position for record in group] == list(range(1, 51))
    [group] = await groups_of(bus, place.log, 20, after=30)
    assert [int(record.body) for record in group] == list(range(31, 51))


async def test_of_many_messages_none_is_missing_and_none_is_there_twice(place: Place) -> None:
    """More than one request brings, and while more are said."""
    bus, writer = await place.connect(), await place.connect()
    await fill(writer, place, 1, 3500)
    reading = asyncio.create_task(groups_of(bus, place.log, 7000))
    await fill(writer, place, 3501, 3500)
    groups = await reading
    assert [record.position for group in groups for record in group] == list(range(1, 7001))


async def test_who_gathers_hears_what_is_said_much_later(place: Place) -> None:
    """Each time after a group that ended with silence; as one group if it was said in one append."""
    bus, writer = await place.connect(), await place.connect()
    async with aclosing(bus.follow(place.log, after=Position(0), gather=SOON)) as groups:
        for first in range(1, 40, 4):
            coming = asyncio.ensure_future(anext(groups))
            await fill(writer, place, first, 4)
            assert [int(record.body) for record in await coming] == list(range(first, first + 4))


def test_what_comes_while_a_group_is_stored_begins_the_next() -> None:
    """Also behind a group that ended because nothing more came."""

    async def said() -> AsyncGenerator[Sequence[Record], None]:
        for position in range(1, 4):
            yield [Record(Position(position), subject, b"")]
            await asyncio.sleep(0.3)

    async def stored() -> list[int]:
        found: list[int] = []
        async with aclosing(gathered(said(), SOON)) as groups:
            async for records in groups:
                await asyncio.sleep(0.5)
                found += [record.position for record in records]
                if found[-1] == 3:
                    break
        return found

    subject = f"{CLUSTER}.{LEADER}.word.said._"
    assert run_virtually(stored()) == [1, 2, 3]


async def test_a_message_of_nothing_ends_no_reading(place: Place) -> None:
    """To the border between the accounts it is the end of what is sent for a request."""
    bus = await place.connect()
    await fill(bus, place, 1, 3)
    for _ in range(2):
        await place.inject(f"{place.log[:-1]}task.reported._", b"")
    await fill(bus, place, 6, 3)
    groups = await groups_of(bus, place.log, 8)
    assert [record.position for group in groups for record in group] == list(range(1, 9))
