"""What can be wrong with a store, each with what to do about it.

Rule of this room: a text names the file or the position, what was found and what was expected.
"""

from __future__ import annotations

import sqlite3

from bus.nouns import Position


class StoreRefused(Exception):
    """The file is not the store that was asked for, or cannot be used by this release. Nothing was changed."""


class StoreLocked(Exception):
    """Another process writes this store. There is one writer; stop it, or open the store for reading."""


class StoreGap(Exception):
    """A position or an author's number is missing: what was to be stored does not follow what is stored.

    Nothing of it was written. A position: read the stream again from the last stored one. A number: the stream has
    lost an event; it must not be followed any further.
    """


class StoreDiverged(Exception):
    """The stream has other bytes at a stored position: it is damaged, or another stream. Nothing was written."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(message)
        self.position = position


class StoreFailed(Exception):
    """SQLite could not read or write the file. What was to be stored is stored whole or not at all: open it again."""


class UnknownTask(LookupError):
    """No event in this store mentions the task."""


_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full: free space, then start again",
    sqlite3.SQLITE_IOERR: "the disk failed or a limit was reached: see the kernel's log, then start again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: `busbar store verify` says where, `busbar store repair` mends it",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
    sqlite3.SQLITE_CANTOPEN: "the file or its directory is missing or may not be opened",
    sqlite3.SQLITE_READONLY: "the file or its directory may not be written",
    sqlite3.SQLITE_BUSY: "another process holds it locked: nobody but Busbar may write here",
}


def failed(path: str, error: sqlite3.Error) -> StoreFailed:
    """SQLite's error with the file it is about and what to do."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    remedy = _REMEDIES.get(primary, "SQLite refused the statement")
    return StoreFailed(f"{path}: {error}: {remedy}")
