"""A burst: one job run many times at once, from the first request to the last success.

Rule of this room: every run must end in SUCCESS and every request have its run; what is measured is nothing less.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from bus.documents import JobRunSpec, JobSpec
from bus.jetstream import JetStreamBus
from bus.nouns import JobId, Position, RunId
from bus.services import JobRequested, JobSpecified, RunRequested, RunUpdated
from bus.subjects import everything
from cli.session import METRONOME
from ops.bench.client import Client
from ops.bench.figures import Figure, one
from ops.bench.site import Site, Usage

requests_at_once = 64
patience_s = 300.0


async def burst(site: Site, client: Client, bus: JetStreamBus, count: int) -> list[Figure]:
    """Tasks a second, events per task, CPU time per task."""
    job = JobId(f"bench-burst-{uuid4().hex[:8]}")
    spec = JobSpec(id=job, run=JobRunSpec(cpus=0.01, mem=32, disk=0, args=("/bin/true",)))
    await client.say(METRONOME, JobRequested(job=spec))
    await client.hear("job specified", lambda event: isinstance(event.fact, JobSpecified))
    before, cpu_before = await _end(bus), site.usage()
    async with asyncio.timeout(patience_s):
        took_s = await _run_all(client, job, count)
    events, used = await _end(bus) - before, _cpu(cpu_before, site.usage())
    return [
        one(f"{count} runs at once", "tasks/s", count / took_s),
        one("events per task", "", events / count),
        one("events through the log", "events/s", events / took_s),
        *(one(f"  CPU per task, {name}", "ms", 1000 * cpu_s / count) for name, cpu_s in used.items()),
        one("  CPU per task, all", "ms", 1000 * sum(used.values()) / count),
        one("  cores in use", "", sum(used.values()) / took_s),
    ]


async def _end(bus: JetStreamBus) -> Position:
    newest = await bus.last(everything(bus.cluster))
    assert newest is not None, "a datacenter that runs has said something"
    return newest.position


def _cpu(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, float]:
    return {name: usage.cpu_s - before[name].cpu_s for name, usage in after.items() if name in before}


async def _run_all(client: Client, job: JobId, count: int) -> float:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(_ask(client, job, count))
        succeeded = group.create_task(_hear_all(client, job, count))
    took_s = time.perf_counter() - began
    assert len(succeeded.result()) == count
    return took_s


async def _ask(client: Client, job: JobId, count: int) -> None:
    turns = asyncio.Semaphore(requests_at_once)

    async def ask() -> None:
        async with turns:
            await client.say(METRONOME, RunRequested(job=job))

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(ask())


async def _hear_all(client: Client, job: JobId, count: int) -> set[RunId]:
    succeeded: set[RunId] = set()
    async for event in client.news():
        if isinstance(event.fact, RunUpdated) and event.fact.job == job:
            assert event.fact.state != "FAILED", f"a run failed: {event.fact}"
            if event.fact.state == "SUCCESS":
                succeeded.add(event.fact.run)
        if len(succeeded) == count:
            break
    return succeeded


def memory(usage: dict[str, Usage], when: str) -> list[Figure]:
    """Resident memory of each process, and of all."""
    each = [one(f"  memory {when}, {name}", "MB", one_.rss_mb) for name, one_ in usage.items()]
    return [*each, one(f"memory {when}, all", "MB", sum(one_.rss_mb for one_ in usage.values()))]
