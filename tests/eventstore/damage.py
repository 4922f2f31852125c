"""Stores made and then damaged by hand: what a disk, a cosmic ray or a person with an editor can do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from bus.port import Record
from bus.subjects import Author
from eventstore.store import open_writer


async def make_store(path: Path, records: Sequence[Record], *, cluster: str = "dc", log: Author | None = None) -> Path:
    """A store of these records, its write-ahead log moved into the file."""
    async with open_writer(path, cluster=cluster, log=log) as writer:
        await writer.append(records)
    return path


def settle(path: Path) -> None:
    """Everything into the one file, so that its bytes are the store."""
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.execute("PRAGMA journal_mode = DELETE")


def change(path: Path, sql: str, *values: object) -> None:
    """Change what triggers protect, as somebody who owns the file can."""
    with closing(sqlite3.connect(path)) as file:
        triggers = file.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            file.execute(f"DROP TRIGGER {name}")
        file.execute(sql, values)
        for _, again in triggers:
            file.execute(again)
        file.commit()


def flip(path: Path, needle: bytes, *, offset: int = 0, mask: int = 0x01) -> None:
    """Flip a bit of the first byte (or the one `offset` behind it) where the file holds `needle`."""
    settle(path)
    with path.open("r+b") as file:
        content = file.read()
        at = content.index(needle) + offset
        file.seek(at)
        file.write(bytes([content[at] ^ mask]))


@contextmanager
def disk_of(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes; skips the test where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return file
