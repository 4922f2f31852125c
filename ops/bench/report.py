"""`python -m ops.bench.report FILE... [--readme]`: the goals and what was measured, as a table, out of JSON files.

FILE is what `python -m ops.bench --json FILE` or `python -m ops.bench.peers --json FILE` left. With `--readme` the
table replaces the one in `ops/bench/README.md`.
Rule of this room: no number is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ops.bench.figures import number

README = Path(__file__).parent / "README.md"
TOLD = ("machine", "cores", "kernel", "python", "nats-server", "sqlite", "busbar", "seed")
Figures = dict[str, list[dict[str, Any]]]


class Goal(NamedTuple):
    """One number of the goals, and where it is measured."""

    what: str
    goal: str
    measure: str
    figure: str
    """A pattern of the figure's name."""


GOALS = (
    Goal("submit -> RUNNING, one run, idle cluster", "p50 <= 12 ms, p95 <= 30 ms", "tasks", "run: request to RUNNING"),
    Goal("submit -> RUNNING, one instance", "p50 <= 12 ms, p95 <= 30 ms", "tasks", "instance: request to RUNNING"),
    Goal("the same, one run, `2m`", "", "tasks", "run: request to RUNNING, .*2m"),
    Goal("the same, one instance, `2m`", "", "tasks", "instance: request to RUNNING, .*2m"),
    Goal("burst of 1,000 `/bin/true`", ">= 300 tasks/s", "burst", "1000 runs at once"),
    Goal("burst of 5,000 `/bin/true`", ">= 300 tasks/s", "burst", "5000 runs at once"),
    Goal("CPU per task of it, everything, 1,000", "<= 6 ms", "burst", "1000 runs: CPU per task.*"),
    Goal("CPU per task of it, everything, 5,000", "<= 6 ms, flat", "burst", "5000 runs: CPU per task.*"),
    Goal("100 instances up", "<= 1 s", "service", "100 instances up"),
    Goal("100 -> 200 instances", "<= 1 s", "service", "100 to 200 instances"),
    Goal("all 200 stopped", "<= 1.5 s", "service", "200 instances stopped"),
    Goal("control plane, 1,000 agents", ">= 2,000 tasks/s", "control", r"1000 agents, \d+ tasks: accepted -> RUNNING"),
    Goal(
        "control plane, 10,000 agents", ">= 2,000 tasks/s", "control", r"10000 agents, \d+ tasks: accepted -> RUNNING"
    ),
    Goal("the same, 1,000 agents, `2m`", "", "control", "1000 agents, .*2m: accepted -> RUNNING"),
    Goal("the same, 10,000 agents, `2m`", "", "control", "10000 agents, .*2m: accepted -> RUNNING"),
    Goal("one allocation, 10,000 agents x 1,000 frameworks", "<= 200 ms", "allocation", ".*one allocation"),
    Goal("the loop without a turn in it", "<= 50 ms", "allocation", "in the loop, most without a turn"),
    Goal("fold, master", ">= 150,000 events/s", "burst", "fold master"),
    Goal("fold, marathon", ">= 150,000 events/s", "burst", "fold marathon"),
    Goal("fold, metronome", ">= 150,000 events/s", "burst", "fold metronome"),
    Goal("store read, decoded and folded, master", "", "burst", "rebuild master.*"),
    Goal("master leads at 1,000,000 events, snapshot", "<= 2 s", "past", "master leads, newest snapshot"),
    Goal("master leads at 1,000,000 events, none", "<= 10 s", "past", "master leads, no snapshot"),
    Goal("append with chain and store, R1 `always`", ">= 15,000 events/s", "log", "R1, sync_interval always"),
    Goal("append with chain and store, R3 `always`", ">= 15,000 events/s", "log", "R3, sync_interval always"),
    Goal("the same, R1 `2m`", "", "log", "R1, sync_interval 2m"),
    Goal("the same, R3 `2m`", "", "log", "R3, sync_interval 2m"),
    Goal("400 logs, one event at a time, R1 `always`", "", "log", "R1, sync_interval always, 400.*"),
    Goal("the same, R1 `2m`", "", "log", "R1, sync_interval 2m, 400.*"),
    Goal("the same, R3 `always`", "", "log", "R3, sync_interval always, 400.*"),
    Goal("store behind such a log at 15,000 events/s, most", "<= 1 s", "log", "the store behind it, most"),
    Goal("store behind a log at full speed, most", "", "log", "the store behind the log, most"),
    Goal("memory: master, 100,000 live tasks", "<= 350 MB", "memory", "memory of a master.*"),
    Goal("memory: agent, 100 tasks", "<= 60 MB", "memory", "memory with 100 tasks, a1"),
    Goal("memory: executor, 100 tasks", "<= 60 MB", "memory", "memory with 100 tasks, a1-cmd"),
    Goal("idle CPU of a whole `busbar up`", "<= 3 % of a core", "memory", "CPU of an idle datacenter.*"),
    Goal("`busbar up` -> ready", "<= 2 s", "start", "busbar up until ready"),
    Goal("a command's own start: `--version`", "<= 200 ms", "cli", "busbar --version"),
    Goal("`task list --json`", "<= 200 ms", "cli", "busbar task list --json"),
    Goal("`events tail` behind the event", "<= 20 ms", "cli", "events tail.*"),
    Goal("`task trace` at 1,000,000 events", "<= 150 ms", "failover", "task trace, the master's answer"),
    Goal("`state --at` at 1,000,000 events", "<= 1 s", "past", "state --at anywhere, tasks"),
)


