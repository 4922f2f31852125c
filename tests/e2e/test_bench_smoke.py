"""The benchmark works: a little of everything is measured, and what must be counted is counted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from ops.bench.figures import number
from ops.bench.growth import SWEEPS
from ops.bench.measures import MEASURES
from ops.bench.peers import PEERS
from ops.bench.report import GOALS, README, TOLD, filled, tables
from tests.e2e.cluster import processes_under

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]
ROOT = Path(__file__).parent.parent.parent
SENTENCES_OF_A_RUN = (10, 20)
"""Least and most events of one task: nine steps, each once, and what they share with others."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every figure of a quick run, by measure and name."""
    directory = tmp_path_factory.mktemp("bench")
    argv = [sys.executable, "-m", "ops.bench", "--quick", "--directory", str(directory), "--json", str(directory / "f")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=420, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_under(directory) == []
    figures = json.loads((directory / "f").read_text())["figures"]
    return {measure: {figure["name"].strip(): figure for figure in found} for measure, found in figures.items()}


def test_everything_is_measured(measured: dict[str, dict[str, Any]]) -> None:
    """Each measure has its figures, each of them at least one value, and none is negative."""
    assert list(measured) == list(MEASURES)
    for figures in measured.values():
        assert figures
        wrong = {name: figure for name, figure in figures.items() if figure["n"] < 1 or not isfinite(figure["p50"])}
        assert not wrong, wrong


def test_each_goal_has_its_figure(measured: dict[str, dict[str, Any]]) -> None:
    """Whatever its size is: no row of the table says "not measured" after everything was."""
    for goal in GOALS:
        wanted = re.compile(_sizeless(goal.figure))
        assert any(wanted.fullmatch(_sizeless(name)) for name in measured[goal.measure]), goal


def _sizeless(name: str) -> str:
    return re.sub(r"\d[\d,]*", "9", name)


def test_a_single_task_is_timed_from_request_to_running(measured: dict[str, dict[str, Any]]) -> None:
    """As many tasks as asked for, and every hop of the launch once for each."""
    tasks = measured["tasks"]
    assert tasks["run: request to RUNNING"]["n"] == tasks["instance: request to RUNNING"]["n"] == 3
    hops = {name: figure["n"] for name, figure in tasks.items() if name.startswith("step ")}
    assert hops == {f"step {step} to {step + 1}": 3 for step in range(4, 12)}


def test_a_burst_says_no_more_than_its_tasks_need(measured: dict[str, dict[str, Any]]) -> None:
    """Twenty runs, each told step by step; who is measured is every process of the datacenter."""
    burst = measured["burst"]
    least, most = SENTENCES_OF_A_RUN
    assert least <= burst["events per task"]["p50"] <= most
    used = {name.rpartition(", ")[2] for name in burst if name.startswith("CPU per task")}
    assert used >= {"bus", "master", "a1", "a1-cmd", "a1.launcher", "a2", "marathon", "metronome", "supervisor"}


def test_logs_are_rebuilt_from_the_stores_of_the_burst(measured: dict[str, dict[str, Any]]) -> None:
    """The logs have at least what a task makes the master say, launched and two statuses, and what a run makes
    Metronome say: begun, running, ended."""
    rebuilt = {name.split()[1].rstrip(","): int(name.split()[-2]) for name in measured["burst"] if "rebuild" in name}
    assert set(rebuilt) == {"master", "marathon", "metronome", "agent", "executor"}
    assert rebuilt["master"] >= 20 * 3
    assert rebuilt["metronome"] >= 20 * 3
    assert rebuilt["marathon"] >= 5 * 5


def test_what_tasks_ran_is_counted_to_them(measured: dict[str, dict[str, Any]]) -> None:
    """The CPU time of `/bin/true` and of what confines it is part of the sum over all processes."""
    burst = measured["burst"]
    own, ran = burst["CPU per task, all"]["p50"], burst["CPU per task, /bin/true and what confines it"]["p50"]
    assert ran > 0
    assert burst["20 runs: CPU per task, all and what they ran"]["p50"] == pytest.approx(own + ran)


def test_a_service_goes_up_doubles_and_stops(measured: dict[str, dict[str, Any]]) -> None:
    """Each of the three is timed once a round."""
    assert set(measured["service"]) == {"5 instances up", "5 to 10 instances", "10 instances stopped"}
    assert all(figure["n"] == 1 and figure["p50"] > 0 for figure in measured["service"].values())


def test_the_control_plane_runs_every_simulated_task(measured: dict[str, dict[str, Any]]) -> None:
    """Two tasks on each of twenty agents are heard RUNNING; a task takes five events of its own and shares some."""
    control = measured["control"]
    for who, tasks in (("20 agents, 40 tasks", 40), ("5 agents, 5 tasks, sync_interval 2m", 5)):
        assert control[f"{who}: one of them"]["n"] == tasks
        assert control[f"{who}: one task alone, accepted -> RUNNING"]["n"] == 5
        assert control[f"{who}: accepted -> RUNNING"]["p50"] > 0
    assert 5 <= control["events per task"]["p50"] <= 9


def test_an_allocation_serves_everybody(measured: dict[str, dict[str, Any]]) -> None:
    """What the measure asserts itself is that every agent is offered once and shares are even; here that it was made
    of decisions, none longer than the whole."""
    allocation = measured["allocation"]
    whole = allocation["200 agents x 20 frameworks, one allocation"]["p50"]
    assert 0 < allocation["its longest decision"]["p50"] <= whole
    gap, took = "in the loop, most without a turn", "in the loop, until everything is offered"
    assert 0 < allocation[gap]["p50"] <= allocation[took]["p50"]


def test_memory_is_of_processes_that_hold_what_they_should(measured: dict[str, dict[str, Any]]) -> None:
    """A master with five hundred tasks, and who hosts five tasks."""
    memory = measured["memory"]
    assert {"memory of a master, 500 live tasks", "memory with 5 tasks, a1-cmd"} <= set(memory)
    assert all(figure["p50"] > 0 for name, figure in memory.items() if name.startswith("memory"))


def test_appends_are_compared_with_the_client_library(measured: dict[str, dict[str, Any]]) -> None:
    """Every size of a batch has its ratio to the same appends without our bus."""
    for size in (1, 10, 100, 1000):
        assert measured["appends"][f"append, {size} at a time"]["p50"] > 0
    assert "ours to plain" in measured["appends"]


def test_a_failover_is_seen_from_outside(measured: dict[str, dict[str, Any]]) -> None:
    """After each kill a term, an answer, an offer and a launch, in the order in which they must come."""
    figures = measured["failover"]
    term, offer = figures["killed leader -> next term in the log"], figures["killed leader -> first offer"]
    launch = figures["killed leader -> a new run's task launched"]
    assert 0 < term["p50"] <= offer["p50"] <= launch["p50"]


def test_a_log_without_a_pause_is_stored(measured: dict[str, dict[str, Any]]) -> None:
    """On one server and on three, with both settings; what the measure asserts itself is that the store has it all."""
    for servers in (1, 3):
        for sync in ("always", "2m"):
            assert measured["log"][f"R{servers}, sync_interval {sync}"]["p50"] > 0
            assert measured["log"][f"R{servers}, sync_interval {sync}, 400 logs one event at a time"]["p50"] > 0


def test_commands_and_the_tail_are_timed(measured: dict[str, dict[str, Any]]) -> None:
    """Three lines were told by `events tail -f`, none before its event was published."""
    lines = measured["cli"]["events tail -f, from publishing to the line"]
    assert lines["n"] == 3
    assert lines["min"] > 0
    assert measured["cli"]["busbar --version"]["n"] == 1


def test_costs_are_swept_fitted_and_told(tmp_path: Path) -> None:
    """Each sweep leaves a table with an exponent for every cost, and the same for programs."""
    argv = [sys.executable, "-m", "ops.bench.growth", "--quick", "--results", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SWEEPS:
        series = json.loads((tmp_path / f"{name}.json").read_text())["series"]
        table = (tmp_path / f"{name}.md").read_text()
        assert all(each["name"] in table and f"{each['exponent']:.2f}" in table for each in series)


def test_peers_do_the_same_work_and_who_is_absent_is_named(tmp_path: Path) -> None:
    """Busbar is always here; every other peer has figures, or a reason."""
    argv = [sys.executable, "-m", "ops.bench.peers", "--quick", "--json", str(tmp_path / "f")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "f").read_text())
    here = {figure["name"].partition(":")[0] for figure in found["figures"]["peers"]}
    assert "busbar" in here
    assert here | set(found["absent"]) == {peer.name for peer in PEERS}
    assert not here & set(found["absent"])


def test_the_table_of_goals_is_written_from_figures(measured: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """A goal that was measured has its number in the page, one that was not says so; the rest of the page stays."""
    file = tmp_path / "f"
    figures = {"start": [measured["start"]["busbar up until ready"]], "tasks": list(measured["tasks"].values())}
    file.write_text(json.dumps({"machine": dict.fromkeys(TOLD, "?"), "figures": figures}))
    page = filled(README.read_text(), tables([file]))
    ready = number(measured["start"]["busbar up until ready"]["p50"])
    assert f"| `busbar up` -> ready | <= 2 s | s | 1 | {ready} | {ready} | {ready} |" in page
    assert "| all 200 stopped | <= 1.5 s |  |  |  | not measured |  |" in page
    assert [line for line in page.splitlines() if line.startswith("| 11 | 12 | 3 |")]
    assert page.startswith("# What Busbar costs, measured")
    assert "## Peers" in page
