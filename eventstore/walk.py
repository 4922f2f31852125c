"""A stretch of a store read row by row, each held against what must be there: the first that is wrong is named.

Rule of this room: nothing but the bytes and the running hash is believed. A row that is as it should be costs one look
into its envelope; every other is judged again exactly as it was when it was stored (`eventstore.chain`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from bus.nouns import Position
from bus.port import Record
from bus.subjects import Author, Kind, SubjectError, parse_subject
from eventstore.chain import End, Row, genesis, row_of
from eventstore.readonly import DAMAGE

rows_at_once = 4000
"""Rows read in one go: no read lasts long enough to hold the writer up."""
subjects_known_max = 65_536

Told = Callable[[int], None]
"""Is told how many events were looked at since it was told last."""


class Finding(NamedTuple):
    """The first thing that is wrong with a store."""

    position: Position | None
    """None: no one event is to blame."""
    wrong: str
    known: str = ""
    """What the file says about the event: author, type, number."""

    def __str__(self) -> str:
        where = f"position {self.position}: " if self.position is not None else ""
        known = f" ({self.known})" if self.known else ""
        return f"{where}{self.wrong}{known}"


class Start(NamedTuple):
    """Where a stretch begins: behind a position, with its running hash, and where each log ends there."""

    after: Position
    chain: bytes
    ends: dict[Author, End]


BEGINNING = Start(Position(0), genesis, {})


class Walked(NamedTuple):
    """A stretch that was read: how far, and what is wrong with the next one, if anything."""

    last: Position
    chain: bytes
    events: int
    bytes: int
    foreign: int
    finding: Finding | None


class _Log:
    """Where one author's log ends as far as it was read."""

    __slots__ = ("link", "n")

    def __init__(self, end: End) -> None:
        self.move(end)

    def move(self, end: End) -> None:
        self.n, self.link = end


class _Known(NamedTuple):
    """What a subject says of every row that has it."""

    tokens: tuple[bytes, ...]
    said: tuple[str, str, str]
    """Author, type and addressee, as the body must say them."""
    log: _Log | None
    """None: a client's."""


class _Map(msgspec.Struct, frozen=True):
    """Any map."""


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    """As much of an event as tells whose it is and where it belongs."""

    type: str
    by: str
    to: str
    at: int
    data: _Map
    n: int = 0
    prev: bytes = b""


_open = msgspec.msgpack.Decoder(_Envelope).decode
_prefix = Struct(">QI").pack
"""What stands between the hash before and the subject. (`eventstore.chain.chained`)"""
_COLUMNS = ", ".join(Row._fields)
_PAGE = f"SELECT {_COLUMNS} FROM event NOT INDEXED WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"


