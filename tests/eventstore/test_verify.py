"""Verification: what is right is said to be right, and whatever is changed is found where it was changed."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from shutil import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.nouns import NOBODY, Position, TaskState
from bus.port import Record
from eventstore import stretches as room
from eventstore.chain import chained
from eventstore.errors import StoreDiverged, StoreFailed, StoreRefused
from eventstore.store import open_reader, open_writer
from eventstore.verify import verify, verify_tail
from tests.eventstore.damage import change, flip, make_store, settle
from tests.eventstore.tale import (
    A1,
    ALICE,
    MARATHON,
    MASTER,
    Tale,
    app_updated,
    client_asks,
    info_of,
    launch,
    report,
    started,
    status,
    twelve_steps,
    wanted,
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """The first task of a cluster."""
    tale, _ = twelve_steps()
    return await make_store(tmp_path / "events.db", tale.records)


def foreign_tale() -> Tale:
    """A history with everything that is nobody's next event among it."""
    tale, _ = twelve_steps()
    tale.put("dc.master.main.task.launched.a1", b"no MessagePack")
    tale.put("dc.nobody.knows.this", b"")
    tale.put("dc.master.main.task.launched.a1", tale.records[0].body)
    tale.put(tale.records[0].subject, tale.records[0].body)
    tale.say(MASTER, NOBODY, started(2))
    return tale


async def test_a_good_store_is_said_to_be_good(store: Path) -> None:
    """With what it holds: counts, and the running hash of the whole."""
    found = verify(store, indexes=True)
    assert found.good
    tale, _ = twelve_steps()
    chain = bytes(32)
    for record in tale.records:
        chain = chained(chain, record)
    assert (found.last, found.events, found.chain) == (len(tale.records), len(tale.records), chain.hex())
    assert found.bytes == sum(len(record.body) for record in tale.records)
    verify_tail(store)


async def test_an_empty_store_is_good(tmp_path: Path) -> None:
    path = await make_store(tmp_path / "events.db", [])
    assert verify(path).good
    verify_tail(path)


async def test_foreign_messages_are_part_of_a_good_store(tmp_path: Path) -> None:
    found = verify(await make_store(tmp_path / "events.db", foreign_tale().records))
    assert (found.good, found.foreign) == (True, 4)


@pytest.mark.parametrize("author", [MASTER, MARATHON, A1])
async def test_a_copy_of_one_log_is_verified_too(tmp_path: Path, author) -> None:
    """Its positions only rise, and the chain runs over what is stored."""
    tale, _ = twelve_steps()
    path = await make_store(tmp_path / "events.db", tale.of(author), log=author)
    assert verify(path).events == len(tale.of(author))
    assert verify(path).good
    verify_tail(path, 2)
    change(path, "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = ?", tale.of(author)[1].position)
    finding = verify(path).finding
    assert finding is not None
    assert finding.position == tale.of(author)[1].position


