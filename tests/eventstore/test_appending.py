"""What may be added to a store, what may not, and that nothing else about it ever changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from bus import codec
from bus.events import Event, LeaderElected
from bus.nouns import NOBODY, Now, Position
from bus.port import Record
from bus.subjects import Author
from eventstore.chain import genesis
from eventstore.errors import StoreDiverged, StoreFailed, StoreGap, StoreLocked, StoreRefused
from eventstore.store import open_reader, open_writer
from eventstore.verify import verify
from tests.eventstore.tale import (
    A1,
    A1_CMD,
    ALICE,
    MASTER,
    METRONOME,
    START,
    Tale,
    client_asks,
    started,
    twelve_steps,
)


async def contents(path: Path) -> list[Record]:
    async with open_reader(path) as reader:
        return [record async for records in reader.records() for record in records]


async def stored(path: Path, records: Sequence[Record], *, log: Author | None = None) -> list[str]:
    """Append, and say why what is foreign is."""
    async with open_writer(path, cluster="dc", log=log) as writer:
        return [row.foreign_because or "" for row in await writer.append(records)]


async def test_what_is_appended_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    """A store is a copy: positions, subjects, bodies."""
    tale, _ = twelve_steps()
    assert await stored(tmp_path / "s.db", tale.records) == []
    assert await contents(tmp_path / "s.db") == tale.records


async def test_an_empty_store_is_at_position_0(tmp_path: Path) -> None:
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        assert writer.last == 0
        assert await writer.append([]) == []
        async with open_reader(tmp_path / "s.db") as reader:
            assert await reader.last() == 0


async def test_a_reopened_store_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Position, running hash and the ends of all logs come from the file."""
    tale, _ = twelve_steps()
    for record in tale.records:
        async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
            assert writer.last == record.position - 1
            assert await writer.append([record]) == []
    await stored(tmp_path / "at-once.db", tale.records)
    with sqlite3.connect(tmp_path / "s.db") as one, sqlite3.connect(tmp_path / "at-once.db") as other:
        assert list(one.execute("SELECT * FROM event")) == list(other.execute("SELECT * FROM event"))


async def test_the_running_hash_is_what_the_page_says(tmp_path: Path) -> None:
    """SHA-256 of the hash before, position, length of the subject, subject, body, from 32 zero bytes on."""
    tale, _ = twelve_steps()
    await stored(tmp_path / "s.db", tale.records)
    with sqlite3.connect(tmp_path / "s.db") as file:
        chains = [chain for (chain,) in file.execute("SELECT chain FROM event ORDER BY position")]
    before = genesis
    for record, chain in zip(tale.records, chains, strict=True):
        subject = record.subject.encode()
        numbers = record.position.to_bytes(8, "big") + len(subject).to_bytes(4, "big")
        before = sha256(before + numbers + subject + record.body).digest()
        assert chain == before


async def test_a_missing_position_is_refused(tmp_path: Path) -> None:
    """In a copy of the whole stream every position follows the one before; nothing of the batch is written."""
    tale, _ = twelve_steps()
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        with pytest.raises(StoreGap, match="position 2 came after 0: expected 1"):
            await writer.append(tale.records[1:])
        with pytest.raises(StoreGap, match="position 4 came after 2: expected 3"):
            await writer.append([*tale.records[:2], *tale.records[3:]])
        assert writer.last == 0
        await writer.append(tale.records)
    assert await contents(tmp_path / "s.db") == tale.records


async def test_the_same_bytes_twice_are_stored_once(tmp_path: Path) -> None:
    """A redelivered batch, whole or overlapping, changes nothing that is stored."""
    tale, _ = twelve_steps()
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(tale.records[:5])
        await writer.append(tale.records[2:4])
        await writer.append(tale.records[3:9])
        assert writer.last == 9
    assert await contents(tmp_path / "s.db") == tale.records[:9]


async def test_other_bytes_at_a_stored_position_are_divergence(tmp_path: Path) -> None:
    """The error names the position, and nothing of the batch is written."""
    tale, _ = twelve_steps()
    changed = tale.records[3]._replace(body=tale.records[3].body + b"\0")
    moved = tale.records[3]._replace(subject="dc.agent.a1.task.reported.main")
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(tale.records[:5])
        for other in (changed, moved):
            with pytest.raises(StoreDiverged, match="position 4") as caught:
                await writer.append([tale.records[2], other, *tale.records[4:]])
            assert caught.value.position == 4
        assert writer.last == 5


