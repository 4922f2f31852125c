"""A copy of a store at one moment, made while it is written: whole, verified, and never in the place of another file.

Rule of this room: the copy gets its name when it is on the disk and was verified; until then it is `<name>.partial`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from eventstore.errors import StoreRefused
from eventstore.readonly import errors_of, readonly
from eventstore.verify import Verdict, verify
from eventstore.walk import Told

pages_at_once = 4096
"""Copied in one step (16 MB), between which others get at the disk."""


def backup(
    source: str | Path, to: str | Path, *, copied: Told = lambda _: None, told: Told = lambda _: None
) -> Verdict:
    """Copy a store as it is now to a new file, and verify the copy; it is left there only if it is right.

    `copied` is told bytes as they are copied, `told` events as they are verified. Raises StoreRefused, StoreFailed.
    """
    to = Path(to)
    if to.exists():
        raise StoreRefused(f"{to} exists: a backup never replaces a file")
    partial = to.with_name(to.name + ".partial")
    try:
        _copy(Path(source), partial, copied)
        verdict = verify(partial, told=told)
        if verdict.good:
            _name(partial, to)
        return verdict._replace(path=str(to if verdict.good else source))
    except OSError as error:
        raise StoreRefused(f"{error.filename or to}: {error.strerror}: nothing was left there") from None
    finally:
        for leftover in (partial, *(partial.with_name(partial.name + end) for end in ("-wal", "-shm", "-journal"))):
            leftover.unlink(missing_ok=True)


def size_of(path: str | Path) -> int:
    """Bytes that a copy of the store takes, more or less."""
    with readonly(path) as connection:
        [(pages,)], [(size,)] = connection.execute("PRAGMA page_count"), connection.execute("PRAGMA page_size")
    found: int = pages * size
    return found


def _copy(source: Path, partial: Path, copied: Told) -> None:
    """Every page as of one moment: the transaction is held, so that no commit of the writer starts the copy again."""
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with readonly(source) as reading, errors_of(partial), closing(sqlite3.connect(partial)) as writing:
        [(size,)] = reading.execute("PRAGMA page_size")
        reading.execute("BEGIN")
        reading.execute("SELECT 1 FROM header").fetchall()
        before = 0

        def progress(_status: int, remaining: int, total: int) -> None:
            nonlocal before
            copied((total - remaining - before) * size)
            before = total - remaining

        reading.backup(writing, pages=pages_at_once, progress=progress)
        writing.execute("PRAGMA journal_mode = DELETE").fetchall()  # one plain file: nothing beside it belongs to it
        writing.execute("PRAGMA synchronous = FULL")


def _name(partial: Path, to: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.link(partial, to)  # unlike a rename, this never replaces
    directory = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
