"""What is in a store file, and what SQLite is told so that nothing in it ever changes.

Rule of this room: tables grow, and that is all. Triggers refuse every other change from whoever opens the file;
the writer's own connection is also held by an authorizer, which no statement can switch off.
(SQLite: WAL-reset bug before 3.51.3; one connection does all writes and checkpoints, so it cannot strike)
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

import aiosqlite

from bus.nouns import Now
from bus.subjects import Author, parse_author
from eventstore.errors import StoreRefused

format_version = 1
"""Of the tables below. A file of a newer format is refused."""
busy_s = 5.0
cache_kb = 32 * 1024
wal_pages_max = 4000
"""Pages in the write-ahead log (4 KB each) before the writer moves them into the file."""
wal_bytes_kept = 64 * 1024 * 1024

STREAM = "stream"
"""A copy of the whole stream: no position is missing."""
LOG = "log"
"""A copy of one author's log: positions only rise."""


class Header(NamedTuple):
    """What a store is a copy of."""

    format: int
    cluster: str
    mode: str
    owner: Author | None
    """The author, of one author's log."""
    created: Now


_TABLES = """
CREATE TABLE header (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    cluster TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('stream', 'log')),
    owner TEXT CHECK ((owner IS NULL) = (mode = 'stream')),
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    subject TEXT NOT NULL,
    body BLOB NOT NULL,
    chain BLOB NOT NULL CHECK (length(chain) = 32),
    kind TEXT,
    id TEXT,
    noun TEXT,
    participle TEXT,
    addressee TEXT,
    n INTEGER,
    at INTEGER,
    foreign_because TEXT
) STRICT;
CREATE INDEX event_by_author ON event (kind, id);
CREATE INDEX event_by_addressee ON event (addressee);
CREATE INDEX event_by_type ON event (noun, participle, kind);
CREATE INDEX event_by_time ON event (at);
CREATE INDEX event_foreign ON event (position) WHERE foreign_because IS NOT NULL;

CREATE TABLE mention (
    noun TEXT NOT NULL,
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (noun, id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE author (kind TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;
CREATE TABLE type (
    kind TEXT NOT NULL, noun TEXT NOT NULL, participle TEXT NOT NULL, PRIMARY KEY (kind, noun, participle)
) STRICT, WITHOUT ROWID;
"""
_GROWING = ("event", "mention", "author", "type")
_NEXT = {
    STREAM: "NEW.position <> (SELECT coalesce(max(position), 0) + 1 FROM event)",
    LOG: "NEW.position <= (SELECT coalesce(max(position), 0) FROM event)",
}
"""When a new event is refused."""


def schema(mode: str) -> str:
    """The statements that make an empty store."""
    refusals = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: no {verb}'); END;\n"
        for table in ("header", *_GROWING)
        for verb in ("UPDATE", "DELETE")
    ]
    return (
        _TABLES
        + "".join(refusals)
        + f"CREATE TRIGGER event_next BEFORE INSERT ON event WHEN {_NEXT[mode]} "
        + "BEGIN SELECT RAISE(ABORT, 'event is append-only: not the next position'); END;\n"
        + "CREATE TRIGGER header_once BEFORE INSERT ON header WHEN EXISTS (SELECT 1 FROM header) "
        + "BEGIN SELECT RAISE(ABORT, 'header is written once'); END;\n"
    )


def appending_only(action: int, first: str | None, second: str | None, database: str | None, _by: str | None) -> int:
    """SQLite's authorizer for the writer: reading, and adding rows to the tables that grow; nothing else."""
    match action:
        case sqlite3.SQLITE_SELECT | sqlite3.SQLITE_READ | sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        case sqlite3.SQLITE_INSERT if first in _GROWING and database == "main":
            return sqlite3.SQLITE_OK
        case sqlite3.SQLITE_FUNCTION if second in ("coalesce", "max"):
            return sqlite3.SQLITE_OK
        case _:
            return sqlite3.SQLITE_DENY


async def connect_writing(path: Path, cluster: str, owner: Author | None) -> aiosqlite.Connection:
    """The one connection that writes: durable at each commit, able to append and nothing else.

    The tables are made if the file has none. Raises StoreRefused for a store of something else.
    """
    connection = await aiosqlite.connect(path, timeout=busy_s)
    try:
        await _set_up(connection)
        if await _empty(connection):
            await _create(connection, cluster, owner)
        check_header(path, await read_header(connection, path), cluster, owner)
        await connection.set_authorizer(appending_only)
    except BaseException:
        await connection.close()
        raise
    return connection


async def _set_up(connection: aiosqlite.Connection) -> None:
    pragmas = (
        "journal_mode = WAL",
        "synchronous = FULL",
        "trusted_schema = OFF",
        f"cache_size = -{cache_kb}",
        f"wal_autocheckpoint = {wal_pages_max}",
        f"journal_size_limit = {wal_bytes_kept}",
    )
    for pragma in pragmas:
        await connection.execute_fetchall(f"PRAGMA {pragma}")


async def connect_reading(path: Path) -> aiosqlite.Connection:
    """A connection that can only read, and never checkpoints."""
    connection = await aiosqlite.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_s)
    try:
        for pragma in ("query_only = ON", "wal_autocheckpoint = 0", "trusted_schema = OFF"):
            await connection.execute_fetchall(f"PRAGMA {pragma}")
    except BaseException:
        await connection.close()
        raise
    return connection


async def _empty(connection: aiosqlite.Connection) -> bool:
    return not list(await connection.execute_fetchall("SELECT 1 FROM sqlite_schema LIMIT 1"))


async def _create(connection: aiosqlite.Connection, cluster: str, owner: Author | None) -> None:
    mode = LOG if owner else STREAM
    await connection.executescript("BEGIN;" + schema(mode))
    values = (1, format_version, cluster, mode, str(owner) if owner else None, time.time_ns() // 1000)
    await connection.execute("INSERT INTO header VALUES (?, ?, ?, ?, ?, ?)", values)
    await connection.commit()


async def read_header(connection: aiosqlite.Connection, path: Path) -> Header:
    """The header of an open file. Raises StoreRefused if it has none this release can read."""
    made = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'header'"
    if not list(await connection.execute_fetchall(made)):
        raise StoreRefused(f"{path} is not an event store: it has no header")
    [(found,)] = await connection.execute_fetchall("SELECT format FROM header")
    if found > format_version:
        raise StoreRefused(f"{path} has format {found}, this release reads up to {format_version}: use a newer release")
    [row] = await connection.execute_fetchall("SELECT format, cluster, mode, owner, created FROM header")
    return Header(row[0], row[1], row[2], parse_author(row[3]) if row[3] else None, Now(row[4]))


def check_header(path: Path, header: Header, cluster: str, owner: Author | None) -> None:
    """That a store is a copy of what it is opened for. Raises StoreRefused."""
    if header.cluster != cluster:
        raise StoreRefused(f"{path} is of cluster {header.cluster!r}, not {cluster!r}")
    if header.owner != owner:
        raise StoreRefused(f"{path} is a copy of {copied(header.owner)}, not of {copied(owner)}")


def copied(owner: Author | None) -> str:
    """What a store holds, in words."""
    return f"the log of {owner}" if owner else "the whole stream"
