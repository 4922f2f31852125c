"""Several instances of one singleton: one leads, the others fold what it says and take over when it is gone."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from bus.events import Event, LeaderElected, LeaderResigned, LogKept
from bus.memory import Faults, MemoryBus, MemoryServer
from bus.nouns import MASTER, Now, Position
from bus.port import Answerer, Fenced, NoAnswer, Record
from bus.queries import DIVERGED, LEADER, STANDBY, Instance, QueryRefused, Summary, unpack
from bus.roll import roll_call
from bus.subjects import Author, Kind, ask, own_log
from components import runtime
from components.component import Component
from components.election import silence_s
from components.instance import fetch
from components.runtime import live
from tests.simulation.clock import run_virtually, virtual_now
from tests.simulation.toys import PLAYER, Board, PlayerState, player, wall

pytestmark = pytest.mark.timeout(60)


class Running:
    """One instance: its connection, its end, and what came of it."""

    def __init__(
        self,
        server: MemoryServer,
        node: str,
        component: Component[Any],
        store: str | None = None,
        connected: Callable[[MemoryServer], MemoryBus] = MemoryBus,
    ) -> None:
        self.node, self.component = node, component
        self.bus = connected(server)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(
            live(
                component,
                self.bus,
                node=node,
                instance=f"i-{node}",
                store=store,
                stop=self.stop,
                clock=virtual_now if store is None else lambda: Now(1),
                chance=lambda: 0.5,
            )
        )

    async def kill(self) -> None:
        """As by SIGKILL: no word more, and nobody answers for it."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.bus.close()

    async def resign(self) -> None:
        """As by SIGTERM."""
        self.stop.set()
        await self.task
        await self.bus.close()


def scored(rallies: int) -> tuple[Component[PlayerState], Board]:
    board = Board()
    return player(rallies, board), board


def terms(server: MemoryServer, author: Author = PLAYER) -> list[LeaderElected]:
    events = [codec.decode(r.subject, r.body, r.position) for r in server.records(own_log("dc", author))]
    return [event.fact for event in events if isinstance(event.fact, LeaderElected)]


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    """Wait on virtual or real time until something is so."""
    async with asyncio.timeout(30):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)  # virtual, or a look again


def nodes(server: MemoryServer) -> Callable[[], Awaitable[list[tuple[str, str]]]]:
    async def asked() -> list[tuple[str, str]]:
        bus = MemoryBus(server)
        found = await roll_call(bus, PLAYER)
        await bus.close()
        return [(each.node, each.standing) for each in found]

    return asked


def played(main: Callable[[MemoryServer], Awaitable[None]]) -> None:
    async def run() -> None:
        server = MemoryServer("dc", virtual_now)
        async with asyncio.timeout(10_000):  # virtual
            await main(server)

    run_virtually(run())


class SlowToAnswer(MemoryBus):
    """A loaded host: it takes a while until a process is known to answer."""

    async def serve(self, subject: str, answerer: Answerer) -> None:
        await asyncio.sleep(0.25)  # virtual
        await super().serve(subject, answerer)


def test_who_was_just_elected_is_given_time_to_begin_answering() -> None:
    """On a loaded host nobody answers pings for a moment; whoever stands by would be elected next, and so for ever."""

    async def main(server: MemoryServer) -> None:
        two = [Running(server, f"n{k}", scored(0)[0], connected=SlowToAnswer) for k in (1, 2)]
        await asyncio.sleep(30)  # virtual
        assert len(terms(server)) == 1
        for one in two:
            await one.kill()

    played(main)


def test_of_three_that_start_on_an_empty_log_one_leads() -> None:
    async def main(server: MemoryServer) -> None:
        three = [Running(server, f"n{k}", scored(0)[0]) for k in (1, 2, 3)]
        await until(lambda: len(terms(server)) == 1)
        await asyncio.sleep(30)  # virtual: nobody else tries meanwhile
        assert len(terms(server)) == 1
        standings = await nodes(server)()
        assert sorted(standing for _, standing in standings) == [LEADER, STANDBY, STANDBY]
        assert dict(standings)[terms(server)[0].node] == LEADER
        for each in three:
            await each.kill()

    played(main)


def test_a_killed_leader_is_replaced_within_a_second_and_the_rally_goes_on() -> None:
    """The successor has folded the log already: it takes its term and hears on where the dead one stopped."""

    async def main(server: MemoryServer) -> None:
        returning = Running(server, "w", wall())
        first_player, second_player = scored(6), scored(6)
        first = Running(server, "n1", first_player[0])
        await until(lambda: bool(terms(server)))
        second = Running(server, "n2", second_player[0])
        await until(lambda: 2 in first_player[1].painted)
        await first.kill()
        died_at = asyncio.get_running_loop().time()
        await until(lambda: len(terms(server)) == 2)
        assert asyncio.get_running_loop().time() - died_at < 1
        await until(lambda: 6 in second_player[1].painted)
        assert [term.node for term in terms(server)] == ["n1", "n2"]
        await second.kill()
        await returning.kill()

    played(main)


