"""What a record must fit to be stored: the position before it, the hash of everything before it, its author's log.

Rule of this room: pure. Records in, rows out; a batch is judged whole before anything of it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from struct import pack
from typing import NamedTuple

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.events import Event
from bus.nouns import Position
from bus.port import Record
from bus.subjects import Author, Kind, SubjectError, parse_subject
from eventstore.errors import StoreGap
from eventstore.mentions import mentions_of

genesis = bytes(32)
"""The chain before the first event."""
foreign_because_chars_max = 200
_int64 = range(-(2**63), 2**63)


class Row(NamedTuple):
    """One row of the table `event`, in the order of its columns."""

    position: int
    subject: str
    body: bytes
    chain: bytes
    kind: str | None
    id: str | None
    noun: str | None
    participle: str | None
    addressee: str | None
    n: int | None
    """The number in its author's log; None for a client's event and for a foreign message."""
    at: int | None
    foreign_because: str | None
    """Why this is not the next event of its author; None if it is."""


class End(NamedTuple):
    """The end of one author's log: the number of its last event, and the hash the next one must carry."""

    n: int = 0
    link: bytes = b""


class Judged(NamedTuple):
    """A batch that fits: its rows, what they mention, and the end they lead to."""

    rows: list[Row]
    mentions: list[tuple[str, str, int]]
    end: Tail


class Tail(NamedTuple):
    """The end of what is stored. `ends` holds every author whose log is in it."""

    last: Position
    chain: bytes
    ends: dict[Author, End]


def chained(before: bytes, record: Record) -> bytes:
    """The running hash after a record: SHA-256 of the hash before, the position (8 bytes, big-endian), the length of
    the subject (4 bytes), the subject and the body, as published.
    """
    subject = record.subject.encode()
    return sha256(before + pack(">QI", record.position, len(subject)) + subject + record.body).digest()


def judge(tail: Tail, records: Sequence[Record], *, whole: bool) -> Judged:
    """The rows that store `records` behind `tail`; `whole` if no position may be missing.

    A message that does not decode or does not extend its author's log is stored as foreign. So are several with numbers
    that are too high, each extending the one before: who has an author's key can make as many as it likes, and must not
    stop the recorders of all the others. Raises StoreGap for a missing position.
    """
    rows: list[Row] = []
    mentions: list[tuple[str, str, int]] = []
    last, chain, ends = tail.last, tail.chain, dict[Author, End]()
    for record in records:
        _check_position(last, record, whole)
        event, because = _told(record, tail.ends, ends)
        last, chain = record.position, chained(chain, record)
        rows.append(_row(record, chain, event, because))
        if event is not None and because is None:
            mentions.extend((noun, id_, record.position) for noun, id_ in mentions_of(event))
    return Judged(rows, mentions, Tail(last, chain, ends))


def row_of(record: Record, chain: bytes, ends: dict[Author, End]) -> Row:
    """The row that stores one record under the running hash after it, `ends` moved on."""
    event, because = _told(record, ends, ends)
    return _row(record, chain, event, because)


def _told(record: Record, before: dict[Author, End], ends: dict[Author, End]) -> tuple[Event | None, str | None]:
    """The event in a record, and why it is nobody's next one. `ends`, else those before, are where logs end."""
    event, because = _read(record)
    if event is not None and because is None and event.by.kind is not Kind.CLIENT:
        because = _extend(ends.get(event.by) or before.get(event.by) or End(), ends, event, record)
    return event, because


def _check_position(last: Position, record: Record, whole: bool) -> None:
    if record.position <= last or (whole and record.position != last + 1):
        expected = last + 1 if whole else f"more than {last}"
        raise StoreGap(f"position {record.position} came after {last}: expected {expected}")


def _read(record: Record) -> tuple[Event | None, str | None]:
    """The event in a record, or why there is none. One of a newer release counts: its envelope was read."""
    try:
        return codec.decode(record.subject, record.body, record.position), None
    except Unreadable as unreadable:
        return unreadable.event, None
    except Foreign as foreign:
        return None, str(foreign)


def _extend(end: End, ends: dict[Author, End], event: Event, record: Record) -> str | None:
    """Note the new end of an author's log, or say why the event does not extend it."""
    if event.n != end.n + 1:
        return f"event {event.n} of {event.by} after event {end.n}"
    if event.prev != end.link:
        return f"event {event.n} of {event.by} does not carry the hash of the event before it"
    ends[event.by] = End(event.n, codec.link(record.body))
    return None


def _row(record: Record, chain: bytes, event: Event | None, because: str | None) -> Row:
    tokens = tuple(record.subject.split(".")[1:]) if event is not None else _tokens(record.subject)
    kind, id_, noun, participle, addressee = tokens
    n = event.n if event is not None and because is None and event.by.kind is not Kind.CLIENT else None
    at = event.at if event is not None and event.at in _int64 else None
    why = because[:foreign_because_chars_max] if because is not None else None
    return Row(*record, chain, kind, id_, noun, participle, addressee, n, at, why)


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[str | None, ...]:
    """The tokens of a foreign message's subject, as far as it follows the grammar."""
    try:
        subject = parse_subject(text)
    except SubjectError:
        return (None,) * 5
    return (*subject.author, subject.noun, subject.participle, subject.to)
