"""The store: a file that holds a stream, or one author's log, byte for byte and for ever.

One process writes, in batches that are on the disk whole or not at all; any number read while it does. What comes
twice is stored once; what contradicts what is stored is refused loudly.
Rule of this room: nothing is written that was not judged whole before (`eventstore.chain`), and nothing is read but
by an index (`eventstore.selection`).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain as flat
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite

from bus.codec import events_of, link
from bus.nouns import Now, Position, TaskId
from bus.port import Record
from bus.queries import CountsRow, Foreigners, Trace
from bus.subjects import Author, Kind, everything, own_log
from eventstore import selection
from eventstore.chain import End, Judged, Row, Tail, genesis, judge
from eventstore.errors import StoreDiverged, StoreFailed, StoreRefused, failed
from eventstore.lock import only_writer
from eventstore.schema import Header, connect_reading, connect_writing, read_header
from eventstore.selection import Query, Selection, Type, fitting, position_max
from eventstore.story import At, Latest, Lookup, Mentioning
from eventstore.trace import trace_of

chunk_events = 1000
"""Events read at once; no read lasts longer, so the write-ahead log can always be moved into the file."""
mentions_max = 10_000
rows_at_once_max = 2048
"""Rows in one statement. Fewer, longer statements: SQLite gives Python's lock back only between them."""
columns = {"event": 12, "mention": 3, "author": 2, "type": 3}


class Writer:
    """The one process's hand that adds to a store."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, log: str, tail: Tail, types: set[Type]) -> None:
        self._connection, self._path, self._tail, self._types = connection, path, tail, types
        self._log = log
        self._within = log.removesuffix(">")
        self._whole = log.count(".") == 1
        self._turn = asyncio.Lock()
        self._unsure = False

    @property
    def last(self) -> Position:
        """The position of the last event stored; 0 if there is none."""
        return self._tail.last

    async def append(self, records: Sequence[Record]) -> Sequence[Row]:
        """Store records behind the last one; those already stored, unchanged, are passed over.

        The foreign ones among them are stored and returned, for an alarm. Raises StoreGap, StoreDiverged,
        StoreRefused (nothing was written), and StoreFailed: then close this writer and open another.
        """
        async with self._turn:
            if self._unsure:
                raise StoreFailed(f"{self._path}: an earlier append failed or was cut off: open the store again")
            new = await self._unknown(records)
            judged = judge(self._tail, new, whole=self._whole)
            if new:
                self._unsure = True
                await self._write(judged)
                self._unsure = False
            return [row for row in judged.rows if row.foreign_because is not None]

    async def _unknown(self, records: Sequence[Record]) -> Sequence[Record]:
        """The records behind the last stored one. Raises StoreDiverged if another is not as it is stored."""
        for record in records:
            if not record.subject.startswith(self._within):
                raise StoreRefused(f"{self._path}: {record.subject} #{record.position} is not under {self._log}")
        known = [record for record in records if record.position <= self.last]
        if not known:
            return records
        extent = selection.between(known[0].position, known[-1].position)
        stored = {row[0]: row for row in await _rows(self._connection, self._path, extent)}
        for record in known:
            if stored.get(record.position) != record:
                found = "other bytes" if record.position in stored else "nothing"
                raise StoreDiverged(
                    record.position,
                    f"{self._path}: the stream has {record.subject} at position {record.position}, "
                    f"the store has {found} there: one of the two is damaged, or it is another stream",
                )
        return records[len(known) :]

    async def _write(self, judged: Judged) -> None:
        types = {
            (row.kind, row.noun, row.participle) for row in judged.rows if row.kind and row.noun and row.participle
        }
        unseen = sorted(types - self._types)
        authors = sorted(
            (author.kind, author.id) for author, end in judged.end.ends.items() if self._is_new(author, end)
        )
        try:
            await self._insert("event", judged.rows)
            await self._insert("mention", judged.mentions)
            await self._insert("type", unseen)
            await self._insert("author", authors)
            await self._connection.commit()
        except sqlite3.Error as error:
            raise failed(str(self._path), error) from error
        self._types.update(unseen)
        self._tail.ends.update(judged.end.ends)
        self._tail = judged.end._replace(ends=self._tail.ends)

    def _is_new(self, author: Author, end: End) -> bool:
        """Whether this is the first good event of an author."""
        return end.n > 0 and self._tail.ends.get(author, End()).n == 0

    async def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        for start in range(0, len(rows), rows_at_once_max):
            some = rows[start : start + rows_at_once_max]
            width, height = columns[table], 1 << (len(some) - 1).bit_length()
            values = [*flat.from_iterable(some), *([None] * (width * (height - len(some))))]
            await self._connection.execute(_inserting(table, width, height), values)

    async def close(self) -> None:
        """Give the file up. Safe to call twice."""
        await self._connection.close()


def _inserting(table: str, width: int, height: int) -> str:
    """One statement for up to `height` rows, the rest of them NULL: few heights, so SQLite keeps them prepared."""
    rows = ",".join([f"({','.join('?' * width)})"] * height)
    return f"INSERT INTO {table} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"


async def _rows(connection: aiosqlite.Connection, path: Path, query: Query) -> list[Any]:
    try:
        return list(await connection.execute_fetchall(*query))
    except sqlite3.Error as error:
        raise failed(str(path), error) from error


class Foreign(NamedTuple):
    """A message that is nobody's event, and why."""

    position: Position
    subject: str
    because: str


