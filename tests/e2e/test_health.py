"""Instances that turn bad are replaced, whoever checks: Marathon over the network, or the executor beside the task."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SERVE = f"touch good; exec {sys.executable} -m http.server --bind 127.0.0.1 $PORT0"
OFTEN = {"intervalSeconds": 1, "timeoutSeconds": 5, "maxConsecutiveFailures": 2, "delaySeconds": 0}
CHECKS: dict[str, dict[str, Any]] = {
    "HTTP": {"path": "/good"},
    "MESOS_HTTP": {"path": "/good"},
    "COMMAND": {"command": {"value": "test -e good"}},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with datacenter(tmp_path_factory.mktemp("health") / "data", agents=1) as found:
        yield found


def instances(cluster: Cluster, app: str) -> list[dict[str, Any]]:
    """Those that run, with what their checks found, as the log tells it."""
    known: dict[str, bool] = {}
    for event in cluster.events("--noun", "health", "--lines", "1000"):
        known[event["data"]["task"]] = event["data"]["healthy"]
    return [{"task": task, "healthy": known.get(task)} for task in cluster.running(app)]


def healthy(cluster: Cluster, app: str, *, other_than: str = "") -> str | None:
    """The one running instance, if it is healthy."""
    rows = [one for one in instances(cluster, app) if one["task"] != other_than]
    return rows[0]["task"] if len(rows) == 1 and rows[0]["healthy"] else None


@pytest.mark.parametrize("protocol", CHECKS)
def test_an_instance_that_turns_bad_is_replaced_by_a_good_one(cluster, protocol):
    app = f"/{protocol.lower().replace('_', '-')}"
    check = {"protocol": protocol, **OFTEN, **CHECKS[protocol]}
    cluster.add_app(id=app, cmd=SERVE, cpus=0.1, mem=64, healthChecks=[check])
    first = wait_for(f"{app} is healthy", lambda: healthy(cluster, app))
    (good,) = Path(cluster.data).glob(f"agents/*/sandboxes/{first}/good")
    good.unlink()
    second = wait_for(f"{app} is replaced", lambda: healthy(cluster, app, other_than=first))
    ends = [
        event["data"]["status"]
        for event in cluster.ask("task", "history", first)
        if event["type"] == "task.updated" and event["data"]["status"]["state"] == "TASK_KILLED"
    ]
    assert len(ends) == 1
    if protocol != "HTTP":
        assert ends[0]["reason"] == "REASON_TASK_HEALTH_CHECK_STATUS_UPDATED"
        assert ends[0]["healthy"] is False
    assert second != first


def serving(app: str, protocol: str, *, good: bool, version: str) -> dict[str, Any]:
    """Two instances; those of one version are good at once, those of the other when somebody makes them good."""
    check = {"protocol": protocol, **OFTEN, **CHECKS[protocol], "gracePeriodSeconds": 600}
    serve = SERVE if good else SERVE.removeprefix("touch good; ")
    fields = {"id": app, "cmd": serve, "cpus": 0.1, "mem": 64, "instances": 2, "env": {"RELEASE": version}}
    return fields | {"healthChecks": [check]}


@pytest.mark.parametrize("protocol", ["HTTP", "COMMAND"])
def test_a_rolling_deployment_waits_until_the_new_are_healthy(cluster, protocol):
    """None of the old goes before one of the new is good: in the log, not on a watch."""
    app = f"/rolling-{protocol.lower()}"
    cluster.add_app(**serving(app, protocol, good=True, version="1"))
    wait_for("two are healthy", lambda: sum(bool(one["healthy"]) for one in instances(cluster, app)) == 2)
    old = set(cluster.running(app))
    changed = json.dumps(serving(app, protocol, good=False, version="2"))
    cluster.run("app", "update", "--no-wait", "-", stdin=changed)
    new = wait_for("the new run beside the old", lambda: beside(cluster, app, old))
    assert old <= set(cluster.running(app))
    for task in sorted(new):
        (sandbox,) = Path(cluster.data).glob(f"agents/*/sandboxes/{task}")
        (sandbox / "good").touch()
    wait_for("only the new run", lambda: set(cluster.running(app)) == new)
    story = cluster.events("--id", "marathon", "--lines", "5000")
    good: set[str] = set()
    gone = 0
    for event in story:
        fact = event["data"]
        if event["type"] == "health.changed" and fact["task"] in new and fact["healthy"]:
            good.add(fact["task"])
        if event["type"] == "instance.dismissed" and fact["task"] in old:
            gone += 1
            assert len(good) >= gone, f"{fact['task']} was dismissed when {sorted(good)} were good"
    assert (gone, good) == (2, new)


def beside(cluster: Cluster, app: str, old: set[str]) -> set[str] | None:
    """The two that run beside the old."""
    new = set(cluster.running(app)) - old
    return new if len(new) == 2 else None
