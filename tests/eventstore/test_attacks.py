"""Append-only, proved by attack: from the writer's own connection, and from whoever else opens the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventstore.schema import connect_reading, connect_writing
from eventstore.store import open_writer
from tests.eventstore.tale import twelve_steps

ROW = "'dc.a', x'00', zeroblob(32), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
CHANGES = (
    "UPDATE event SET body = x'00' WHERE position = 1",
    "UPDATE event SET position = position + 100",
    "DELETE FROM event WHERE position = 1",
    "DELETE FROM event",
    f"INSERT INTO event VALUES (1, {ROW})",
    f"INSERT INTO event VALUES (1000, {ROW})",
    f"INSERT OR REPLACE INTO event VALUES (1, {ROW})",
    f"INSERT OR IGNORE INTO event VALUES (1000, {ROW})",
    f"REPLACE INTO event VALUES (2, {ROW})",
    f"INSERT INTO event VALUES (1, {ROW}) ON CONFLICT (position) DO UPDATE SET body = x'00'",
    "UPDATE mention SET position = 1",
    "DELETE FROM mention",
    "UPDATE author SET id = 'x'",
    "DELETE FROM author",
    "DELETE FROM type",
    "UPDATE header SET cluster = 'eu'",
    "DELETE FROM header",
    "INSERT OR REPLACE INTO header VALUES (1, 1, 'eu', 'stream', NULL, 0)",
)
"""What the triggers refuse, whoever asks."""
DEMOLITIONS = (
    "DROP TABLE event",
    "DROP TRIGGER event_no_update",
    "DROP TRIGGER event_next",
    "DROP INDEX event_by_type",
    "ALTER TABLE event ADD COLUMN more TEXT",
    "ALTER TABLE event RENAME TO past",
    "CREATE TABLE other (x)",
    "CREATE TEMP TABLE event (x)",
    "CREATE TRIGGER late AFTER INSERT ON event BEGIN DELETE FROM mention; END",
    "CREATE VIEW seen AS SELECT * FROM event",
    "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, '')",
    "UPDATE sqlite_schema SET sql = ''",
    "ATTACH DATABASE ':memory:' AS other",
    "DETACH DATABASE main",
    "VACUUM",
    "REINDEX",
    "ANALYZE",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = OFF",
    "PRAGMA user_version = 7",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA recursive_triggers = OFF",
    "SELECT load_extension('x')",
)
"""What the authorizer refuses to the writer's connection."""
REFUSED = r"not authorized|authorization denied|prohibited|may not be modified|is append-only"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store of one task's history, closed."""
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(twelve_steps()[0].records)
    return tmp_path / "s.db"


def everything(path: Path) -> list[str]:
    with sqlite3.connect(path) as file:
        return list(file.iterdump())


@pytest.fixture
def unchanged(path: Path) -> Iterator[None]:
    """The file says the same after the test."""
    before = everything(path)
    yield
    assert everything(path) == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("attack", CHANGES)
async def test_a_stranger_cannot_change_what_is_stored(path: Path, attack: str) -> None:
    """Triggers and constraints are in the file: any program that opens it is held by them."""
    file = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=r"is append-only|is written once"):
        file.execute(attack)
    file.commit()
    file.close()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("attack", [*CHANGES, *DEMOLITIONS])
async def test_the_writers_own_connection_can_only_append(path: Path, attack: str) -> None:
    """The authorizer holds even our own mistakes: no statement can change or remove what protects the events."""
    connection = await connect_writing(path, "dc", None)
    try:
        with pytest.raises(sqlite3.DatabaseError, match=REFUSED):
            await connection.execute_fetchall(attack)
        await connection.commit()
    finally:
        await connection.close()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("attack", [*CHANGES, *DEMOLITIONS[:7], f"INSERT INTO event VALUES (19, {ROW})"])
async def test_a_reader_writes_nothing(path: Path, attack: str) -> None:
    """It is opened read-only, and only queries."""
    connection = await connect_reading(path)
    try:
        with pytest.raises(sqlite3.DatabaseError, match=r"readonly|is append-only|is written once"):
            await connection.execute_fetchall(attack)
    finally:
        await connection.close()


async def test_the_wrong_type_of_value_is_refused(path: Path) -> None:
    """STRICT tables: a body is bytes, a position a whole number."""
    file = sqlite3.connect(path)
    for values in (
        f"'x', {ROW}",
        f"19, {ROW}".replace("x'00'", "'text'"),
        f"19, {ROW}".replace("zeroblob(32)", "x'00'"),
    ):
        with pytest.raises(sqlite3.IntegrityError):
            file.execute(f"INSERT INTO event VALUES ({values})")
    file.close()


async def test_every_commit_is_on_the_disk(path: Path) -> None:
    """WAL with FULL: what append returned for survives a power cut."""
    connection = await connect_writing(path, "dc", None)
    try:
        await connection.set_authorizer(None)
        assert [tuple(row) for row in await connection.execute_fetchall("PRAGMA journal_mode")] == [("wal",)]
        assert [tuple(row) for row in await connection.execute_fetchall("PRAGMA synchronous")] == [(2,)]
    finally:
        await connection.close()