class Walk:
    """One pass over the rows of a stretch."""

    def __init__(self, start: Start, *, whole: bool) -> None:
        self.last, self.chain = start.after, start.chain
        self.events = self.bytes = self.foreign = 0
        self._whole = whole
        self._logs = {author: _Log(end) for author, end in start.ends.items()}
        self._known = lru_cache(maxsize=subjects_known_max)(self._know)

    def through(self, connection: sqlite3.Connection, to: Position, told: Told) -> Walked:
        """Read on up to a position. Stops at the first row that is wrong."""
        connection.text_factory = bytes
        finding = None
        while finding is None and self.last < to:
            before = self.events
            finding = self._page(connection, to)
            told(self.events - before)
            if finding is None and self.events == before:
                break
        if finding is None and self._whole and self.last < to:
            finding = Finding(Position(self.last + 1), "is missing: the file holds none up to " + str(to))
        return Walked(self.last, self.chain, self.events, self.bytes, self.foreign, finding)

    def _page(self, connection: sqlite3.Connection, to: Position) -> Finding | None:
        try:
            rows = connection.execute(_PAGE, (self.last, to, rows_at_once)).fetchall()
        except DAMAGE:
            return self._one_by_one(connection, to)
        return self.rows(rows)

    def _one_by_one(self, connection: sqlite3.Connection, to: Position) -> Finding | None:
        """What SQLite cannot read of many it may be able to read of one: the last good row is found."""
        while self.last < to:
            try:
                rows = connection.execute(_PAGE, (self.last, to, 1)).fetchall()
            except DAMAGE as error:
                return Finding(Position(self.last + 1), f"cannot be read: {error}")
            finding = self.rows(rows)
            if finding is not None or not rows:
                return finding
        return None

    def rows(self, rows: Sequence[Sequence[Any]]) -> Finding | None:
        """Hold rows against what must follow; the first that is wrong."""
        for index, row in enumerate(rows):
            finding = self._follows(row)
            if finding is not None:
                self.events += index
                return finding
        self.events += len(rows)
        return None

    def _follows(self, row: Sequence[Any]) -> Finding | None:
        """What is wrong with the row that comes next; if nothing, it is the last one now."""
        position, subject, body, stored = row[:4]
        if position != self.last + 1 and (self._whole or position <= self.last):
            return self._misplaced(row)
        if type(subject) is not bytes or type(body) is not bytes:
            return Finding(position, "its subject or body is not what a store holds", _about(row))
        chain = sha256(b"".join((self.chain, _prefix(position, len(subject)), subject, body))).digest()
        if chain != stored:
            return Finding(position, f"is not what was stored there: {_hashes(chain, stored)}", _about(row))
        if not self._fits(row, body):
            finding = self._judge(row, chain)
            if finding is not None:
                return finding
        self.last, self.chain = position, chain
        self.bytes += len(body)
        return None

    def _misplaced(self, row: Sequence[Any]) -> Finding:
        if self._whole:
            return Finding(Position(self.last + 1), f"is missing: behind {self.last} comes {row[0]}", _about(row))
        return Finding(row[0], f"comes behind {self.last}: positions must rise", _about(row))

    def _fits(self, row: Sequence[Any], body: bytes) -> bool:
        """Whether a row is plainly the next event of its author, with the columns that say so."""
        known = self._known(row[1])
        if known is None or row[11] is not None or row[4:9] != known.tokens:
            return False
        try:
            envelope = _open(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if (envelope.by, envelope.type, envelope.to) != known.said or envelope.at != row[10]:
            return False
        log, n = known.log, envelope.n
        if log is None:
            return row[9] is None
        if n != log.n + 1 or n != row[9] or envelope.prev != log.link:
            return False
        log.n, log.link = n, sha256(body).digest()
        return True

    def _judge(self, row: Sequence[Any], chain: bytes) -> Finding | None:
        """Judge a row as the store does when it is written, and compare. A text for people may be another release's."""
        try:
            subject = row[1].decode()
        except UnicodeDecodeError:
            return Finding(row[0], "its subject is not text", _about(row))
        ends = {author: End(log.n, log.link) for author, log in self._logs.items()}
        wanted = row_of(Record(Position(row[0]), subject, row[2]), chain, ends)
        for author, end in ends.items():
            self._log(author).move(end)
        self.foreign += wanted.foreign_because is not None
        return _difference(wanted, row)

    def _log(self, author: Author) -> _Log:
        return self._logs.setdefault(author, _Log(End()))

    def _know(self, subject: bytes) -> _Known | None:
        """What a subject says; None if it is not of the grammar."""
        try:
            found = parse_subject(subject.decode())
        except (SubjectError, UnicodeDecodeError):
            return None
        tokens = (*found.author, found.noun, found.participle, found.to)
        log = None if found.author.kind is Kind.CLIENT else self._log(found.author)
        return _Known(tuple(token.encode() for token in tokens), (str(found.author), found.type, found.to), log)


def _difference(wanted: Row, row: Sequence[Any]) -> Finding | None:
    """The first column that is not as it must be."""
    if (wanted.foreign_because is None) != (row[11] is None):
        why = wanted.foreign_because
        return Finding(row[0], f"is foreign, and not marked so: {why}" if why else "is marked foreign, and is an event")
    for index, name in enumerate(Row._fields[4:11], start=4):
        value: object = wanted[index]
        must = value.encode() if isinstance(value, str) else value
        if row[index] != must:
            return Finding(row[0], f"its column {name} is {_shown(row[index])}, must be {_shown(must)}", _about(row))
    return None


def _hashes(found: bytes, stored: object) -> str:
    said = stored.hex()[:16] if isinstance(stored, bytes) else repr(stored)
    return f"its running hash is {found.hex()[:16]}..., the file says {said}..."


def _about(row: Sequence[Any]) -> str:
    """Author, type and number as the columns have them."""
    kind, id_, noun, verb, to, n = (_shown(value) for value in row[4:10])
    return f"{kind}.{id_} {noun}.{verb} to {to}, its event {n}"


def _shown(value: object) -> str:
    return "nothing" if value is None else text_of(value)


def text_of(value: object) -> str:
    """A column's value as text: columns are read as bytes, for what is damaged may be no text."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
