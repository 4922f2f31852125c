"""How long the event loop of a master has no turn while it offers everything to everybody: the real loop, on a bus in
memory.

Rule of this room: what is measured is how late a timer is; the bus is in the same loop, and takes its part of that.
"""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import replace

from bus import logs
from bus.events import FrameworkRevived, FrameworkSuppressed
from bus.memory import MemoryBus, MemoryServer
from bus.port import Record
from bus.subjects import CLUSTER, Author, Kind
from components import master
from components.garbage import looked_at_once
from components.master.state import MasterState
from components.runtime import live, system_clock
from ops.bench.crowd import Crowd
from ops.bench.figures import Figure

look_s = 0.001
patience_s = 120.0


def turns(agents: int, frameworks: int, rounds: int) -> list[Figure]:
    """Milliseconds: the longest time without a turn, and until everything is offered."""
    logs.configure(level="warning")
    crowd = Crowd(whole=True)
    *rest, last = crowd.frameworks(frameworks)
    for name in (*rest, last):
        crowd.say(Author(Kind.FRAMEWORK, name), FrameworkSuppressed(framework=name))
    crowd.agents(agents)
    for name in rest:
        crowd.fold(FrameworkRevived(framework=name))
    crowd.event(Author(Kind.FRAMEWORK, last), FrameworkRevived(framework=last))
    *log, told = crowd.take()
    with looked_at_once():  # as in a component's process
        gc.collect()
        took = [asyncio.run(_round(log, told, agents)) for _ in range(rounds)]
    return [
        Figure("  in the loop, most without a turn", "ms", [1000 * gap for gap, _ in took], "<= 50"),
        Figure("  in the loop, until everything is offered", "ms", [1000 * whole for _, whole in took]),
    ]


async def _round(log: list[Record], told: Record, agents: int) -> tuple[float, float]:
    server, stop, leads = MemoryServer(CLUSTER, system_clock), asyncio.Event(), asyncio.Event()
    for record in log:
        server.inject(record.subject, record.body)
    states: list[MasterState] = []
    made = master.component(master.MasterConfig())

    def start() -> MasterState:
        states.append(made.start())
        return states[-1]

    bus = MemoryBus(server)
    life = asyncio.create_task(
        live(replace(made, start=start), bus, node="n1", instance="i1", store=None, stop=stop, ready=leads.set)
    )
    await leads.wait()
    server.inject(told.subject, told.body)
    began = before = time.perf_counter()
    longest = 0.0
    async with asyncio.timeout(patience_s):
        while len(states[-1].offers) < agents:
            await asyncio.sleep(look_s)
            now = time.perf_counter()
            longest, before = max(longest, now - before - look_s), now
    stop.set()
    await life
    await bus.close()
    return longest, before - began
