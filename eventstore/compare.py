"""Where two stores of one stream part: found by their running hashes, in as many looks as the position has digits.

Rule of this room: equal hashes mean an equal past, so the first difference is searched, not scanned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bus.codec import link
from bus.nouns import Position
from eventstore.errors import StoreRefused
from eventstore.readonly import header_of, readonly
from eventstore.schema import copied

Chain = Callable[[int], bytes]
"""The running hash after the last event that is not behind a position; 32 zero bytes before the first."""


class Side(NamedTuple):
    """What one of two stores holds at a position."""

    path: str
    last: Position
    subject: str
    """Empty: it holds nothing there."""
    digest: str = ""
    """SHA-256 of the body, hex."""


class Difference(NamedTuple):
    """The first position at which two stores differ, and what each has there.

    None: one is the beginning of the other.
    """

    position: Position | None
    one: Side
    other: Side


def check_comparable(one: str | Path, other: str | Path) -> None:
    """Raises StoreRefused for two stores that are not copies of the same."""
    with readonly(one) as first, readonly(other) as second:
        mine, theirs = header_of(first, one), header_of(second, other)
    if mine.cluster != theirs.cluster:
        raise StoreRefused(f"{one} is of cluster {mine.cluster!r}, {other} is of {theirs.cluster!r}")
    if mine.owner != theirs.owner:
        raise StoreRefused(f"{one} is a copy of {copied(mine.owner)}, {other} of {copied(theirs.owner)}")


def difference(one: str | Path, other: str | Path, *, suspects: tuple[Position, ...] = ()) -> Difference:
    """Where two stores part. `suspects` are positions where one of them was found to be damaged."""
    check_comparable(one, other)
    with readonly(one) as first, readonly(other) as second:
        ends = _last(first), _last(second)
        parted = first_difference(lambda at: _chain(first, at), lambda at: _chain(second, at), min(ends))
        for suspect in suspects:
            if (parted is None or suspect < parted) and _row(first, suspect) != _row(second, suspect):
                parted = suspect
        return Difference(parted, _side(first, one, parted), _side(second, other, parted))


def first_difference(one: Chain, other: Chain, end: Position) -> Position | None:
    """The first position up to `end` after which two running hashes differ; None if they agree to the end."""
    if one(end) == other(end):
        return None
    same, differs = 0, int(end)
    while differs - same > 1:
        middle = (same + differs) // 2
        if one(middle) == other(middle):
            same = middle
        else:
            differs = middle
    return Position(differs)


def _last(connection: sqlite3.Connection) -> Position:
    [(last,)] = connection.execute("SELECT coalesce(max(position), 0) FROM event")
    return Position(last)


def _chain(connection: sqlite3.Connection, at: int) -> bytes:
    found = connection.execute(
        "SELECT chain FROM event WHERE position <= ? ORDER BY position DESC LIMIT 1", (at,)
    ).fetchall()
    return bytes(found[0][0]) if found else bytes(32)


def _row(connection: sqlite3.Connection, position: int) -> object:
    return connection.execute("SELECT * FROM event WHERE position = ?", (position,)).fetchall()


def _side(connection: sqlite3.Connection, path: str | Path, position: Position | None) -> Side:
    found = connection.execute("SELECT subject, body FROM event WHERE position = ?", (position,)).fetchall()
    if not found:
        return Side(str(path), _last(connection), "")
    subject, body = found[0]
    return Side(str(path), _last(connection), subject, link(body).hex())


# ---- one file, for who has the other elsewhere -----------------------------------------------------------------------


def chains_of(path: str | Path, positions: Sequence[int]) -> dict[int, str]:
    """The running hashes (hex) after some positions; empty where there is no event."""
    found = dict.fromkeys(positions, "")
    with readonly(path) as connection:
        for position in positions:
            for (chain,) in connection.execute("SELECT chain FROM event WHERE position = ?", (position,)):
                found[position] = bytes(chain).hex()
    return found


def row_of(path: str | Path, position: Position) -> tuple[str, bytes] | None:
    """Subject and body of the event at a position."""
    with readonly(path) as connection:
        rows = connection.execute("SELECT subject, body FROM event WHERE position = ?", (position,)).fetchall()
    return rows[0] if rows else None


def side_of(path: str | Path, position: Position | None) -> Side:
    """What a store holds at a position."""
    with readonly(path) as connection:
        return _side(connection, path, position)