def rows(figures: Figures) -> Iterator[Sequence[str]]:
    """Each goal, and what is known of it; of figures with the same name the worst."""
    yield ("what", "goal", "unit", "n", "min", "p50", "p95")
    yield ("---", "---", "---", "---:", "---:", "---:", "---:")
    for goal in GOALS:
        wanted = re.compile(goal.figure)
        found = [each for each in figures.get(goal.measure, []) if wanted.fullmatch(each["name"].strip())]
        if not found:
            yield (goal.what, goal.goal, "", "", "", "not measured", "")
            continue
        worst = min if found[0]["unit"].endswith("/s") else max
        figure = worst(found, key=lambda each: float(each["p50"]))
        told = (number(figure[name]) for name in ("min", "p50", "p95"))
        yield (goal.what, goal.goal, figure["unit"], str(figure["n"]), *told)
    for figure in figures.get("peers", []):
        told = (number(figure[name]) for name in ("min", "p50", "p95"))
        yield (figure["name"].strip(), "", figure["unit"], str(figure["n"]), *told)


def steps(figures: Figures) -> Iterator[Sequence[str]]:
    """Where a task's milliseconds go: from each step of its launch to the next, and the part of the whole."""
    yield ("from step", "to", "n", "p50 ms", "p95 ms", "part")
    yield ("---", "---", "---:", "---:", "---:", "---:")
    found = [each for each in figures.get("tasks", []) if each["name"].strip().startswith("step ")]
    whole = sum(float(each["p50"]) for each in found)
    for each in found:
        _, first, _, last = each["name"].split()
        part = f"{100 * each['p50'] / whole:.0f} %"
        yield (first, last, str(each["n"]), number(each["p50"]), number(each["p95"]), part)


def _table(found: Iterator[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in found)


def tables(files: Sequence[Path]) -> dict[str, str]:
    """What goes into the README, by the name of its place. A later file counts before an earlier one."""
    figures: Figures = {}
    notes = []
    for file in files:
        found = json.loads(file.read_text())
        figures |= found["figures"]
        where = ", ".join(f"{name} {found['machine'].get(name, '?')}" for name in TOLD)
        notes.append(f"{', '.join(found['figures'])}: {where}.")
        runs = [
            f"{name} {each['took_s']:.0f} s at {each['load'][0]}" for name, each in found.get("measured", {}).items()
        ]
        if runs:
            notes.append(f"How long each took, and the load before it: {', '.join(runs)}.")
        notes += [f"{name} is absent: {why}." for name, why in found.get("absent", {}).items()]
    return {"measured": f"{_table(rows(figures))}\n\n{chr(10).join(notes)}", "steps": _table(steps(figures))}


def main() -> None:
    """Print the tables, or write them into the README."""
    options = argparse.ArgumentParser(prog="python -m ops.bench.report", description="Goals, and what was measured.")
    options.add_argument("files", nargs="+", metavar="FILE", type=Path, help="what a run left with --json")
    options.add_argument("--readme", action="store_true", help="replace the tables in ops/bench/README.md")
    given = options.parse_args()
    found = tables(given.files)
    if given.readme:
        README.write_text(filled(README.read_text(), found))
    else:
        print("\n\n".join(found.values()))


def filled(text: str, found: dict[str, str]) -> str:
    """A page with each table in its place, instead of what was there."""
    for name, table in found.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        _, place, after = rest.partition(end)
        assert place, f"the page has no place for {name}"
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


if __name__ == "__main__":
    main()
