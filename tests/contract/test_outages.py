"""A real server stops, dies, freezes, and loses what it should have kept; nothing acknowledged is lost unnoticed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import aclosing
from itertools import count

import pytest

from bus import codec
from bus.append import append_surely
from bus.following import sequences
from bus.jetstream import JetStreamBus
from bus.nouns import Position
from bus.port import BusClosed, Gather, Message, NoAnswer, OutcomeUnknown, Record, StreamDiverged
from bus.subjects import Author, ask
from tests.contract.places import CLUSTER, JetStreamPlace, read, until
from tests.contract.proxy import Frame, Trouble
from tests.contract.speech import ALL, LEADER, bare, chain, fence, needles


class Writer:
    """Appends one chain for ever, and remembers what was acknowledged where."""

    def __init__(self, bus: JetStreamBus, author: Author) -> None:
        self.bus, self.author = bus, author
        self.acknowledged, self.last = list[Message](), Position(0)
        self.enough = asyncio.Event()

    async def write(self) -> None:
        prev = b""
        for size in count(1):
            if self.enough.is_set():
                return
            n = len(self.acknowledged) + 1
            messages = chain(self.author, *(f"word {n + i}" for i in range(size % 7 + 1)), n=n, prev=prev)
            self.last = await append_surely(self.bus, messages, fence(self.author, self.last))
            self.acknowledged += messages
            prev = codec.link(messages[-1].body)


class Reader:
    """Follows a log for ever, and remembers what came."""

    def __init__(self, bus: JetStreamBus, log: str, gather: Gather | None = None) -> None:
        self.bus, self.log, self.gather, self.found = bus, log, gather, list[Record]()

    async def read(self) -> None:
        async with aclosing(self.bus.follow(self.log, after=Position(0), gather=self.gather)) as groups:
            async for records in groups:
                self.found += records


@pytest.mark.parametrize("kill", [False, True], ids=["sigterm", "sigkill"])
async def test_a_restart_of_the_server_loses_and_doubles_nothing(real: JetStreamPlace, kill: bool) -> None:
    """While a writer appends and readers follow, at once and gathering, the server restarts five times: all that was
    acknowledged is there once."""
    lost: list[str] = []
    writer = Writer(await real.connect(on_lost=lost.append), real.author)
    followed = ((await real.look(), ALL), (await real.connect(), real.log))
    readers = [Reader(bus, log, gather) for bus, log in followed for gather in (None, Gather(0.05, 0.5, 1000))]
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writer.write())
        reading = [group.create_task(reader.read()) for reader in readers]
        for _ in range(5):
            seen = len(writer.acknowledged)
            await until(lambda seen=seen: len(writer.acknowledged) > seen + 20)  # type: ignore[misc]
            await (real.kill() if kill else real.server.stop())
            await real.server.start()
        writer.enough.set()
        await writing
        for reader, task in zip(readers, reading, strict=True):
            await until(lambda reader=reader: len(reader.found) >= len(writer.acknowledged))  # type: ignore[misc]
            task.cancel()
    sent = [message.body for message in writer.acknowledged]
    for reader in readers:
        assert [record.body for record in reader.found] == sent
        assert [record.position for record in reader.found] == list(range(1, len(sent) + 1))
    assert len(lost) == 5
    assert "was lost" in lost[0]


@pytest.mark.parametrize("moment", [1, 2, 500, 1000, 1001])
async def test_a_server_that_dies_in_the_middle_of_a_batch_keeps_all_or_nothing(
    real: JetStreamPlace, moment: int
) -> None:
    """Killed just before the n-th message of a thousand arrives, or while the next append is on its way."""
    proxy = await real.proxy()
    bus = await real.connect(url=proxy.url)
    proxy.moments[moment] = lambda: os.kill(real.server.pid or 0, signal.SIGKILL)
    batch = chain(real.author, *map(str, range(1000)))
    settling = asyncio.create_task(append_surely(bus, batch, fence(real.author, 0)))
    if moment > len(batch):
        await settling
        settling = asyncio.create_task(append_surely(bus, chain(real.author, "next", n=1001), fence(real.author, 1000)))
    await real.server.wait()
    await real.server.start()
    count = 1000 + (moment > len(batch))
    assert await settling == count
    found = await read(await real.connect(), real.all, count)
    assert [record.body for record in found[:1000]] == [message.body for message in batch]
    assert [record.position for record in found] == list(range(1, count + 1))


async def test_a_frozen_server_makes_outcomes_unknown_and_loses_nothing(real: JetStreamPlace) -> None:
    """Frozen in the middle of eight mebibytes, then thawed: the batch is there once, and the link is new."""
    bus = await real.connect()
    big = [codec_message(real.author, n) for n in range(1, 16)]
    assert real.server.pid is not None
    os.kill(real.server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(OutcomeUnknown):
            await bus.append(big, fence(real.author, 0))
        with pytest.raises(NoAnswer):
            await bus.last(real.all)
    finally:
        os.kill(real.server.pid, signal.SIGCONT)
    assert await append_surely(bus, big, fence(real.author, 0)) == 15
    assert [record.body for record in await read(bus, real.all, 15)] == [message.body for message in big]


def codec_message(author: Author, n: int) -> Message:
    """An event of half a mebibyte."""
    return chain(author, str(n) * (500_000 // len(str(n))), n=n)[0]


@pytest.mark.timeout(120)
async def test_a_link_that_is_dead_but_not_closed_is_torn_down(real: JetStreamPlace) -> None:
    """The proxy takes everything and passes nothing on: within half a minute the link is made anew."""
    proxy = await real.proxy()
    bus = await real.connect(url=proxy.url)
    reader = Reader(bus, real.all)
    reading = asyncio.create_task(reader.read())
    await append_surely(bus, chain(real.author, "a"), fence(real.author, 0))
    proxy.links[-1].freeze()
    assert await append_surely(bus, chain(real.author, "a", "b")[1:], fence(real.author, 1)) == 2
    await until(lambda: len(reader.found) == 2)
    assert bus.statistics().links == 2
    reading.cancel()


async def test_a_lost_message_is_noticed_and_asked_for_again(real: JetStreamPlace) -> None:
    """One pushed message in the middle vanishes on the wire: the reader gets it all the same, in its place."""
    proxy = await real.proxy()
    bus = await real.connect(url=proxy.url)
    await bus.append(chain(real.author, *map(str, range(100))), fence(real.author, 0))
    proxy.drops = lambda frame: proxy.dropped == 0 and ".50.50." in frame.reply
    assert [record.position for record in await read(bus, real.all, 100)] == list(range(1, 101))
    assert proxy.dropped == 1
    assert bus.statistics().consumers == 2


async def test_a_message_delivered_twice_is_taken_once(real: JetStreamPlace) -> None:
    """Every tenth comes again behind itself: the reader gets each once, in its place."""
    proxy = await real.proxy()
    bus = await real.connect(url=proxy.url)
    await bus.append(chain(real.author, *map(str, range(100))), fence(real.author, 0))
    doubled: list[str] = []

    def doubles(frame: Frame) -> bool:
        again = sequences(frame.reply)
        if again is None or again[0] % 10:
            return False
        doubled.append(frame.reply)
        return len(doubled) <= 10

    proxy.doubles = doubles
    for log in (real.all, real.log):
        assert [record.position for record in await read(bus, log, 100)] == list(range(1, 101))
    assert len(doubled) >= 10


async def test_a_lost_last_message_is_noticed_by_the_heartbeat(real: JetStreamPlace) -> None:
    """Nothing comes behind it that would show the gap; the server says how far it is."""
    proxy = await real.proxy()
    bus = await real.connect(url=proxy.url)
    await bus.append(chain(real.author, *map(str, range(10))), fence(real.author, 0))
    proxy.drops = lambda frame: proxy.dropped == 0 and ".10.10." in frame.reply
    assert len(await read(bus, real.log, 10)) == 10
    assert proxy.dropped == 1


async def test_a_consumer_that_vanished_is_made_anew(real: JetStreamPlace) -> None:
    """An administrator, or the server, deletes it: silence, and then the rest."""
    bus, writer = await real.connect(), await real.connect()
    await writer.append(chain(real.author, "a"), fence(real.author, 0))
    async with aclosing(bus.follow(real.all, after=Position(0))) as groups:
        found = list(await anext(groups))
        names = (await real.api("CONSUMER.NAMES.LOG-DC")).decode()
        name = names.partition('"consumers":["')[2].partition('"')[0]
        assert b'"success":true' in await real.api(f"CONSUMER.DELETE.LOG-DC.{name}")
        await writer.append(chain(real.author, "a", "b")[1:], fence(real.author, 1))
        found += await anext(groups)
    assert [record.position for record in found] == [1, 2]


async def test_a_reader_whose_buffer_is_full_asks_again(real: JetStreamPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is dropped, noticed and read again: 3,000 messages through a buffer for a hundred."""
    monkeypatch.setattr("bus.following.buffer_bytes_max", 100 * 1600)
    bus, writer = await real.connect(), await real.connect()
    last = Position(0)
    for start in range(0, 3000, 500):
        messages = [bare(real.author, b"%1000d" % n) for n in range(start, start + 500)]
        last = await writer.append(messages, fence(real.author, last))
    assert [int(record.body) for record in await read(bus, real.all, 3000)] == list(range(3000))
    assert bus.statistics().consumers > 1


