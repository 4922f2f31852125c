"""`python -m ops.bench [--quick] [--json FILE] [--directory DIR] [NAME...]`: measure, print a table, say where."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.bench.appending import appending
from ops.bench.burst import burst, memory
from ops.bench.client import client
from ops.bench.failover import failover
from ops.bench.figures import Content, Figure, machine, table
from ops.bench.latency import latency
from ops.bench.past import past
from ops.bench.rebuild import rebuild
from ops.bench.service import service
from ops.bench.site import Site, running


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything is measured."""

    starts: int = 5
    tasks: int = 100
    runs: int = 1000
    instances: int = 250
    bursts: int = 3
    rounds: int = 7
    appends: int = 2000
    history: int = 1_000_000
    history_tasks: int = 10_000
    failovers: int = 30
    questions: int = 20


QUICK = Size(
    starts=1,
    tasks=3,
    runs=20,
    instances=5,
    bursts=1,
    rounds=1,
    appends=20,
    history=6000,
    history_tasks=20,
    questions=1,
    failovers=1,
)


def start(directory: Path, size: Size) -> Iterator[Figure]:
    """`busbar up` until ready, and `down`."""
    took = []
    for number in range(size.starts):
        site = Site(directory / f"start-{number}")
        took.append((site.up(), site.down()))
    yield Figure("busbar up until ready", "s", [up for up, _ in took], "<= 3")
    yield Figure("busbar down", "s", [down for _, down in took])


def tasks(directory: Path, size: Size) -> Iterator[Figure]:
    """A single task on an idle datacenter, and what idle processes take."""
    with running(directory / "tasks") as site:
        yield from memory(site.usage(), "idle")
        yield from asyncio.run(_tasks(site, size))


async def _tasks(site: Site, size: Size) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        return await latency(found, size.tasks)


def bursts(directory: Path, size: Size) -> Iterator[Figure]:
    """Many tasks at once, and what processes take after it; then the logs it left, folded again."""
    with running(directory / "burst") as site:
        rounds = [asyncio.run(_burst(site, size)) for _ in range(size.bursts)]
        for same in zip(*rounds, strict=True):
            yield same[0]._replace(values=[figure.values[0] for figure in same])
        yield from memory(site.usage(), "after bursts")
    yield from rebuild(directory / "burst", size.rounds)


async def _burst(site: Site, size: Size) -> list[Figure]:
    async with site.bus() as bus, client(bus) as found:
        return [*await burst(site, found, bus, size.runs), *await service(found, size.instances)]


def appends(directory: Path, size: Size) -> Iterator[Figure]:
    """The bus alone."""
    yield from asyncio.run(appending(directory / "appends", size.rounds, size.appends))


def looks_back(directory: Path, size: Size) -> Iterator[Figure]:
    """A long history: a master's start on top of it, and questions about the past."""
    yield from past(directory / "past", size.history, size.history_tasks, size.questions)


def fails_over(directory: Path, size: Size) -> Iterator[Figure]:
    """The leading master is killed, again and again, on top of a long history."""
    yield from failover(directory / "failover", size.history, size.history_tasks, size.failovers)


MEASURES: dict[str, Callable[[Path, Size], Iterator[Figure]]] = {
    "start": start,
    "tasks": tasks,
    "burst": bursts,
    "appends": appends,
    "past": looks_back,
    "failover": fails_over,
}


def main() -> None:
    """Measure what is named, or everything."""
    options = argparse.ArgumentParser(prog="python -m ops.bench", description="Measure Busbar.")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASURES)}; all unless named")
    options.add_argument("--quick", action="store_true", help="a little of everything: shows that it works")
    options.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE, too")
    options.add_argument("--directory", metavar="DIR", type=Path, help="measure in DIR, and leave it as it is then")
    given = options.parse_args()
    unknown = [name for name in given.names if name not in MEASURES]
    if unknown:
        options.error(f"{unknown[0]!r} is none of {', '.join(MEASURES)}")
    where = machine()
    with _directory(given.directory) as directory:
        measured = _measure(directory, given.names or list(MEASURES), QUICK if given.quick else Size())
    if given.json is not None:
        given.json.write_text(json.dumps(_content(where, measured), indent=1) + "\n")
    print(f"\n{', '.join(f'{name} {value}' for name, value in where.items())}")


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as directory:
        yield Path(directory)


def _measure(directory: Path, names: list[str], size: Size) -> dict[str, list[Figure]]:
    measured = {}
    for name in names:
        measured[name] = list(MEASURES[name](directory, size))
        print(f"\n{name}\n{table(measured[name])}", flush=True)
    return measured


def _content(where: Content, measured: dict[str, list[Figure]]) -> Content:
    return where | {"figures": {name: [figure.content() for figure in found] for name, found in measured.items()}}


if __name__ == "__main__":
    main()
