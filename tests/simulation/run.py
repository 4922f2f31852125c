"""`make sim`: many seeds on all cores, what befell them in numbers, and how to bring each that failed about again.

What a failed seed's stream held is written into a directory, one line for each message, and the error at the end.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bus import codec, logs
from bus.codec import Foreign, Unreadable
from bus.port import Record
from tests.simulation.clock import EPOCH, run_virtually
from tests.simulation.datacenter import Datacenter, Outcome
from tests.simulation.seeds import datacenter, kind_of

told_every_s = 15.0
line_chars_max = 1000


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker tells of one seed."""

    seed: int
    outcome: Outcome | None
    error: str = ""


@dataclass
class Sum:
    """What all seeds did together."""

    seeds: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rollouts: Counter[str] = field(default_factory=Counter)
    settled_s: float = 0.0

    def add(self, told: Told) -> None:
        """One more seed."""
        self.seeds[kind_of(told.seed)] += 1
        if told.outcome is None:
            self.failed.append(told.seed)
            return
        outcome = told.outcome
        self.counts += Counter(
            events=outcome.events,
            elections=outcome.seen["leader.elected"],
            tasks=outcome.tasks,
            answers=outcome.answers,
            states_compared=outcome.compared,
        )
        self.faults += outcome.faults
        self.ends += outcome.ends
        self.rollouts += outcome.rollouts
        self.settled_s = max(self.settled_s, outcome.settled_s)

    def line(self) -> str:
        """The state of affairs."""
        faults = ", ".join(f"{count} {what}" for what, count in sorted(self.faults.items()))
        return (
            f"{self.seeds.total()} seeds, {self.counts['events']} events, {self.counts['elections']} elections; "
            f"{faults}; {len(self.failed)} failed"
        )

    def report(self, took_s: float) -> str:
        """Everything that was counted."""
        rows = [f"{self.seeds.total()} seeds in {took_s:.0f} s, {len(self.failed)} failed"]
        for title, counts in (
            ("seeds", self.seeds),
            ("counts", self.counts),
            ("faults", self.faults),
            ("ends of processes", self.ends),
            ("deployments", self.rollouts),
        ):
            rows += [f"{title}:", *(f"  {count:>10}  {what}" for what, count in sorted(counts.items()))]
        rows.append(f"everything was as asked {self.settled_s:.0f} s (virtual) after the faults stopped, at the latest")
        rows += [f"seed {seed} failed; again with: make sim SEED={seed}" for seed in sorted(self.failed)]
        return "\n".join(rows)


def live(seed: int, into: Path) -> Told:
    """One seed's life; of one that fails the stream is written down."""
    lived = datacenter(seed)
    try:
        return Told(seed, run_virtually(lived.run()))
    except Exception:
        error = traceback.format_exc()
        write_down(lived, into / f"seed-{seed}.txt", error)
        return Told(seed, None, error)


def write_down(lived: Datacenter, path: Path, error: str) -> None:
    """The stream as text, and what went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    foreign = lived.ledger.foreign
    lines = [("foreign " if record.position in foreign else "") + text(record) for record in lived.server.records()]
    path.write_text("\n".join([*lines, "", error]))


def text(record: Record) -> str:
    """One message in one line: position, seconds, subject, number, term, heard, cause, fact."""
    try:
        event = codec.decode(record.subject, record.body, record.position)
    except (Foreign, Unreadable) as error:
        return f"#{record.position} {record.subject} {error}"
    after_s = (event.at - EPOCH) / 1_000_000
    said = f"n={event.n} epoch={event.epoch} heard={event.heard} cause={event.cause} {event.fact}"
    return f"#{record.position} {after_s:.3f} {record.subject} {said}"[:line_chars_max]


def _quiet() -> None:
    logs.use(logs.SILENT)


def _work(given: tuple[int, Path]) -> Told:
    return live(*given)


def lives(seeds: list[int], into: Path, jobs: int) -> Iterator[Told]:
    """All seeds on several processes, as they end."""
    with multiprocessing.Pool(jobs, initializer=_quiet, maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(_work, [(seed, into) for seed in seeds], chunksize=4)


def main() -> int:
    """Run the seeds; 1 if any failed."""
    parser = argparse.ArgumentParser(description="Simulate datacenters, one per seed.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--within-s", type=float, default=float("inf"), help="begin no seed later than this")
    parser.add_argument("--into", type=Path, default=Path("build/sim"), help="where failed seeds are written down")
    given = parser.parse_args()
    _quiet()
    if given.seed is not None:
        told = live(given.seed, given.into)
        print(told.error or f"{kind_of(told.seed)}: {told.outcome}")
        return 1 if told.error else 0
    return _many(list(range(given.first, given.first + given.seeds)), given)


def _many(seeds: list[int], given: argparse.Namespace) -> int:
    begun = told_at = time.monotonic()
    done = Sum()
    for told in lives(seeds, given.into, given.jobs):
        done.add(told)
        now = time.monotonic()
        if told.error:
            print(f"{told.error}seed {told.seed} failed; again with: make sim SEED={told.seed}", flush=True)
        if now - told_at >= told_every_s:
            told_at = now
            print(f"{now - begun:.0f} s: {done.line()}", flush=True)
        if now - begun >= given.within_s:
            break
    print(done.report(time.monotonic() - begun))
    return 1 if done.failed else 0


if __name__ == "__main__":
    sys.exit(main())