async def test_a_late_append_really_came_late(real: JetStreamPlace) -> None:
    """What the other tests rely on: the first try arrives behind the second, and the server refuses it."""
    proxy = await real.proxy(Trouble.LATE_AFTER_RETRY)
    bus = await real.connect(url=proxy.url)
    assert await append_surely(bus, chain(real.author, *"abc"), fence(real.author, 0)) == 3
    await proxy.late_answered.wait()
    assert b"10071" in proxy.late_answers[0]
    assert len(await read(bus, real.all, 3)) == 3


async def test_a_server_error_ends_the_connection_for_good(nats: JetStreamPlace) -> None:
    """What waits ends with BusClosed, and the owner is told in words: the process must end."""
    proxy = await nats.proxy()
    told: list[str] = []
    bus = await nats.connect(url=proxy.url, on_lost=told.append)
    waiting = asyncio.create_task(anext(bus.follow(ALL, after=Position(0))))
    await until(lambda: bus.statistics().consumers == 1)
    proxy.links[-1].client.write(b"-ERR 'Maximum Subscriptions Exceeded'\r\n")
    with pytest.raises(BusClosed, match=r"closed for good.*maximum subscriptions exceeded"):
        await waiting
    with pytest.raises(BusClosed):
        await bus.append(chain(LEADER, "a"), fence(LEADER, 0))
    assert "closed for good" in told[-1]


