"""Following: every message behind a position, in order, once, however slow the reader is."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from bus.nouns import Now, Position
from bus.port import Bus, Message, Record, StreamDiverged
from bus.pulling import Pull
from bus.subjects import Author, inbox, pattern
from tests.contract.conftest import opened
from tests.contract.places import CLUSTER, Place, read
from tests.contract.speech import AGENT, AGENTS, ALL, CLIENT, asks, bare, chain, fence, needles, says


async def fill(bus: Bus, author: Author, count: int, *, size: int = 0, last: int = 0) -> Position:
    """Append `count` small messages to an author's log; the position of the last."""
    position = Position(last)
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        messages = [bare(author, b"%d " % n + bytes(size)) for n in numbers]
        position = await bus.append(messages, fence(author, position))
    return position


def numbers(records: list[Record]) -> list[int]:
    return [int(record.body.split(b" ")[0]) for record in records]


async def test_a_reader_may_begin_behind_any_position(place: Place) -> None:
    """From each of them it gets exactly the rest, of the stream and of a log."""
    bus, agent, all_seeing = await place.connect(), await place.connect(AGENT), await place.look()
    await bus.append(chain(place.author, *"abc"), fence(place.author, 0))
    await agent.append(chain(AGENT, *"ab"), fence(AGENT, 0))
    await bus.append(chain(place.author, *"de", n=4), fence(place.author, 3))
    everything = await read(all_seeing, ALL, 7)
    for after in range(7):
        assert await read(all_seeing, ALL, 7 - after, after=after) == everything[after:]
    for reader, log in ((bus, place.log), (agent, AGENTS)):
        mine = [record for record in everything if record.subject.startswith(log[:-1])]
        for after in range(mine[-1].position):
            rest = [record for record in mine if record.position > after]
            assert await read(reader, log, len(rest), after=after) == rest


async def test_a_reader_goes_on_with_what_comes(place: Place) -> None:
    """History and live have no seam: each message is there once, whenever it was appended."""
    bus, writer = await place.connect(), await place.connect()
    last = await fill(writer, place.author, 100)
    found: list[Record] = []
    async with aclosing(bus.follow(place.all, after=Position(0))) as groups:
        async for records in groups:
            found += records
            if len(found) < 1000 and found[-1].position == last:
                last = await writer.append([says(place.author, str(last))] * 50, fence(place.author, last))
            if len(found) >= 1000:
                break
    assert [record.position for record in found] == list(range(1, 1001))


async def test_filters_leave_their_own(place: Place) -> None:
    """An inbox, a noun, one author: each reader gets what its filter names and nothing else."""
    bus, agent, client = await place.connect(), await place.connect(AGENT), await place.connect(CLIENT)
    mine = [says(place.author, words, to=to) for words, to in (("1", "a1"), ("2", "a2"), ("3", "_"))]
    await bus.append(mine, fence(place.author, 0))
    await agent.append([says(AGENT, "4", to="main"), says(AGENT, "5")], fence(AGENT, 0))
    await client.append([asks("6", "r1")], None)
    await agent.append([Message(f"{CLUSTER}.agent.a1.task.reported.main", b"7")], fence(AGENT, 5))
    assert [record.position for record in await read(agent, inbox(CLUSTER, "a1"), 1)] == [1]
    assert [record.position for record in await read(agent, AGENTS, 3)] == [4, 5, 7]
    wanted = {
        inbox(CLUSTER, "a1"): [1],
        inbox(CLUSTER, "main"): [4, 7],
        inbox(CLUSTER, "marathon"): [6],
        pattern(CLUSTER, noun="task"): [7],
        pattern(CLUSTER, kind="agent"): [4, 5, 7],
        AGENTS: [4, 5, 7],
    }
    for log, positions in wanted.items():
        assert [record.position for record in await read(await place.look(), log, len(positions))] == positions


async def test_a_group_holds_at_least_one_message(place: Place) -> None:
    """A reader never has to handle nothing."""
    bus = await place.connect()
    last = await fill(bus, place.author, 3000)
    seen = 0
    async with aclosing(bus.follow(place.all, after=Position(0))) as groups:
        async for records in groups:
            assert records
            seen += len(records)
            if seen == last:
                break


async def test_a_slow_reader_loses_nothing(place: Place) -> None:
    """20,000 messages for one that stops and lets the writer go on, again and again."""
    bus, writer = await place.connect(), await place.connect()
    count, found = 20_000, []
    writing = asyncio.create_task(fill(writer, place.author, count, size=500))
    async with aclosing(bus.follow(place.all, after=Position(0))) as groups:
        async for records in groups:
            found += records
            if len(found) == count:
                break
            for _ in range(20):  # others work meanwhile
                await writer.last(place.all)
    assert await writing == count
    assert numbers(found) == list(range(count))


async def test_a_reader_that_stops_for_long_gets_the_rest_later(place: Place) -> None:
    """It takes one group and nothing more until 20,000 further messages were written."""
    bus, writer = await place.connect(), await place.connect()
    last = await fill(writer, place.author, 10)
    async with aclosing(bus.follow(place.all, after=Position(0))) as groups:
        found = list(await anext(groups))
        last = await fill(writer, place.author, 20_000, size=500, last=last)
        while len(found) < last:
            found += await anext(groups)
    assert [record.position for record in found] == list(range(1, last + 1))


