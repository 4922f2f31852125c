"""Somebody's own SQL, asked of a store: it can read, for so long, and nothing else.

Rule of this room: SQLite itself refuses what is not reading, before it is done; nobody parses SQL here.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from eventstore.fields import Value, field_reader
from eventstore.readonly import readonly
from eventstore.views import VIEWS

steps_between_looks = 20_000
"""Of SQLite's machine: some milliseconds."""
value_bytes_max = 64 * 1024 * 1024
statement_bytes_max = 1_000_000
heap_bytes_max = 512 * 1024 * 1024
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_ACTIONS = {
    getattr(sqlite3, name): name.removeprefix("SQLITE_").replace("_", " ")
    for name in (
        "SQLITE_INSERT",
        "SQLITE_UPDATE",
        "SQLITE_DELETE",
        "SQLITE_ATTACH",
        "SQLITE_DETACH",
        "SQLITE_PRAGMA",
        "SQLITE_TRANSACTION",
        "SQLITE_SAVEPOINT",
        "SQLITE_CREATE_TABLE",
        "SQLITE_CREATE_TEMP_TABLE",
        "SQLITE_CREATE_VIEW",
        "SQLITE_CREATE_TEMP_VIEW",
        "SQLITE_CREATE_INDEX",
        "SQLITE_CREATE_TRIGGER",
        "SQLITE_CREATE_VTABLE",
        "SQLITE_DROP_TABLE",
        "SQLITE_DROP_VIEW",
        "SQLITE_DROP_INDEX",
        "SQLITE_DROP_TRIGGER",
        "SQLITE_ALTER_TABLE",
        "SQLITE_REINDEX",
        "SQLITE_ANALYZE",
        "SQLITE_FUNCTION",
    )
}


class SqlRefused(Exception):
    """The statement was not carried out, or not to its end; the text says why. Nothing was changed."""


class Found(NamedTuple):
    """The answer to a statement: its columns, and its rows as they are found."""

    columns: Sequence[str]
    rows: Iterator[tuple[Value, ...]]


class _Limits:
    """What a statement may do and for how long; remembers what it was refused."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s, self.deadline_s = limit_s, time.monotonic() + limit_s
        self.refused = ""

    def allow(self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
        if action in _READING or (action == sqlite3.SQLITE_FUNCTION and second != "load_extension"):
            return sqlite3.SQLITE_OK
        what = _ACTIONS.get(action, f"action {action}")
        self.refused = " ".join(filter(None, (what, first, second)))
        return sqlite3.SQLITE_DENY

    def over(self) -> bool:
        return time.monotonic() >= self.deadline_s

    def explained(self, error: sqlite3.Error) -> SqlRefused:
        if self.refused:
            return SqlRefused(f"a store is only read here: {self.refused} was refused")
        if self.over():
            return SqlRefused(f"the statement took longer than {self.limit_s:g} s and was ended")
        return SqlRefused(str(error))


@contextmanager
def asked(path: str | Path, sql: str, *, limit_s: float) -> Iterator[Found]:
    """Ask a store. Raises SqlRefused, also while the rows are read; StoreRefused, StoreFailed for the file."""
    with readonly(path) as connection:
        _prepare(connection)
        limits = _Limits(limit_s)
        connection.set_authorizer(limits.allow)
        connection.set_progress_handler(limits.over, steps_between_looks)
        try:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise SqlRefused("there is no statement that answers anything: expected SELECT ...")
            yield Found([column[0] for column in cursor.description], _rows(cursor, limits))
        except sqlite3.Error as error:
            raise limits.explained(error) from None
        except (sqlite3.Warning, MemoryError, OverflowError, UnicodeEncodeError, ValueError) as error:
            raise SqlRefused(f"{error or type(error).__name__}") from None


def _rows(cursor: sqlite3.Cursor, limits: _Limits) -> Iterator[tuple[Value, ...]]:
    for row in cursor:
        if limits.over():
            raise limits.explained(sqlite3.OperationalError("interrupted"))
        yield row


def _prepare(connection: sqlite3.Connection) -> None:
    """The views and the function they are made of; then nothing can be changed any more, not even a temporary table."""
    connection.create_function("field", 2, field_reader(), deterministic=True)
    connection.execute("PRAGMA query_only = OFF")  # for the views, which are temporary; the file is opened mode=ro
    connection.execute("PRAGMA temp_store = MEMORY")
    for name, view in VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {view.sql}")
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA hard_heap_limit = {heap_bytes_max}")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, value_bytes_max)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, statement_bytes_max)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
