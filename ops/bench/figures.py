"""Figures: many measurements of one thing under one name, and how they are told.

Rule of this room: a figure keeps every value it was made of; median, p50 and p95 are of those.
"""

from __future__ import annotations

import math
import platform
import sqlite3
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from os import getloadavg, sched_getaffinity
from typing import NamedTuple

from bus.binary import find_binary

Content = dict[str, object]
SEED = 1
"""Of all chance in a measurement."""


class Figure(NamedTuple):
    """One thing that was measured."""

    name: str
    unit: str
    values: Sequence[float]
    goal: str = ""

    @property
    def median(self) -> float:
        return quantile(self.values, 0.5)

    @property
    def p95(self) -> float:
        return quantile(self.values, 0.95)

    def content(self) -> Content:
        """For programs."""
        named = {"name": self.name, "unit": self.unit, "n": len(self.values), "goal": self.goal}
        return named | {"p50": self.median, "p95": self.p95, "min": min(self.values), "max": max(self.values)}


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def one(name: str, unit: str, value: float, goal: str = "") -> Figure:
    """A figure of a single measurement."""
    return Figure(name, unit, (value,), goal)


def ratio(name: str, above: Figure, below: Figure) -> Figure:
    """How many times one figure is another, round by round."""
    return Figure(name, "x", [a / b for a, b in zip(above.values, below.values, strict=True)])


def table(figures: Iterable[Figure]) -> str:
    """For people."""
    head = ("figure", "unit", "n", "min", "p50", "p95", "goal")
    rows = [head, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def _row(figure: Figure) -> tuple[str, ...]:
    several = len(figure.values) > 1
    least, most = (number(min(figure.values)), number(figure.p95)) if several else ("", "")
    return (figure.name, figure.unit, str(len(figure.values)), least, number(figure.median), most, figure.goal)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = (0, 1, 6)
    cells = [
        cell.ljust(width) if at in left else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def number(value: float) -> str:
    """With about three digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def machine() -> Content:
    """Where it is measured, with what, and what else goes on there."""
    server = subprocess.run([find_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "machine": platform.machine(),
        "cores": len(sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nats-server": server.rpartition("v")[2].strip(),
        "sqlite": sqlite3.sqlite_version,
        "busbar": version("busbar-os"),
        "seed": SEED,
        "load": load(),
    }


def load() -> float:
    """Of the last minute: above about 0.2 before a measurement others take part in its figures."""
    return round(getloadavg()[0], 2)