async def test_a_flipped_bit_in_a_payload_page_is_named_where_sqlite_sees_nothing(store: Path) -> None:
    """The position, what is known about the event, and the command that repairs."""
    tale, _ = twelve_steps()
    victim = tale.records[9]
    flip(store, victim.body, offset=len(victim.body) // 2)
    with closing(sqlite3.connect(store)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = verify(store)
    assert found.finding is not None
    assert found.finding.position == victim.position
    assert f"position {victim.position}: is not what was stored there" in str(found.finding)
    assert found.finding.known == "master.main task.launched to a1, its event 4"
    assert found.remedy == f"busbar store repair --data {store.parent.parent}"


COLUMNS = ["subject", "body", "chain", "kind", "id", "noun", "participle", "addressee", "n", "at"]


@pytest.mark.parametrize("column", COLUMNS)
async def test_every_column_is_held_against_the_body(store: Path, column: str) -> None:
    """A change that the running hash does not cover is found as well."""
    other = {"chain": "zeroblob(32)", "n": "n + 1", "at": "at + 1", "body": "CAST(body || 'x' AS BLOB)"}
    value = other.get(column, f"{column} || 'x'")
    change(store, f"UPDATE event SET {column} = {value} WHERE position = 10")
    finding = verify(store).finding
    assert finding is not None
    assert finding.position == 10


@pytest.mark.parametrize("column", ["kind", "id", "noun", "participle", "addressee", "n", "at"])
async def test_a_column_without_its_value_is_found(store: Path, column: str) -> None:
    change(store, f"UPDATE event SET {column} = NULL WHERE position = 10")
    finding = verify(store).finding
    assert finding is not None
    assert (finding.position, f"column {column} is nothing" in finding.wrong) == (10, True)


@pytest.mark.parametrize(
    ("sql", "position", "says"),
    [
        ("DELETE FROM event WHERE position = 7", 7, "is missing: behind 6 comes 8"),
        ("UPDATE event SET foreign_because = 'I say so' WHERE position = 7", 7, "is marked foreign, and is an event"),
    ],
)
async def test_what_is_gone_or_wrongly_marked_is_found(store: Path, sql: str, position: int, says: str) -> None:
    change(store, sql)
    finding = verify(store).finding
    assert finding is not None
    assert finding.position == position
    assert says in finding.wrong


async def test_a_foreign_message_that_is_passed_off_as_an_event_is_found(tmp_path: Path) -> None:
    tale = foreign_tale()
    path = await make_store(tmp_path / "events.db", tale.records)
    change(path, "UPDATE event SET foreign_because = NULL")
    finding = verify(path).finding
    assert finding is not None
    assert "is foreign, and not marked so: dc.master.main.task.launched.a1" in finding.wrong


async def test_a_rewritten_history_whose_hashes_are_right_breaks_its_authors_chain(tmp_path: Path) -> None:
    """Somebody who can compute the running hash has still not what the author said next."""
    tale, other = Tale(), Tale()
    for epoch in (1, 2):
        tale.say(MASTER, NOBODY, started(epoch))
    other.say(MASTER, NOBODY, started(7))
    path = await make_store(tmp_path / "events.db", [other.records[0], tale.records[1]])
    change(path, "UPDATE event SET foreign_because = NULL")
    finding = verify(path).finding
    assert finding is not None
    assert "does not carry the hash of the event before it" in finding.wrong


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM author WHERE id = 'a1'", "authors and the events disagree about agent.a1"),
        ("INSERT INTO author VALUES ('agent', 'a9')", "authors and the events disagree about agent.a9"),
        ("DELETE FROM type WHERE participle = 'delivered'", "types and the events disagree about agent task delivered"),
    ],
)
async def test_the_lists_of_authors_and_types_are_those_there_are(store: Path, sql: str, says: str) -> None:
    """Whoever is not listed would be taken for new when the store is opened: each of its events would be foreign."""
    change(store, sql)
    finding = verify(store).finding
    assert finding is not None
    assert says in str(finding)


async def test_a_store_without_its_triggers_is_not_said_to_be_good(store: Path) -> None:
    """Every event is right still, and any program may change it now."""
    with closing(sqlite3.connect(store)) as file:
        file.execute("DROP TRIGGER event_no_update")
    assert "its trigger event_no_update is not as a store is made" in str(verify(store).finding)


async def test_an_index_that_lies_is_found_where_that_is_asked(store: Path) -> None:
    settle(store)
    with closing(sqlite3.connect(store)) as file:
        file.execute("PRAGMA writable_schema = ON")
        file.execute("UPDATE sqlite_schema SET sql = replace(sql, '(at)', '(n)') WHERE name = 'event_by_time'")
        file.commit()
    finding = verify(store, indexes=True).finding
    assert finding is not None
    assert "event_by_time" in str(finding)


