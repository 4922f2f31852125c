"""Faults of one node: its processes are killed, its files are flipped, cut short, deleted, its disk is filled.

Rule of this room: files are touched only while nobody has them open; who would start a process again stands still
meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bus.ensemble import on_node
from bus.replies import Send
from tests.e2e.cluster import alive
from tests.faults.customers import microseconds
from tests.faults.history import Fault
from tests.faults.stage import Stage

NODES = ("n1", "n2", "n3")
gone_s = 15.0
page_bytes = 4096
elected_s = 6.0
"""Between two wishes who shall lead: one that lags cannot, and is not helped by elections."""
led_s = 90.0


def pid_of(data: Path, name: str) -> int:
    """A process of a datacenter, as it was written down."""
    return int(json.loads((data / "run" / f"{name}.json").read_text())["pid"])


async def send(stage: Stage, name: str, number: signal.Signals) -> int:
    """Send a signal to a process of the datacenter; which pid that was."""
    pid = pid_of(stage.data, name)
    stage.history.add(Fault(what=f"{number.name} to {name}", at=microseconds()))
    with suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


async def end(stage: Stage, name: str, number: signal.Signals) -> None:
    """The same, and wait until it is gone."""
    pid = await send(stage, name, number)
    async with asyncio.timeout(gone_s):
        while alive(pid):
            await asyncio.sleep(0.02)


@contextmanager
def nobody_starts_again(data: Path) -> Iterator[None]:
    """What ends stays ended meanwhile: the supervisor stands still."""
    pid = pid_of(data, "supervisor")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def note(stage: Stage, what: str) -> None:
    """A fault in the history."""
    stage.history.add(Fault(what=what, at=microseconds()))


def flip(file: Path, chance: random.Random, *, after: float = 0.0, before: float = 1.0) -> int:
    """Change one bit of a file, between two parts of its length; the offset."""
    content = bytearray(file.read_bytes())
    offset = chance.randrange(int(len(content) * after), max(1, int(len(content) * before)))
    content[offset] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
    return offset


def blocks(data: Path, node: str, cluster: str) -> list[Path]:
    """The files in which a server of the bus keeps the stream's messages."""
    found = sorted((data / on_node("bus", node) / "jetstream").glob(f"*/streams/LOG-{cluster.upper()}/msgs/*.blk"))
    assert found, f"{node} keeps no stream of {cluster}"
    return found


def store_of(data: Path, node: str) -> Path:
    """The store of a node's master."""
    return data / on_node("master", node) / "events.db"


def set_aside(path: Path) -> None:
    """As the runbook says: a file or directory, and what belongs to it, gets another name."""
    for part in path.parent.glob(f"{path.name}*"):
        if ".aside" not in part.name:
            number = len(list(path.parent.glob("*.aside*")))
            part.rename(part.with_name(f"{part.name}.aside{number}"))


def delete_node(data: Path, node: str) -> None:
    """Everything a node keeps: its part of the bus, and its master's store with snapshots."""
    shutil.rmtree(data / on_node("bus", node) / "jetstream")
    for part in store_of(data, node).parent.iterdir():
        shutil.rmtree(part) if part.is_dir() else part.unlink()


async def stream_leader(stage: Stage) -> str:
    """The node whose server leads the stream; empty while none does."""
    rows = await stage.bus.servers()
    return next((row.name.rpartition("-")[2] for row in rows if row.leader), "")


async def lead_stream(stage: Stage, node: str) -> None:
    """Have a node's server lead the stream. (nats-server: jsStreamLeaderStepDown)"""
    name = f"LOG-{stage.bus.cluster.upper()}"
    wanted = json.dumps({"placement": {"preferred": f"{stage.bus.cluster}-{node}"}}).encode()
    asked_at = 0.0

    async def elsewhere() -> str:
        nonlocal asked_at
        leader, now = await stream_leader(stage), time.monotonic()
        if leader not in ("", node) and now - asked_at > elected_s and not await servers_current(stage):
            asked_at = now
            await stage.bus._link.ask(Send(f"$JS.API.STREAM.LEADER.STEPDOWN.{name}", wanted), timeout_s=5)
        return "" if leader == node else f"{leader or 'nobody'} leads the stream"

    await stage.until(f"{node} leads the stream", elsewhere, within_s=led_s)


async def servers_current(stage: Stage) -> str:
    """What is wrong while a server of the bus lags or is away."""
    rows = await stage.bus.servers()
    late = [f"{row.name} lags by {row.lag}" for row in rows if not row.current or row.lag]
    return ", ".join(late) if late or len(rows) == len(NODES) else f"{len(rows)} servers"


# ---- full disks -----------------------------------------------------------------------------------------------------


@contextmanager
def small_disks(directories: Sequence[Path], mb: int) -> Iterator[None]:
    """Each of these directories is a file system of a few megabytes. Only for root."""
    mounted: list[Path] = []
    try:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mb}m,mode=700", "tmpfs", str(directory)], check=True)
            mounted.append(directory)
        yield
    finally:
        for directory in mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def full(directories: Sequence[Path]) -> Iterator[None]:
    """No byte is free on the file systems of these directories meanwhile."""
    fillers = [directory / "filler" for directory in directories]
    try:
        for filler in fillers:
            with filler.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(page_bytes))
        yield
    finally:
        for filler in fillers:
            filler.unlink(missing_ok=True)
