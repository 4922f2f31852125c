"""The hands watch the stream's room and their own store, and say what they find once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from functools import partial

import msgspec
import pytest

from bus.codec import decode
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Position
from bus.port import Extent, NoAnswer, Record
from bus.subjects import CLUSTER, own_log
from bus.vouching import AlarmRaised, CheckpointMade
from components.master import MasterConfig, component, watching
from components.master.alarms import AlarmSeen
from components.master.checkpoints import StoreStands
from components.master.hands import MasterHands
from components.master.state import Checkpoint
from components.master.watching import (
    FOREIGN,
    HEADROOM,
    STORE_CHAIN,
    StoreWatch,
    headroom_message,
    something_said,
    watch_foreign,
    watch_headroom,
)
from components.runtime import live
from eventstore.signing import Signer, checkpoint_text, verified
from eventstore.store import open_reader, open_writer
from tests.components.master.datacenter import Datacenter
from tests.components.master.test_hands import chained
from tests.simulation.clock import run_virtually

SIGNER = Signer(bytes(range(32)))
QUICK = MasterConfig(checkpoint_s=0.02, public=SIGNER.public, sign=lambda f: SIGNER.sign(checkpoint_text(CLUSTER, f)))


# ---- the stream's room -------------------------------------------------------------------------------------------


class Roomy:
    """A bus that says how much of its room is taken, each time something else."""

    def __init__(self, *sizes: int | None, room: int = 1000) -> None:
        self.sizes, self.room = list(sizes), room

    async def extent(self) -> Extent:
        size = self.sizes.pop(0)
        if size is None:
            raise NoAnswer("nobody leads the stream")
        return Extent(Position(1), Position(9), size, self.room)


def room_seen(bus, standing=()):
    """What the hands saw, look by look."""
    names, seen = set(standing), []

    async def see(sight):
        seen.append((asyncio.get_running_loop().time(), sight))
        if sight.message is None:
            names.discard(sight.alarm)
        else:
            names.add(sight.alarm)

    async def run():
        with suppress(IndexError):
            await watch_headroom(bus, 10, names, see)

    run_virtually(run())
    return seen


def test_scarce_room_is_seen_at_80_percent_and_mended_below_75():
    """In between nothing is said, so that it does not flicker."""
    seen = room_seen(Roomy(0, 799, 800, 900, 790, 750, 749, 799))
    message = headroom_message(800, 1000)
    assert seen == [(30, AlarmSeen(alarm=HEADROOM, message=message)), (70, AlarmSeen(alarm=HEADROOM))]
    assert message.startswith("the stream takes 800 of 1000 bytes (80 %): ")


def test_what_a_master_before_raised_is_not_raised_again():
    assert room_seen(Roomy(900, 800), standing=[HEADROOM]) == []


def test_a_bus_that_does_not_tell_raises_nothing():
    assert room_seen(Roomy(None, None)) == []
    assert room_seen(Roomy(10**9, room=0)) == []


# ---- the store ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def store(tmp_path):
    """A store with a few events of a master's log."""
    dc = Datacenter()
    for agent in ("a1", "a2", "a3"):
        dc.register(agent)
    path = str(tmp_path / "store.db")
    async with open_writer(path, cluster=CLUSTER, log=dc.component.author) as writer:
        await writer.append(chained(dc))
    return path


async def first_sight(watch, standing=()):
    """What the watch sees first."""
    seen = asyncio.get_running_loop().create_future()

    async def see(sight):
        if not seen.done():
            seen.set_result(sight)

    task = asyncio.create_task(watch.run(set(standing), see))
    try:
        return await asyncio.wait_for(seen, 10)
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("config", [QUICK, MasterConfig(checkpoint_events=1)])
async def test_where_the_store_stands_is_said_after_so_many_events_or_so_long(store, config, monkeypatch):
    monkeypatch.setattr(watching, "checkpoint_gap_s", 0.0)
    async with open_reader(store) as reader:
        end = await reader.last()
        chain = await reader.chain_at(end)
        assert await reader.chain_at(end + 1) is None
    assert await first_sight(StoreWatch(config, store, None)) == StoreStands(upto=end, chain=chain)


async def test_a_store_that_is_not_what_was_vouched_for_is_an_alarm_and_vouches_for_nothing(store):
    vouched = Checkpoint(Position(3), "ab" * 32)
    sight = await first_sight(StoreWatch(QUICK, store, vouched))
    assert sight.alarm == STORE_CHAIN
    assert f"the checkpoint says {'ab' * 32}: no checkpoint is made until it is mended" in sight.message
    async with open_reader(store) as reader:
        mended = Checkpoint(Position(3), await reader.chain_at(3) or "")
    assert await first_sight(StoreWatch(QUICK, store, mended), [STORE_CHAIN]) == AlarmSeen(alarm=STORE_CHAIN)


