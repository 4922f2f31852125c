"""A service made large at once, made larger, and stopped: as its client hears it.

Rule of this room: it has as many instances as asked for before the clock stops, and none after the last kill.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from uuid import uuid4

from bus.documents import AppSpec
from bus.events import Event
from bus.nouns import AppId, TaskState
from bus.services import AppRequested, AppUpdated, DeploymentStarted, RemovalRequested, ScaleRequested
from cli.session import MARATHON
from ops.bench.client import Client
from ops.bench.figures import Figure

patience_s = 300.0


async def service(client: Client, count: int, rounds: int) -> list[Figure]:
    """Seconds to `count` instances, from there to twice as many, and until all are stopped."""
    app = AppId(f"/bench-{uuid4().hex[:8]}")
    spec = AppSpec(id=app, cmd="exec sleep 1000", cpus=0.01, mem=32, instances=0, ports=())
    await client.say(MARATHON, AppRequested(app=spec))
    await client.hear("app specified", lambda event: isinstance(event.fact, DeploymentStarted))
    took = [await _round(client, app, count) for _ in range(rounds)]
    await client.say(MARATHON, RemovalRequested(app=app))
    await client.hear("app removed", is_removal)
    up, doubled, stopped = (list(each) for each in zip(*took, strict=True))
    return [
        Figure(f"{count} instances up", "s", up, "<= 1"),
        Figure(f"{count} to {2 * count} instances", "s", doubled, "<= 1"),
        Figure(f"{2 * count} instances stopped", "s", stopped, "<= 1.5"),
    ]


async def _round(client: Client, app: AppId, count: int) -> tuple[float, float, float]:
    async with asyncio.timeout(patience_s):
        up = await _scale(client, app, count, all_run(count))
        doubled = await _scale(client, app, 2 * count, all_run(2 * count))
        stopped = await _scale(client, app, 0, all_killed(2 * count))
    return up, doubled, stopped


async def _scale(client: Client, app: AppId, instances: int, done: Callable[[Event], bool]) -> float:
    began = time.perf_counter()
    await client.say(MARATHON, ScaleRequested(app=app, instances=instances))
    _, heard_at = await client.hear(f"{app} has {instances} instances", done)
    return heard_at - began


def is_removal(event: Event) -> bool:
    """The answer to the removal of an app."""
    return isinstance(event.fact, DeploymentStarted) and event.fact.removed is not None


def all_run(count: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event.fact, AppUpdated) and event.fact.running == count


def all_killed(count: int) -> Callable[[Event], bool]:
    killed: set[str] = set()

    def wanted(event: Event) -> bool:
        if isinstance(event.fact, AppUpdated) and event.fact.status.state is TaskState.KILLED:
            killed.add(event.fact.status.task)
        return len(killed) == count

    return wanted
