"""Every measure under its name: where it is made, and of how much.

Rule of this room: each is independent of the others and leaves nothing running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from ops.bench.allocation import allocation
from ops.bench.appending import appending
from ops.bench.burst import burst, memory
from ops.bench.client import client
from ops.bench.commands import own_start, tail
from ops.bench.control import control
from ops.bench.failover import failover
from ops.bench.figures import Figure
from ops.bench.footprint import footprint
from ops.bench.latency import latency
from ops.bench.past import past
from ops.bench.rebuild import rebuild, stored
from ops.bench.service import service
from ops.bench.site import DEFAULT, Site, running
from ops.bench.sizes import Size
from ops.bench.sustained import crowded, paced, sustained
from ops.bench.turns import turns

log_rate = 16_000
"""Events a second of which a store must not fall behind: a little more than the goal, for pacing is always late."""


def start(directory: Path, size: Size) -> Iterator[Figure]:
    """`busbar up` until ready, and `down`."""
    took = []
    for number in range(size.starts):
        site = Site(directory / f"start-{number}")
        took.append((site.up(), site.down()))
    yield Figure("busbar up until ready", "s", [up for up, _ in took], "<= 2")
    yield Figure("busbar down", "s", [down for _, down in took])


def tasks(directory: Path, size: Size) -> Iterator[Figure]:
    """A single task on an idle datacenter, each append on the disk before its answer, and not; what idle processes
    take."""
    for sync in (DEFAULT, "2m"):
        with running(directory / f"tasks-{sync}", sync=sync) as site:
            if sync == DEFAULT:
                yield from memory(site.usage(), "idle")
            yield from asyncio.run(_tasks(site, size))


async def _tasks(site: Site, size: Size) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        return await latency(found, size.tasks, site.sync)


def bursts(directory: Path, size: Size) -> Iterator[Figure]:
    """Many tasks at once, and what processes take after it; then the logs it left, folded again."""
    with running(directory / "burst") as site:
        for count in size.runs:
            rounds = [asyncio.run(_burst(site, count)) for _ in range(size.bursts)]
            for same in zip(*rounds, strict=True):
                yield same[0]._replace(values=[figure.values[0] for figure in same])
        asyncio.run(_service(site, size.instances, 1))  # so that there is a log of Marathon's to fold
        yield from memory(site.usage(), "after bursts")
        asyncio.run(stored(site))
    yield from rebuild(directory / "burst", size.rounds)


async def _burst(site: Site, count: int) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        return await burst(site, found, bus, count)


def services(directory: Path, size: Size) -> Iterator[Figure]:
    """A service of many instances: up, twice as many, all stopped."""
    with running(directory / "service") as site:
        yield from asyncio.run(_service(site, size.instances, size.services))


async def _service(site: Site, instances: int, rounds: int) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        return await service(found, instances, rounds)


def appends(directory: Path, size: Size) -> Iterator[Figure]:
    """The bus alone."""
    yield from asyncio.run(appending(directory / "appends", size.rounds, size.appends))


def commands(directory: Path, size: Size) -> Iterator[Figure]:
    """The command line."""
    with running(directory / "cli") as site:
        yield from own_start(site, size.commands)
        yield from asyncio.run(tail(site, size.lines))


def looks_back(directory: Path, size: Size) -> Iterator[Figure]:
    """A long history: a master's start on top of it, and questions about the past."""
    yield from past(directory / "past", size.history, size.history_tasks, size.questions)


def fails_over(directory: Path, size: Size) -> Iterator[Figure]:
    """The leading master is killed, again and again, on top of a long history."""
    yield from failover(directory / "failover", size.history, size.history_tasks, size.failovers)


def controls(directory: Path, size: Size) -> Iterator[Figure]:
    """The control plane alone: simulated agents on a real bus, and a real master."""
    for agents, each, sync in size.crowds:
        where = directory / f"control-{agents}-{sync}"
        yield from asyncio.run(control(where, agents, each, size.crowd_rounds, sync))


def logs(directory: Path, size: Size) -> Iterator[Figure]:
    """The log without a pause: one server and three, each append on the disk before its answer, and not."""
    for count in (1, 3):
        for sync in ("always", "2m"):
            where = directory / f"log-{count}-{sync}"
            yield from asyncio.run(sustained(where, count, sync, size.sustained, size.crowd_rounds))
            if sync == "always":
                said = paced(where / "paced", count, sync, size.sustained, size.crowd_rounds, log_rate)
                yield from asyncio.run(said)
            yield from asyncio.run(crowded(where / "crowded", count, sync, size.at_once, size.crowd_rounds))


def allocates(_directory: Path, size: Size) -> Iterator[Figure]:
    """One allocation of everything to everybody."""
    yield from allocation(*size.ranked, size.allocations)
    yield from turns(*size.ranked, size.allocations)


def footprints(directory: Path, size: Size) -> Iterator[Figure]:
    """Memory, and CPU while nothing goes on."""
    yield from footprint(directory / "memory", size.live_tasks, size.instances, size.idle_s)


MEASURES: dict[str, Callable[[Path, Size], Iterator[Figure]]] = {
    "start": start,
    "tasks": tasks,
    "burst": bursts,
    "service": services,
    "control": controls,
    "allocation": allocates,
    "memory": footprints,
    "appends": appends,
    "log": logs,
    "cli": commands,
    "past": looks_back,
    "failover": fails_over,
}
