"""What is asked of every peer: a burst of trivial tasks, single tasks, and a service up and down.

Rule of this room: a peer says when its work is done and has checked that all of it is; the clock is here.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from ops.bench.figures import Figure

patience_s = 600.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)
"""(man 5 proc: idle, iowait)"""


class Work(NamedTuple):
    """How much."""

    tasks: int
    """`/bin/true`, at once."""
    singles: int
    """One after the other, each on an idle cluster."""
    instances: int
    rounds: int


class Peer(ABC):
    """Somebody who runs tasks on this machine."""

    name: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._took: defaultdict[str, list[float]] = defaultdict(list)

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Why it cannot be measured here; empty if it can."""

    @abstractmethod
    def start(self) -> None:
        """Start it; it takes work when this returns."""

    @abstractmethod
    def stop(self) -> None:
        """End what was started. Safe to call twice."""

    @abstractmethod
    def burst(self, count: int) -> None:
        """Run so many `/bin/true` at once, and see all of them succeed."""

    @abstractmethod
    def single(self) -> float:
        """Submit one task: seconds until it runs. It has ended when this returns."""

    @abstractmethod
    def up(self, count: int) -> None:
        """Start a service of so many instances that sleep, and see all of them run."""

    @abstractmethod
    def down(self) -> None:
        """Stop it, and see that no instance runs."""

    def round(self, work: Work) -> None:
        """All of the work once."""
        cpu = busy_s()
        took_s = _timed(lambda: self.burst(work.tasks))
        self._took["CPU"].append(1000 * (busy_s() - cpu) / work.tasks)
        self._took["burst"].append(work.tasks / took_s)
        self._took["single"] += [1000 * self.single() for _ in range(work.singles)]
        self._took["up"].append(_timed(lambda: self.up(work.instances)))
        self._took["down"].append(_timed(self.down))

    def figures(self, work: Work) -> Iterator[Figure]:
        """What was measured."""
        yield self._figure(f"{work.tasks} x /bin/true at once", "tasks/s", "burst")
        yield self._figure("CPU per task of it, the whole machine", "ms", "CPU")
        yield self._figure("one task, submitted -> running", "ms", "single")
        yield self._figure(f"{work.instances} instances up", "s", "up")
        yield self._figure(f"{work.instances} instances stopped", "s", "down")

    def _figure(self, what: str, unit: str, key: str) -> Figure:
        return Figure(f"{self.name}: {what}", unit, self._took[key])


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def busy_s() -> float:
    """CPU seconds that all cores together have spent on anything. (man 5 proc: /proc/stat)"""
    fields = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return (sum(fields) - sum(fields[index] for index in _IDLE)) / _TICKS_PER_S


def wait_until(what: str, done: Callable[[], bool], pause_s: float = 0.02) -> None:
    """Look again and again. Raises AssertionError that names what did not come."""
    end = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < end, f"{what}: not within {patience_s:g} s"
        time.sleep(pause_s)


def lines(output: str) -> Sequence[str]:
    """Those that say something."""
    return [line for line in output.splitlines() if line.strip()]