@pytest.mark.timeout(30)
async def test_a_master_vouches_for_what_it_stored(tmp_path):
    """Mind, hands, loop and store together: the first checkpoint says what is true."""
    server, path, stop = (
        MemoryServer(CLUSTER, lambda: 1_800_000_000_000_000),
        str(tmp_path / "master.db"),
        asyncio.Event(),
    )
    bus = MemoryBus(server)
    master = component(QUICK, partial(MasterHands, QUICK, bus, path))
    life = asyncio.create_task(live(master, bus, node="n1", instance="i", store=path, stop=stop))
    event = await first_checkpoint(bus, master)
    fact = event.fact
    assert verified(SIGNER.public, checkpoint_text(CLUSTER, fact), fact.signature)
    async with open_reader(path) as reader:
        assert await reader.chain_at(fact.upto) == fact.chain
    assert fact.folded_n == event.n - 1
    stop.set()
    await life
    await bus.close()


async def test_what_is_nobodys_event_is_an_alarm_once_and_none_after_an_hour_of_quiet(tmp_path, monkeypatch):
    """Garbage in a whole stream's copy: its last position is told; the next message on it is told again."""
    monkeypatch.setattr(watching, "foreign_quiet_s", 0.0)
    path, seen, standing = str(tmp_path / "store.db"), [], set()
    told = asyncio.Event()

    async def see(sight):
        seen.append(sight)
        standing.clear()
        standing.update({sight.alarm} if sight.message else ())
        told.set()

    async with open_writer(path, cluster=CLUSTER, log=None) as writer:
        await writer.append([Record(Position(1), "dc.agent.a1.task.reported.main", b"garbage")])
        task = asyncio.create_task(watch_foreign(path, 0.01, Position(0), standing, see))
        await asyncio.wait_for(told.wait(), 10)
        assert seen[0].alarm == FOREIGN
        assert "1 message on the stream" in seen[0].message
        assert "#1 dc.agent.a1.task.reported.main" in seen[0].message
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        assert seen[1] == AlarmSeen(alarm=FOREIGN)
        await writer.append([Record(Position(2), "dc.agent.a1.task.reported.main", b"more")])
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        assert "2 messages" in seen[2].message
        task.cancel()
        await asyncio.wait({task})


async def test_what_was_told_before_is_not_told_again(tmp_path):
    """A new leader begins behind the last checkpoint."""
    path, seen = str(tmp_path / "store.db"), []

    async def see(sight):
        seen.append(sight)

    async with open_writer(path, cluster=CLUSTER, log=None) as writer:
        await writer.append([Record(Position(1), "dc.agent.a1.task.reported.main", b"garbage")])
        task = asyncio.create_task(watch_foreign(path, 0.001, Position(1), set(), see))
        async with open_reader(path) as reader:
            for _ in range(20):
                await reader.foreigners()
        task.cancel()
        await asyncio.wait({task})
    assert seen == []


async def test_a_checkpoint_is_no_reason_for_another_but_what_is_said_after_it_is(tmp_path):
    dc = Datacenter()
    dc.register("a1")
    before = dc.position
    dc.see(StoreStands(upto=before, chain="ab" * 32))
    dc.register("a2")
    path = str(tmp_path / "store.db")
    async with open_writer(path, cluster=CLUSTER, log=dc.component.author) as writer:
        await writer.append(chained(dc))
    async with open_reader(path) as reader:
        assert not await something_said(reader, before, before)
        assert not await something_said(reader, before, Position(before + 1))
        assert await something_said(reader, before, await reader.last())


async def first_checkpoint(bus, master):
    async with aclosing(bus.follow(own_log(CLUSTER, master.author), after=Position(0))) as groups:
        async for records in groups:
            for record in records:
                event = decode(record.subject, record.body, record.position)
                if isinstance(event.fact, CheckpointMade):
                    return event
    raise AssertionError("the log ended")


def test_the_alarm_of_the_hands_is_the_minds():
    dc = Datacenter()
    (event,) = dc.see(AlarmSeen(alarm=HEADROOM, message="x"))
    assert event.fact == AlarmRaised(alarm=HEADROOM, message="x")
    assert msgspec.json.encode(dc.state.alarms)
