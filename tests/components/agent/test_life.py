"""A whole agent under the runtime: a bus in memory, a real process for its executor, a real directory for its work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from bus import codec
from bus.events import AgentAdmitted, AgentRegistered, Event, Fact, SandboxCollected, TaskDelivered, TaskReported
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import AgentId, Position, TaskId, TaskState
from bus.port import Fence, Message
from bus.queries import LogPiece, LogQuestion, QueryRefused, Standing, Summary, TaskRow, TasksQuestion, pack, unpack
from bus.subjects import CLUSTER, Author, ask, own_log, ping
from components.agent import component
from components.agent.hands import AgentHands
from components.runtime import live
from tests.components.agent.play import EIGHT, EXECUTOR, MASTER, clock, config, launched, pong, status, wait_until

pytestmark = pytest.mark.timeout(30)
R = TypeVar("R")
A1 = config().author


class World:
    """A stream on which the test speaks for everybody but the agent."""

    def __init__(self, work: Path, **given: float) -> None:
        self.work, self.given = work, given
        self.server = MemoryServer(CLUSTER, clock)
        self.mine = MemoryBus(self.server)
        self.numbers: dict[Author, int] = {}

    async def says(self, by: Author, fact: Fact) -> None:
        """Somebody says something to the agent."""
        n = self.numbers[by] = self.numbers.get(by, 0) + 1
        event = Event(by=by, to="a1", fact=fact, at=clock(), n=n, epoch=1)
        log = own_log(CLUSTER, by)
        fence = Fence(log, self.server.newest(log))
        await self.mine.append([Message(codec.subject(CLUSTER, event), codec.encode(event))], fence)

    def said(self) -> list[Event]:
        """Everything the agent said."""
        records = self.server.records(own_log(CLUSTER, A1))
        return [codec.decode(record.subject, record.body, record.position) for record in records]

    async def wait_said(self, count: int) -> list[Event]:
        """Everything the agent said, once it is so much."""
        await wait_until(lambda: len(self.said()) >= count)
        return self.said()

    async def ask(self, query: str, question: object, shape: type[R]) -> R:
        answer = await self.mine.query(ask(CLUSTER, A1, query), pack(question), timeout_s=2)
        return unpack(answer, shape)

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """The agent's process, from its start to its sudden end."""
        bus = MemoryBus(self.server)
        told = config(work=str(self.work), executor_argv=("sleep", "1000"), restart_first_s=0.01, **self.given)
        living = asyncio.create_task(
            live(
                component(told, lambda: AgentHands(told, bus)),
                bus,
                node="n1",
                instance="i1",
                store=None,
                stop=asyncio.Event(),
                clock=clock,
            )
        )
        try:
            yield
        finally:
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living
            await bus.close()

    @property
    def executor(self) -> int:
        """The pid of the executor."""
        path = self.work / "executor.pid"
        return int(json.loads(path.read_text())["pid"]) if path.exists() else 0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    if made.executor:
        with suppress(ProcessLookupError):
            os.kill(made.executor, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(made.executor, 0)


async def test_an_agent_lives(world: World):
    """It registers, starts an executor, hands it a task, carries its reports, and answers questions."""
    async with world.agent():
        started, registered = await world.wait_said(2)
        assert [started.type, registered.type] == ["agent.started", "agent.registered"]
        await world.says(MASTER, AgentAdmitted(agent=AgentId("a1"), hostname="n1.example", resources=EIGHT))
        await world.says(MASTER, launched("t1"))
        delivered = (await world.wait_said(4))[3]
        assert isinstance(delivered.fact, TaskDelivered)
        assert (delivered.to, delivered.fact.sandbox) == ("a1-cmd", f"{world.work}/sandboxes/t1")
        await world.says(EXECUTOR, TaskReported(status=status("t1", TaskState.STARTING)))
        await world.says(EXECUTOR, TaskReported(status=status("t1", TaskState.RUNNING)))
        assert [event.to for event in await world.wait_said(6)][4:] == ["main", "main"]
        rows = await world.ask("tasks", TasksQuestion(), list[TaskRow])
        assert [(row.task, row.status.state) for row in rows] == [("t1", "TASK_RUNNING")]
        assert (await world.ask("standing", None, Standing)).admitted
        os.makedirs(delivered.fact.sandbox)
        (Path(delivered.fact.sandbox) / "stdout").write_text("hello\n")
        piece = await world.ask("log", LogQuestion(task=TaskId("t1")), LogPiece)
        assert (piece.data, piece.ended) == (b"hello\n", False)
        await wait_until(lambda: world.executor > 0)


async def test_a_killed_agent_goes_on_where_it_was(world: World):
    """What was said to it meanwhile is heard once; the executor is the same; the state is that of its log."""
    async with world.agent():
        await world.says(MASTER, launched("t1"))
        await world.wait_said(3)
        await wait_until(lambda: world.executor > 0)
        before = await world.ask("summary", None, Summary)
    pid = world.executor
    await world.says(MASTER, launched("t2"))
    await world.says(EXECUTOR, TaskReported(status=status("t1", TaskState.RUNNING)))
    async with world.agent():
        said = await world.wait_said(before.n + 4)
        after = await world.ask("summary", None, Summary)
        assert sorted(event.type for event in said[before.n :]) == [
            "agent.registered",
            "agent.started",
            "task.delivered",
            "task.reported",
        ]
        assert (after.epoch, after.n) == (before.epoch + 1, before.n + 4)
    os.kill(pid, 0)
    assert world.executor == pid


async def test_an_ended_task_is_collected_from_disk(tmp_path: Path, world: World):
    """Its time over, its files go, and its log is refused with the reason."""
    world.given = {"sandbox_gc_s": 0.05}
    async with world.agent():
        await world.says(MASTER, launched("t1"))
        await world.wait_said(3)
        sandbox = tmp_path / "sandboxes" / "t1"
        sandbox.mkdir()
        (sandbox / "stdout").write_text("hello\n")
        await world.says(EXECUTOR, TaskReported(status=status("t1", TaskState.FINISHED)))
        reported, collected = (await world.wait_said(5))[3:]
        assert collected.fact == SandboxCollected(task=TaskId("t1"))
        assert collected.at - reported.at >= 50_000
        await wait_until(lambda: not sandbox.exists())
        with pytest.raises(QueryRefused, match="the sandbox of task t1 was collected"):
            await world.ask("log", LogQuestion(task=TaskId("t1")), LogPiece)


async def test_detected_resources_are_registered(tmp_path: Path):
    """An agent that was told nothing shares out what its machine has."""
    bus = MemoryBus(MemoryServer(CLUSTER, clock))
    told = config(work=str(tmp_path), resources=None)

    await bus.serve(ping(CLUSTER, told.executor_author), pong)
    stop = asyncio.Event()
    agent = component(told, lambda: AgentHands(told, bus))
    living = asyncio.create_task(live(agent, bus, node="n", instance="i", store=None, stop=stop, clock=clock))
    await wait_until(lambda: len(bus.server.records()) == 2)
    record = bus.server.records()[1]
    registered = codec.decode(record.subject, record.body, Position(2)).fact
    assert isinstance(registered, AgentRegistered)
    assert registered.resources.cpu_milli == 1000 * len(os.sched_getaffinity(0))
    stop.set()
    await living
