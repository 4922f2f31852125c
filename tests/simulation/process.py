"""A component's process in a simulation: it can die at any await, and is started again from its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol

from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Now, Position
from bus.port import Answerer, Bus, BusClosed, Extent, Fence, Fenced, Message, OutcomeUnknown, Record
from components.component import Component
from components.runtime import live
from tests.simulation.clock import virtual_now


class Crash(Exception):
    """The process died here."""


class Weather(Protocol):
    """What befalls one process at everything it waits for."""

    async def at(self, where: str) -> None:
        """Wait as long as this takes today; raises Crash where the process dies."""

    def lost(self) -> str | None:
        """What becomes of one append: None (nothing), 'request', 'answer', 'late', or as a planted bug 'lie'."""


class Calm:
    """Nothing ever happens."""

    async def at(self, where: str) -> None:
        """Go on at once."""

    def lost(self) -> str | None:
        return None


class WeatheredBus:
    """A connection that is exposed to the weather."""

    def __init__(self, bus: MemoryBus, weather: Weather) -> None:
        self.bus, self.weather, self.cluster = bus, weather, bus.cluster
        self._late: set[asyncio.Task[None]] = set()

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        await self.weather.at("before append")
        lost = self.weather.lost()
        if lost == "request":
            raise OutcomeUnknown("lost on the way to the server")
        if lost == "lie":
            return Position((fence.last if fence else 0) + len(messages))
        if lost == "late":
            task = asyncio.get_running_loop().create_task(self._land(messages, fence))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            raise OutcomeUnknown("still on the way to the server")
        position = await self.bus.append(messages, fence)
        if lost == "answer":
            raise OutcomeUnknown("lost on the way back")
        await self.weather.at("after append")
        return position

    async def _land(self, messages: Sequence[Message], fence: Fence | None) -> None:
        await asyncio.sleep(0.4)  # virtual: after the writer has tried again
        with suppress(Fenced, BusClosed):
            await self.bus.append(messages, fence)

    async def follow(self, log: str, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        await self.weather.at("before follow")
        async with aclosing(self.bus.follow(log, after=after)) as groups:
            async for records in groups:
                await self.weather.at("before group")
                yield records
                await self.weather.at("after group")

    async def last(self, log: str) -> Record | None:
        await self.weather.at("before last")
        newest = await self.bus.last(log)
        await self.weather.at("after last")
        return newest

    async def first_since(self, at: Now) -> Position:
        return await self.bus.first_since(at)

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        await self.weather.at("before query")
        return await self.bus.query(subject, question, timeout_s=timeout_s)

    async def roll(self, subject: str, question: bytes, *, wait_s: float) -> Sequence[bytes]:
        await self.weather.at("before roll")
        return await self.bus.roll(subject, question, wait_s=wait_s)

    async def extent(self) -> Extent:
        await self.weather.at("before extent")
        return await self.bus.extent()

    async def trim(self, first: Position) -> None:
        await self.bus.trim(first)

    async def serve(self, subject: str, answerer: Answerer) -> None:
        await self.weather.at("before serve")
        await self.bus.serve(subject, answerer)

    async def close(self) -> None:
        await self.bus.close()


async def keep_alive(
    server: MemoryServer,
    component: Callable[[Bus], Component[Any]],
    weather: Weather,
    *,
    pause_s: Callable[[], float] = lambda: 0.1,
    restarts_max: int = 1000,
    node: str = "sim",
    chance: Callable[[], float] = lambda: 0.5,
) -> None:
    """Run a component for ever, each time from its log alone; `component` builds it for a connection."""
    for instance in range(restarts_max):
        bus = WeatheredBus(MemoryBus(server), weather)
        try:
            await live(
                component(bus),
                bus,
                node=node,
                instance=f"{node}-{instance}",
                store=None,
                stop=asyncio.Event(),
                clock=virtual_now,
                chance=chance,
            )
        except (Crash, BusClosed):
            await bus.close()
            await asyncio.sleep(pause_s())
    raise AssertionError(f"{restarts_max} restarts")
