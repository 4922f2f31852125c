"""A datacenter to measure: `busbar up` on a directory of its own, and what its processes take.

Rule of this room: nothing of a datacenter is left when its measurement ends, however that ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

from bus.jetstream import JetStreamBus, connect
from cli.processes import recorded
from cli.session import credentials_file, read_credentials

RESOURCES = "cpus:64;mem:131072;disk:65536"
"""Enough for every measurement at once: what is measured is the system, not waiting for room."""
DEFAULT = "always"
"""The `sync_interval` of the bus. Any other is for comparison: `busbar up` never has it."""
launchers_s = 10.0
_ROOT = str(Path(__file__).parent.parent.parent)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


class Usage(NamedTuple):
    """What one process takes: its CPU time so far, that of its children that ended, and its memory now."""

    pid: int
    cpu_s: float
    children_s: float
    rss_mb: float


class Site:
    """One datacenter on one data directory."""

    def __init__(self, data: Path, agents: int = 2, sync: str = DEFAULT) -> None:
        self.data, self.agents, self.sync = data, agents, sync

    def up(self) -> float:
        """Start it; how many seconds until it was ready."""
        return self._command("up", "--detach", "--agents", str(self.agents), "--resources", RESOURCES)

    def down(self) -> float:
        """Stop it; how many seconds until nothing of it ran."""
        return self._command("down")

    def _command(self, name: str, *options: str) -> float:
        program = ("-P", "-m", "cli.main") if self.sync == DEFAULT else ("-m", "ops.bench.relaxed", self.sync)
        argv = [sys.executable, *program, name, "--data", str(self.data), *options]
        env = os.environ if self.sync == DEFAULT else os.environ | {"PYTHONPATH": _ROOT}
        began = time.perf_counter()
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=180, check=False)
        took_s = time.perf_counter() - began
        assert done.returncode == 0, f"busbar {name}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return took_s

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[JetStreamBus]:
        """A client's connection."""
        known = read_credentials(credentials_file(str(self.data)))
        bus = await connect(known, name="bench")
        try:
            yield bus
        finally:
            await bus.close()

    def usage(self) -> dict[str, Usage]:
        """What each process takes, by name. All of them: one that is not found would make everything look cheaper."""
        pids, launchers = {process.name: process.pid for process in recorded(self.data / "run")}, self._launchers()
        missing = {f"a{number}{part}" for number in range(1, self.agents + 1) for part in ("", "-cmd", ".launcher")}
        missing -= (pids | launchers).keys()
        assert not missing, f"{sorted(missing)} are not found among {sorted(pids | launchers)}"
        found = {name: usage_of(pid) for name, pid in sorted((pids | launchers).items())}
        gone = [name for name, usage in found.items() if usage is None]
        assert not gone, f"{gone} ended while they were measured"
        return {name: usage for name, usage in found.items() if usage is not None}

    def await_launchers(self) -> None:
        """Each agent's launcher is there: its executor starts it, and `busbar up` does not wait for that."""
        end = time.monotonic() + launchers_s
        while len(self._launchers()) < self.agents:
            assert time.monotonic() < end, f"of {self.agents} launchers {sorted(self._launchers())} are there"
            time.sleep(0.02)

    def _launchers(self) -> dict[str, int]:
        works = {
            f"{self.data}/agents/a{number}/executor": f"a{number}.launcher" for number in range(1, self.agents + 1)
        }
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            name = works.get(_launcher_work(path))
            if name is not None:
                found[name] = int(path.name)
        return found


def _launcher_work(process: Path) -> str:
    """The directory a process is the launcher of; empty if it is none."""
    try:
        argv = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return argv[6].decode(errors="replace") if argv[1:4] == [b"-I", b"-S", b"-c"] and len(argv) > 6 else ""


def usage_of(pid: int) -> Usage | None:
    """What a process takes; None if there is none. (man 5 proc_pid_stat)"""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    own, children = (sum(map(int, fields[first : first + 2])) / _TICKS_PER_S for first in (11, 13))
    return Usage(pid, own, children, int(fields[21]) * _PAGE_KB / 1024)


def check_same(before: dict[str, Usage], after: dict[str, Usage]) -> None:
    """Who is measured was there all the time: what one took that was started again is not known any more."""
    pids = [{name: usage.pid for name, usage in each.items()} for each in (before, after)]
    assert pids[0] == pids[1], f"processes by name and number before: {pids[0]}, after: {pids[1]}"


@contextmanager
def running(data: Path, agents: int = 2, sync: str = DEFAULT) -> Iterator[Site]:
    """A datacenter, until the end of the block."""
    site = Site(data, agents, sync)
    site.up()
    try:
        site.await_launchers()
        yield site
    finally:
        site.down()