async def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    """What can still be read is verified; the first that cannot be read is named."""
    tale = Tale()
    for epoch in range(1, 2001):
        tale.say(MASTER, NOBODY, started(epoch))
    path = await make_store(tmp_path / "events.db", tale.records)
    settle(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2 // 4096 * 4096)
    finding = verify(path).finding
    assert finding is not None
    assert "cannot be read" in str(finding) or "pages damaged" in str(finding)
    with pytest.raises(StoreDiverged, match=r"is damaged: .* repair: busbar store repair --data"):
        verify_tail(path)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("UPDATE header SET cluster = 'dd'", r"its header says that it holds dd\.>, its first event is dc\."),
        ("UPDATE header SET mode = 'log', owner = 'agent.a9'", "its trigger event_next is not as a store is made"),
        ("UPDATE header SET mode = 'log', owner = 'a9'", "the header is damaged: 'a9' is not an author"),
    ],
)
async def test_a_header_that_lies_is_found(store: Path, sql: str, says: str) -> None:
    change(store, sql)
    try:
        said = str(verify(store).finding)
    except StoreFailed as error:
        said = str(error)
    assert re.search(says, said)


def test_the_tail_of_what_is_not_there_yet_is_right(tmp_path: Path) -> None:
    """A writer makes the file, then its tables: it may have died in between."""
    verify_tail(tmp_path / "none.db")
    (tmp_path / "new.db").touch()
    verify_tail(tmp_path / "new.db")


async def test_a_file_whose_first_page_is_gone_is_damaged(store: Path) -> None:
    settle(store)
    with store.open("r+b") as file:
        file.write(bytes(4096))
    with pytest.raises(StoreDiverged, match="is damaged: file is not a database: nothing is decided on it"):
        verify_tail(store)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "no header"), (b"x" * 5000, "not a database"), (None, "no such store")]
)
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "events.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((StoreRefused, StoreFailed), match=says):
        verify(path)


async def test_a_store_of_a_newer_format_is_refused(store: Path) -> None:
    change(store, "UPDATE header SET format = 2")
    with pytest.raises(StoreRefused, match="has format 2, this release reads up to 1: use a newer release"):
        verify(store)


async def test_a_store_is_verified_while_it_is_written(tmp_path: Path) -> None:
    """What was there when it began is looked at; the writer goes on."""
    tale, _ = twelve_steps()
    path = tmp_path / "events.db"
    async with open_writer(path, cluster="dc", log=None) as writer:
        for record in tale.records:
            await writer.append([record])
            found = verify(path)
            assert (found.good, found.last) == (True, record.position)


async def test_the_tail_names_what_is_wrong_in_it(store: Path) -> None:
    """What lies further back is not looked at: it was verified before, and is verified by `busbar store verify`."""
    tale, _ = twelve_steps()
    change(store, "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = 5")
    verify_tail(store, len(tale.records) - 5)
    with pytest.raises(StoreDiverged, match="position 5: is not what was stored there") as caught:
        verify_tail(store, len(tale.records) - 4)
    assert caught.value.position == 5