async def test_an_owner_that_fails_when_told_ends_the_connection(nats: JetStreamPlace) -> None:
    """Its error is not swallowed by the client library."""

    def fail(text: str) -> None:
        raise ZeroDivisionError(text)

    bus = await nats.connect(on_lost=fail)
    waiting = asyncio.create_task(anext(bus.follow(ALL, after=Position(0))))
    await nats.server.stop()
    with pytest.raises(BusClosed, match="on_lost failed") as closed:
        await waiting
    assert isinstance(closed.value.__cause__, ZeroDivisionError)


async def test_questions_find_their_answerer_again_after_a_restart(real: JetStreamPlace) -> None:
    """Who serves need not notice anything; who asks while there is no server gets no answer."""
    asker, server = await real.look(), await real.connect()

    async def shout(question: bytes) -> bytes:
        return question.upper()

    subject = ask(CLUSTER, real.author, "summary")
    await server.serve(subject, shout)
    await real.server.stop()
    with pytest.raises(NoAnswer):
        await asker.query(subject, b"a", timeout_s=0.1)
    await real.server.start()
    await until(lambda: server.statistics().links == 2)
    assert await asker.query(subject, b"a", timeout_s=20) == b"A"


async def test_a_stream_made_anew_has_diverged(real: JetStreamPlace) -> None:
    """The same name, even the same messages: it is not the log that was there."""
    bus = await real.connect()
    messages = chain(real.author, *"abc")
    await bus.append(messages, fence(real.author, 0))
    groups = bus.follow(real.all, after=Position(0))
    read = 0
    while read < len(messages):  # they may come in more than one group
        read += len(await anext(groups))
    await real.api("STREAM.DELETE.LOG-DC")
    with pytest.raises(StreamDiverged, match="is gone"):
        await anext(groups)
    other = await real.administrator()
    await other.append(messages, fence(real.author, 0))
    with pytest.raises(StreamDiverged, match="made anew"):
        await anext(bus.follow(real.all, after=Position(3)))


