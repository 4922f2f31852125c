"""`python -m ops.bench.holding STORE`: fold a master's log as a start does, hold the state, and tell what that takes.

Rule of this room: a process of its own, so that nothing else is in its memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from bus.nouns import Now
from bus.port import Record
from bus.subjects import CLUSTER
from components import master
from components.master.state import MasterState
from components.mind import Mind
from eventstore.store import open_reader, open_writer
from ops.bench.site import usage_of

TOLD = ("tasks", "events", "rss_mb", "cpu_s")


def held(store: Path, log: Iterable[list[Record]]) -> dict[str, float]:
    """What a fresh process takes that holds a master with this log: tasks, events, megabytes, CPU seconds."""
    asyncio.run(_write(store, log))
    argv = [sys.executable, "-P", "-m", "ops.bench.holding", str(store)]
    root = str(Path(__file__).parent.parent.parent)
    told = subprocess.run(argv, env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(told.stdout)
    return found


async def _write(store: Path, log: Iterable[list[Record]]) -> None:
    author = master.component(master.MasterConfig()).author
    async with open_writer(store, cluster=CLUSTER, log=author) as writer:
        for records in log:
            for start in range(0, len(records), 2000):
                await writer.append(records[start : start + 2000])


async def _hold(store: Path) -> Mind[MasterState]:
    mind = Mind(master.component(master.MasterConfig()), CLUSTER, lambda: Now(0))
    async with open_reader(store) as reader:
        async for records in reader.records(author=mind.component.author):
            for record in records:
                mind.remember(record)
    return mind


def main() -> None:
    """Hold the state of the store that is named."""
    mind = asyncio.run(_hold(Path(sys.argv[1])))
    usage = usage_of(os.getpid())
    assert usage is not None, "this process runs"
    figures = (len(mind.state.tasks), mind.state.n, usage.rss_mb, usage.cpu_s)
    print(json.dumps(dict(zip(TOLD, figures, strict=True))))


if __name__ == "__main__":
    main()
