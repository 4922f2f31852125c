"""The benchmark works: a little of everything is measured, and what must be counted is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.bench.measures import MEASURES
from tests.e2e.cluster import processes_under

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parent.parent.parent
SENTENCES_OF_A_RUN = (10, 20)
"""Least and most events of one task: nine steps, each once, and what they share with others."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every figure of a quick run, by measure and name."""
    directory = tmp_path_factory.mktemp("bench")
    argv = [sys.executable, "-m", "ops.bench", "--quick", "--directory", str(directory), "--json", str(directory / "f")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert processes_under(directory) == []
    figures = json.loads((directory / "f").read_text())["figures"]
    return {measure: {figure["name"].strip(): figure for figure in found} for measure, found in figures.items()}


def test_everything_is_measured(measured: dict[str, dict[str, Any]]) -> None:
    """Each measure has its figures, each of them at least one value, and none is negative."""
    assert list(measured) == list(MEASURES)
    for figures in measured.values():
        assert figures
        assert all(figure["n"] >= 1 and figure["p50"] >= 0 for figure in figures.values())


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
    """The master's log has at least what a task makes the master say: launched, and three statuses."""
    rebuilt = {name.split()[1].rstrip(","): int(name.split()[-2]) for name in measured["burst"] if "rebuild" in name}
    assert set(rebuilt) == {"master", "marathon", "metronome", "agent", "executor"}
    assert rebuilt["master"] >= 20 * 4
    assert rebuilt["metronome"] >= 20 * 5
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
    assert control["one of them"]["n"] == 20 * 2
    assert control["20 agents, 40 tasks: accepted -> RUNNING"]["p50"] > 0
    assert 5 <= control["events per task"]["p50"] <= 9


def test_an_allocation_serves_everybody(measured: dict[str, dict[str, Any]]) -> None:
    """What the measure asserts itself is that every agent is offered once and shares are even; here that it was made
    of decisions, none longer than the whole."""
    allocation = measured["allocation"]
    whole = allocation["200 agents x 20 frameworks, one allocation"]["p50"]
    assert 0 < allocation["its longest decision"]["p50"] <= whole


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
