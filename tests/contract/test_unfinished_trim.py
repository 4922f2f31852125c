"""Who trims the stream dies in the middle: nothing that is to stay is lost, and the next trim finishes it."""

from __future__ import annotations

import asyncio
import json

import pytest

from bus.append import append_surely
from bus.jetstream import JetStreamBus, connect
from bus.nouns import Position
from bus.port import NotCurrent, OutcomeUnknown, TrimUnfinished
from tests.contract.places import JetStreamPlace, read
from tests.contract.proxy import Frame
from tests.contract.speech import ALL, LEADER, chain, fence
from tests.contract.test_follow import fill

UNFINISHED = "stream LOG-DC: trimming it was begun and not finished, it takes nothing until that is done: trim it again"


async def administrator(nats: JetStreamPlace, *, mend: bool = True, connect_s: float = 10) -> JetStreamBus:
    bus = await connect(nats.credentials, mend=mend, connect_s=connect_s)
    nats.buses.append(bus)
    return bus


async def die_before(nats: JetStreamPlace, update: int, first: Position) -> None:
    """Trim the stream, and be dead before the n-th change of its configuration is sent."""
    updates: list[Frame] = []
    dead = asyncio.Event()

    def dies(frame: Frame) -> bool:
        if ".STREAM.UPDATE." in frame.subject:
            updates.append(frame)
        if len(updates) == update:
            dead.set()
        return len(updates) == update

    proxy = await nats.proxy()
    proxy.dies = dies
    trimming = asyncio.create_task((await nats.connect(url=proxy.url)).trim(first))
    await dead.wait()
    trimming.cancel()
    await asyncio.wait({trimming}, timeout=0)  # what it would still send, nobody gets


@pytest.mark.parametrize("update", [1, 2, 3], ids=["not begun", "not cut", "not opened again"])
async def test_a_trim_cut_short_loses_nothing_and_is_finished_by_the_next(
    nats: JetStreamPlace, update: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it takes nothing, before it is cut, before it takes messages again; with a writer that waits for it."""
    monkeypatch.setattr("bus.trimming.abandoned_s", 1.0)
    bus = await nats.connect()
    last = await fill(bus, LEADER, 5000)
    before = await read(bus, ALL, 1000, after=4000)
    await die_before(nats, update, Position(4001))
    writing = asyncio.create_task(append_surely(bus, chain(LEADER, "on"), fence(LEADER, last)))
    mended = await administrator(nats)
    assert await writing == last + 1
    await mended.trim(Position(4001))
    assert 3001 <= (await mended.extent()).first <= 4001
    assert (await read(bus, ALL, 1001, after=4000))[:1000] == before


async def test_an_unfinished_trim_is_said_in_words(nats: JetStreamPlace) -> None:
    """To who appends, to who connects, to who would trim at the same time."""
    bus = await nats.connect()
    last = await fill(bus, LEADER, 3000)
    await die_before(nats, 2, Position(2500))
    with pytest.raises(OutcomeUnknown, match="is being trimmed"):
        await bus.append(chain(LEADER, "on"), fence(LEADER, last))
    with pytest.raises(OutcomeUnknown, match="is being trimmed"):
        await bus.append(chain(LEADER, "on", "and on"), fence(LEADER, last))
    with pytest.raises(NotCurrent, match="is being trimmed by another"):
        await bus.trim(Position(2500))
    with pytest.raises(TrimUnfinished) as refused:
        await administrator(nats, mend=False, connect_s=0.5)
    assert str(refused.value) == UNFINISHED


async def test_who_connects_during_a_trim_waits_for_its_end(nats: JetStreamPlace) -> None:
    """The stream takes nothing for a moment: that is no reason to refuse anybody."""
    await nats.connect()
    config = json.loads(await nats.api("STREAM.INFO.LOG-DC"))["config"]
    await nats.api("STREAM.UPDATE.LOG-DC", json.dumps(config | {"max_msg_size": 1}).encode())
    connecting = asyncio.create_task(nats.connect())
    await asyncio.wait({connecting}, timeout=0.5)
    assert not connecting.done()
    await nats.api("STREAM.UPDATE.LOG-DC", json.dumps(config).encode())
    await (await connecting).append(chain(LEADER, "a"), fence(LEADER, 0))


async def test_the_administrators_connection_is_like_any_other(nats: JetStreamPlace) -> None:
    """Where there is nothing to mend, also no stream yet."""
    bus = await administrator(nats)
    message = chain(LEADER, "a")
    assert await bus.append(message, fence(LEADER, 0)) == 1
    again = await administrator(nats)
    assert (await read(again, ALL, 1))[0].body == message[0].body
