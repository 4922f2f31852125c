"""A log on which somebody put a chain of its own, far behind the end: a hole, or a thief with the author's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from bus import codec
from bus.events import AgentStarted, Event, LogKept
from bus.memory import MemoryServer
from bus.nouns import NOBODY, Now
from bus.port import NoAnswer, StreamDiverged
from bus.queries import LEADER
from bus.subjects import own_log
from tests.components.test_leadership import Running, counting, master, stands, until
from tests.simulation.server import FragileServer
from tests.simulation.toys import WALL, wall

pytestmark = pytest.mark.timeout(60)


def forge(server: MemoryServer, count: int = 2, n: int = 500) -> None:
    """Events of the wall that extend each other, and nothing that it said."""
    prev = b"x" * 32
    for number in range(n, n + count):
        event = Event(by=WALL, to=NOBODY, fact=LogKept(), at=Now(1), n=number, prev=prev, epoch=1, last=True)
        body = codec.encode(event)
        server.inject(codec.subject("dc", event), body)
        prev = codec.link(body)


def said(server: MemoryServer) -> int:
    """How many messages are on the wall's log, whatever they are."""
    return len(server.records(own_log("dc", WALL)))


def terms(server: MemoryServer) -> list[int]:
    """The terms on it, in order."""
    facts = [codec.decode(*record[1:], record[0]).fact for record in server.records(own_log("dc", WALL))]
    return [fact.epoch for fact in facts if isinstance(fact, AgentStarted)]


async def leading(server: MemoryServer, tmp_path: Path) -> Running:
    running = Running(server, "n1", master(), str(tmp_path / "n1.db"))
    await until(lambda: _leads(server))
    return running


async def _leads(server: MemoryServer) -> bool:
    row = await stands(server, "n1")
    return row is not None and row.standing == LEADER


async def stored(server: MemoryServer, tmp_path: Path) -> None:
    """Wait until the master's store has everything."""

    async def has() -> bool:
        row = await stands(server, "n1")
        return row is not None and row.stored == server.last

    await until(has)


async def a_term(server: MemoryServer, store: Path) -> None:
    """The wall starts, says so, and is killed."""
    before = said(server)
    life = Running(server, "n9", wall(), str(store))
    await until(lambda: life.task.done() or said(server) > before)
    if life.task.done():
        life.task.result()
    await life.kill()


def server() -> FragileServer:
    clock = counting()
    return FragileServer("dc", lambda: next(clock))


async def test_forged_chains_stop_neither_their_author_nor_a_master(tmp_path: Path) -> None:
    """Two with numbers far beyond, one extending the other: the author starts on, as often as it likes; the recorders
    of the master and of the author store what it is, and go on."""
    place = server()
    first = await leading(place, tmp_path)
    for round_ in range(3):
        await a_term(place, tmp_path / "wall.db")
        forge(place, count=2 + round_, n=500 * (round_ + 1))
    await a_term(place, tmp_path / "new.db")  # on another machine, which has nothing
    assert terms(place) == [1, 2, 3, 4]
    await stored(place, tmp_path)
    await first.resign()


async def test_a_chain_behind_a_hole_stops_its_author(tmp_path: Path) -> None:
    """The stream has other bytes where a master has the event that was said: nothing is decided without it."""
    place = server()
    first = await leading(place, tmp_path)
    for _ in range(4):
        await a_term(place, tmp_path / "wall.db")
    await stored(place, tmp_path)
    lost = place.records(own_log("dc", WALL))[1]
    place.change(lost.position, b"garbage")
    with pytest.raises(StreamDiverged, match=rf"far beyond event 1 of agent\.wall, and a master has #{lost.position}"):
        await a_term(place, tmp_path / "new.db")
    assert first.task.done() is False
    await first.kill()


async def test_without_a_master_nobody_can_tell(tmp_path: Path) -> None:
    """Then it is tried again later; nothing is decided meanwhile."""
    place = server()
    await a_term(place, tmp_path / "wall.db")
    forge(place)
    before = place.last
    with pytest.raises(NoAnswer, match="no master is there to tell"):
        await a_term(place, tmp_path / "wall.db")
    assert place.last == before