async def test_a_message_that_is_counted_and_cannot_be_read_is_missed(real: JetStreamPlace) -> None:
    """A flipped bit that the server does not notice when it starts, for it trusts its index: it leaves the message out
    without a word, also for a reader that sees one log only and cannot tell from the positions."""
    bus = await real.connect()
    last = Position(0)
    for batch in range(4):  # a file of the server's holds 8 MiB
        last = await bus.append(needles(batch * 16, 16, 500_000, real.author), fence(real.author, last))
    await real.server.stop()
    [block] = [path for path in real.server.data.rglob("*.blk") if b"needle 0005" in path.read_bytes()]
    content = bytearray(block.read_bytes())
    content[content.index(b"needle 0005")] ^= 1
    block.write_bytes(content)
    await real.server.start()
    whole, own = Reader(await real.look(), ALL), Reader(bus, real.log)
    for reader, told in ((whole, "position 7 follows position 5"), (own, "1 of 64 messages up to position 64")):
        with pytest.raises(StreamDiverged, match=told):
            await reader.read()
        assert len(reader.found) < last


async def test_a_front_that_no_trim_took_has_diverged(real: JetStreamPlace) -> None:
    """Somebody else shortened the stream, or its first file is gone: what is missing in front is not trimmed."""
    bus = await real.connect()
    await bus.append(needles(0, 300, 0, real.author), fence(real.author, 0))
    config = json.loads(await real.api("STREAM.INFO.LOG-DC"))["config"]
    for change in ({"max_msgs": 100, "discard": "old"}, {}):
        await real.api("STREAM.UPDATE.LOG-DC", json.dumps(config | change).encode())
    for after in (0, 250):
        with pytest.raises(StreamDiverged, match="begins at position 201, it was trimmed to 1 at most"):
            await anext(bus.follow(real.all, after=Position(after)))


async def test_a_stream_that_lost_its_end_has_diverged(real: JetStreamPlace) -> None:
    """A flipped bit in the newest file: acknowledged messages are gone, and a reader that had them stops."""
    bus = await real.connect()
    reader = Reader(bus, real.all)
    reading = asyncio.create_task(reader.read())
    await bus.append(needles(0, 300, 0, real.author), fence(real.author, 0))
    await until(lambda: len(reader.found) == 300)
    await real.damage(b"needle 0150")
    with pytest.raises(StreamDiverged, match="ends at position 150, position 300 was in it"):
        await reading


@pytest.mark.parametrize("whole", [True, False])
async def test_a_stream_that_lost_its_end_and_grew_again_has_diverged(real: JetStreamPlace, whole: bool) -> None:
    """Before a reader is back others have said more than was lost: it does not go on behind what it had."""
    bus = await real.connect()
    await bus.append(needles(0, 300, 0, real.author), fence(real.author, 0))
    async with aclosing(bus.follow(real.all if whole else real.log, after=Position(0))) as groups:
        found: list[Record] = []
        while len(found) < 300:
            found += await anext(groups)
        await real.damage(b"needle 0150")
        other = await real.connect()
        await other.append(needles(1000, 200, 0, real.author), fence(real.author, 150))
        with pytest.raises(StreamDiverged, match=r"position 300 was .*, and is not that any more"):
            await anext(groups)
