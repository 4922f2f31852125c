"""A store file opened for looking: by commands, in a thread of their own, while its writer goes on.

Rule of this room: the file is opened `mode=ro` and never written, and no read lasts long enough to hold the writer up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bus.nouns import Now
from bus.subjects import SubjectError, parse_author
from eventstore.errors import StoreRefused, failed
from eventstore.schema import LOG, STREAM, Header, busy_s, format_version

DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""How a damaged page shows: what SQLite says of it may quote bytes that are no text."""


@contextmanager
def readonly(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A connection that can only read a store of this format. Raises StoreRefused, StoreFailed."""
    path = _file(path)
    with errors_of(path), closing(_connect(path)) as connection:
        header_of(connection, path)
        yield connection


@contextmanager
def salvaged(path: str | Path) -> Iterator[sqlite3.Connection]:
    """As `readonly`, also of a file that is cut off: what is left of it. Only for who looks for damage.

    (SQLite: btree.c lockBtree takes a file shorter than its header says only with writable_schema)
    """
    path = _file(path)
    with errors_of(path), closing(_connect(path)) as connection:
        try:
            header_of(connection, path)
        except DAMAGE:
            connection.execute("PRAGMA writable_schema = ON")
            header_of(connection, path)
        yield connection


def is_new(path: str | Path) -> bool:
    """Whether a file has no tables yet: its writer makes them."""
    try:
        with closing(_connect(_file(path))) as connection:
            return not connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except DAMAGE:
        return False


def _file(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise StoreRefused(f"{path}: there is no such store")
    return Path(path)


@contextmanager
def errors_of(path: str | Path) -> Iterator[None]:
    """SQLite's errors as StoreFailed, with the file and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise failed(str(path), error) from error
    except UnicodeDecodeError as error:
        raise failed(str(path), damaged(error)) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_s, isolation_level=None)
    try:
        for pragma in ("query_only = ON", "wal_autocheckpoint = 0", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def header_of(connection: sqlite3.Connection, path: str | Path) -> Header:
    """What the store is a copy of. Raises StoreRefused if it is none, or of a newer format."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'header'").fetchall():
        raise StoreRefused(f"{path} is not an event store: it has no header")
    found = connection.execute("SELECT format FROM header").fetchall()
    if len(found) != 1:
        raise StoreRefused(f"{path} is not an event store: its header is empty")
    if not isinstance(found[0][0], int):
        raise sqlite3.DatabaseError(f"the header is damaged: format {found[0][0]!r}")
    if found[0][0] > format_version:
        raise StoreRefused(
            f"{path} has format {found[0][0]}, this release reads up to {format_version}: use a newer release"
        )
    [row] = connection.execute("SELECT format, cluster, mode, owner, created FROM header")
    return _header(row)


def _header(row: tuple[Any, ...]) -> Header:
    found, cluster, mode, owner, created = row
    types = (str, str, str | None, int)
    if not all(isinstance(value, type_) for value, type_ in zip(row[1:], types, strict=True)):
        raise sqlite3.DatabaseError(f"the header is damaged: {row[1:]}")
    try:
        author = parse_author(owner) if owner is not None else None
    except SubjectError as error:
        raise sqlite3.DatabaseError(f"the header is damaged: {error}") from None
    if mode != (LOG if author else STREAM):
        raise sqlite3.DatabaseError(f"the header is damaged: mode {mode!r}")
    return Header(found, cluster, mode, author, Now(created))


def damaged(error: UnicodeDecodeError) -> sqlite3.DatabaseError:
    """Text that is none, as the damage it is."""
    found = sqlite3.DatabaseError(f"the file's text is damaged: {error.reason}")
    found.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return found
