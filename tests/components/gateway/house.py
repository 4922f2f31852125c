"""A whole datacenter in memory with a gateway in front: real minds, one honest machine, HTTP without a network.

async with house() as web:
    assert (await web.post("/v2/apps", json={"id": "/web", "cmd": "serve"})).status_code == 201
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from bus.events import Event, TaskReported
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import AgentId, Resources, TaskId, TaskState, second
from bus.subjects import CLUSTER, Author, Kind
from components import agent, executor, marathon, master, metronome
from components.agent import AgentConfig
from components.component import Ask, Component, See
from components.executor import ExecutorConfig
from components.executor.sights import HealthSeen, TaskEnded, TaskStarted
from components.executor.state import ExecutorState
from components.gateway import GatewayConfig
from components.gateway.web.serve import Gateway
from components.marathon import MarathonConfig
from components.master import MasterConfig
from components.master.hands import MasterHands
from components.metronome import MetronomeConfig
from components.runtime import live, system_clock

G_WEB = Author(Kind.CLIENT, "g-web")
patience_s = 20.0
pause_s = 0.01


class Machine:
    """Whatever it is told to run runs until it is killed; what is called `once` ends at once, `bad` with a failure."""

    def __init__(self) -> None:
        self.asks: Mapping[str, Ask] = {}
        self.ended: dict[TaskId, int | None] = {}
        self.checked: dict[TaskId, None] = {}
        """Those that have a health check are found healthy."""
        self._changed = asyncio.Event()

    async def run(self, state: ExecutorState, see: See) -> None:
        """Tell what became of the tasks."""
        told: set[tuple[TaskId, bool]] = set()
        while True:
            for task, status in list(self.ended.items()):
                if (task, False) not in told:
                    told.add((task, False))
                    await see(TaskStarted(task=task, pid=1))
                    if task in self.checked:
                        await see(HealthSeen(task=task, healthy=True))
                if status is not None and (task, True) not in told:
                    told.add((task, True))
                    await see(TaskEnded(task=task, wait_status=status))
            await self._changed.wait()
            self._changed.clear()

    def act(self, event: Event) -> None:
        """Start, or kill."""
        fact = event.fact
        if isinstance(fact, TaskReported) and fact.delivered is not None:
            shell = fact.delivered.task.command.shell or ""
            if fact.delivered.task.health is not None:
                self.checked[fact.status.task] = None
            self.ended[fact.status.task] = {"once": 0, "bad": 1 << 8}.get(shell)
        elif isinstance(fact, TaskReported) and fact.status.state is TaskState.KILLING:
            self.ended[fact.status.task] = 15
        self._changed.set()


def seats(bus: MemoryBus, machine: Machine, name: str, store: str | None) -> Component[Any]:
    """A component by name."""
    if name == "main":
        config = MasterConfig(allocation_interval_s=0.05)
        return master.component(config, hands=lambda: MasterHands(config, bus, store))
    if name == "marathon":
        return marathon.component(MarathonConfig(decline_s=0.2))
    if name == "metronome":
        return metronome.component(MetronomeConfig())
    if name == "a1":
        return agent.component(
            AgentConfig(
                id=AgentId("a1"),
                hostname="127.0.0.1",
                work="/a1",
                executor_argv=("true",),
                resources=Resources(cpu_milli=12_000, mem_mb=12_000, disk_mb=4096, ports=((31000, 31099),)),
            )
        )
    return executor.component(ExecutorConfig(agent=AgentId("a1"), work="/a1"), hands=lambda: machine)


EVERYBODY = ("main", "a1", "a1-cmd", "marathon", "metronome")


@dataclass
class Web:
    """One gateway of a datacenter, and HTTP to it."""

    server: MemoryServer
    http: httpx.AsyncClient
    gateway: Gateway
    machine: Machine
    lives: dict[str, asyncio.Task[None]]
    stack: AsyncExitStack = field(repr=False)
    store: str
    """Of the master."""

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.http, verb)

    async def until(self, look: Callable[[], Awaitable[Any]], what: str = "") -> Any:
        """The first true answer."""
        deadline = time.monotonic() + patience_s
        while not (found := await look()):
            for name, life in self.lives.items():
                assert not life.done() or life.cancelled(), f"{name} ended: {life.exception()!r}"
            assert time.monotonic() < deadline, f"never: {what or look}"
            await asyncio.sleep(pause_s)
        return found

    async def app(self, id_: str, **fields: Any) -> dict[str, Any]:
        """An app that was created and runs."""
        answer = await self.http.post("/v2/apps", json={"id": id_, "cmd": "serve"} | fields)
        assert answer.status_code == 201, answer.text
        return await self.until_running(id_, fields.get("instances", 1))

    async def until_running(self, id_: str, count: int) -> dict[str, Any]:
        """An app, once so many of its tasks run and nothing more is to be done."""

        async def look() -> dict[str, Any] | None:
            answer = await self.http.get(f"/v2/apps/{id_}")
            app: dict[str, Any] = answer.json().get("app", {})
            calm = app.get("tasksRunning") == count == app["instances"] and app["tasksStaged"] == 0
            return app if calm and not app["deployments"] else None

        found: dict[str, Any] = await self.until(look, f"{id_} runs {count}")
        return found

    async def end(self, name: str) -> None:
        """A component is gone."""
        self.lives[name].cancel()
        await asyncio.wait({self.lives[name]})

    def begin(self, name: str) -> None:
        """A component is there."""
        self.lives[name] = asyncio.create_task(_live(self.server, self.machine, name, self.store))


async def _live(server: MemoryServer, machine: Machine, name: str, path: str) -> None:
    bus, store = MemoryBus(server), path if name == "main" else None
    try:
        component = seats(bus, machine, name, store)
        instance = f"{name}-{time.monotonic_ns()}"
        await live(component, bus, node="n1", instance=instance, store=store, stop=asyncio.Event())
    finally:
        await bus.close()


@asynccontextmanager
async def house(*, who: tuple[str, ...] = EVERYBODY, **config: Any) -> AsyncIterator[Web]:
    """Everybody, until the end."""
    server = MemoryServer(CLUSTER, system_clock)
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(TemporaryDirectory())
        web = Web(server, httpx.AsyncClient(), None, Machine(), {}, stack, f"{directory}/master.db")  # type: ignore[arg-type]
        for name in who:
            web.begin(name)
        web.gateway, web.http = await at_gateway(stack, server, **config)
        try:
            if {"marathon", "metronome"} <= set(who) and "users" not in config:
                await web.until(_admitted(web), "everybody is admitted")
            yield web
        finally:
            for life in web.lives.values():
                life.cancel()
            await asyncio.gather(*web.lives.values(), return_exceptions=True)


def _admitted(web: Web) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await web.http.get("/v2/leader")).status_code == (await web.http.get("/leader")).status_code == 200

    return look


@asynccontextmanager
async def gateway_on(server: MemoryServer, me: Author = G_WEB, **config: Any) -> AsyncIterator[Gateway]:
    """A gateway that listens on a port of its own."""
    bus, stop, ready = MemoryBus(server), asyncio.Event(), asyncio.Event()
    served = Gateway(GatewayConfig(**config), bus, me, system_clock, node="n1", instance=me.id)
    running = asyncio.create_task(served.run(stop, ready.set))
    try:
        await asyncio.wait({running, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield served
    finally:
        stop.set()
        await running
        await bus.close()


async def at_gateway(
    stack: AsyncExitStack, server: MemoryServer, me: Author = G_WEB, **config: Any
) -> tuple[Gateway, httpx.AsyncClient]:
    """A gateway, and a client of it."""
    served = await stack.enter_async_context(gateway_on(server, me, **config))
    client = httpx.AsyncClient(base_url=f"http://{served.places['both']}", timeout=30)
    return served, await stack.enter_async_context(client)


def micros(seconds: float) -> int:
    """As the bus counts time."""
    return round(seconds * second)
