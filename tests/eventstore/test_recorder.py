"""A store that keeps up with a stream, and finds out when the stream is not the one it copied."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from bus.memory import MemoryBus, MemoryServer
from bus.nouns import NOBODY, Now, Position
from bus.port import Record, StreamDiverged
from bus.subjects import Author
from eventstore.errors import StoreDiverged
from eventstore.recorder import ONE_LOG, Recorder, enough_events, late_s, open_recorder, pause_s
from tests.eventstore.damage import change
from tests.eventstore.tale import A1, MARATHON, MASTER, Tale, started, twelve_steps
from tests.simulation.clock import run_virtually
from tests.simulation.server import FragileServer
from tests.simulation.store import Disk

pytestmark = pytest.mark.timeout(30)


def stream_of(records: Sequence[Record]) -> MemoryBus:
    """A connection to a stream that holds these messages."""
    server = MemoryServer("dc", lambda: Now(0))
    for record in records:
        server.inject(record.subject, record.body)
    return MemoryBus(server)


async def wait_position(recorder: Recorder, position: Position) -> None:
    while recorder.writer.last < position:
        await asyncio.sleep(0)


async def copied(path: Path, records: Sequence[Record], log: Author | None = None) -> list[Record]:
    """Copy a stream until its end is stored; what the store has then of Marathon's log, or of `log`."""
    async with open_recorder(str(path), stream_of(records), log) as recorder:
        copying = asyncio.create_task(recorder.run())
        await wait_position(recorder, max(r.position for r in records if log is None or f".{log}." in r.subject))
        copying.cancel()
        return [record async for group in recorder.recorded(log or MARATHON) for record in group]


async def test_a_recorder_copies_the_stream_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """The first run stores the beginning, the second the rest; one author's part can be told apart."""
    tale, _ = twelve_steps()
    assert await copied(tmp_path / "s.db", tale.records[:10]) == [r for r in tale.of(MARATHON) if r.position <= 10]
    assert await copied(tmp_path / "s.db", tale.records) == tale.of(MARATHON)


