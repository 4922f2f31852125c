"""What Busbar takes: memory of a master with many tasks, of an agent and an executor with a hundred, CPU while idle.

Rule of this room: a process is measured from outside, in /proc.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from bus.documents import AppSpec
from bus.nouns import AppId
from bus.services import AppRequested, AppUpdated
from cli.session import MARATHON
from ops.bench.burst import memory
from ops.bench.client import client
from ops.bench.crowd import busy
from ops.bench.figures import Figure, one
from ops.bench.holding import held
from ops.bench.rebuild import stored
from ops.bench.site import Site, check_same, running

HOSTED = ("a1", "a1-cmd", "a1.launcher")
"""Who takes part in hosting tasks on one agent."""


def footprint(directory: Path, live_tasks: int, instances: int, idle_s: int) -> Iterator[Figure]:
    """Megabytes, and percent of one core."""
    directory.mkdir(parents=True)
    found = held(directory / "master.db", busy(live_tasks))
    assert found["tasks"] == live_tasks, found
    yield one(f"memory of a master, {live_tasks} live tasks", "MB", found["rss_mb"], "<= 350")
    yield one(f"  CPU to fold its {found['events']:.0f} events", "s", found["cpu_s"])
    with running(directory / "idle") as site:
        yield from _idle(site, idle_s)
    with running(directory / "hosting", agents=1) as site:
        yield from asyncio.run(_hosting(site, instances))


def _idle(site: Site, idle_s: int) -> Iterator[Figure]:
    asyncio.run(stored(site))  # then it has started, and nothing goes on
    before = site.usage()
    yield from memory(before, "idle")
    time.sleep(idle_s)  # what is measured is this time
    after = site.usage()
    check_same(before, after)
    used = {name: 100 * (usage.cpu_s - before[name].cpu_s) / idle_s for name, usage in after.items()}
    yield one(f"CPU of an idle datacenter, {idle_s} s", "% of a core", sum(used.values()), "<= 3")
    for name, percent in used.items():
        yield one(f"  CPU idle, {name}", "%", percent)


async def _hosting(site: Site, instances: int) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        app = AppSpec(
            id=AppId(f"/bench-{uuid4().hex[:8]}"),
            cmd="exec sleep 1000",
            cpus=0.01,
            mem=32,
            instances=instances,
            ports=(),
        )
        await found.say(MARATHON, AppRequested(app=app))
        await found.hear(
            f"{instances} instances",
            lambda event: isinstance(event.fact, AppUpdated) and event.fact.running == instances,
        )
        usage = site.usage()
    return [one(f"memory with {instances} tasks, {name}", "MB", usage[name].rss_mb, "<= 60") for name in HOSTED]
