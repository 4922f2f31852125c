"""Kill anything with SIGKILL while work is going on: no running task is lost, no exit status, no step twice."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, alive, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
HOLD = "while :; do sleep 1; done"
INSTANCES = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One datacenter for all of these: what one test kills must be whole for the next."""
    with datacenter(tmp_path_factory.mktemp("survival") / "data") as found:
        found.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32, instances=INSTANCES)
        yield found


def slow_job(cluster: Cluster, name: str, *, lasts_s: int, exit_status: int) -> tuple[str, str]:
    """A run that ends by itself while something is dead: its id and its task's."""
    command = f"sleep {lasts_s}; exit {exit_status}"
    job = {"id": name, "run": {"cmd": command, "cpus": 0.1, "mem": 32, "disk": 0}}
    cluster.run("job", "add", "-", stdin=json.dumps(job))
    run: str = cluster.ask("job", "run", name, "--no-wait")["run"]
    return run, wait_for(f"{name} runs", lambda: running(cluster, run))


def running(cluster: Cluster, run: str) -> str | None:
    """The running task of a run."""
    return next((row["task"] for row in cluster.tasks(run=run) if row["status"]["state"] == "TASK_RUNNING"), None)


def ended(cluster: Cluster, run: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = cluster.try_ask("job", "runs") or []
    return next((row for row in rows if row["run"] == run and row["state"] in ("SUCCESS", "FAILED")), None)


def steps_once(cluster: Cluster, task: str) -> None:
    """Every state of a task is told once by everybody who tells it."""
    told: Counter[tuple[str, str, str]] = Counter()
    for event in cluster.ask("task", "history", task):
        if event["type"] in ("task.launched", "task.delivered"):
            told[event["by"], event["type"], ""] += 1
        status = event["data"].get("status", {})
        if event["type"] in ("task.reported", "task.updated") and status.get("reason") != "REASON_RECONCILIATION":
            told[event["by"], event["type"], status["state"]] += 1
    assert told, f"{task} has no history"
    assert {key: count for key, count in told.items() if count > 1} == {}


def kill_and_wait(cluster: Cluster, name: str) -> None:
    """SIGKILL a component and wait for its successor."""
    before = cluster.component_pid(name)
    os.kill(before, signal.SIGKILL)

    def successor() -> bool:
        try:
            now = cluster.component_pid(name)
        except (FileNotFoundError, ValueError):
            return False
        return now != before and alive(now)

    wait_for(f"{name} is started again", successor)


@pytest.mark.parametrize("name", ["a1", "a2", "a1.executor", "a2.executor", "marathon", "metronome", "master"])
def test_a_killed_component_loses_no_task_and_no_exit_status(cluster: Cluster, name: str) -> None:
    """The instances run on as the same processes, a run that ends meanwhile tells how, and new work is done."""
    before = {task: cluster.pid_of(task) for task in cluster.running("/hold")}
    assert len(before) == INSTANCES
    run, task = slow_job(cluster, f"during-{name.replace('.', '-')}", lasts_s=5, exit_status=7)
    kill_and_wait(cluster, name)
    result = wait_for("the run's end is known", lambda: ended(cluster, run))
    assert result["state"] == "FAILED"
    assert result["tasks"][0]["exit_status"] == 7
    wait_for("the master answers", lambda: cluster.try_ask("status"))
    steps_once(cluster, task)
    assert set(cluster.running("/hold")) == set(before)
    assert all(alive(pid) for pid in before.values())
    cluster.run("app", "scale", "/hold", str(INSTANCES + 1))
    cluster.run("app", "scale", "/hold", str(INSTANCES))
    assert (
        len(wait_for("scaled back", lambda: len(cluster.running("/hold")) == INSTANCES and cluster.running("/hold")))
        == 2
    )


def test_a_killed_nats_server_comes_back_with_everything(cluster: Cluster) -> None:
    """The bus dies while an app is deployed and a run is about to end: nothing acknowledged is lost, both come true."""
    before = {task: cluster.pid_of(task) for task in cluster.running("/hold")}
    run, task = slow_job(cluster, "during-bus", lasts_s=3, exit_status=7)
    position = cluster.ask("status")["position"]
    after = {"id": "/after", "cmd": HOLD, "cpus": 0.1, "mem": 32, "instances": 10}
    cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(after))
    os.kill(cluster.component_pid("bus"), signal.SIGKILL)
    wait_for("the bus is back", lambda: cluster.try_ask("status"))
    assert cluster.ask("status")["position"] >= position
    assert wait_for("the run's end is known", lambda: ended(cluster, run))["tasks"][0]["exit_status"] == 7
    steps_once(cluster, task)
    wait_for("the deployment completes", lambda: len(cluster.running("/after")) == after["instances"])
    for instance in cluster.running("/after"):
        steps_once(cluster, instance)
    assert set(cluster.running("/hold")) == set(before)
    assert all(alive(pid) for pid in before.values())
    cluster.run("app", "remove", "/after")


def test_a_killed_instance_is_replaced_and_the_trace_says_why(cluster: Cluster) -> None:
    """The successor's trace has all twelve steps and names whom it replaces."""
    victim = next(iter(cluster.running("/hold")))
    os.kill(cluster.pid_of(victim), signal.SIGKILL)
    wait_for(
        "a replacement runs", lambda: victim not in cluster.running("/hold") and len(cluster.running("/hold")) == 2
    )
    replacement = next(t for t in cluster.running("/hold") if cluster.ask("task", "trace", t).get("replaces") == victim)
    trace = cluster.ask("task", "trace", replacement)
    steps = {row["step"] for row in trace["rows"] if row.get("position")}
    assert steps == set(range(1, 13))


def test_the_history_can_be_replayed_with_nothing_running(cluster: Cluster, tmp_path: Path) -> None:
    """The master's store alone tells everything that was said."""
    store = cluster.data / "master" / "events.db"
    lines = cluster.run("events", "replay", "--store", str(store), "--speed", "0", "--json").splitlines()
    positions = [json.loads(line)["position"] for line in lines]
    assert positions == list(range(1, len(positions) + 1))
