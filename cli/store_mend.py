"""What a repair does, step by step: set aside, store, say again, make anew.

Rule of this room: a step that fails leaves what it found, and what is replaced is kept beside what replaces it.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from bus.ensemble import nodes, on_node
from bus.port import Record
from bus.subjects import everything
from cli.bar import progress
from cli.output import Failure, Output
from cli.store_file import verify_shown
from cli.store_look import GONE, Store, StreamLook
from cli.store_restore import bus_alone, say_again
from eventstore.backup import backup
from eventstore.reading import right_records
from eventstore.store import open_writer

records_at_once = 1000


@dataclass(slots=True)
class Found:
    """A data directory as it is."""

    data: Path
    servers: int
    cluster: str
    masters: list[Store]
    others: list[Store]
    stream: StreamLook = GONE
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%dT%H%M%S"))

    def aside(self, path: Path) -> Path:
        """Where something damaged is kept."""
        return path.with_name(f"{path.name}.damaged-{self.stamp}")

    @property
    def truth(self) -> Store | None:
        """The store that verifies and reaches farthest."""
        good = [store for store in self.masters if store.good]
        return max(good, key=lambda store: store.right_upto, default=None)

    @property
    def best(self) -> Store | None:
        """Of stores that do not verify, the one whose right beginning reaches farthest."""
        some = [store for store in self.masters if store.right_upto]
        return max(some, key=lambda store: store.right_upto, default=None)

    @property
    def wrong(self) -> list[list[str]]:
        """Everything that is wrong, and where."""
        stores = [[store.name, store.wrong] for store in (*self.masters, *self.others) if store.wrong]
        return [*stores, ["stream", str(self.stream.finding)]] if self.stream.finding else stores


class Step(Protocol):
    """One thing to do."""

    @property
    def words(self) -> str:
        """It, for people."""

    async def take(self, found: Found, out: Output) -> None:
        """Do it."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A store is kept under another name; its component copies its log from the stream again."""

    path: Path
    why: str

    @property
    def words(self) -> str:
        return f"set {self.path} aside ({self.why}); its component makes it anew from the stream"

    async def take(self, found: Found, _out: Output) -> None:
        set_aside(found, self.path)


@dataclass(frozen=True, slots=True)
class Keep:
    """What only the stream, or its authors, have still is stored before the stream is made anew."""

    path: Path
    records: tuple[Record, ...]

    @property
    def words(self) -> str:
        first, last = self.records[0].position, self.records[-1].position
        return f"store positions {first} to {last}, which {self.path} had not yet"

    async def take(self, found: Found, _out: Output) -> None:
        async with open_writer(self.path, cluster=found.cluster, log=None) as writer:
            await writer.append(self.records)


@dataclass(frozen=True, slots=True)
class Refill:
    """The stream is made anew from a store."""

    source: Path

    @property
    def words(self) -> str:
        return f"set the files of the bus aside, and say the history in {self.source} again into a new stream"

    async def take(self, found: Found, out: Output) -> None:
        verdict = verify_shown(self.source, out)
        if verdict.finding is not None:
            raise Failure(f"{self.source}: {verdict.finding}: the stream was not touched")
        buses = [found.data / on_node("bus", node) for node in nodes(found.servers)]
        for directory in filter(Path.exists, buses):
            directory.rename(found.aside(directory))
        try:
            async with bus_alone(found.data, found.servers, cluster=found.cluster) as bus:
                await say_again(bus, self.source, verdict, out)
        except BaseException:
            for directory in buses:
                shutil.rmtree(directory, ignore_errors=True)
                if found.aside(directory).exists():
                    found.aside(directory).rename(directory)
            raise


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A store is made anew: from one that verifies, or from the stream behind what is right of a damaged one."""

    path: Path
    source: Path | None
    whole: bool = False
    """The source has all of it."""

    @property
    def words(self) -> str:
        whence = f"what is right of {self.source}, and the stream" if self.source else "the stream"
        whence = str(self.source) if self.whole else whence
        old = ", and keep the damaged file beside it" if self.path.exists() else ""
        return f"make {self.path} anew from {whence}{old}"

    async def take(self, found: Found, out: Output) -> None:
        self.path.parent.mkdir(exist_ok=True)
        anew = self.path.with_name(f"{self.path.name}.anew")
        remove(anew)
        try:
            if self.whole and self.source is not None:
                await asyncio.to_thread(backup, self.source, anew)
            else:
                await self._from_stream(found, anew, out)
            verdict = await asyncio.to_thread(verify_shown, anew, out)
            if verdict.finding is not None:
                raise Failure(f"what was made anew does not verify: {verdict.finding}: nothing was replaced")
            if self.path.exists():
                set_aside(found, self.path)
            settled(anew).rename(self.path)
        finally:
            remove(anew)

    async def _from_stream(self, found: Found, anew: Path, out: Output) -> None:
        first, last = found.stream.remains.first, found.stream.remains.last
        async with open_writer(anew, cluster=found.cluster, log=None) as writer:
            if self.source is not None and first > 1:
                for records in groups_of(right_records(self.source, to=first - 1)):
                    await writer.append(records)
            async with bus_alone(found.data, found.servers, cluster=found.cluster) as bus:
                with progress("reading the stream", last - first + 1, "events", out) as told:
                    async with aclosing(bus.follow(everything(found.cluster), after=writer.last)) as groups:
                        while writer.last < last:
                            said = await anext(groups)
                            await writer.append(said)
                            told(len(said))


def set_aside(found: Found, path: Path) -> None:
    """A store's file and what belongs to it, under another name."""
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(found.aside(path).with_name(found.aside(path).name + end))


def settled(path: Path) -> Path:
    """A store with nothing beside it that belongs to it."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = DELETE").fetchall()
    return path


def remove(path: Path) -> None:
    """A file that was being made, and what belongs to it."""
    for end in ("", "-wal", "-shm", "-journal", ".lock"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def groups_of(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Records in groups of a thousand."""
    while group := list(islice(records, records_at_once)):
        yield group
