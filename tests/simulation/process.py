"""A component's process in a simulation: it can die at any await, be stopped and cut off, and is started again from
its log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from bus.port import Bus, BusClosed, Fenced, NoAnswer, OutcomeUnknown
from components.component import Component
from components.runtime import live
from eventstore.recorder import open_recorder
from tests.simulation.line import Crash, Weather, WeatheredBus
from tests.simulation.server import FragileServer
from tests.simulation.store import Disk

Ended = (Crash, BusClosed, Fenced, OutcomeUnknown, NoAnswer)
"""How processes end and are started again; whatever else is a bug."""


async def keep_alive(
    server: FragileServer,
    component: Callable[[Bus], Component[Any]],
    weather: Weather,
    *,
    pause_s: Callable[[], float] = lambda: 0.1,
    restarts_max: int = 1000,
    node: str = "sim",
    chance: Callable[[], float] = lambda: 0.5,
    ends: Counter[str] | None = None,
    planted: Callable[[Bus], Bus] = lambda bus: bus,
    disk: Disk | None = None,
    ended: tuple[type[Exception], ...] = Ended,
) -> None:
    """Run a component for ever, each time from its log alone; `component` builds it for a connection."""
    for instance in range(restarts_max):
        bus = WeatheredBus(server, weather)
        life = asyncio.get_running_loop().create_task(
            _live(component, bus, planted(bus), node, f"{node}-{instance}", chance, disk), context=weather.context()
        )
        try:
            await life
        except ended as end:
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                return  # it ended just as everything did
            if ends is not None:
                ends[type(end).__name__] += 1
            await asyncio.sleep(pause_s())
    raise AssertionError(f"{restarts_max} restarts")


async def _live(
    component: Callable[[Bus], Component[Any]],
    line: WeatheredBus,
    bus: Bus,
    node: str,
    instance: str,
    chance: Callable[[], float],
    disk: Disk | None,
) -> None:
    line.plug()
    try:
        await live(
            component(bus),
            bus,
            node=node,
            instance=instance,
            store="in memory" if disk else None,
            stop=asyncio.Event(),
            clock=line.weather.now,
            chance=chance,
            opened=disk.opened if disk else open_recorder,
        )
    finally:
        line.kill()
