"""`python -m ops.bench.growth [--quick] [--results DIR] [NAME...]`: how what Busbar costs grows with what there is.

Rule of this room: each sweep leaves a table, a plot and a JSON file; what grows faster than n log n is marked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.bench.allocation import allocation
from ops.bench.control import control
from ops.bench.crowd import finished
from ops.bench.figures import Content, Figure, load, machine
from ops.bench.fitting import Series
from ops.bench.holding import held
from ops.bench.plots import plot, sheet

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Sizes, and what else is fixed."""

    agents: Sequence[int] = (10, 100, 1000, 10_000)
    tasks: int = 5000
    """For so many agents, and at least one for each."""
    history: Sequence[int] = (1000, 10_000, 100_000, 1_000_000)
    """Tasks that ended."""
    ranked_agents: Sequence[int] = (10, 100, 1000, 10_000)
    frameworks: Sequence[int] = (1, 10, 100, 1000)
    few: int = 10
    """Frameworks, where agents become more."""
    many: int = 1000
    """Agents, where frameworks become more."""
    plane: int = 100
    """Agents of a control plane, where frameworks become more."""
    rounds: int = 3


QUICK = Sweep(
    agents=(2, 10),
    tasks=20,
    history=(100, 1000),
    ranked_agents=(10, 50),
    frameworks=(1, 5),
    few=2,
    many=20,
    plane=2,
    rounds=1,
)


def agents(directory: Path, sweep: Sweep) -> list[Series]:
    """The control plane with ever more agents: `ops.bench.control`."""
    shapes = [(count, max(1, sweep.tasks // count), 0) for count in sweep.agents]
    return _planes(directory, sweep.agents, shapes)


def idle(directory: Path, sweep: Sweep) -> list[Series]:
    """The control plane with ever more frameworks that want nothing at the time."""
    shapes = [(sweep.plane, max(1, sweep.tasks // sweep.plane), count - 1) for count in sweep.frameworks]
    return _planes(directory, sweep.frameworks, shapes)


def _planes(directory: Path, sizes: Sequence[int], shapes: Sequence[tuple[int, int, int]]) -> list[Series]:
    found: list[dict[str, float]] = []
    for size, (count, each, others) in zip(sizes, shapes, strict=True):
        data = directory / f"plane-{size}"
        figures = asyncio.run(control(data, count, each, 1, idle=others))
        stored = sum(file.stat().st_size for file in (data / "master").glob("events.db*"))
        found.append(_by_name(figures) | {"store": stored / (count * each)})

    def series(name: str, unit: str, key: str, *, each: bool) -> Series:
        return Series(name, unit, sizes, [_find(figures, key) for figures in found], each)

    rates = [_find(figures, "accepted -> RUNNING") for figures in found]
    return [
        Series("a task from accepted to RUNNING, among many", "ms", sizes, [1000 / rate for rate in rates], each=True),
        series("one task alone, from accepted to RUNNING", "ms", "one task alone", each=True),
        series("CPU per task, master", "ms", "CPU per task, master", each=True),
        series("CPU per task, bus", "ms", "CPU per task, bus", each=True),
        series("all registered", "s", "agents register", each=False),
        series("memory of the master", "MB", "memory of the master", each=False),
        series("store, per task", "bytes", "store", each=True),
    ]


def _by_name(figures: Sequence[Figure]) -> dict[str, float]:
    return {figure.name: figure.median for figure in figures}


def _find(figures: dict[str, float], key: str) -> float:
    return next(value for name, value in figures.items() if key in name)


def history(directory: Path, sweep: Sweep) -> list[Series]:
    """A master whose log has ever more tasks that ended: its store, and its start without a snapshot."""
    found, stored = [], []
    for count in sweep.history:
        store = directory / f"history-{count}.db"
        found.append(held(store, finished(count)))
        stored.append(sum(file.stat().st_size for file in directory.glob(f"{store.name}*")) / 1e6)
    sizes = sweep.history
    return [
        Series("store of a master", "MB", sizes, stored),
        Series("CPU to start without a snapshot", "s", sizes, [each["cpu_s"] for each in found]),
        Series("memory of the master", "MB", sizes, [each["rss_mb"] for each in found]),
    ]


def ranked_agents(_directory: Path, sweep: Sweep) -> list[Series]:
    """One allocation with ever more agents: `ops.bench.allocation`."""
    return _allocations(sweep.ranked_agents, [(count, sweep.few) for count in sweep.ranked_agents], sweep.rounds)


def frameworks(_directory: Path, sweep: Sweep) -> list[Series]:
    """One allocation with ever more frameworks."""
    return _allocations(sweep.frameworks, [(sweep.many, count) for count in sweep.frameworks], sweep.rounds)


def _allocations(sizes: Sequence[int], shapes: Sequence[tuple[int, int]], rounds: int) -> list[Series]:
    found = [_by_name(allocation(*shape, rounds)) for shape in shapes]
    whole, longest = ([_find(each, key) for each in found] for key in ("one allocation", "longest decision"))
    return [
        Series("one allocation", "ms", sizes, whole),
        Series("its longest decision", "ms", sizes, longest),
    ]


SWEEPS: dict[str, tuple[Callable[[Path, Sweep], list[Series]], str]] = {
    "agents": (agents, "agents"),
    "history": (history, "tasks in history"),
    "frameworks": (idle, "frameworks"),
    "allocation-agents": (ranked_agents, "agents"),
    "allocation-frameworks": (frameworks, "frameworks"),
}
"""Each with what there is more and more of."""


def main() -> None:
    """Sweep what is named, or everything; leave the results in a directory."""
    options = argparse.ArgumentParser(prog="python -m ops.bench.growth", description="Measure how costs grow.")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SWEEPS)}; all unless named")
    options.add_argument("--quick", action="store_true", help="a little of everything: shows that it works")
    options.add_argument("--results", metavar="DIR", type=Path, default=RESULTS, help="where to leave the results")
    given = options.parse_args()
    unknown = [name for name in given.names if name not in SWEEPS]
    if unknown:
        options.error(f"{unknown[0]!r} is none of {', '.join(SWEEPS)}")
    given.results.mkdir(parents=True, exist_ok=True)
    for name in given.names or list(SWEEPS):
        with tempfile.TemporaryDirectory(prefix="busbar-growth-") as directory:
            _sweep(name, Path(directory), given.results, QUICK if given.quick else Sweep())


def _sweep(name: str, directory: Path, results: Path, sweep: Sweep) -> None:
    measure, what = SWEEPS[name]
    where, began = machine(), time.perf_counter()
    series = measure(directory, sweep)
    where |= {"load after": load(), "took s": round(time.perf_counter() - began, 1)}
    text = sheet(name, what, series, where)
    (results / f"{name}.json").write_text(json.dumps(_content(series, where), indent=1) + "\n")
    (results / f"{name}.md").write_text(text)
    print(text, plot(results / f"{name}.png", what, series), sep="\n", flush=True)


def _content(series: Sequence[Series], where: Content) -> Content:
    told = [
        {
            **each._asdict(),
            "exponent": each.exponent,
            "latest": each.latest,
            "bound": each.bound,
            "too_fast": each.too_fast,
        }
        for each in series
    ]
    return {"machine": where, "series": told}


if __name__ == "__main__":
    main()
