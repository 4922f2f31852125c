"""The processes that `up` started: recorded before they are relied on, and ended by nobody's mistake.

Rule of this room: a process is its pid, its start time and the boot it was started in; a signal goes only to a process
of which all three are ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

OWN_COMMAND = (sys.executable, "-P", "-m", "cli.main")
"""The command `busbar` of this very release; whatever lies in the directory it runs in is not imported."""
look_again_s = 0.02
"""Between two looks whether a process that is nobody's child here is gone."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a datacenter, told from every other that ever had its pid."""

    name: str
    role: str
    """What it is: supervisor, bus, master, agent, executor or framework."""
    pid: int
    started: int
    """Ticks between the start of the machine and its own."""
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it runs still."""
        return self.boot == boot_id() and started_ticks(self.pid) == self.started

    def send(self, number: signal.Signals) -> bool:
        """Send a signal, surely to this process; False if it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except (ProcessLookupError, OSError):
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    async def gone(self, within_s: float) -> bool:
        """Wait until it runs no more; False if it still does after `within_s`."""
        deadline = time.monotonic() + within_s
        while self.alive:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(look_again_s)
        return True


def boot_id() -> str:
    """Which run of the machine this is. (linux: Documentation/admin-guide/sysctl/kernel.rst)"""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def started_ticks(pid: int) -> int | None:
    """When a running process was started; None if there is none or it only waits to be reaped. (man 5 proc_pid_stat)"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def identify(name: str, role: str, pid: int) -> Process | None:
    """The running process of this pid; None if it is gone already."""
    started = started_ticks(pid)
    return None if started is None else Process(name=name, role=role, pid=pid, started=started, boot=boot_id())


def record(path: Path, process: Process) -> None:
    """Write down a process; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(process))
    fresh.replace(path)


def recorded(directory: Path) -> list[Process]:
    """The processes written down in a directory that run still, by name."""
    found = [process for path in sorted(directory.glob("*.json")) if (process := _read(path)) is not None]
    return [process for process in found if process.alive]


def forget_dead(directory: Path) -> None:
    """Remove what was written down about processes that run no more."""
    for path in directory.glob("*.json"):
        process = _read(path)
        if process is None or not process.alive:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Process | None:
    """What was written down; a file cut short by a crash of the machine is of nobody who runs now."""
    with suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Process)
    return None


async def end(processes: Iterable[Process], patience_s: float) -> list[Process]:
    """Ask processes to end, all at once; after the patience, end them. Returns those that had to be killed."""
    asked = [process for process in processes if process.send(signal.SIGTERM)]
    deadline = time.monotonic() + patience_s
    stubborn = [each for each in asked if not await each.gone(max(0.0, deadline - time.monotonic()))]
    for process in stubborn:
        process.send(signal.SIGKILL)
    for process in stubborn:
        await process.gone(patience_s)
    return stubborn