class Reader:
    """Questions to a store, also while it is being written. Every one is answered by an index."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, header: Header) -> None:
        self._connection, self._path, self._header = connection, path, header

    def header(self) -> Header:
        """What the store is a copy of."""
        return self._header

    async def _ask(self, query: Query) -> list[Any]:
        return await _rows(self._connection, self._path, Query(query.sql, tuple(map(fitting, query.values))))

    async def records(
        self,
        *,
        after: int = 0,
        to: int | None = None,
        author: Author | None = None,
        kind: str | None = None,
        noun: str | None = None,
        participle: str | None = None,
        to_whom: str | None = None,
        since: Now | None = None,
        until: Now | None = None,
    ) -> AsyncIterator[list[Record]]:
        """Everything behind `after`, up to `to`, in order, in groups: all of it, or what has all the given tokens.

        Ends at the end of the store. Foreign messages are among it, as they are in the stream.
        """
        wanted = Selection(
            author=author, kind=kind, noun=noun, participle=participle, to_whom=to_whom, since=since, until=until
        )
        after, end = await self._extent(wanted, after, position_max if to is None else to)
        types = await self._ask(selection.TYPES)
        while after < end:
            rows = await self._ask(selection.page(wanted, types, after=after, to=end, limit=chunk_events))
            if rows:
                yield [Record(*row) for row in rows]
            if len(rows) < chunk_events:
                return
            after = rows[-1][0]

    async def _extent(self, wanted: Selection, after: int, to: int) -> tuple[int, int]:
        """The positions between which the selected times lie."""
        if wanted.since is None and wanted.until is None:
            return after, to
        [(first, last)] = await self._ask(selection.extent(wanted))
        if first is None:
            return after, after
        return max(after, first - 1), min(to, last)

    async def mentions(self, noun: str, id_: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        """The first `limit` events (at most 10,000) behind `after` that mention a thing, e.g. `("task", "web.7f3a")`.

        An agent's or framework's history is also what it said and what it was told.
        """
        limit = min(max(limit, 0), mentions_max)
        return [Record(*row) for row in await self._ask(selection.mentioning(noun, id_, after=after, limit=limit))]

    async def foreign(self, *, after: int = 0, limit: int = 1000) -> list[Foreign]:
        """The messages that are nobody's event, and why."""
        return [Foreign(*row) for row in await self._ask(selection.foreign(after=after, limit=limit))]

    async def foreigners(self) -> Foreigners:
        """How many messages are nobody's event, and the last of them."""
        newest = await self._ask(selection.NEWEST_FOREIGN)
        if not newest:
            return Foreigners()
        count = sum(row[-1] for row in await self._ask(selection.FOREIGN_COUNTS))
        [(position, subject, because)] = newest
        return Foreigners(count=count, position=position, subject=subject, because=because)

    async def last(self) -> Position:
        """The position of the last event stored; 0 if there is none."""
        [(position,)] = await self._ask(selection.LAST)
        return Position(position or 0)

    async def at_position(self, position: int) -> Record | None:
        """The event at a position."""
        rows = await self._ask(selection.at_position(position))
        return Record(*rows[0]) if rows else None

    async def chain_at(self, position: int) -> str | None:
        """The running hash after a position: SHA-256, hex; None if it is not stored."""
        rows = await self._ask(selection.chain_at(position))
        return bytes(rows[0][0]).hex() if rows else None

    async def position_before(self, at: Now) -> Position:
        """The position of the last event said before a time, by its author's clock; 0 if there is none."""
        rows = await self._ask(selection.position_before(at))
        return Position(rows[0][0] if rows else 0)

    async def counts(self) -> list[CountsRow]:
        """How many events of each type each kind of author wrote; foreign messages not counted."""
        foreign = {tuple(type_): count for *type_, count in await self._ask(selection.FOREIGN_COUNTS)}
        rows = sorted(await self._ask(selection.COUNTS))
        counted = (
            (kind, f"{noun}.{verb}", count - foreign.get((kind, noun, verb), 0)) for kind, noun, verb, count in rows
        )
        return [CountsRow(kind=kind, type=type_, count=count) for kind, type_, count in counted if count]

    async def trace(self, task: TaskId) -> Trace:
        """The twelve steps of a task. Raises UnknownTask."""
        asking = trace_of(task)
        try:
            lookup = next(asking)
            while True:
                lookup = asking.send(events_of(await self._look_up(lookup)))
        except StopIteration as done:
            found: Trace = done.value
            return found

    async def _look_up(self, lookup: Lookup) -> list[Record]:
        match lookup:
            case Mentioning():
                query = selection.mentioning(lookup.noun, lookup.id, after=0, limit=lookup.limit)
            case At():
                query = selection.at_position(lookup.position)
            case Latest():
                query = selection.latest(
                    lookup.type, before=lookup.before, author=lookup.author, to_whom=lookup.to_whom
                )
        return [Record(*row) for row in await self._ask(query)]


