"""The command line: how long a command takes of its own, and how far `events tail` is behind the event.

Rule of this room: commands are started as a person starts them; what they print is looked at.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from uuid import uuid4

from bus.nouns import FrameworkId
from bus.services import SchedulerLocated
from cli.session import MARATHON
from ops.bench.client import Client, client
from ops.bench.figures import Figure, one
from ops.bench.site import Site

BUSBAR = (sys.executable, "-P", "-m", "cli.main")
"""What the script `busbar` does."""
patience_s = 30.0
imports_told = 8
_IMPORT = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| (\s*)(\S+)")


def own_start(site: Site, times: int) -> list[Figure]:
    """Milliseconds of commands that have nothing to do, and little."""
    data = ("--data", str(site.data))
    return [
        *_timed(("--version",), (), times, _is_version),
        *_timed(("task", "list", "--json"), data, times, _is_rows),
        *_timed(("status", "--json"), data, times, json.loads),
        *imports(),
    ]


def _timed(argv: tuple[str, ...], options: tuple[str, ...], times: int, looks: Callable[[str], object]) -> list[Figure]:
    took, cpu = [], []
    for _ in range(times):
        began, before = time.perf_counter(), _children_s()
        command = [*BUSBAR, *argv, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=True)
        took.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (_children_s() - before))
        looks(done.stdout)
    return [Figure(f"busbar {' '.join(argv)}", "ms", took, "<= 200"), Figure("  its CPU", "ms", cpu)]


def _children_s() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _is_version(text: str) -> None:
    assert re.search(r"\d+\.\d+\.\d+", text), text


def _is_rows(text: str) -> None:
    assert isinstance(json.loads(text), list), text


def imports() -> list[Figure]:
    """What `task list` imports that takes longest of its own, without what that imports in turn: `-X importtime`."""
    argv = [sys.executable, "-X", "importtime", *BUSBAR[1:], "task", "list", "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=patience_s, check=True)
    found = [(int(own), name) for own, _, _, name in _IMPORT.findall(done.stderr)]
    slowest = sorted(found, reverse=True)[:imports_told]
    whole = one(f"  imports of task list, {len(found)} modules", "ms", sum(own for own, _ in found) / 1000)
    return [whole, *(one(f"    {name}", "ms", own / 1000) for own, name in slowest)]


async def tail(site: Site, times: int) -> list[Figure]:
    """Milliseconds from publishing an event to the line that `events tail -f` prints of it."""
    async with site.bus() as bus, client(bus) as found, _tail(site.data) as lines:
        took = []
        for number in range(times + 1):
            through = f"bench-{uuid4().hex}"
            began = time.perf_counter()
            acknowledged = await _say(found, through)
            async with asyncio.timeout(patience_s):
                while through not in await anext(lines):
                    pass
            if number:  # the first waits for the command's own start
                took.append((1000 * (time.perf_counter() - began), 1000 * (acknowledged - began)))
    return [
        Figure("events tail -f, from publishing to the line", "ms", [line for line, _ in took], "<= 20"),
        Figure("  of which until the event is acknowledged", "ms", [known for _, known in took]),
    ]


async def _say(found: Client, through: str) -> float:
    await found.say(MARATHON, SchedulerLocated(framework=FrameworkId(MARATHON.id), through=through))
    return time.perf_counter()


@asynccontextmanager
async def _tail(data: Path) -> AsyncIterator[AsyncIterator[str]]:
    argv = (*BUSBAR, "events", "tail", "-f", "--json", "--noun", "scheduler", "--data", str(data))
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield _lines(process.stdout)
    finally:
        process.terminate()
        await process.wait()


async def _lines(told: asyncio.StreamReader) -> AsyncIterator[str]:
    async for line in told:
        yield line.decode()
