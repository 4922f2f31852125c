"""A pod on real processes: two containers share a directory, start as one, survive who runs them, and end as one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, alive, datacenter, wait_for
from tests.e2e.test_survival import kill_and_wait, steps_once

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
HOLD = "while :; do sleep 1; done"
POD = {
    "id": "/pod",
    "volumes": [{"name": "data"}],
    "containers": [
        {
            "name": "writer",
            "resources": {"cpus": 0.1, "mem": 32},
            "exec": {"command": {"shell": f"echo $ENDPOINT_HTTP > out/port; {HOLD}"}},
            "endpoints": [{"name": "http", "hostPort": 0}],
            "volumeMounts": [{"name": "data", "mountPath": "out"}],
        },
        {
            "name": "reader",
            "resources": {"cpus": 0.1, "mem": 32},
            "exec": {"command": {"shell": f"until cat in/port; do sleep 0.1; done; {HOLD}"}},
            "volumeMounts": [{"name": "data", "mountPath": "in", "readOnly": True}],
            "lifecycle": {"killGracePeriodSeconds": 1},
        },
    ],
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with datacenter(tmp_path_factory.mktemp("pods") / "data") as found:
        found.run("pod", "add", "-", stdin=json.dumps(POD))
        yield found


def containers(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """The running containers of the pod's one instance, by name, once they are two."""
    running = cluster.running("/pod")
    found = {row["name"]: row for row in running.values()}
    return found if set(found) == {"writer", "reader"} and len(running) == 2 else {}


def pids(cluster: Cluster) -> dict[str, int]:
    return {name: cluster.pid_of(row["task"]) for name, row in containers(cluster).items()}


def port_of(cluster: Cluster, task: str) -> int:
    """The port that a task was given."""
    (launched,) = [event for event in cluster.ask("task", "history", task) if event["type"] == "task.launched"]
    port: int = launched["data"]["task"]["ports"][0]
    return port


def test_containers_start_together_and_share_a_directory(cluster: Cluster) -> None:
    found = wait_for("both containers run", lambda: containers(cluster))
    assert {row["agent"] for row in found.values()} == {found["writer"]["agent"]}
    said = wait_for("the reader reads", lambda: cluster.run("task", "log", found["reader"]["task"]).strip())
    assert said == str(port_of(cluster, found["writer"]["task"])), "the writer's port, through the shared directory"
    (instance,) = cluster.ask("pod", "show", "/pod")["instances"]
    assert instance["status"] == "STABLE"
    assert {one["task"] for one in instance["containers"]} == {row["task"] for row in found.values()}
    for row in found.values():
        trace = cluster.ask("task", "trace", row["task"])
        assert {step["step"] for step in trace["rows"] if step.get("position")} == set(range(1, 13))


@pytest.mark.parametrize("what", ["agent", "executor"])
def test_who_runs_them_is_killed_and_they_run_on(cluster: Cluster, what: str) -> None:
    """The same processes, and nothing is told twice."""
    before, agent = pids(cluster), containers(cluster)["writer"]["agent"]
    kill_and_wait(cluster, agent if what == "agent" else f"{agent}.executor")
    wait_for("the master answers", lambda: cluster.try_ask("status"))
    assert all(alive(pid) for pid in before.values())
    assert wait_for("both containers run", lambda: pids(cluster)) == before
    for row in containers(cluster).values():
        steps_once(cluster, row["task"])


def test_one_is_killed_and_both_end_and_another_instance_runs(cluster: Cluster) -> None:
    before = containers(cluster)
    processes = pids(cluster)
    os.kill(processes["writer"], signal.SIGKILL)
    wait_for("both end", lambda: not any(alive(pid) for pid in processes.values()))
    after = wait_for(
        "another instance runs",
        lambda: (found := containers(cluster)) and found["writer"]["task"] != before["writer"]["task"] and found,
    )
    assert {row["task"] for row in after.values()}.isdisjoint(row["task"] for row in before.values())
    (remembered,) = cluster.ask("pod", "show", "/pod")["terminations"]
    assert remembered["message"].startswith(f"{before['writer']['task']}: ")
    ended = {row["task"]: row["status"] for row in cluster.ask("task", "list", "--all") if row.get("app") == "/pod"}
    reader, writer = ended[before["reader"]["task"]], ended[before["writer"]["task"]]
    assert (writer["state"], reader["state"]) == ("TASK_FAILED", "TASK_KILLED")
    assert f"killed: {before['writer']['task']} of its group ended as TASK_FAILED" in reader["message"]
