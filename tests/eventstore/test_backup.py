"""A backup is a whole store of one moment, verified, and never in the place of another file."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bus.nouns import NOBODY
from eventstore.backup import backup, size_of
from eventstore.errors import StoreRefused
from eventstore.store import open_reader, open_writer
from eventstore.verify import verify
from tests.eventstore.damage import change, make_store
from tests.eventstore.tale import MASTER, Tale, started, twelve_steps

pytestmark = pytest.mark.timeout(60)


def told(epochs: int) -> Tale:
    tale = Tale()
    for epoch in range(1, epochs + 1):
        tale.say(MASTER, NOBODY, started(epoch))
    return tale


async def test_a_backup_is_made_while_the_store_grows(tmp_path: Path) -> None:
    """Each holds a beginning of the history, at least what was stored when it began, and verifies."""
    tale, path = told(6000), tmp_path / "events.db"
    async with open_writer(path, cluster="dc", log=None) as writer:
        await writer.append(tale.records[:2000])

        async def write() -> None:
            for start in range(2000, 6000, 20):
                await writer.append(tale.records[start : start + 20])

        writing = asyncio.create_task(write())
        for number in range(5):
            before = writer.last
            verdict = await asyncio.to_thread(backup, path, tmp_path / f"{number}.db")
            assert verdict.good
            assert verdict.last >= before
        await writing
    async with open_reader(tmp_path / "4.db") as reader:
        stored = [record async for records in reader.records() for record in records]
    assert stored == tale.records[: len(stored)]


async def test_a_backup_is_one_file_that_a_writer_can_go_on_with(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    path, copy = await make_store(tmp_path / "events.db", tale.records[:10]), tmp_path / "there" / "copy.db"
    copy.parent.mkdir()
    backup(path, copy)
    assert [each.name for each in copy.parent.iterdir()] == ["copy.db"]
    async with open_writer(copy, cluster="dc", log=None) as writer:
        await writer.append(tale.records)
    assert verify(copy).chain == verify(await make_store(tmp_path / "whole.db", tale.records)).chain


async def test_how_far_it_is_is_told(tmp_path: Path) -> None:
    path = await make_store(tmp_path / "events.db", told(3000).records)
    copied, looked = 0, 0

    def copying(size: int) -> None:
        nonlocal copied
        copied += size

    def looking(events: int) -> None:
        nonlocal looked
        looked += events

    backup(path, tmp_path / "copy.db", copied=copying, told=looking)
    assert (copied, looked) == (size_of(path), 3000)


async def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path = await make_store(tmp_path / "events.db", told(3).records)
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreRefused, match="exists: a backup never replaces a file"):
        backup(path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"


async def test_a_damaged_store_leaves_no_backup(tmp_path: Path) -> None:
    path, to = await make_store(tmp_path / "events.db", told(30).records), tmp_path / "to"
    to.mkdir()
    change(path, "UPDATE event SET n = 9 WHERE position = 7")
    verdict = backup(path, to / "copy.db")
    assert verdict.finding is not None
    assert (verdict.finding.position, verdict.path) == (7, str(path))
    assert list(to.iterdir()) == []


async def test_a_place_that_takes_no_file_is_named(tmp_path: Path) -> None:
    path = await make_store(tmp_path / "events.db", told(3).records)
    with pytest.raises(StoreRefused, match="No such file or directory: nothing was left there"):
        backup(path, tmp_path / "nowhere" / "copy.db")