@asynccontextmanager
async def open_writer(path: str | Path, *, cluster: str, log: Author | None) -> AsyncIterator[Writer]:
    """The writer of the store at `path`, made if there is none: of one author's log, or of the whole stream.

    Raises StoreLocked if it is being written, StoreRefused if it holds something else, StoreFailed.
    """
    path = Path(path)
    with only_writer(path):
        try:
            connection = await connect_writing(path, cluster, log)
        except sqlite3.Error as error:
            raise failed(str(path), error) from error
        try:
            tail, types = await _load(connection, path)
            yield Writer(connection, path, own_log(cluster, log) if log else everything(cluster), tail, types)
        finally:
            await connection.close()


async def _load(connection: aiosqlite.Connection, path: Path) -> tuple[Tail, set[Type]]:
    rows = await _rows(connection, path, selection.TAIL)
    last, chain = rows[0] if rows else (0, genesis)
    ends = {
        Author(Kind(kind), id_): End(n, link(body))
        for kind, id_, n, body in await _rows(connection, path, selection.ENDS)
    }
    return Tail(Position(last), chain, ends), set(await _rows(connection, path, selection.TYPES))


@asynccontextmanager
async def open_reader(path: str | Path) -> AsyncIterator[Reader]:
    """A reader of the store at `path`, which may be being written. Raises StoreRefused, StoreFailed."""
    path = Path(path)
    if not path.is_file():
        raise StoreRefused(f"{path}: there is no such store")
    try:
        connection = await connect_reading(path)
    except sqlite3.Error as error:
        raise failed(str(path), error) from error
    try:
        try:
            header = await read_header(connection, path)
        except sqlite3.Error as error:
            raise failed(str(path), error) from error
        yield Reader(connection, path, header)
    finally:
        await connection.close()