def test_a_leader_that_stops_in_good_order_hands_over_at_once() -> None:
    """Its last word is that it resigns; the standby does not wait for pings to fail."""

    async def main(server: MemoryServer) -> None:
        first = Running(server, "n1", scored(0)[0])
        await until(lambda: bool(terms(server)))
        second = Running(server, "n2", scored(0)[0])
        await asyncio.sleep(1)  # virtual
        first.stop.set()
        asked_at = asyncio.get_running_loop().time()
        await until(lambda: len(terms(server)) == 2)
        assert asyncio.get_running_loop().time() - asked_at < 0.1
        said = [codec.decode(r.subject, r.body, r.position).fact for r in server.records(own_log("dc", PLAYER))]
        assert isinstance(said[-2], LeaderResigned)
        await first.task
        await second.resign()
        third = Running(server, "n3", scored(0)[0])
        await until(lambda: len(terms(server)) == 3)
        await third.kill()

    played(main)


class Stopped(Faults):
    """Pings reach nobody: the one who should answer is stopped."""

    def __init__(self) -> None:
        self.silent = False

    async def ask(self, subject: str) -> bool:
        return not (self.silent and subject.startswith("ping."))


class Deaf(Faults):
    """From a moment on nothing of the stream comes through any more; questions do."""

    def __init__(self) -> None:
        self.deaf = False

    async def deliver(self, records: Sequence[Record]) -> int:
        if self.deaf:
            await asyncio.get_running_loop().create_future()
        return len(records)


def test_a_leader_that_does_not_know_of_its_successor_answers_no_question() -> None:
    """As after SIGCONT: what it would answer is of yesterday, and clients know more already."""

    async def main(server: MemoryServer) -> None:
        first = Running(server, "n1", scored(0)[0])
        deafness = first.bus.faults = Deaf()
        await until(lambda: bool(terms(server)))
        second, asker = Running(server, "n2", scored(0)[0]), MemoryBus(server)
        silence = second.bus.faults = Stopped()
        asked = ask("dc", PLAYER, "summary")
        assert unpack(await asker.query(asked, b"", timeout_s=5), Summary).node == "n1"
        deafness.deaf = silence.silent = True
        await until(lambda: len(terms(server)) == 2)
        assert not first.task.done(), "it heard of its successor"
        with pytest.raises(NoAnswer):
            await asker.query(asked, b"", timeout_s=5)
        await first.kill()
        assert unpack(await asker.query(asked, b"", timeout_s=5), Summary).node == "n2"
        await second.kill()

    played(main)


def test_a_leader_whose_bus_is_silent_answers_once_it_can_tell_that_it_leads() -> None:
    """Nobody is told what may be of yesterday; who waits long is told that nobody knows."""

    async def main(server: MemoryServer) -> None:
        leader, asker = Running(server, "n1", scored(0)[0]), MemoryBus(server)
        await until(lambda: bool(terms(server)))
        last, asked = leader.bus.last, ask("dc", PLAYER, "summary")

        async def unreachable(log: str) -> None:
            raise NoAnswer(log)

        leader.bus.last = unreachable  # type: ignore[assignment,method-assign]
        with pytest.raises(NoAnswer):
            await asker.query(asked, b"", timeout_s=5)
        with pytest.raises(QueryRefused, match="nobody can tell whether n1 leads still"):
            unpack(await asker.query(asked, b"", timeout_s=10), Summary)
        question = asyncio.create_task(asker.query(asked, b"", timeout_s=5))
        await asyncio.sleep(1)  # virtual
        leader.bus.last = last  # type: ignore[method-assign]
        assert unpack(await question, Summary).node == "n1"
        await leader.kill()

    played(main)


def test_a_silent_leader_is_replaced_and_ends_as_soon_as_it_sees_so() -> None:
    """The old one has nothing to append, so no fence would tell it: it watches for another's term."""

    async def main(server: MemoryServer) -> None:
        first = Running(server, "n1", scored(0)[0])
        await until(lambda: bool(terms(server)))
        second = Running(server, "n2", scored(0)[0])
        silence = Stopped()
        second.bus.faults = silence
        await asyncio.sleep(1)  # virtual
        silence.silent = True
        await asyncio.sleep(silence_s / 2)  # virtual: a pause is no end
        assert len(terms(server)) == 1
        await until(lambda: len(terms(server)) == 2)
        with pytest.raises(Fenced, match="n2 leads"):
            await first.task
        await second.kill()

    played(main)


def test_a_bus_that_is_silent_elects_nobody() -> None:
    """Whoever cannot reach the bus cannot tell a dead leader from its own deafness."""

    async def main(server: MemoryServer) -> None:
        first = Running(server, "n1", scored(0)[0])
        await until(lambda: bool(terms(server)))
        second = Running(server, "n2", scored(0)[0])
        await asyncio.sleep(1)  # virtual
        silence = Stopped()
        silence.silent = True
        second.bus.faults = silence

        async def unreachable(log: str) -> None:
            raise NoAnswer(log)

        second.bus.last = unreachable  # type: ignore[assignment,method-assign]
        await asyncio.sleep(10 * silence_s)  # virtual
        assert len(terms(server)) == 1
        await first.kill()
        await second.kill()

    played(main)


