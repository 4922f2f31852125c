"""The loop itself: two toy components, and a crash at every await."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from bus import codec
from bus.memory import MemoryBus, MemoryServer
from bus.port import message_bytes_max
from bus.queries import unpack
from bus.subjects import Author, ask, own_log
from components.component import state_hash
from components.mind import Mind
from tests.simulation.clock import run_virtually, virtual_now
from tests.simulation.line import Calm, Crash, Weather
from tests.simulation.process import keep_alive
from tests.simulation.server import FragileServer
from tests.simulation.toys import PLAYER, WALL, Board, PointScored, player, wall

RALLIES = 3


class CrashAt(Calm):
    """Dies once, at the given step; counts the steps."""

    def __init__(self, step: int) -> None:
        self.step, self.steps = step, 0

    async def at(self, where: str) -> None:
        self.steps += 1
        if self.steps == self.step:
            raise Crash(f"{self.step}: {where}")


async def play(player_weather: Weather, wall_weather: Weather) -> tuple[MemoryServer, Board]:
    """Play until the last rally is painted, both sides restarted whenever they crash."""
    server, board = FragileServer("dc", virtual_now), Board()
    async with asyncio.timeout(600):
        tasks = [
            asyncio.create_task(keep_alive(server, lambda bus: player(RALLIES, board), player_weather)),
            asyncio.create_task(keep_alive(server, lambda bus: wall(), wall_weather)),
        ]
        while RALLIES not in board.painted:
            await asyncio.sleep(0.05)  # virtual
            for task in tasks:
                if task.done():
                    task.result()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return server, board


def said(server: MemoryServer, author: Author) -> list[str]:
    """What an author said, terms aside."""
    events = [codec.decode(r.subject, r.body, r.position) for r in server.records()]
    mine = [event for event in events if event.by == author]
    assert [event.n for event in mine] == list(range(1, len(mine) + 1))
    return [f"{e.type} {e.fact.rally}" for e in mine if hasattr(e.fact, "rally")]


def rallies(*types: str) -> list[str]:
    return [f"{type_} {rally}" for rally in range(1, RALLIES + 1) for type_ in types]


def check(server: MemoryServer, board: Board) -> None:
    assert said(server, PLAYER) == rallies("ball.served", "point.scored")
    assert said(server, WALL) == rallies("ball.taken", "ball.returned")
    scored = [r for r in server.records() if f".{PointScored.type}." in r.subject]
    assert len(scored) == RALLIES
    assert board.painted == sorted(board.painted)


def test_two_components_play_on_the_log() -> None:
    """Without crashes every rally is served, taken, returned, scored and painted once."""
    server, board = run_virtually(play(Calm(), Calm()))
    check(server, board)
    assert board.painted == [1, 2, 3]


@pytest.mark.parametrize("who", ["player", "wall"])
def test_a_crash_at_any_await_changes_nothing_that_was_said(who: str) -> None:
    """Crash at step 1, 2, 3 ... until a run has no such step: the logs are the same but for one more term."""
    for step in range(1, 500):
        crashing = CrashAt(step)
        pair = (crashing, Calm()) if who == "player" else (Calm(), crashing)
        server, board = run_virtually(play(*pair))
        check(server, board)
        if crashing.steps < step:
            assert step > 20, "the crashes reached the middle of the game"
            return
    raise AssertionError("the game never ended within 500 steps")


def test_a_rebuilt_mind_equals_the_one_that_lived() -> None:
    """Folding the log again gives the same state, hash for hash, whoever folds it."""
    server, board = run_virtually(play(Calm(), Calm()))
    for component in (player(RALLIES, board), wall()):
        minds = [Mind(component, "dc", lambda: 0) for _ in range(2)]  # type: ignore[arg-type,return-value]
        for mind in minds:
            for record in server.records(own_log("dc", component.author)):
                mind.remember(record)
        assert state_hash(minds[0].state) == state_hash(minds[1].state)
        assert minds[0].whole


def test_an_answer_larger_than_a_message_is_given() -> None:
    """The bus carries it in pieces: a list of fifteen thousand instances is no reason to refuse a question."""
    large = "x" * (3 * message_bytes_max)

    async def asked() -> str:
        server = FragileServer("dc", virtual_now)
        component = replace(wall(), queries={"large": lambda _state, _question, _now: large})
        task = asyncio.create_task(keep_alive(server, lambda bus: component, Calm()))
        await asyncio.sleep(1)  # virtual
        answer = await MemoryBus(server).query(ask("dc", WALL, "large"), b"", timeout_s=1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return unpack(answer, str)

    assert run_virtually(asked()) == large
