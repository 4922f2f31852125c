"""`busbar store restore` and `repair`: data directories with a real nats-server, and what is damaged in them."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from bus.keyring import PERSON, Keyring, Wanted
from bus.nouns import NOBODY
from bus.permits import Role
from bus.server import known_bus, remember
from cli.store_restore import bus_alone
from eventstore.verify import verify
from tests.cli.shop import ok, refused
from tests.eventstore.damage import change, flip, make_store
from tests.eventstore.tale import A1, MARATHON, MASTER, Tale, started, twelve_steps

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store of a cluster's first task."""
    tale, _ = twelve_steps()
    return await make_store(tmp_path / "store.db", tale.records)


# ---- restore ---------------------------------------------------------------------------------------------------------


def foreign_tale() -> Tale:
    tale, _ = twelve_steps()
    tale.put("dc.master.main.task.launched.a1", b"no MessagePack")
    tale.put("dc.anything", b"")
    tale.say(MASTER, NOBODY, started(2))
    return tale


@pytest.fixture
async def restored(tmp_path: Path) -> Path:
    """The data directory of a datacenter that is down: a bus with a history, and the master's store of it."""
    source = await make_store(tmp_path / "source.db", foreign_tale().records)
    return _restore(source, tmp_path / "restored")


def _restore(source: Path, to: Path) -> Path:
    ok("restore", source, "--data", to)
    return to


def wrong_in(data: Path) -> tuple[dict[str, str], list[str]]:
    """What a dry run finds, and what it would do; it changes nothing."""
    found = json.loads(ok("repair", "--data", data, "--dry-run", "--json"))
    assert found["done"] is False
    return dict(found["wrong"]), found["steps"]


async def test_restore_makes_a_cluster_with_every_event_at_its_position(restored: Path, tmp_path: Path) -> None:
    """Foreign messages too; stream and store agree, so that `up` goes on from there."""
    assert wrong_in(restored) == ({}, [])
    assert verify(restored / "master" / "events.db").chain == verify(tmp_path / "source.db").chain


async def test_restore_refuses_what_is_not_a_whole_store_of_this_cluster(store: Path, tmp_path: Path) -> None:
    """Nothing is made then."""
    tale, _ = twelve_steps()
    new = tmp_path / "new"
    log = await make_store(tmp_path / "log.db", tale.of(MARATHON), log=MARATHON)
    elsewhere = await make_store(tmp_path / "elsewhere.db", [], cluster="dd")
    empty = await make_store(tmp_path / "empty.db", [])
    assert "is a copy of the log of framework.marathon: a master's store is needed" in refused(
        "restore", log, "--data", new
    )
    assert "is of cluster 'dd', not 'dc'" in refused("restore", elsewhere, "--data", new)
    assert "holds no events" in refused("restore", empty, "--data", new)
    change(store, "UPDATE event SET at = 0 WHERE position = 11")
    assert "position 11: its column at is 0" in refused("restore", store, "--data", new)
    assert "name one of --data DIR and --credentials FILE" in refused("restore", store)
    assert not new.exists()


async def test_restore_into_what_is_not_empty_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    assert "is not empty" in refused("restore", store, "--data", tmp_path / "full")
    assert [each.name for each in (tmp_path / "full").iterdir()] == ["precious"]
    assert "is not empty" in refused("restore", store, "--data", tmp_path / "full" / "precious")


async def test_restore_into_a_running_bus_needs_an_empty_stream(restored: Path, store: Path) -> None:
    """Said again into a bus of which credentials and the cluster's keys are known; then it holds something."""
    shutil.rmtree(restored / "bus")
    async with bus_alone(restored, 1):
        known = known_bus(restored, "dc")
        assert known is not None
        Keyring(restored, "dc").keep([Wanted(PERSON, Role.ADMIN, "u-test")], known.urls)
        where = ("--credentials", restored / PERSON, "--keys", restored / "keys")
        await asyncio.to_thread(ok, "restore", store, *where)
        said = await asyncio.to_thread(refused, "restore", store, *where)
    assert "holds positions up to 19 already" in said


# ---- repair ----------------------------------------------------------------------------------------------------------


