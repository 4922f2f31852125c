"""A store in stretches that are walked at once, each in a process of its own.

Each row has the running hash its successor begins with, so a stretch can begin anywhere; where its authors' logs end
there, an index tells.
Rule of this room: what is found here is a suspicion, for an index was believed; `eventstore.verify` makes it certain.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bus.codec import link
from bus.nouns import Position
from bus.subjects import Author, Kind, SubjectError, parse_author
from eventstore.chain import End, genesis
from eventstore.readonly import DAMAGE, salvaged
from eventstore.schema import STREAM, Header
from eventstore.walk import BEGINNING, Finding, Start, Told, Walk, Walked, text_of

if TYPE_CHECKING:
    from concurrent.futures import Future
    from multiprocessing.sharedctypes import Synchronized

stretch_events_min = 25_000
"""Fewer are not worth another process."""
stretches_max = 16
look_s = 0.1
"""Between two looks how far the other processes are."""
_PR_SET_PDEATHSIG = 1


def pages_of(connection: sqlite3.Connection, indexes: bool) -> Finding | None:
    """SQLite's own check of its pages, and of its indexes where that is wanted."""
    check = "integrity_check" if indexes else "quick_check"
    try:
        said = [text_of(row[0]) for row in connection.execute(f"PRAGMA {check}(1)")]
    except DAMAGE as error:
        said = [str(error)]
    return None if said == ["ok"] else Finding(None, f"SQLite finds its pages damaged: {said[0].splitlines()[-1]}")


def authors_of(connection: sqlite3.Connection) -> set[Author]:
    """Everybody who may own a log in the store."""
    listed = connection.execute("SELECT kind, id FROM author").fetchall()
    authors = {parse_author(f"{text_of(kind)}.{text_of(id_)}") for kind, id_ in listed}
    return authors | {author for author in scanned(connection) if author.kind is not Kind.CLIENT}


def start_behind(connection: sqlite3.Connection, after: Position, authors: set[Author]) -> Start:
    """Where the stretch behind a position begins, as the file has it."""
    if not after:
        return BEGINNING
    before = connection.execute(
        "SELECT position, chain FROM event WHERE position <= ? ORDER BY position DESC LIMIT 1", (after,)
    ).fetchall()
    position, chain = before[0] if before else (0, genesis)
    ends = {author: end for author in sorted(authors) if (end := _end(connection, author, after)) is not None}
    return Start(Position(position), chain, ends)


def _end(connection: sqlite3.Connection, author: Author, upto: Position) -> End | None:
    newest = (
        "SELECT n, body FROM event WHERE position = (SELECT position FROM event INDEXED BY event_by_author "
        "WHERE kind = ? AND id = ? AND position <= ? AND n IS NOT NULL ORDER BY position DESC LIMIT 1)"
    )
    found = connection.execute(newest, (*author, upto)).fetchall()
    return End(found[0][0], link(found[0][1])) if found else None


class Stretch(NamedTuple):
    """A part of the stream: where it begins, and its last position."""

    start: Start
    to: Position


def stretches_of(connection: sqlite3.Connection, header: Header, last: Position) -> list[Stretch]:
    """The rows in parts of about the same size; one part where they are few, or where positions have no order."""
    parts = min(stretches_max, last // stretch_events_min) if header.mode == STREAM and _cores() > 1 else 1
    if parts < 2:
        return []
    authors = authors_of(connection)
    bounds = [Position(last * part // parts) for part in range(parts + 1)]
    return [Stretch(start_behind(connection, after, authors), to) for after, to in pairwise(bounds)]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def walk_at_once(
    path: Path, header: Header, ways: list[Stretch], indexes: bool, told: Told
) -> tuple[list[Walked], Finding | None]:
    """Walk all stretches, in this process and in others; what they found, and what SQLite says of its pages."""
    from concurrent.futures import ProcessPoolExecutor, wait  # only who verifies a long store pays for the imports
    from multiprocessing import get_context

    whole, context = header.mode == STREAM, get_context("spawn")
    looked = context.Value("Q", 0)
    others = min(_cores(), len(ways)) - 1
    with ProcessPoolExecutor(others, context, initializer=_begin, initargs=(looked, os.getpid())) as pool:
        pages = pool.submit(_pages, path, indexes)
        futures: list[Future[Walked]] = [pool.submit(_walk, path, way, whole) for way in ways]
        progress = _Progress(looked, told)
        walked = dict(_own_share(path, ways, whole, futures, progress))
        try:
            theirs: list[Future[Any]] = [pages, *(each for each in futures if not each.cancelled())]
            while wait(theirs, timeout=look_s).not_done:
                progress.look()
            progress.look()
            walked |= {index: each.result() for index, each in enumerate(futures) if not each.cancelled()}
        finally:
            pool.shutdown(cancel_futures=True)
        return [walked[index] for index in sorted(walked)], pages.result()


def _own_share(
    path: Path, ways: list[Stretch], whole: bool, futures: list[Future[Walked]], progress: _Progress
) -> Iterator[tuple[int, Walked]]:
    """Walk, from the last one on, the stretches that no other process has begun."""
    for index in reversed(range(len(ways))):
        if futures[index].cancel():
            with salvaged(path) as connection:
                yield (
                    index,
                    Walk(ways[index].start, whole=whole).through(connection, ways[index].to, progress.mine),
                )


class _Progress:
    """What this process and the others have looked at, told as it grows."""

    def __init__(self, looked: Synchronized[int], told: Told) -> None:
        self._looked, self._told, self._before = looked, told, 0

    def mine(self, events: int) -> None:
        self._told(events)
        self.look()

    def look(self) -> None:
        now = self._looked.value
        self._told(now - self._before)
        self._before = now


_counter: list[Synchronized[int]] = []
"""In another process: where it says how far it is."""


def _begin(looked: Synchronized[int], parent: int) -> None:
    """Another process begins: it dies with the one that wants to know. (Linux: prctl PR_SET_PDEATHSIG)"""
    _counter.append(looked)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that wants to know
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _count(events: int) -> None:
    with _counter[0].get_lock():
        _counter[0].value += events


def _walk(path: Path, way: Stretch, whole: bool) -> Walked:
    with salvaged(path) as connection:
        return Walk(way.start, whole=whole).through(connection, way.to, _count)


def scanned(connection: sqlite3.Connection) -> Iterator[Author]:
    """Everybody who has a row, one search of the index each."""
    after = ("", "")
    following = (
        "SELECT kind, id FROM event INDEXED BY event_by_author WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT 1"
    )
    while rows := connection.execute(following, after).fetchall():
        before, after = after, (text_of(rows[0][0]), text_of(rows[0][1]))
        if after <= before:
            raise sqlite3.DatabaseError("index event_by_author is not in order")
        try:
            yield parse_author(".".join(after))
        except SubjectError as error:
            raise sqlite3.DatabaseError(f"index event_by_author: {error}") from None


def _pages(path: Path, indexes: bool) -> Finding | None:
    with salvaged(path) as connection:
        return pages_of(connection, indexes)
