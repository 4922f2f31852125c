"""A component's process in a simulation: it can die at any await, and is started again from its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Now, Position
from bus.port import Answerer, BusClosed, Fence, Message, Record
from components.component import Component
from components.runtime import live
from tests.simulation.clock import virtual_now


class Crash(Exception):
    """The process died here."""


Step = Callable[[str], None]
"""Told before and after everything a process waits for; raises Crash to end the process there."""


class CrashingBus:
    """A connection that tells `step` of everything that goes over it."""

    def __init__(self, bus: MemoryBus, step: Step) -> None:
        self.bus, self.step, self.cluster = bus, step, bus.cluster

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        self.step("before append")
        position = await self.bus.append(messages, fence)
        self.step("after append")
        return position

    async def follow(self, log: str, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        self.step("before follow")
        async with aclosing(self.bus.follow(log, after=after)) as groups:
            async for records in groups:
                self.step("before group")
                yield records
                self.step("after group")

    async def last(self, log: str) -> Record | None:
        self.step("before last")
        newest = await self.bus.last(log)
        self.step("after last")
        return newest

    async def first_since(self, at: Now) -> Position:
        return await self.bus.first_since(at)

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        self.step("before query")
        return await self.bus.query(subject, question, timeout_s=timeout_s)

    async def serve(self, subject: str, answerer: Answerer) -> None:
        self.step("before serve")
        await self.bus.serve(subject, answerer)

    async def close(self) -> None:
        await self.bus.close()


async def keep_alive(
    server: MemoryServer,
    component: Callable[[Any], Component[Any]],
    step: Step,
    *,
    restart_s: float = 0.1,
    restarts_max: int = 100,
) -> None:
    """Run a component for ever, each time from its log alone; `component` builds it for a connection."""
    for instance in range(restarts_max):
        bus = CrashingBus(MemoryBus(server), step)
        try:
            await live(
                component(bus),
                bus,
                node="sim",
                instance=str(instance),
                store=None,
                stop=asyncio.Event(),
                clock=virtual_now,
            )
        except (Crash, BusClosed):
            await bus.close()
            await asyncio.sleep(restart_s)
    raise AssertionError(f"{restarts_max} restarts")
