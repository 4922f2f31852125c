"""Who still needs the front of the stream: every owner of a log that has not ended.

An owner finds its log by its last event, and its inbox by the last event it heard; both must stay in the stream.
Rule of this room: the store decides; that an owner will never come back is said by the master, or by a person.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.nouns import Position
from bus.subjects import Author, Kind
from eventstore import selection
from eventstore.readonly import readonly


class Holder(NamedTuple):
    """An owner of a log, and the first position the stream must keep for it."""

    author: Author
    last: Position
    """Of its last event."""
    heard: Position
    """Of the last event it has heard, as its last event says."""
    bound: Position
    why: str


def holders(path: str | Path, ended: Collection[Author] = ()) -> list[Holder]:
    """Every owner that may come back, those who hold most back first. Raises StoreRefused, StoreFailed."""
    with readonly(path) as connection:
        found = [_holder(connection, author, last) for author, last in _lasts(connection) if author not in ended]
        live = [holder for holder in found if not _removed(connection, holder)]
    return sorted(live, key=lambda holder: (holder.bound, holder.author))


def _lasts(connection: sqlite3.Connection) -> list[tuple[Author, Position]]:
    return [
        (Author(Kind(kind), id_), Position(position))
        for kind, id_, position in connection.execute(
            "SELECT kind, id, (SELECT position FROM event INDEXED BY event_by_author WHERE event.kind = author.kind "
            "AND event.id = author.id AND n IS NOT NULL ORDER BY position DESC LIMIT 1) FROM author"
        )
    ]


def _holder(connection: sqlite3.Connection, author: Author, last: Position) -> Holder:
    heard = _heard(connection, last)
    if heard:
        bound, why = heard, f"has heard everything up to position {heard} only"
    else:
        told = connection.execute(
            "SELECT min(position) FROM event INDEXED BY event_by_addressee WHERE addressee = ?", (author.id,)
        ).fetchone()[0]
        bound, why = Position(told or selection.position_max), f"has not heard what position {told} says to it"
    if last < bound:
        bound, why = last, f"has its last event at position {last}"
    return Holder(author, last, heard, bound, f"{author} {why}")


def _heard(connection: sqlite3.Connection, position: Position) -> Position:
    [(subject, body)] = connection.execute("SELECT subject, body FROM event WHERE position = ?", (position,))
    try:
        return codec.decode(subject, body, position).heard
    except Unreadable as unreadable:
        return unreadable.event.heard
    except Foreign:
        return Position(0)


def _removed(connection: sqlite3.Connection, holder: Holder) -> bool:
    """Whether the master has removed a framework for good, and it was not heard of since."""
    if holder.author.kind is not Kind.FRAMEWORK:
        return False
    removed = connection.execute(
        "SELECT 1 FROM event INDEXED BY event_by_addressee WHERE addressee = ? AND position > ? AND kind = 'master' "
        "AND noun = 'framework' AND participle = 'removed' AND foreign_because IS NULL LIMIT 1",
        (holder.author.id, holder.last),
    )
    return bool(removed.fetchall())