async def test_a_recorder_of_one_log_copies_that_alone(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    assert await copied(tmp_path / "s.db", tale.records, A1) == tale.of(A1)
    assert await copied(tmp_path / "s.db", tale.records, A1) == tale.of(A1)


@pytest.mark.parametrize("log", [None, MASTER])
async def test_what_is_stored_is_told_once_more_before_what_is_new(tmp_path: Path, log: Author | None) -> None:
    """A stream that was rolled back after the start, and has grown again, is found by the message that was last."""
    tale, _ = twelve_steps()
    await copied(tmp_path / "s.db", tale.records, log)
    server = FragileServer("dc", lambda: Now(0))
    for record in tale.records:
        server.inject(record.subject, record.body)
    async with open_recorder(str(tmp_path / "s.db"), MemoryBus(server), log) as recorder:
        server.change(recorder.writer.last, b"another")
        with pytest.raises(StoreDiverged, match=f"position {recorder.writer.last}"):
            await recorder.run()


@pytest.mark.parametrize("log", [None, MASTER])
async def test_a_shorter_stream_is_another_stream(tmp_path: Path, log: Author | None) -> None:
    """Found at once, instead of waiting for ever for what will not come."""
    tale, _ = twelve_steps()
    await copied(tmp_path / "s.db", tale.records, log)
    for kept in (tale.records[:5], []):
        with pytest.raises(StreamDiverged, match="the store ends at position"):
            async with open_recorder(str(tmp_path / "s.db"), stream_of(kept), log):
                pass


async def test_a_stream_with_another_past_is_another_stream(tmp_path: Path) -> None:
    """The newest stored message is read again and compared."""
    tale, other = Tale(), Tale()
    for epoch in (1, 2, 3):
        tale.say(MASTER, NOBODY, started(epoch))
        other.say(MASTER, NOBODY, started(epoch), after_us=999)
    await copied(tmp_path / "s.db", tale.records)
    with pytest.raises(StoreDiverged, match="position 3"):
        async with open_recorder(str(tmp_path / "s.db"), stream_of(other.records), None):
            pass


async def test_a_log_that_lost_its_last_stored_event_is_another_log(tmp_path: Path) -> None:
    """The author's next event would fit the store; the stream has lost what it had acknowledged all the same."""
    tale = Tale()
    for epoch in (1, 2, 3):
        tale.say(MASTER, NOBODY, started(epoch))
    await copied(tmp_path / "s.db", tale.records[:2], MASTER)
    lossy = [tale.records[0], tale.records[1]._replace(subject="dc.agent.a1.x.y._"), tale.records[2]]
    with pytest.raises(StreamDiverged, match="position 2 is in the store, but not in the stream"):
        async with open_recorder(str(tmp_path / "s.db"), stream_of(lossy), MASTER):
            pass


async def test_a_damaged_store_is_found_before_anything_is_decided_on_it(tmp_path: Path) -> None:
    """The stream is in order; the file's newest events are not what was stored."""
    tale, _ = twelve_steps()
    await copied(tmp_path / "events.db", tale.records)
    change(tmp_path / "events.db", "UPDATE event SET at = at + 1 WHERE position = 6")
    with pytest.raises(StoreDiverged, match=r"is damaged: position 6: its column at is .* busbar store repair --data"):
        async with open_recorder(str(tmp_path / "events.db"), stream_of(tale.records), None):
            pass


looks = 3
"""Pauses until it is sure that nothing more comes: what came first, what came meanwhile, nothing."""


def commits(said_s: Sequence[float], log: str = "dc.>") -> list[tuple[float, int]]:
    """When, in virtual time, how many events are stored that the master says at these moments."""
    tale, stored = Tale(), []
    for epoch in range(1, len(said_s) + 1):
        tale.say(MASTER, NOBODY, started(epoch))

    class Told(Recorder):
        async def store(self, records: Sequence[Record]) -> None:
            await super().store(records)
            stored.append((round(asyncio.get_running_loop().time(), 2), len(records)))

    async def run() -> None:
        loop, server, disk = asyncio.get_running_loop(), MemoryServer("dc", lambda: Now(0)), Disk()
        began = loop.time()
        recorder = Told(MemoryBus(server), cast(Any, disk), cast(Any, disk), log)
        copying = asyncio.create_task(recorder.run())
        for at_s, record in zip(said_s, tale.records, strict=True):
            await asyncio.sleep(began + at_s - loop.time())
            server.inject(record.subject, record.body)
        await asyncio.sleep(looks * ONE_LOG.pause_s)
        copying.cancel()
        await asyncio.wait({copying})
        stored[:] = [(round(at_s - began, 2), events) for at_s, events in stored]

    run_virtually(run())
    return stored


def test_what_is_said_in_one_breath_is_one_commit() -> None:
    """It is made when nothing more was said for a moment; what comes later is another."""
    [(first_s, first), (second_s, second)] = commits([0.0, 0.02, 0.05, 0.08, 2.0])
    assert (first, second) == (4, 1)
    assert first_s <= 0.08 + looks * pause_s
    assert second_s <= 2.0 + looks * pause_s


def test_nothing_waits_long_for_those_who_never_pause() -> None:
    """One event each 20 ms: each is stored soon after it was said, many in one commit."""
    said_s = [0.02 * number for number in range(100)]
    found = commits(said_s)
    assert sum(events for _, events in found) == 100
    assert len(found) <= 2 / late_s + 1
    for index, (at_s, _) in enumerate(found):
        oldest = sum(events for _, events in found[:index])
        assert at_s - said_s[oldest] <= late_s + looks * pause_s


def test_the_store_of_one_log_waits_longer() -> None:
    """As long as its author goes on: who starts reads the rest from the stream."""
    said_s = [0.08 * number for number in range(50)]
    [(at_s, events)] = commits(said_s, "dc.master.main.>")
    assert events == 50
    assert late_s < at_s <= said_s[-1] + looks * ONE_LOG.pause_s


def test_nothing_waits_for_ever_in_the_store_of_one_log() -> None:
    """It is stored, late, also behind an author who never pauses."""
    first, *_ = commits([0.08 * number for number in range(100)], "dc.master.main.>")
    assert first[0] <= ONE_LOG.within_s + looks * ONE_LOG.pause_s


def test_enough_events_wait_for_nobody() -> None:
    """As many as are stored at once do not wait to be late, whoever goes on."""
    first, *_ = commits([0.0] * enough_events + [0.01 * number for number in range(1, 100)])
    assert first[0] <= looks * pause_s < late_s
    assert first[1] >= enough_events
