"""`python -m ops.bench.simulated DATA AGENTS FRAMEWORKS`: many agents in one process, whose tasks run at once and end
when told; and before them frameworks that register and want nothing.

Agents register, answer the master's pings, and answer each launch with RUNNING. A line on standard input makes all
their tasks FINISHED. All share one connection, an administrator's: the bus lets nobody else speak for many. Each has
its own log, fence and chain, and appends for itself.
Rule of this room: what it says is said by agents; what it is told is read from the master's log.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

from bus import codec, queries
from bus.authority import read_authority
from bus.credentials import read_credentials
from bus.events import (
    AgentAdmitted,
    AgentRegistered,
    AgentStarted,
    FrameworkAdmitted,
    FrameworkRegistered,
    FrameworkSuppressed,
    LeaderElected,
    RegistrationNoted,
    TaskLaunched,
    TaskReported,
)
from bus.jetstream import JetStreamBus, connect
from bus.keyring import AUTHORITY, PERSON, administrator_of
from bus.nouns import MASTER, NOBODY, FrameworkId, Position, TaskId, TaskState
from bus.port import Record
from bus.subjects import Author, Kind, own_log, ping
from ops.bench.crowd import EACH_AGENT, status_of
from ops.bench.speaking import Speaker

REGISTERED, FINISH = "registered", "finish"
HEARD = frozenset({AgentAdmitted.type, FrameworkAdmitted.type, TaskLaunched.type})


class Agents:
    """So many agents, by name."""

    def __init__(self, bus: JetStreamBus, agents: int, frameworks: int) -> None:
        self.bus = bus
        self._agents = {name: Speaker(bus, Author(Kind.AGENT, name), AgentStarted) for name in _names("a", agents)}
        self._idle = {
            name: Speaker(bus, Author(Kind.FRAMEWORK, name), LeaderElected) for name in _names("idle", frameworks)
        }
        self._running: list[tuple[Speaker, TaskId]] = []
        self._awaited: set[str] = set()
        """Who is not yet admitted."""
        self._all_admitted = asyncio.Event()

    async def run(self) -> None:
        """Register, then answer, for ever."""
        newest = await self.bus.last(own_log(self.bus.cluster, _MASTER))
        for kind in (Kind.AGENT, Kind.FRAMEWORK):
            await self.bus.serve(ping(self.bus.cluster, Author(kind, "*")), _pong)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(newest.position if newest else Position(0)))
            for name, framework in self._idle.items():
                framework.say(FrameworkRegistered(name=name))
                framework.say(FrameworkSuppressed(framework=FrameworkId(name)))
            await self._admitted(group, self._idle)
            for name, agent in self._agents.items():
                agent.say(AgentRegistered(hostname=name, resources=EACH_AGENT))
            await self._admitted(group, self._agents)
            print(REGISTERED, flush=True)
            group.create_task(self._end_tasks())

    async def _admitted(self, group: asyncio.TaskGroup, speakers: Mapping[str, Speaker]) -> None:
        """Let them speak, and wait until the master has admitted all."""
        self._awaited = set(speakers)
        self._all_admitted.clear()
        for speaker in speakers.values():
            group.create_task(speaker.write())
        if self._awaited:
            await self._all_admitted.wait()

    async def _hear(self, after: Position) -> None:
        async with aclosing(self.bus.follow(own_log(self.bus.cluster, _MASTER), after=after)) as groups:
            async for records in groups:
                for record in records:
                    self._take(record)

    def _take(self, record: Record) -> None:
        _, _, _, noun, participle, to = record.subject.split(".")
        agent = self._agents.get(to) or self._idle.get(to)
        if agent is None or f"{noun}.{participle}" not in HEARD:
            return
        match codec.decode(record.subject, record.body, record.position).fact:
            case AgentAdmitted():
                agent.say(RegistrationNoted(), NOBODY, record.position)
                self._is_admitted(to)
            case FrameworkAdmitted():
                self._is_admitted(to)
            case TaskLaunched(task=info):
                agent.say(TaskReported(status=status_of(info.task, TaskState.RUNNING)), cause=record.position)
                self._running.append((agent, info.task))

    def _is_admitted(self, name: str) -> None:
        self._awaited.discard(name)
        if not self._awaited:
            self._all_admitted.set()

    async def _end_tasks(self) -> None:
        told = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
        while await told.readline():
            ending, self._running = self._running, []
            for agent, task in ending:
                agent.say(TaskReported(status=status_of(task, TaskState.FINISHED)))


_MASTER = Author(Kind.MASTER, MASTER)


def _names(first: str, count: int) -> list[str]:
    return [f"{first}{number}" for number in range(1, count + 1)]


async def _pong(_question: bytes) -> bytes:
    return queries.pack(1)


async def _main(data: Path, agents: int, frameworks: int) -> None:
    authority = read_authority(data / "keys" / AUTHORITY)
    assert authority is not None, f"no cluster was founded in {data}"
    bus = await connect(administrator_of(authority, read_credentials(data / PERSON)), name="bench-agents")
    try:
        await Agents(bus, agents, frameworks).run()
    finally:
        await bus.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