async def test_a_damaged_store_is_made_anew_from_the_stream_and_kept(restored: Path) -> None:
    path, tale = restored / "master" / "events.db", foreign_tale()
    chain = verify(path).chain
    flip(path, tale.records[9].body, offset=40)
    wrong, steps = wrong_in(restored)
    assert "position 10: is not what was stored there" in wrong["master"]
    assert steps == [f"make {path} anew from the stream, and keep the damaged file beside it"]
    assert not verify(path).good
    ok("repair", "--data", restored)
    assert (verify(path).good, verify(path).chain) == (True, chain)
    assert len(list(path.parent.glob("events.db.damaged-*"))) == 1
    assert wrong_in(restored) == ({}, [])


@pytest.mark.parametrize("how", ["gone", "cut off", "no database"])
async def test_a_store_that_is_no_store_any_more_is_made_anew(restored: Path, how: str) -> None:
    path = restored / "master" / "events.db"
    chain = verify(path).chain
    match how:
        case "gone":
            path.unlink()
        case "cut off":
            os.truncate(path, path.stat().st_size // 2)
        case "no database":
            path.write_bytes(b"x" * 10_000)
    ok("repair", "--data", restored)
    assert verify(path).chain == chain


async def test_a_stream_that_is_gone_is_made_anew_from_the_store(restored: Path) -> None:
    shutil.rmtree(restored / "bus" / "jetstream")
    wrong, steps = wrong_in(restored)
    assert wrong == {"stream": "position 1: is missing in the stream: it ends at 0"}
    assert len(steps) == 1
    shutil.rmtree(restored / "bus" / "jetstream", ignore_errors=True)
    ok("repair", "--data", restored)
    assert wrong_in(restored) == ({}, [])
    assert len(list(restored.glob("bus.damaged-*"))) == 1


async def test_a_bus_that_does_not_come_up_is_not_taken_for_damaged(restored: Path) -> None:
    """It may only be slow or full, and its end may be nowhere else: a person has to say so."""
    shutil.rmtree(restored / "bus" / "jetstream")
    (restored / "bus" / "jetstream").write_text("in the way")
    said = refused("repair", "--data", restored)
    assert "the bus does not come up, and nothing was changed: nats-server ended at once" in said
    assert "busbar store repair --new-stream" in said
    assert (restored / "bus" / "jetstream").read_text() == "in the way"
    ok("repair", "--data", restored, "--new-stream")
    assert wrong_in(restored) == ({}, [])


async def test_a_flipped_bit_in_the_stream_is_found_and_mended(restored: Path) -> None:
    """In the bytes of one message in nats-server's file, whatever that makes of it."""
    [block] = (restored / "bus").rglob("*.blk")
    content = bytearray(block.read_bytes())
    body = foreign_tale().records[12].body
    content[content.index(body) + len(body) // 2] ^= 1
    block.write_bytes(bytes(content))
    wrong, _ = wrong_in(restored)
    assert "stream" in wrong
    ok("repair", "--data", restored)
    assert wrong_in(restored) == ({}, [])


async def test_a_stream_of_another_history_is_made_anew(restored: Path, tmp_path: Path) -> None:
    tale = Tale()
    for epoch in range(1, 40):
        tale.say(MASTER, NOBODY, started(epoch))
    other = _restore(await make_store(tmp_path / "other.db", tale.records), tmp_path / "other")
    [theirs], [mine] = ((each / "bus" / "jetstream").glob("A*") for each in (other, restored))  # the accounts
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    wrong, _ = wrong_in(restored)
    assert wrong == {"stream": "position 2: is other in the stream than in the store"}
    ok("repair", "--data", restored)
    assert wrong_in(restored) == ({}, [])


async def test_what_the_stream_and_its_authors_have_behind_the_store_is_kept(restored: Path, tmp_path: Path) -> None:
    """The store is a moment behind: the stream is damaged before its end, and a component has its newest event."""
    tale = foreign_tale()
    tale.say(A1, NOBODY, started(9))
    tale.say(MARATHON, NOBODY, started(9))
    ahead = _restore(await make_store(tmp_path / "ahead.db", tale.records[:-1]), tmp_path / "ahead")
    shutil.copyfile(restored / "master" / "events.db", ahead / "master" / "events.db")
    (ahead / "marathon").mkdir()
    await make_store(ahead / "marathon" / "events.db", tale.of(MARATHON), log=MARATHON)
    [block] = (ahead / "bus").rglob("*.blk")
    content = bytearray(block.read_bytes())
    content[content.index(tale.records[12].body) + 50] ^= 1
    block.write_bytes(bytes(content))
    for index in (ahead / "bus").rglob("index.db"):
        index.unlink()
    wrong, steps = wrong_in(ahead)
    assert "stream" in wrong
    ok("repair", "--data", ahead)
    assert wrong_in(ahead) == ({}, [])
    last = verify(ahead / "master" / "events.db").last
    kept = [step for step in steps if step.startswith("store positions 23 to")]
    assert (last > 22) == bool(kept)


async def test_a_component_that_knows_more_than_all_else_is_set_aside_with_what_is_lost(restored: Path) -> None:
    """Its copy would never fit the new stream: what it alone has is named, not silently dropped."""
    tale = foreign_tale()
    tale.say(A1, NOBODY, started(9))
    tale.say(MARATHON, NOBODY, started(9))
    (restored / "marathon").mkdir()
    path = await make_store(restored / "marathon" / "events.db", tale.of(MARATHON), log=MARATHON)
    shutil.rmtree(restored / "bus" / "jetstream")
    _, steps = wrong_in(restored)
    lost = "1 events of framework.marathon that nothing else has are lost, the first at position 24"
    assert any(lost in step for step in steps)
    ok("repair", "--data", restored)
    assert not path.exists()
    assert any(path.parent.glob("events.db.damaged-*"))


async def test_a_component_with_another_past_is_set_aside(restored: Path) -> None:
    """The stream and the master's store agree; it would be refused at its next start."""
    tale = Tale()
    tale.put("dc.x", b"")
    tale.say(MARATHON, NOBODY, started(7))
    (restored / "marathon").mkdir()
    path = await make_store(restored / "marathon" / "events.db", tale.of(MARATHON), log=MARATHON)
    wrong, steps = wrong_in(restored)
    assert wrong == {"marathon": "framework.marathon has another event at position 2"}
    assert steps[0].startswith(f"set {path} aside")
    ok("repair", "--data", restored)
    assert wrong_in(restored) == ({}, [])


async def test_where_both_are_damaged_nothing_is_done(restored: Path) -> None:
    """Both first bad positions, how far is right, and what is left to do."""
    path, tale = restored / "master" / "events.db", foreign_tale()
    flip(path, tale.records[9].body, offset=40)
    shutil.rmtree(restored / "bus" / "jetstream")
    before = path.read_bytes()
    said = refused("repair", "--data", restored)
    assert "stream and stores are both damaged, nothing was changed" in said
    assert "position 10: is not what was stored there" in said
    assert "stream: position 1: is missing in the stream: it ends at 0" in said
    assert "the best store is right up to 9" in said
    assert "busbar store restore BACKUP --data NEW" in said
    assert path.read_bytes() == before


async def test_repair_takes_the_store_of_another_master(restored: Path, tmp_path: Path) -> None:
    """As it is with three masters on one machine: n2's store verifies, n1's and the stream do not."""
    tale, one, two = foreign_tale(), restored / "master" / "events.db", restored / "master-n2" / "events.db"
    two.parent.mkdir()
    shutil.copyfile(one, two)
    flip(one, tale.records[9].body, offset=40)
    new = _as_three(restored, tmp_path)
    wrong, _ = wrong_in(new)
    assert set(wrong) == {"master", "master-n3", "stream"}
    ok("repair", "--data", new)
    assert wrong_in(new) == ({}, [])
    assert {verify(new / name / "events.db").last for name in ("master", "master-n2", "master-n3")} == {22}


def _as_three(data: Path, tmp_path: Path) -> Path:
    """The stores of a directory in that of a datacenter of three masters, whose bus holds nothing yet."""
    new = tmp_path / "three"
    new.mkdir()
    remember(new, "dc", [1, 2, 3])
    for name in ("keys", "master", "master-n2"):
        shutil.copytree(data / name, new / name)
    return new


async def test_repair_of_a_living_datacenter_is_refused(restored: Path) -> None:
    lock = os.open(restored / "lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a datacenter runs on" in refused("repair", "--data", restored)
    finally:
        os.close(lock)


def test_repair_of_what_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    assert "is not the data directory of a datacenter" in refused("repair", "--data", tmp_path)


async def test_repair_of_a_node_that_is_not_there_is_refused(restored: Path) -> None:
    assert "there is no node n2 in" in refused("repair", "--data", restored, "--node", "n2")
