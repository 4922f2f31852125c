"""Whether a store is what was said: every page, position, running hash, author's chain and column; also while it grows.

A long store is walked in stretches at once (`eventstore.stretches`); what that finds is found again by one walk from
the beginning, which believes no index.
Rule of this room: read-only; what is wrong is named with its position and the command that repairs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from bus.nouns import Position
from bus.subjects import Author, Kind, everything, own_log
from eventstore import selection
from eventstore.chain import genesis
from eventstore.errors import StoreDiverged, StoreFailed
from eventstore.readonly import DAMAGE, header_of, is_new, readonly, salvaged
from eventstore.schema import STREAM, Header, schema
from eventstore.stretches import authors_of, pages_of, scanned, start_behind, stretches_of, walk_at_once
from eventstore.walk import BEGINNING, Finding, Told, Walk, Walked, text_of

tail_events = 10_000
"""The newest events, verified whenever a store is opened to be written."""


class Verdict(NamedTuple):
    """What a store was found to be."""

    path: str
    header: Header
    last: Position
    """The newest event when the verification began; what came after is not looked at."""
    chain: str
    """The running hash after it, hex."""
    events: int
    bytes: int
    """Of the bodies."""
    foreign: int
    finding: Finding | None
    """The first that is wrong."""

    @property
    def good(self) -> bool:
        return self.finding is None

    @property
    def remedy(self) -> str:
        """The command that repairs."""
        return remedy(self.path)


def remedy(path: str | Path) -> str:
    """The command that repairs a store of a datacenter: it lies in DATA/<component>/events.db."""
    file = Path(path).absolute()
    if file.name == "events.db":
        return f"busbar store repair --data {file.parent.parent}"
    return f"move {path} away: it is copied again from the stream; if it was trimmed, restore a backup"


def verify(path: str | Path, *, told: Told = lambda _: None, indexes: bool = False) -> Verdict:
    """Read a whole store and say whether it is right. Raises StoreRefused if it is none, StoreFailed.

    `told` is told how many more events were looked at. `indexes` holds every index against the table too.
    """
    with salvaged(path) as connection:
        try:
            header, last = header_of(connection, path), _last(connection)
            ways = stretches_of(connection, header, last)
        except DAMAGE:
            header, last, ways = header_of(connection, path), _last_readable(connection), []
        walked, wrong = walk_at_once(Path(path), header, ways, indexes, told) if len(ways) > 1 else ([], None)
        if not walked or any(each.finding for each in walked) or wrong:
            pages = wrong or pages_of(connection, indexes)
            walked = [Walk(BEGINNING, whole=header.mode == STREAM).through(connection, last, told)]
            finding = walked[0].finding or pages or _rest(connection, header)
        else:
            finding = _rest(connection, header)
    return _verdict(Path(path), header, last, walked, finding or _unopened(path))


def length_of(path: str | Path) -> int:
    """About how many events there are to verify; 0 where the file is too damaged to tell."""
    with salvaged(path) as connection:
        try:
            return _last(connection)
        except DAMAGE:
            return 0


def verify_tail(path: str | Path, events: int = tail_events) -> None:
    """Verify the newest events of a store, if there is one. Raises StoreDiverged that names the first that is wrong."""
    if not Path(path).exists() or is_new(path):
        return
    try:
        with salvaged(path) as connection:
            finding = _tail(connection, header_of(connection, path), events) or _unopened(path)
    except StoreFailed as error:
        finding = Finding(None, str(error.__cause__))
    if finding is not None:
        raise StoreDiverged(
            finding.position or Position(0),
            f"{path} is damaged: {finding}: nothing is decided on it; repair: {remedy(path)}",
        )


def _tail(connection: sqlite3.Connection, header: Header, events: int) -> Finding | None:
    whole, last = header.mode == STREAM, _last(connection)
    first = max(0, last - events) if whole else _behind(connection, events)
    start = start_behind(connection, Position(first), authors_of(connection))
    return Walk(start, whole=whole).through(connection, last, lambda _: None).finding


def _verdict(path: Path, header: Header, last: Position, walked: list[Walked], finding: Finding | None) -> Verdict:
    end = walked[-1].chain if walked else genesis
    return Verdict(
        path=str(path),
        header=header,
        last=last,
        chain=end.hex(),
        events=sum(each.events for each in walked),
        bytes=sum(each.bytes for each in walked),
        foreign=sum(each.foreign for each in walked),
        finding=finding,
    )


# ---- what else must be true of the file ------------------------------------------------------------------------------


def _rest(connection: sqlite3.Connection, header: Header) -> Finding | None:
    """What is wrong with the file where every event is right."""
    try:
        return _tables(connection) or _schema(connection, header) or _within(connection, header)
    except DAMAGE as error:
        return Finding(None, f"cannot be read: {error}")


def _unopened(path: str | Path) -> Finding | None:
    """What is wrong with a file that opens only for who looks for damage."""
    try:
        with readonly(path):
            return None
    except StoreFailed as error:
        return Finding(None, f"SQLite finds its pages damaged: {error.__cause__}")


def _schema(connection: sqlite3.Connection, header: Header) -> Finding | None:
    """The tables, indexes and triggers are those that a store is made with."""
    everything = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(schema(header.mode))
        wanted = set(fresh.execute(everything))
    found = {
        tuple(None if value is None else text_of(value) for value in row) for row in connection.execute(everything)
    }
    if found == wanted:
        return None
    type_, name, _ = min(found ^ wanted, key=str)
    return Finding(None, f"its {type_} {name} is not as a store is made: what protects the events may be gone")


def _within(connection: sqlite3.Connection, header: Header) -> Finding | None:
    """The header says of which cluster, and of whose log, the events are."""
    log = own_log(header.cluster, header.owner) if header.owner else everything(header.cluster)
    for (subject,) in connection.execute("SELECT subject FROM event ORDER BY position LIMIT 1"):
        if not text_of(subject).startswith(log.removesuffix(">")):
            return Finding(None, f"its header says that it holds {log}, its first event is {text_of(subject)}")
    return None


def _tables(connection: sqlite3.Connection) -> Finding | None:
    """The authors and types that are listed are those there are: history and appending go by them."""
    listed = {(text_of(kind), text_of(id_)) for kind, id_ in connection.execute("SELECT kind, id FROM author")}
    found = {tuple(author) for author in scanned(connection) if _writes(connection, author)}
    if listed != found:
        wrong = sorted(".".join(each) for each in listed ^ found)
        return Finding(None, f"the table of authors and the events disagree about {wrong[0]}")
    types = {tuple(map(text_of, row)) for row in connection.execute("SELECT kind, noun, participle FROM type")}
    there = set(_types(connection))
    if types != there:
        wrong = sorted(" ".join(each) for each in types ^ there)
        return Finding(None, f"the table of types and the events disagree about {wrong[0]}")
    return None


def _writes(connection: sqlite3.Connection, author: Author) -> bool:
    """Whether there is an event in this author's log."""
    numbered = (
        "SELECT 1 FROM event INDEXED BY event_by_author WHERE kind = ? AND id = ? AND n IS NOT NULL "
        "ORDER BY position LIMIT 1"
    )
    return author.kind is not Kind.CLIENT and bool(connection.execute(numbered, author).fetchall())