async def test_garbage_is_stored_and_foreign(tmp_path: Path) -> None:
    """Whatever is on the stream has its place in the copy; what is nobody's event is marked and mentions nothing."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.put("dc.agent.a1.task.reported.main", b"\xc1garbage")
    tale.put("dc.nonsense", b"")
    tale.put("dc.agent.a1.task.reported.main.more", b"\x80")
    tale.put("dc.client.u-alice.app.requested.marathon", tale.records[0].body)
    tale.put("dc.UPPER.x.y.z._", b"\x00")
    tale.say(MASTER, NOBODY, started(2))
    whys = await stored(tmp_path / "s.db", tale.records)
    assert len(whys) == 5
    assert "not MessagePack" in whys[0]
    assert "its body says master.main.leader.elected._" in whys[3]
    assert await contents(tmp_path / "s.db") == tale.records
    async with open_reader(tmp_path / "s.db") as reader:
        assert [found.position for found in await reader.foreign()] == [2, 3, 4, 5, 6]
        assert [found.position for found in await reader.foreign(after=3, limit=2)] == [4, 5]
        found = await reader.foreigners()
        assert (found.count, found.position) == (5, 6)


async def test_what_does_not_extend_its_log_is_foreign(tmp_path: Path) -> None:
    """A replay, a wrong hash and an unnumbered event are passed over; the author's next event is good."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.say(MASTER, NOBODY, started(2))
    tale.put(tale.records[0].subject, tale.records[0].body)
    for n, prev in ((3, bytes(32)), (0, b""), (-1, b"")):
        forged = Event(by=MASTER, to=NOBODY, fact=started(3), at=Now(1), n=n, prev=prev)
        tale.put("dc.master.main.leader.elected._", codec.encode(forged))
    tale.say(MASTER, NOBODY, started(3))
    whys = await stored(tmp_path / "s.db", tale.records)
    assert whys == [
        "event 1 of master.main after event 2",
        "event 3 of master.main does not carry the hash of the event before it",
        "event 0 of master.main after event 2",
        "event -1 of master.main after event 2",
    ]


async def test_the_end_of_a_log_is_its_last_good_event(tmp_path: Path) -> None:
    """Reopened behind a replay, the writer still knows what the author said last."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.say(MASTER, NOBODY, started(2))
    tale.put(tale.records[0].subject, tale.records[0].body)
    assert len(await stored(tmp_path / "s.db", tale.records)) == 1
    tale.say(MASTER, NOBODY, started(3))
    assert await stored(tmp_path / "s.db", tale.records[3:]) == []


async def test_a_forged_chain_beyond_the_end_stops_no_recorder(tmp_path: Path) -> None:
    """Who has a key can make any chain. Whatever it is, it is stored, alarmed and passed over: its author goes on."""
    tale = Tale()
    for epoch in (1, 2, 3, 4):
        tale.say(METRONOME, NOBODY, started(epoch))
    forged = [tale.records[0], *(tale.records[n]._replace(position=Position(n)) for n in (2, 3))]
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        told = [row.foreign_because for row in await writer.append(forged)]
        assert told == [f"event {n} of framework.metronome after event 1" for n in (3, 4)]
        assert await writer.append([tale.records[1]._replace(position=Position(4))]) == []
    assert verify(tmp_path / "s.db").finding is None


@pytest.mark.parametrize("prev", [b"", b"another hash of thirty-two bytes"])
async def test_a_number_that_is_too_high_is_foreign(tmp_path: Path, prev: bytes) -> None:
    """Anybody with the credentials can write one by hand: it is alarmed, and its author goes on."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    for author in (MASTER, METRONOME):
        forged = Event(by=author, to=NOBODY, fact=started(7), at=Now(START + 1), n=500, prev=prev)
        tale.put(codec.subject("dc", forged), codec.encode(forged))
        tale.put(codec.subject("dc", forged), codec.encode(forged))
    assert await stored(tmp_path / "s.db", tale.records) == [
        "event 500 of master.main after event 1",
        "event 500 of master.main after event 1",
        "event 500 of framework.metronome after event 0",
        "event 500 of framework.metronome after event 0",
    ]
    tale.say(MASTER, NOBODY, started(2))
    tale.say(METRONOME, NOBODY, started())
    assert await stored(tmp_path / "s.db", tale.records[5:]) == []
    tale.say(METRONOME, NOBODY, started(2))
    assert await stored(tmp_path / "s.db", tale.records[7:]) == []


async def test_clients_have_no_chain(tmp_path: Path) -> None:
    """A client may run many times at once: its events stand alone and are good."""
    tale = Tale()
    client_asks(tale)
    client_asks(tale)
    assert await stored(tmp_path / "s.db", tale.records) == []


