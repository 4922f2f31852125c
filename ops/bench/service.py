"""A service made large at once, and small again: the log of Marathon grows with it.

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
from ops.bench.figures import Figure, one

patience_s = 300.0


async def service(client: Client, count: int) -> list[Figure]:
    """Instances a second, coming up and going down."""
    app = AppId(f"/bench-{uuid4().hex[:8]}")
    spec = AppSpec(id=app, cmd="exec sleep 1000", cpus=0.01, mem=32, instances=0, ports=())
    await client.say(MARATHON, AppRequested(app=spec))
    await client.hear("app specified", lambda event: isinstance(event.fact, DeploymentStarted))
    async with asyncio.timeout(patience_s):
        up_s = await _scale(client, app, count, _all_run(count))
        down_s = await _scale(client, app, 0, _all_killed(count))
    await client.say(MARATHON, RemovalRequested(app=app))
    return [
        one(f"{count} instances at once", "tasks/s", count / up_s),
        one(f"{count} instances killed", "tasks/s", count / down_s),
    ]


async def _scale(client: Client, app: AppId, instances: int, done: Callable[[Event], bool]) -> float:
    began = time.perf_counter()
    await client.say(MARATHON, ScaleRequested(app=app, instances=instances))
    _, heard_at = await client.hear(f"{app} has {instances} instances", done)
    return heard_at - began


def _all_run(count: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event.fact, AppUpdated) and event.fact.running == count


def _all_killed(count: int) -> Callable[[Event], bool]:
    killed: set[str] = set()

    def wanted(event: Event) -> bool:
        if isinstance(event.fact, AppUpdated) and event.fact.status.state is TaskState.KILLED:
            killed.add(event.fact.status.task)
        return len(killed) == count

    return wanted
