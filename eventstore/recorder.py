"""Keeps a store up with the stream: what is said is copied, byte for byte, in order.

Rule of this room: the stream's last stored position is read again first, so a stream that is not ours is found
before anything is decided on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from bus import logs
from bus.nouns import Position
from bus.port import Bus, Gather, Record, StreamDiverged
from bus.subjects import Author, everything, own_log
from eventstore.store import Reader, Writer, open_reader, open_writer
from eventstore.verify import verify_tail

log = logs.get_logger()

pause_s = 0.1
"""When nothing more is said for so long, what was is stored: one commit, which is one fsync, for a task's whole life,
and no disk is kept busy by the copy of an event while its addressee waits to be told. Longer than an author gathers
what it says. (`components.outbox.gather_s`)"""
late_s = 0.5
"""While more is said, nothing waits longer for its commit. It writes each page of the indexes that it touched: an event
among 50 takes 82 us of CPU time, among 200 58, among 1000 38."""
enough_events = 1000
"""So many are stored at once. (11 us each to judge)"""
EVERYTHING = Gather(pause_s, late_s, enough_events)
ONE_LOG = Gather(1.0, 5.0, enough_events)
"""Nobody asks for the store of one log but its owner when it starts, and that reads what is not there from the stream.
To ask whether more was said costs as much as to hear of one event, so it is asked less often than events come."""


class Recorder:
    """A store file, its writer, and the stream it copies."""

    def __init__(self, bus: Bus, writer: Writer, reader: Reader, log: str) -> None:
        self.bus, self.writer, self.reader, self.log = bus, writer, reader, log

    async def check(self) -> None:
        """The newest stored message is still in the stream, unchanged, if the stream still goes back that far.

        Raises StreamDiverged, StoreDiverged.
        """
        last = self.writer.last
        if not last:
            return
        newest = await self.bus.last(self.log)
        end = newest.position if newest else Position(0)
        if end < last:
            raise StreamDiverged(f"{self.log}: the store ends at position {last}, the stream at {end}")
        if last < (await self.bus.extent()).first:
            return
        async with aclosing(self.bus.follow(self.log, after=Position(last - 1))) as groups:
            async for records in groups:
                if records[0].position != last:
                    raise StreamDiverged(f"{self.log}: position {last} is in the store, but not in the stream")
                await self.writer.append(records[:1])
                return

    async def recorded(self, author: Author, after: int = 0) -> AsyncGenerator[Sequence[Record], None]:
        """The stored part of one author's log, behind a position."""
        async for records in self.reader.records(author=author, after=after):
            yield records

    @property
    def whole(self) -> bool:
        """Whether it copies the whole stream."""
        return self.log == everything(self.bus.cluster)

    async def store(self, records: Sequence[Record]) -> None:
        """Store what follows, never so much at once that others wait for it; what is nobody's event is alarmed."""
        for begin in range(0, len(records), enough_events):
            for row in await self.writer.append(records[begin : begin + enough_events]):
                log.error("foreign message on the stream", position=row.position, why=row.foreign_because)

    async def copy(self, end: Position) -> None:
        """Store what the stream has up to a position. Raises StreamTrimmed, StreamDiverged, StoreDiverged, StoreGap."""
        if self.writer.last >= end:
            return
        async with aclosing(self.bus.follow(self.log, after=self.writer.last)) as groups:
            async for records in groups:
                await self.store(records)
                if self.writer.last >= end:
                    return

    async def chain_at(self, position: Position) -> str:
        """The running hash (hex) after a position, once that is stored; empty if it never was a position here."""
        while self.writer.last < position:
            await asyncio.sleep(pause_s)
        return await self.reader.chain_at(position) or ""

    async def run(self) -> None:
        """Copy what comes, until cancelled; what is nobody's event is alarmed.

        It is told the last message that is stored once more: who follows is sure, whenever the bus was away, that what
        was taken last is still there, and of what was taken before it began it would know nothing.
        """
        last = self.writer.last
        again = bool(last) and last >= (await self.bus.extent()).first
        gather = EVERYTHING if self.whole else ONE_LOG
        async with aclosing(self.bus.follow(self.log, after=Position(last - again), gather=gather)) as groups:
            async for records in groups:
                await self.store(records)


@asynccontextmanager
async def open_recorder(path: str, bus: Bus, author: Author | None) -> AsyncIterator[Recorder]:
    """A recorder of one author's log, or of the whole stream; the store is created if there is none.

    The newest events of the file are verified before anything is built on them. Raises StoreDiverged, StreamDiverged.
    """
    log = own_log(bus.cluster, author) if author else everything(bus.cluster)
    await asyncio.to_thread(verify_tail, path)
    async with (
        open_writer(path, cluster=bus.cluster, log=author) as writer,
        open_reader(path) as reader,
    ):
        recorder = Recorder(bus, writer, reader, log)
        await recorder.check()
        yield recorder
