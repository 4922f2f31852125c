"""A store's records for who takes them as they come, in pieces so that its writer is not held up.

Rule of this room: records as they were published, in order, whatever they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bus.nouns import Position
from bus.port import Record
from eventstore.readonly import readonly, salvaged

positions_at_once = 1000
_PAGE = (
    "SELECT position, subject, body FROM event NOT INDEXED WHERE position > ? AND position <= ? "
    "ORDER BY position LIMIT ?"
)


def records_of(path: str | Path, *, after: int = 0, to: int | None = None) -> Iterator[Record]:
    """The records behind a position, up to another, or to the last there is now. Raises StoreRefused, StoreFailed."""
    with readonly(path) as connection:
        [(end,)] = connection.execute("SELECT coalesce(max(position), 0) FROM event")
        yield from _pages(connection, after, end if to is None else min(end, to))


def right_records(path: str | Path, *, after: int = 0, to: int) -> Iterator[Record]:
    """The same, of a store whose file is damaged behind `to`. Raises StoreRefused, StoreFailed."""
    with salvaged(path) as connection:
        yield from _pages(connection, after, to)


def _pages(connection: sqlite3.Connection, after: int, end: int) -> Iterator[Record]:
    while after < end:
        rows = connection.execute(_PAGE, (after, end, min(positions_at_once, end - after))).fetchall()
        yield from (Record(*row) for row in rows)
        after = rows[-1][0] if rows else end


def last_of(path: str | Path) -> Position:
    """The last position of a store; 0 if it holds none."""
    with readonly(path) as connection:
        [(end,)] = connection.execute("SELECT coalesce(max(position), 0) FROM event")
        return Position(end)
