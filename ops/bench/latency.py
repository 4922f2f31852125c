"""How long a single task takes from its request to RUNNING, on a datacenter that has nothing else to do.

Rule of this room: the clock starts before the request is published and stops when its client hears RUNNING. What was
asked before is over by then: a run has ended, an app's deployment has.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

from bus.documents import AppSpec, JobRunSpec, JobSpec
from bus.events import Event
from bus.nouns import AppId, JobId, TaskId, TaskState, TraceId
from bus.services import (
    AppRequested,
    AppUpdated,
    DeploymentEnded,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunRequested,
    RunUpdated,
    ScaleRequested,
)
from cli.session import MARATHON, METRONOME
from ops.bench.client import Client, patience_s
from ops.bench.figures import Figure
from ops.bench.service import is_removal
from ops.bench.site import DEFAULT

APP, JOB = AppId("/bench"), JobId("bench-single")
warm_up = 3
"""Tasks before the first that is measured."""
request_step = 4
run_s = 0.3
"""A run ends when the stores have committed what was said up to its RUNNING (`eventstore.recorder.pause_s`): what is
measured is a datacenter with nothing else to do, not a commit beside the next run's request."""


async def latency(client: Client, count: int, sync: str) -> list[Figure]:
    """Milliseconds from request to RUNNING: of runs of a job, of instances of an app, and the hops between."""
    runs = await _runs(client, warm_up + count)
    instances, tasks = await _instances(client, warm_up + count)
    hops = [await _hops(client, task) for task in tasks[warm_up:]] if sync == DEFAULT else []
    await client.say(MARATHON, RemovalRequested(app=APP))
    await client.hear("app removed", is_removal)
    left = set(tasks)
    await client.hear("the last instance gone", lambda event: _gone(event, left))
    goal, how = ("p50 <= 12, p95 <= 30", "") if sync == DEFAULT else ("", f", sync_interval {sync}")
    return [
        Figure(f"run: request to RUNNING{how}", "ms", runs[warm_up:], goal),
        Figure(f"instance: request to RUNNING{how}", "ms", instances[warm_up:], goal),
        *_by_hop(hops),
    ]


def _gone(event: Event, left: set[TaskId]) -> bool:
    if isinstance(event.fact, AppUpdated) and event.fact.status.state is TaskState.KILLED:
        left.discard(event.fact.status.task)
    return not left


async def _runs(client: Client, count: int) -> list[float]:
    spec = JobSpec(id=JOB, run=JobRunSpec(cpus=0.1, mem=32, disk=0, cmd=f"exec sleep {run_s}"))
    await client.say(METRONOME, JobRequested(job=spec))
    await client.hear("job specified", lambda event: isinstance(event.fact, JobSpecified))
    took_ms = []
    for _ in range(count):
        began = time.perf_counter()
        trace = await client.say(METRONOME, RunRequested(job=JOB))
        event, heard_at = await client.hear("run RUNNING", is_run(trace, "ACTIVE"))
        assert isinstance(event.fact, RunUpdated)
        assert event.fact.status is not None, event.fact
        assert event.fact.status.state is TaskState.RUNNING, event.fact
        took_ms.append((heard_at - began) * 1000)
        await client.hear("run SUCCESS", is_run(trace, "SUCCESS"))
    return took_ms


def is_run(trace: TraceId, state: str) -> Callable[[Event], bool]:
    return lambda event: event.trace == trace and isinstance(event.fact, RunUpdated) and event.fact.state == state


async def _instances(client: Client, count: int) -> tuple[list[float], list[TaskId]]:
    spec = AppSpec(id=APP, cmd="exec sleep 1000", cpus=0.1, mem=32, instances=0, ports=())
    await client.say(MARATHON, AppRequested(app=spec))
    took_ms, tasks = [], []
    for instances in range(1, count + 1):
        began = time.perf_counter()
        trace = await client.say(MARATHON, ScaleRequested(app=APP, instances=instances))
        event, heard_at = await client.hear("app RUNNING", _is_running(trace))
        took_ms.append((heard_at - began) * 1000)
        assert isinstance(event.fact, AppUpdated)
        assert event.fact.running == instances
        tasks.append(event.fact.status.task)
        await client.hear("deployment over", lambda event: isinstance(event.fact, DeploymentEnded))
    return took_ms, tasks


def _is_running(trace: TraceId) -> Callable[[Event], bool]:
    def wanted(event: Event) -> bool:
        state = event.fact.status.state if isinstance(event.fact, AppUpdated) else None
        return event.trace == trace and state is TaskState.RUNNING

    return wanted


async def _hops(client: Client, task: TaskId) -> dict[int, float]:
    """Milliseconds from each step of a task's launch to the next, by the later one, once all are in the store."""
    async with asyncio.timeout(patience_s):
        while True:
            rows = [row for row in (await client.trace(task)).rows if row.step > request_step]
            if all(row.position for row in rows):
                return {row.step: (row.since_previous_us or 0) / 1000 for row in rows}


def _by_hop(hops: list[dict[int, float]]) -> Iterator[Figure]:
    by_step: defaultdict[int, list[float]] = defaultdict(list)
    for one in hops:
        for step, took_ms in one.items():
            by_step[step].append(took_ms)
    for step, values in sorted(by_step.items()):
        yield Figure(f"  step {step - 1} to {step}", "ms", values)
