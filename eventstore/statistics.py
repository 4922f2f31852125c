"""What a store holds, counted: events and bytes by author and by type, times, what is foreign, what is mentioned.

Rule of this room: one pass over the table, in pieces, so that the writer is never held up.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bus.nouns import Now, Position
from eventstore.readonly import header_of, readonly
from eventstore.schema import copied

positions_at_once = 100_000


class Count(msgspec.Struct, frozen=True):
    """How many events, and how many bytes their bodies have."""

    what: str
    events: int
    bytes: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """A store in numbers."""

    path: str
    cluster: str
    copy_of: str
    created: Now
    first: Position
    last: Position
    events: int
    body_bytes: int
    file_bytes: int
    """Of the file and its write-ahead log."""
    bytes_per_event: int
    first_at: Now | None
    last_at: Now | None
    foreign: int
    mentions: int
    snapshots: int
    snapshot_bytes: int
    authors: tuple[Count, ...]
    """Most bytes first."""
    types: tuple[Count, ...]


def statistics(path: str | Path) -> Statistics:
    """Count what a store holds. Raises StoreRefused, StoreFailed."""
    path = Path(path)
    with readonly(path) as connection:
        header = header_of(connection, path)
        [(first, last)] = connection.execute(
            "SELECT (SELECT min(position) FROM event), (SELECT max(position) FROM event)"
        )
        authors, types = dict[str, Count](), dict[str, Count]()
        for after in range(0, last or 0, positions_at_once):
            for kind, id_, noun, verb, events, size in connection.execute(_COUNTED, (after, after + positions_at_once)):
                _add(authors, f"{kind}.{id_}" if kind else "(nobody)", events, size)
                _add(types, f"{noun}.{verb}" if noun else "(none)", events, size)
        [(first_at, last_at)] = connection.execute(
            "SELECT (SELECT min(at) FROM event INDEXED BY event_by_time), "
            "(SELECT max(at) FROM event INDEXED BY event_by_time)"
        )
        [(foreign,)] = connection.execute(
            "SELECT count(*) FROM event INDEXED BY event_foreign WHERE foreign_because IS NOT NULL"
        )
        [(mentions,)] = connection.execute("SELECT count(*) FROM mention")
    events, size = sum(each.events for each in authors.values()), sum(each.bytes for each in authors.values())
    files = sum(file.stat().st_size for file in (path, path.with_name(path.name + "-wal")) if file.exists())
    kept = _snapshots(path)
    return Statistics(
        path=str(path),
        cluster=header.cluster,
        copy_of=copied(header.owner),
        created=header.created,
        first=Position(first or 0),
        last=Position(last or 0),
        events=events,
        body_bytes=size,
        file_bytes=files,
        bytes_per_event=files // events if events else 0,
        first_at=first_at,
        last_at=last_at,
        foreign=foreign,
        mentions=mentions,
        snapshots=len(kept),
        snapshot_bytes=sum(file.stat().st_size for file in kept),
        authors=_sorted(authors),
        types=_sorted(types),
    )


_COUNTED = (
    "SELECT kind, id, noun, participle, count(*), sum(length(body)) FROM event NOT INDEXED "
    "WHERE position > ? AND position <= ? GROUP BY kind, id, noun, participle"
)


def _add(counts: dict[str, Count], what: str, events: int, size: int) -> None:
    before = counts.get(what, Count(what, 0, 0))
    counts[what] = Count(what, before.events + events, before.bytes + size)


def _sorted(counts: dict[str, Count]) -> tuple[Count, ...]:
    return tuple(sorted(counts.values(), key=lambda count: (-count.bytes, count.what)))


def _snapshots(path: Path) -> list[Path]:
    return sorted(path.with_name(path.name + ".snapshots").glob("*.snapshot"))
