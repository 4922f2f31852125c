"""The control plane alone: a real master and a real bus, simulated agents whose tasks run at once, one scheduler.

Rule of this room: every task is heard RUNNING and then FINISHED, and after each round the master's books are as before
it: no agent has anything in use or on offer.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bus import queries
from bus.jetstream import JetStreamBus, connect
from bus.keyring import PERSON, Wanted
from bus.nouns import Position, total
from bus.permits import Role
from bus.queries import LEADER
from bus.roll import roll_call
from bus.subjects import ask, everything
from cli.session import THE_MASTER, credentials_file, read_credentials
from ops.bench.crowd import EACH_AGENT
from ops.bench.failover import Process
from ops.bench.figures import Figure, one
from ops.bench.scheduler import Scheduler
from ops.bench.servers import servers
from ops.bench.simulated import FINISH, REGISTERED
from ops.bench.site import DEFAULT, Usage, check_same, usage_of

SCHEDULER = "bench"
AGENTS_LOG = "agents.log"
ready_s = 60.0
registered_s = 600.0
query_s = 30.0
lone_tasks = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Who takes part."""

    bus: JetStreamBus
    """The person's connection, who looks at the books."""
    scheduler: Scheduler
    pids: dict[str, int]
    agents: IO[str]
    """Where the agents are told to end their tasks."""
    registered_s: float

    def usage(self) -> dict[str, Usage]:
        """What each process takes."""
        found = {name: usage_of(pid) for name, pid in self.pids.items()}
        return {name: usage for name, usage in found.items() if usage is not None}


async def control(data: Path, agents: int, each: int, rounds: int, sync: str = DEFAULT, idle: int = 0) -> list[Figure]:
    """Tasks a second from the first accept to the last RUNNING heard, with so many agents and tasks on each; beside the
    scheduler are `idle` frameworks that want nothing."""
    count = agents * each
    async with _plane(data, agents, sync, idle) as plane:
        await _check_books(plane.bus, agents)
        before, first = plane.usage(), await _end(plane.bus)
        told = [await _round(plane, agents, each) for _ in range(rounds)]
        after, events = plane.usage(), await _end(plane.bus) - first
        check_same(before, after)
        lone = [await _round(plane, agents, 1, on=1) for _ in range(lone_tasks)]
    who, done = f"{agents} agents, {count} tasks{'' if sync == DEFAULT else f', sync_interval {sync}'}", count * rounds
    goal = ">= 2,000" if sync == DEFAULT else ""
    used = {name: 1000 * (usage.cpu_s - before[name].cpu_s) / done for name, usage in after.items()}
    return [
        one(f"{agents} agents register", "s", plane.registered_s),
        Figure(f"{who}: accepted -> RUNNING", "tasks/s", [count / one_.ran_s for one_ in told], goal),
        Figure(f"  {who}: one of them", "ms", [took for one_ in told for took in one_.took_ms]),
        Figure("  RUNNING -> FINISHED", "tasks/s", [count / one_.ended_s for one_ in told]),
        Figure(f"  {who}: one task alone, accepted -> RUNNING", "ms", [took for one_ in lone for took in one_.took_ms]),
        *(one(f"  CPU per task, {name}", "ms", spent) for name, spent in used.items()),
        one("  CPU per task, all", "ms", sum(used.values())),
        one("  events per task", "", events / done),
        one(f"  memory of the master, {agents} agents", "MB", after["master"].rss_mb),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    ran_s: float
    took_ms: list[float]
    ended_s: float


async def _round(plane: Plane, agents: int, each: int, on: int | None = None) -> _Round:
    """So many tasks on each agent, or only on so many of them."""
    ran_s, took_ms = await plane.scheduler.launch(on or agents, each)
    began = time.perf_counter()
    plane.agents.write(f"{FINISH}\n")
    plane.agents.flush()
    await plane.scheduler.finished()
    ended_s = time.perf_counter() - began
    await _check_books(plane.bus, agents)
    return _Round(ran_s=ran_s, took_ms=took_ms, ended_s=ended_s)


async def _check_books(bus: JetStreamBus, agents: int) -> None:
    """Everything is free again: what the agents have is neither in use nor on offer."""
    async with asyncio.timeout(ready_s):
        while True:
            answer = await bus.query(ask(bus.cluster, THE_MASTER, "agents"), b"", timeout_s=query_s)
            rows = queries.unpack(answer, list[queries.AgentRow])
            if all(row.used.empty and row.offered.empty and row.tasks == 0 for row in rows):
                break
            await asyncio.sleep(0.05)
    assert [row.state for row in rows] == ["ACTIVE"] * agents, f"{len(rows)} agents of {agents}, or some are lost"
    assert total(row.total for row in rows).cpu_milli == agents * EACH_AGENT.cpu_milli


async def _end(bus: JetStreamBus) -> Position:
    newest = await bus.last(everything(bus.cluster))
    assert newest is not None, "somebody has registered"
    return newest.position


@asynccontextmanager
async def _plane(data: Path, agents: int, sync: str, idle: int) -> AsyncIterator[Plane]:
    (data / "master").mkdir(parents=True)
    master = Process(data, "master", "master", "--node", "n1", "--store", str(data / "master" / "events.db"))
    async with servers(data, 1, sync) as server, AsyncExitStack() as stack:
        server.keyring.keep(_identities(), server.urls)
        stack.callback(master.kill)
        master.start()
        bus = await connect(read_credentials(credentials_file(str(data))), name="bench")
        stack.push_async_callback(bus.close)
        await _until_led(bus, master)
        crowd, registered_s = await stack.enter_async_context(_simulated(data, agents, idle))
        scheduling = await connect(read_credentials(data / "keys" / "scheduler.json"), name="bench-scheduler")
        stack.push_async_callback(scheduling.close)
        assert crowd.stdin is not None
        assert master.started is not None
        yield Plane(
            bus=bus,
            scheduler=await stack.enter_async_context(Scheduler.on(scheduling)),
            pids={
                "master": master.started.pid,
                "bus": server.pids[0],
                "simulated agents": crowd.pid,
                "scheduler": os.getpid(),
            },
            agents=crowd.stdin,
            registered_s=registered_s,
        )


def _identities() -> Iterator[Wanted]:
    yield Wanted("master.json", Role.MASTER, "m-n1")
    yield Wanted("scheduler.json", Role.FRAMEWORK, SCHEDULER)
    yield Wanted(PERSON, Role.ADMIN, "u-bench")


async def _until_led(bus: JetStreamBus, master: Process) -> None:
    async with asyncio.timeout(ready_s):
        while [each.standing for each in await roll_call(bus, THE_MASTER)] != [LEADER]:
            assert master.started is not None
            assert master.started.poll() is None, f"the master ended: read {master.log}"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def _simulated(data: Path, agents: int, idle: int) -> AsyncIterator[tuple[subprocess.Popen[str], float]]:
    """The process of all agents, and how long they took until every one was admitted."""
    began = time.perf_counter()
    process = _start_agents(data, agents, idle)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(registered_s):
            line = await asyncio.to_thread(process.stdout.readline)
        assert line.strip() == REGISTERED, f"the agents ended: read {data / AGENTS_LOG}"
        yield process, time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def _start_agents(data: Path, agents: int, idle: int) -> subprocess.Popen[str]:
    root = str(Path(__file__).parent.parent.parent)
    with (data / AGENTS_LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "ops.bench.simulated", str(data), str(agents), str(idle)],
            env=os.environ | {"PYTHONPATH": root},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
