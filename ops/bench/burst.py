"""A burst: one job run many times at once, from the first request to the last success.

Rule of this room: every run must end in SUCCESS, every request have its run and every run its steps in the store; what
is measured is nothing less.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

from bus.documents import JobRunSpec, JobSpec
from bus.jetstream import JetStreamBus
from bus.nouns import JobId, Position, RunId, TaskId
from bus.queries import TraceRow
from bus.services import JobRequested, JobSpecified, RunRequested, RunUpdated
from bus.subjects import everything
from cli.session import METRONOME
from ops.bench.client import Client
from ops.bench.figures import Figure, one
from ops.bench.site import Site, Usage, check_same

requests_at_once = 64
patience_s = 300.0
trace_s = 30.0
traced = 10
"""Tasks of a burst whose twelve steps are looked at."""


async def burst(site: Site, client: Client, bus: JetStreamBus, count: int) -> list[Figure]:
    """Tasks a second, events per task, CPU time per task: of each process, and of what they started and reaped."""
    job = JobId(f"bench-burst-{uuid4().hex[:8]}")
    spec = JobSpec(id=job, run=JobRunSpec(cpus=0.01, mem=32, disk=0, args=("/bin/true",)))
    await client.say(METRONOME, JobRequested(job=spec))
    await client.hear("job specified", lambda event: isinstance(event.fact, JobSpecified))
    before, cpu_before = await _end(bus), site.usage()
    async with asyncio.timeout(patience_s):
        took_s, tasks = await run_all(client, job, count)
    events, used = await _end(bus) - before, _spent(cpu_before, site.usage())
    await _check_traces(client, tasks)
    own, children = (sum(part) for part in zip(*used.values(), strict=True))
    return [
        one(f"{count} runs at once", "tasks/s", count / took_s, ">= 300"),
        one(f"{count} runs: CPU per task, all and what they ran", "ms", 1000 * (own + children) / count, "<= 6"),
        one("  CPU per task, all", "ms", 1000 * own / count),
        *(one(f"  CPU per task, {name}", "ms", 1000 * spent[0] / count) for name, spent in used.items()),
        one("  CPU per task, /bin/true and what confines it", "ms", 1000 * children / count),
        one("  events per task", "", events / count),
        one("  events through the log", "events/s", events / took_s),
        one("  cores in use", "", (own + children) / took_s),
    ]


async def _end(bus: JetStreamBus) -> Position:
    newest = await bus.last(everything(bus.cluster))
    assert newest is not None, "a datacenter that runs has said something"
    return newest.position


def _spent(before: dict[str, Usage], after: dict[str, Usage]) -> dict[str, tuple[float, float]]:
    """CPU seconds of each process itself, and of its children that ended."""
    check_same(before, after)
    return {
        name: (usage.cpu_s - before[name].cpu_s, usage.children_s - before[name].children_s)
        for name, usage in after.items()
    }


async def _check_traces(client: Client, tasks: Sequence[TaskId]) -> None:
    """Of some of the tasks each step is in the store: all but the first, which a client that asks for many takes once
    for all of them."""
    for task in tasks[:: max(1, len(tasks) // traced)]:
        async with asyncio.timeout(trace_s):
            while len(await _steps(client, task)) < 11:
                await asyncio.sleep(0.05)  # the store is a moment behind the stream


async def _steps(client: Client, task: TaskId) -> list[TraceRow]:
    return [row for row in (await client.trace(task)).rows if row.position and row.step > 1]


async def run_all(client: Client, job: JobId, count: int) -> tuple[float, list[TaskId]]:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(_ask(client, job, count))
        hearing = group.create_task(_hear_all(client, job, count))
    took_s, succeeded = time.perf_counter() - began, hearing.result()
    assert len(succeeded) == len(set(succeeded.values())) == count, f"{count} runs, {len(succeeded)} succeeded"
    return took_s, sorted(succeeded.values())


async def _ask(client: Client, job: JobId, count: int) -> None:
    turns = asyncio.Semaphore(requests_at_once)

    async def ask() -> None:
        async with turns:
            await client.say(METRONOME, RunRequested(job=job))

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(ask())


async def _hear_all(client: Client, job: JobId, count: int) -> dict[RunId, TaskId]:
    succeeded: dict[RunId, TaskId] = {}
    tasks: dict[RunId, TaskId] = {}
    async for event in client.news():
        if isinstance(event.fact, RunUpdated) and event.fact.job == job:
            assert event.fact.state != "FAILED", f"a run failed: {event.fact}"
            if event.fact.status is not None:
                tasks[event.fact.run] = event.fact.status.task
            if event.fact.state == "SUCCESS":
                succeeded[event.fact.run] = tasks[event.fact.run]
        if len(succeeded) == count:
            break
    return succeeded


def memory(usage: dict[str, Usage], when: str) -> list[Figure]:
    """Resident memory of each process, and of all."""
    each = [one(f"  memory {when}, {name}", "MB", one_.rss_mb) for name, one_ in usage.items()]
    return [*each, one(f"memory {when}, all", "MB", sum(one_.rss_mb for one_ in usage.values()))]
