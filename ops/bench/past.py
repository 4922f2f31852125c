"""A long history: how soon a master leads on top of it, and how soon the past is told, with and without snapshots.

Rule of this room: the paths measured are the ones taken: `components.runtime.live` until it leads, and the command.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from bus import logs
from bus.memory import MemoryBus, MemoryServer
from bus.subjects import CLUSTER
from components import master
from components.runtime import live, system_clock
from components.snapshots import snapshots_of
from eventstore.store import open_writer
from ops.bench.figures import SEED, Figure, one
from ops.bench.history import History

kept_in_stream = 10_000
"""Positions that the stream still has; the store has them all."""


def past(directory: Path, events: int, instances: int, questions: int) -> Iterator[Figure]:
    """Everything there is to know of a history of so many events."""
    logs.configure(level="warning")
    directory.mkdir(parents=True)
    store = directory / "events.db"
    began = time.perf_counter()
    server = asyncio.run(_make(store, events, instances))
    end, size = server.last, store.stat().st_size
    yield one(f"a history of {end} events, {instances} tasks run: made", "s", time.perf_counter() - began)
    yield one("  its store", "bytes/event", size / end)
    yield one("master leads, no snapshot", "s", asyncio.run(_start(server, store)), "<= 10")
    kept = sum(path.stat().st_size for path in snapshots_of(store).iterdir())
    yield one("  its snapshot", "MB", kept / 1e6)
    yield Figure("master leads, newest snapshot", "s", [asyncio.run(_start(server, store)) for _ in range(3)], "<= 2")
    shutil.rmtree(snapshots_of(store))
    yield one("state --at the end, first question", "s", _ask(store, end))
    random = Random(SEED)
    took = [_ask(store, random.randint(1, end)) for _ in range(questions)]
    yield Figure("state --at anywhere, all of it, then", "s", took, "<= 1")
    took = [_ask(store, random.randint(1, end), "tasks") for _ in range(questions)]
    yield Figure("state --at anywhere, tasks", "s", took, "<= 1")


async def _make(store: Path, events: int, instances: int) -> MemoryServer:
    server = MemoryServer(CLUSTER, system_clock)
    history = History(agents=max(1, instances // 100), instances=instances)
    async with open_writer(store, cluster=CLUSTER, log=None) as writer:
        for records in history.grow(events):
            for start in range(0, len(records), 2000):
                await writer.append(records[start : start + 2000])
            for record in records:
                server.inject(record.subject, record.body)
            server.trim(max(server.first, type(server.first)(server.last - kept_in_stream)))
    return server


async def _start(server: MemoryServer, store: Path) -> float:
    """Seconds until a master leads. Its stop leaves a snapshot."""
    stop, leads, bus = asyncio.Event(), asyncio.Event(), MemoryBus(server)
    component = master.component(master.MasterConfig())
    began = time.perf_counter()
    life = asyncio.create_task(
        live(component, bus, node="bench", instance="i1", store=str(store), stop=stop, ready=leads.set)
    )
    await leads.wait()
    took_s = time.perf_counter() - began
    stop.set()
    await life
    await bus.close()
    return took_s


def _ask(store: Path, position: int, what: str = "all") -> float:
    """Seconds of the command. Of a moment near the beginning there may be nothing to tell."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "cli.main", "state", "--store", str(store), "--at", str(position), "--json", what]
    told = subprocess.run(argv, check=True, capture_output=True).stdout
    took_s = time.perf_counter() - began
    assert json.loads(told) or position < kept_in_stream, f"{what} at {position}: nothing"
    return took_s