def _types(connection: sqlite3.Connection) -> Iterator[tuple[str, ...]]:
    after = ("", "", "")
    following = (
        "SELECT noun, participle, kind FROM event INDEXED BY event_by_type "
        "WHERE (noun, participle, kind) > (?, ?, ?) ORDER BY noun, participle, kind LIMIT 1"
    )
    while rows := connection.execute(following, after).fetchall():
        before, after = after, (text_of(rows[0][0]), text_of(rows[0][1]), text_of(rows[0][2]))
        if after <= before:
            raise sqlite3.DatabaseError("index event_by_type is not in order")
        yield after[2], after[0], after[1]


def _last(connection: sqlite3.Connection) -> Position:
    [(last,)] = connection.execute("SELECT max(position) FROM event")
    return Position(last or 0)


def _last_readable(connection: sqlite3.Connection) -> Position:
    """The last position, where the table can tell; else beyond every position, so that the walk finds the damage."""
    try:
        return _last(connection)
    except DAMAGE:
        return selection.position_max


def _behind(connection: sqlite3.Connection, events: int) -> int:
    """The position before the newest so many events."""
    found = connection.execute(
        "SELECT position FROM event ORDER BY position DESC LIMIT 1 OFFSET ?", (events,)
    ).fetchall()
    return found[0][0] if found else 0