async def test_stretches_walked_at_once_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several processes, with a change in each of the stretches, the first one is named."""
    monkeypatch.setattr(room, "stretch_events_min", 20)
    tale = long_tale(tasks=12)
    path = await make_store(tmp_path / "events.db", tale.records)
    looked = 0

    def told(events: int) -> None:
        nonlocal looked
        looked += events

    assert verify(path, told=told).good
    assert looked == len(tale.records)
    change(path, "UPDATE event SET at = at + 1 WHERE position IN (170, 171, 44)")
    finding = verify(path).finding
    assert finding is not None
    assert finding.position == 44


async def test_a_list_of_authors_that_lies_is_not_blamed_on_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "stretch_events_min", 20)
    path = await make_store(tmp_path / "events.db", long_tale(tasks=12).records)
    change(path, "DELETE FROM author WHERE kind = 'master'")
    finding = verify(path).finding
    assert finding is not None
    assert (finding.position, "master.main" in finding.wrong) == (None, True)


def long_tale(tasks: int) -> Tale:
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    _, asked = client_asks(tale)
    for number in range(tasks):
        task = f"web.{number}"
        wanted(tale, task, cause=asked)
        launch(tale, info_of(task), f"o-{number}-0")
        for state in (TaskState.STARTING, TaskState.RUNNING, TaskState.FINISHED):
            report(tale, status(task, state), app_updated(status(task, state)))
    return tale


# ---- any tale, any byte ----------------------------------------------------------------------------------------------


@st.composite
def tales(draw: st.DrawFn) -> Tale:
    """A history of a few authors and clients, with foreign messages among it."""
    tale = Tale()
    for step in draw(st.lists(st.sampled_from(["task", "client", "term", "garbage", "again", "stray"]), min_size=1)):
        match step:
            case "task":
                launch(tale, info_of(f"t.{len(tale.records)}"), f"o-{len(tale.records)}-0")
            case "client":
                client_asks(tale)
            case "term":
                tale.say(draw(st.sampled_from([MASTER, MARATHON, A1])), NOBODY, started(len(tale.records)))
            case "garbage":
                tale.put("dc.agent.a1.task.reported.main", draw(st.binary(max_size=40)))
            case "again" if tale.records:
                again = draw(st.sampled_from(tale.records))
                tale.put(again.subject, again.body)
            case _:
                tale.put(draw(st.sampled_from(["dc.x", "dc.a.b.c.d.e", f"dc.{ALICE}.a.b._"])), b"\x80")
    return tale


@settings(max_examples=60, deadline=None)
@given(tales(), st.data())
async def test_any_changed_byte_of_any_row_is_found_at_its_position(
    tmp_path_factory: pytest.TempPathFactory, tale: Tale, data: st.DataObject
) -> None:
    """Whatever a history is: as it is it is good; one byte of one value changed, and exactly its position is named.

    Why a message is foreign is told in the words of the release that stored it: those are for people.
    """
    directory = tmp_path_factory.mktemp("any")
    path = await make_store(directory / "events.db", tale.records)
    assert verify(path).good
    settle(path)
    changed = Path(copy(path, directory / "changed.db"))
    position = data.draw(st.integers(1, len(tale.records)))
    with closing(sqlite3.connect(path)) as file:
        [row] = file.execute(f"SELECT {', '.join(COLUMNS)} FROM event WHERE position = ?", (position,))
    column = data.draw(
        st.sampled_from([name for name, value in zip(COLUMNS, row, strict=True) if value not in (None, "", b"")])
    )
    change(
        changed, f"UPDATE event SET {column} = ? WHERE position = ?", _other(row[COLUMNS.index(column)], data), position
    )
    finding = verify(changed).finding
    assert finding is not None
    assert finding.position == position


def _other(value: object, data: st.DataObject) -> object:
    """The value with one byte changed."""
    match value:
        case int():
            return value ^ (1 << data.draw(st.integers(0, 62)))
        case str():
            at = data.draw(st.integers(0, len(value) - 1))
            return value[:at] + chr(ord(value[at]) ^ (1 << data.draw(st.integers(0, 6)))) + value[at + 1 :]
        case bytes():
            at = data.draw(st.integers(0, len(value) - 1))
            return value[:at] + bytes([value[at] ^ (1 << data.draw(st.integers(0, 7)))]) + value[at + 1 :]
    raise AssertionError(value)


@settings(max_examples=25, deadline=None)
@given(st.data())
async def test_any_flipped_bit_of_the_file_is_found_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Either the store is refused or found damaged, or every event in it reads as it was written."""
    directory = tmp_path_factory.mktemp("bit")
    tale = foreign_tale()
    path = await make_store(directory / "events.db", tale.records)
    settle(path)
    with path.open("r+b") as file:
        content = file.read()
        at = data.draw(st.integers(0, len(content) - 1))
        file.seek(at)
        file.write(bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))]))
    try:
        good = verify(path).good
    except (StoreRefused, StoreFailed):
        return
    if good:
        assert await _read(path) == tale.records


async def _read(path: Path) -> list[Record]:
    async with open_reader(path) as reader:
        return [record async for records in reader.records(after=Position(0)) for record in records]
