"""A writer that dies in the middle, and a disk that takes no more: what is stored is a prefix, whole and right."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from contextlib import closing
from pathlib import Path

import pytest

from bus.nouns import NOBODY
from eventstore.chain import chained, genesis
from eventstore.errors import StoreFailed, failed
from eventstore.store import open_reader, open_writer
from tests.eventstore.tale import MASTER, Tale, started

pytestmark = pytest.mark.timeout(60)

batch = 20
total = 20_000

WRITER = """
import asyncio, sys
from eventstore.store import open_writer
from tests.eventstore.test_crash import batch, long_tale

async def main(path):
    records = long_tale().records
    async with open_writer(path, cluster="dc", log=None) as writer:
        for start in range(writer.last, len(records), batch):
            await writer.append(records[start : start + batch])
            print(writer.last, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def long_tale() -> Tale:
    """The same every time it is told."""
    tale = Tale()
    for epoch in range(1, total + 1):
        tale.say(MASTER, NOBODY, started(epoch))
    return tale


async def start_writer(path: Path) -> Process:
    """Another process that writes the long tale and says how far it is after each batch."""
    root = Path(__file__).parent.parent.parent
    return await create_subprocess_exec(sys.executable, "-c", WRITER, str(path), cwd=root, stdout=PIPE)


async def heard(process: Process, batches: int) -> int:
    """How far the writer says it is, after so many batches."""
    assert process.stdout is not None
    said = 0
    for _ in range(batches):
        said = int(await process.stdout.readline())
    return said


async def check_prefix(path: Path, tale: Tale, at_least: int) -> int:
    """What is stored is the beginning of the tale, whole batches, its chain right."""
    async with open_reader(path) as reader:
        stored = [record async for records in reader.records() for record in records]
    assert len(stored) >= at_least
    assert len(stored) % batch == 0
    assert stored == tale.records[: len(stored)]
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        chains = [chain for (chain,) in file.execute("SELECT chain FROM event ORDER BY position")]
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    before = genesis
    for record, chain in zip(stored, chains, strict=True):
        before = chained(before, record)
        assert chain == before
    return len(stored)


async def test_kill_9_of_a_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Killed in the middle three times; each time the next writer finds a prefix and goes on."""
    path, tale, stored = tmp_path / "s.db", long_tale(), 0
    for batches in (1, 7, 40):
        process = await start_writer(path)
        said = await heard(process, batches)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        stored = await check_prefix(path, tale, said)
        assert stored < total
    async with open_writer(path, cluster="dc", log=None) as writer:
        assert writer.last == stored
        await writer.append(tale.records[stored - 5 : stored + 2 * batch])
    await check_prefix(path, tale, stored + 2 * batch)


async def test_a_dead_writer_holds_no_lock(tmp_path: Path) -> None:
    """A living one does, against other processes too."""
    path = tmp_path / "s.db"
    process = await start_writer(path)
    await heard(process, 1)
    with pytest.raises(Exception, match=f"is being written by process {process.pid}"):
        async with open_writer(path, cluster="dc", log=None):
            pass
    process.kill()
    await process.wait()
    async with open_writer(path, cluster="dc", log=None) as writer:
        assert writer.last >= batch


async def test_a_file_that_may_not_grow_is_a_named_error(tmp_path: Path) -> None:
    """The append that did not fit is not stored, not even in part, and the writer must be opened again."""
    path, tale = tmp_path / "s.db", long_tale()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_writer(path, cluster="dc", log=None) as writer:
        await writer.append(tale.records[:batch])
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StoreFailed, match=rf"{path}.*start again"):
                await writer.append(tale.records[batch:4000])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(StoreFailed, match="open the store again"):
            await writer.append(tale.records[batch : 2 * batch])
    assert await check_prefix(path, tale, batch) == batch
    async with open_writer(path, cluster="dc", log=None) as writer:
        await writer.append(tale.records[batch:4000])
    assert await check_prefix(path, tale, 4000) == 4000


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    """SQLite's own error for a file that has no room left."""
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        file.execute("CREATE TABLE t (x)")
        file.execute("PRAGMA max_page_count = 3")
        with pytest.raises(sqlite3.OperationalError) as caught:
            file.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    assert str(failed("/var/s.db", caught.value)) == (
        "/var/s.db: database or disk is full: the disk is full: free space, then start again"
    )


async def test_an_append_that_is_cut_off_leaves_a_whole_batch_or_none(tmp_path: Path) -> None:
    """A cancelled append may or may not be stored; the writer does not go on, the next one knows."""
    path, tale = tmp_path / "s.db", long_tale()
    async with open_writer(path, cluster="dc", log=None) as writer:
        await writer.append(tale.records[:batch])
        appending = asyncio.create_task(writer.append(tale.records[batch:2000]))
        for _ in range(3):
            await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        with pytest.raises(StoreFailed, match="cut off"):
            await writer.append(tale.records[batch:2000])
    async with open_writer(path, cluster="dc", log=None) as writer:
        assert writer.last in (batch, 2000)
        await writer.append(tale.records[:2000])
    await check_prefix(path, tale, 2000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_directory_that_may_not_be_written_is_a_named_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreFailed, match="writable"):
        async with open_writer(tmp_path / "s.db", cluster="dc", log=None):
            pass