def test_a_quiet_owner_says_that_it_has_heard_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once much was said by others; so the stream can be trimmed up to there."""
    monkeypatch.setattr(runtime, "kept_behind_max", 20)

    async def main(server: MemoryServer) -> None:
        quiet = Running(server, "n1", scored(0)[0])
        await until(lambda: bool(terms(server)))
        for _ in range(30):
            server.inject("dc.client.u-x.app.requested.nobody", b"x")
        head = server.last
        await asyncio.sleep(2 * runtime.kept_look_s)  # virtual
        newest = server.records(own_log("dc", PLAYER))[-1]
        event = codec.decode(newest.subject, newest.body, newest.position)
        assert isinstance(event.fact, LogKept)
        assert event.heard == head
        await asyncio.sleep(2 * runtime.kept_look_s)  # virtual: nothing new, nothing said
        assert server.last == newest.position
        await quiet.kill()

    played(main)


# ---- with stores: real time -----------------------------------------------------------------------------------------

MAIN = Author(Kind.MASTER, MASTER)


def master() -> Component[PlayerState]:
    return dataclasses.replace(player(0, Board()), author=MAIN, hands=None)


def counting() -> Iterator[Now]:
    at = 0
    while True:
        at += 1
        yield Now(at)


async def stands(server: MemoryServer, node: str) -> Instance | None:
    bus = MemoryBus(server)
    found = {each.node: each for each in await roll_call(bus, MAIN)}
    await bus.close()
    return found.get(node)


def clocked() -> MemoryServer:
    clock = counting()
    return MemoryServer("dc", lambda: next(clock))


async def test_a_store_that_holds_other_content_leads_nobody_and_says_where(tmp_path: Path) -> None:
    """It answers what it is asked, with the first bad position and the command that repairs, until it is stopped."""
    server = clocked()
    first = Running(server, "n1", master(), str(tmp_path / "n1.db"))
    await until(lambda: bool(terms(server, MAIN)))
    await until(lambda: _stored(server, "n1", server.last))
    await first.resign()

    other = clocked()
    stored = server.records()[:-1]  # its last word, that it resigns, it did not store itself
    for record in stored[:-1]:
        other.inject(record.subject, record.body)
    other.inject("dc.client.u-x.app.requested.nobody", b"another history")
    astray = Running(other, "n1", master(), str(tmp_path / "n1.db"))
    await until(lambda: _is(other, "n1", DIVERGED))
    row = await stands(other, "n1")
    assert row is not None
    assert "store repair" in row.message
    assert f"position {len(stored)}" in row.message
    await asyncio.sleep(0)
    assert len(terms(other, MAIN)) == 1
    await astray.resign()


async def _is(server: MemoryServer, node: str, standing: str) -> bool:
    row = await stands(server, node)
    return row is not None and row.standing == standing


async def _stored(server: MemoryServer, node: str, position: Position) -> bool:
    row = await stands(server, node)
    return row is not None and row.stored >= position


async def test_a_new_master_gets_what_was_trimmed_from_a_peer(tmp_path: Path) -> None:
    """Its store begins at position 1 and is byte for byte the same; then it stands by."""
    server = clocked()
    first = Running(server, "n1", master(), str(tmp_path / "n1.db"))
    await until(lambda: bool(terms(server, MAIN)))
    for number in range(50):
        server.inject("dc.client.u-x.app.requested.nobody", b"%d" % number)
    await first.resign()
    first = Running(server, "n1", master(), str(tmp_path / "n1.db"))  # its last word is behind what is trimmed
    await until(lambda: len(terms(server, MAIN)) == 2)
    everything = server.records()
    await until(lambda: _stored(server, "n1", server.last))
    server.trim(Position(40))
    second = Running(server, "n2", master(), str(tmp_path / "n2.db"))
    await until(lambda: _stored(server, "n2", Position(len(everything))))
    row = await stands(server, "n2")
    assert row is not None
    assert not row.message, row.message
    assert row.standing == STANDBY
    asking = MemoryBus(server)
    told = await fetch(asking, after=Position(0), author=None, besides="i-n1")
    assert list(told)[: len(everything)] == everything
    await first.resign()
    await until(lambda: _is(server, "n2", LEADER))
    await second.resign()


def test_events_of_the_loop_are_no_business_of_a_component() -> None:
    """`leader.resigned` and `log.kept` are folded by nobody: the toy's fold would not know them."""
    from components.component import apply

    component, _ = scored(0)
    state = component.start()
    event = Event(by=PLAYER, to="_", fact=LeaderResigned(epoch=0, node="n", instance="i"), at=Now(1), n=1)
    apply(component, state, event)
    assert state.n == 1