async def test_two_readers_of_one_connection_do_not_disturb_each_other(place: Place) -> None:
    """Each has its own place; one that ends leaves the other."""
    bus = await place.connect()
    one, other = bus.follow(place.all, after=Position(0)), bus.follow(place.log, after=Position(1))
    last = await fill(bus, place.author, 4)
    ones, others = list(await anext(one)), []
    while len(others) < 3:
        others += await anext(other)
    await one.aclose()
    await fill(bus, place.author, 2, last=last)
    while len(others) < 5:
        others += await anext(other)
    await other.aclose()
    assert ones[0].position == 1
    assert [record.position for record in others] == [2, 3, 4, 5, 6]


async def test_a_reader_waits_for_the_first_message(place: Place) -> None:
    """An empty log is not an error; what is written later arrives."""
    bus, writer = await place.connect(), await place.connect()
    agent = await place.connect(AGENT)
    waiting = asyncio.create_task(read(bus, place.log, 1))
    for last in range(5):
        await agent.append(chain(AGENT, "a", n=last + 1), fence(AGENT, last))
    await fill(writer, place.author, 1)
    assert (await waiting)[0].position == 6


async def test_a_stream_shorter_than_what_i_know_has_diverged(place: Place) -> None:
    """Whoever has seen position 7 of a stream that ends at 3 must stop."""
    bus = await place.connect()
    await fill(bus, place.author, 3)
    for log in (place.all, place.log):
        with pytest.raises(StreamDiverged, match="ends at position 3"):
            await anext(bus.follow(log, after=Position(7)))


async def test_a_hole_in_the_stream_has_diverged(place: Place) -> None:
    """A flipped bit in an older file: the server drops a message without a word, and no reader goes on."""
    bus = await place.connect()
    last = Position(0)
    for batch in range(4):  # a file of the server's holds 8 MiB
        last = await bus.append(needles(batch * 16, 16, 500_000, place.author), fence(place.author, last))
    await place.damage(b"needle 0005")
    for log in (place.all, place.log):
        with pytest.raises(StreamDiverged, match="messages at positions 1 to 64"):
            await anext(bus.follow(log, after=Position(0)))


async def test_the_newest_message_of_a_log(place: Place) -> None:
    """None while it is empty; then the last one under the filter, whoever else spoke since."""
    bus = await place.connect()
    assert await bus.last(place.log) is None
    sent = chain(place.author, *"abc")
    await bus.append(sent, fence(place.author, 0))
    await (await place.connect(AGENT)).append(chain(AGENT, "a"), fence(AGENT, 0))
    assert await bus.last(place.log) == Record(Position(3), sent[2].subject, sent[2].body)
    newest = await (await place.look()).last(ALL)
    assert newest is not None
    assert newest.position == 4
    assert await bus.last(inbox(CLUSTER, place.author.id)) is None


async def test_a_log_is_counted(place: Place) -> None:
    """Everything under the filter, whoever else spoke."""
    bus = await place.connect()
    assert await bus.count(place.log) == 0
    await fill(bus, place.author, 1200)
    await (await place.connect(AGENT)).append(chain(AGENT, "a"), fence(AGENT, 0))
    assert await bus.count(place.log) == 1200
    assert await (await place.look()).count(ALL) == 1201


async def test_the_first_position_since_a_time(place: Place) -> None:
    """At the beginning of time the first message, in the far future the one after the last."""
    bus, looking = await place.connect(), await place.look()
    assert await looking.first_since(Now(0)) == 1
    last = await fill(bus, place.author, 3)
    between = Now(time.time_ns() // 1000 + 1)
    while time.time_ns() // 1000 <= between:
        pass
    await fill(bus, place.author, 2, last=last)
    assert await looking.first_since(Now(0)) == 1
    assert await looking.first_since(between) == 4
    assert await looking.first_since(Now(4_000_000_000_000_000)) == 6


async def test_empty_and_large_bodies_come_as_they_went(place: Place) -> None:
    """Bodies are bytes: none, all values, half a mebibyte."""
    bus = await place.connect()
    bodies = [b"", bytes(range(256)), b"\r\nMSG a 1 0\r\n\r\n", bytes(512 * 1024)]
    await bus.append([bare(place.author, body) for body in bodies], fence(place.author, 0))
    assert [record.body for record in await read(bus, place.all, 4)] == bodies


async def test_a_reader_under_whose_name_another_was_made_is_made_anew(tmp_path: Path) -> None:
    """By somebody of the same identity: what that one tells is not behind where this one reads, and nothing is lost."""
    async with opened("userspace", tmp_path) as place:
        bus = await place.connect()
        for number in range(1, 4):
            await bus.append([bare(place.author, b"%d" % number)], fence(place.author, Position(number - 1)))
        reader = Pull(bus._stream, place.log, Position(2))
        await reader.start()
        await bus._stream.end_reader(reader._name)
        await bus._stream.make_reader(reader._name, place.log, {"ack_policy": "none", "mem_storage": True})
        try:
            assert await reader.next() is None
        finally:
            await reader.stop()
        async with aclosing(bus.follow(place.log, after=Position(2))) as groups:
            assert [record.position for record in await anext(groups)] == [3]
