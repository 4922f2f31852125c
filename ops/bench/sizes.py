"""How much of everything is measured.

Rule of this room: numbers, nothing else. Full sizes are bounded: `ops/bench/README.md` says how long each takes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of each measure what it is made of."""

    starts: int = 5
    tasks: int = 100
    bursts: int = 3
    runs: tuple[int, ...] = (1000, 5000)
    """At once, one burst after the other."""
    instances: int = 100
    services: int = 5
    rounds: int = 7
    appends: int = 2000
    history: int = 1_000_000
    history_tasks: int = 10_000
    failovers: int = 30
    questions: int = 20
    crowds: tuple[tuple[int, int, str], ...] = (
        (1000, 10, "always"),
        (10_000, 1, "always"),
        (1000, 10, "2m"),
        (10_000, 1, "2m"),
    )
    """Simulated agents, tasks for each, and the `sync_interval` of the bus."""
    crowd_rounds: int = 3
    commands: int = 20
    lines: int = 100
    at_once: int = 10_000
    """Events that many logs say one by one."""
    sustained: int = 100_000
    """Events said without a pause."""
    ranked: tuple[int, int] = (10_000, 1000)
    """Agents and frameworks of one allocation."""
    allocations: int = 5
    live_tasks: int = 100_000
    idle_s: int = 30


QUICK = Size(
    starts=1,
    tasks=3,
    bursts=1,
    runs=(20,),
    instances=5,
    services=1,
    rounds=1,
    appends=20,
    history=6000,
    history_tasks=20,
    questions=1,
    failovers=1,
    crowds=((20, 2, "always"), (5, 1, "2m")),
    crowd_rounds=1,
    commands=1,
    lines=3,
    at_once=400,
    sustained=2000,
    ranked=(200, 20),
    allocations=1,
    live_tasks=500,
    idle_s=1,
)
