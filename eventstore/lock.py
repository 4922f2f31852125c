"""One writer: a lock that dies with the process that holds it.

Rule of this room: the lock is on a file of its own. Opening and closing the store itself a second time would drop
SQLite's locks on it. (SQLite: "How To Corrupt An SQLite Database File", 2.2)
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventstore.errors import StoreFailed, StoreLocked


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Hold the store's writer lock. Raises StoreLocked with the process that has it."""
    beside = path.with_name(path.name + ".lock")
    try:
        held = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreFailed(f"{beside}: {error.strerror}: the store's directory must exist and be writable") from error
    try:
        _lock(held, path)
        yield
    finally:
        os.close(held)


def _lock(held: int, path: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(held, 20, 0).decode() or "unknown"
        raise StoreLocked(f"{path} is being written by process {pid}: stop it, or open the store for reading") from None
    os.ftruncate(held, 0)
    os.pwrite(held, str(os.getpid()).encode(), 0)