async def test_an_event_of_a_newer_release_counts_in_its_log(tmp_path: Path) -> None:
    """Its envelope can be read, so its number and hash are checked; what it mentions, this release cannot know."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    newer = codec.encode(
        Event(by=MASTER, to=NOBODY, fact=started(2), at=Now(2), n=2, prev=codec.link(tale.records[0].body))
    )
    tale.put("dc.master.main.leader.crowned._", newer.replace(b"\xaeleader.elected", b"\xaeleader.crowned"))
    third = Event(by=MASTER, to=NOBODY, fact=started(3), at=Now(3), n=3, prev=codec.link(tale.records[1].body))
    tale.put("dc.master.main.leader.elected._", codec.encode(third))
    assert await stored(tmp_path / "s.db", tale.records) == []


async def test_a_time_no_clock_can_show_is_stored_without(tmp_path: Path) -> None:
    """A client may write any whole number as its time; that must not stop a recorder."""
    tale = Tale()
    client_asks(tale)
    event = codec.decode(*_parts(tale.records[1]))
    tale.put(tale.records[1].subject, codec.encode(msgspec.structs.replace(event, at=Now(2**64 - 1))))
    assert await stored(tmp_path / "s.db", tale.records) == []
    assert await contents(tmp_path / "s.db") == tale.records


def _parts(record: Record) -> tuple[str, bytes, int]:
    return record.subject, record.body, record.position


async def test_one_authors_log_has_rising_positions_and_gapless_numbers(tmp_path: Path) -> None:
    """The other mode: positions of others are missing, numbers of the owner are not."""
    tale, _ = twelve_steps()
    mine = tale.of(A1)
    assert mine[0].position > 1
    assert await stored(tmp_path / "s.db", mine, log=A1) == []
    assert await contents(tmp_path / "s.db") == mine
    async with open_writer(tmp_path / "t.db", cluster="dc", log=A1) as writer:
        await writer.append(mine[:1])
        with pytest.raises(StoreGap, match="expected more than"):
            await writer.append([mine[2], mine[1]])
        with pytest.raises(StoreGap, match="expected more than"):
            await writer.append([mine[1], mine[1]])
        with pytest.raises(StoreRefused, match=r"is not under dc\.agent\.a1\.>"):
            await writer.append([mine[1], tale.of(A1_CMD)[0]])
        await writer.append(mine[1:])


async def test_a_message_where_there_was_none_is_divergence(tmp_path: Path) -> None:
    """In one author's log, something new at a position that was passed by means another stream."""
    tale, _ = twelve_steps()
    mine = tale.of(A1)
    async with open_writer(tmp_path / "s.db", cluster="dc", log=A1) as writer:
        await writer.append(mine)
        earlier = mine[0]._replace(position=Position(mine[0].position - 1))
        with pytest.raises(StoreDiverged, match="the store has nothing there"):
            await writer.append([earlier])


async def test_a_foreign_message_on_the_own_log_is_stored_there(tmp_path: Path) -> None:
    tale = Tale()
    tale.say(A1, NOBODY, started())
    tale.put("dc.agent.a1.and.more.tokens.than.allowed", b"")
    tale.say(A1, NOBODY, started(2))
    assert len(await stored(tmp_path / "s.db", tale.records, log=A1)) == 1


async def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    """Cluster, mode and owner are in the header; each mismatch is said exactly."""
    whole, log = tmp_path / "whole.db", tmp_path / "log.db"
    await stored(whole, [])
    await stored(log, [], log=A1)
    cases: list[tuple[Path, str, Author | None, str]] = [
        (whole, "eu", None, "is of cluster 'dc', not 'eu'"),
        (whole, "dc", A1, r"is a copy of the whole stream, not of the log of agent\.a1"),
        (log, "dc", None, r"is a copy of the log of agent\.a1, not of the whole stream"),
        (log, "dc", MASTER, r"is a copy of the log of agent\.a1, not of the log of master\.main"),
    ]
    for path, cluster, owner, text in cases:
        with pytest.raises(StoreRefused, match=text):
            async with open_writer(path, cluster=cluster, log=owner):
                pass
    await stored(log, [], log=A1)


async def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    await stored(path, [])
    with sqlite3.connect(path) as file:
        file.executescript("DROP TRIGGER header_no_update; UPDATE header SET format = 2;")
    for opened in (open_writer(path, cluster="dc", log=None), open_reader(path)):
        with pytest.raises(StoreRefused, match="has format 2, this release reads up to 1"):
            async with opened:
                pass


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    """Another database, a text file, a missing file, a missing directory."""
    with sqlite3.connect(tmp_path / "other.db") as file:
        file.execute("CREATE TABLE t (x)")
    (tmp_path / "text.db").write_text("not a database " * 100)
    with pytest.raises(StoreRefused, match="is not an event store"):
        await stored(tmp_path / "other.db", [])
    with pytest.raises(StoreFailed, match="not a database"):
        await stored(tmp_path / "text.db", [])
    with pytest.raises(StoreRefused, match="there is no such store"):
        await contents(tmp_path / "nowhere.db")
    with pytest.raises(StoreFailed, match="must exist"):
        await stored(tmp_path / "nowhere" / "s.db", [])
    assert not (tmp_path / "nowhere.db").exists()


async def test_there_is_one_writer(tmp_path: Path) -> None:
    """A second is told who the first is; when the first has left, the next may come."""
    path = tmp_path / "s.db"
    async with open_writer(path, cluster="dc", log=None):
        with pytest.raises(StoreLocked, match="is being written by process"):
            await stored(path, [])
    await stored(path, [])


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.close()
        await writer.close()


async def test_a_batch_of_any_size_goes_in_at_once(tmp_path: Path) -> None:
    """More rows than one statement takes are several statements of one transaction."""
    tale = Tale()
    for epoch in range(1, 3001):
        tale.say(MASTER, NOBODY, LeaderElected(epoch=epoch, node="n", instance="i"))
    tale.say(ALICE, "marathon", started())
    assert await stored(tmp_path / "s.db", tale.records) == []
    assert await contents(tmp_path / "s.db") == tale.records
