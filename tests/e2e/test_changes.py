"""Apps and groups changed from the command line on a real datacenter: planned, tried by canaries, locked, undone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cli.claims import example
from tests.e2e.cluster import Cluster, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
WEB = {"id": "/web", "cmd": "while :; do sleep 1; done", "cpus": 0.1, "mem": 32, "instances": 2}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with datacenter(tmp_path_factory.mktemp("changes") / "data", agents=1) as found:
        yield found


def envs(cluster: Cluster) -> str:
    """What the app is to be."""
    return str(cluster.ask("app", "show", "/web")["app"].get("env"))


def test_an_app_through_its_changes(cluster: Cluster) -> None:
    """Canaries hold the lock; who comes meanwhile is told so; the way back restores what was."""
    cluster.add_app(**WEB)
    cluster.run("app", "set", "/web", "env.A=1", "rollout.canaries=1")
    (row,) = cluster.ask("deployment", "list")
    assert row["actions"][0]["paused"] is True
    refused = cluster.run("app", "scale", "/web", "3", code=1)
    assert f"locked: /web is locked by deployment {row['deployment']}" in refused
    assert f"busbar deployment watch {row['deployment']}" in refused
    cluster.run("deployment", "rollback", row["deployment"])
    assert envs(cluster) == "None"
    assert cluster.ask("deployment", "list") == []

    cluster.run("app", "set", "/web", "env.A=2", "rollout.canaries=1")
    cluster.run("app", "continue", "/web")
    wait_for("the deployment ends", lambda: cluster.ask("deployment", "list") == [])
    assert envs(cluster) == "{'A': '2'}"
    assert len(cluster.running("/web")) == 2

    plan = cluster.run("app", "plan", "-", "--partial", "/web", stdin='{"instances": 3}')
    assert plan.splitlines() == ["~ /web", "    ~ instances: 2 -> 3", "", "step 1: ScaleApplication /web"]
    assert len(cluster.running("/web")) == 2
    cluster.run("app", "rollback", "/web")
    assert envs(cluster) == "None"
    cluster.run("app", "kill", "/web", "--all")
    wait_for("both are replaced", lambda: len(cluster.running("/web")) == 2)


def test_a_group_comes_up_in_order_and_goes(cluster: Cluster) -> None:
    """What others depend on comes first; changed and removed by one deployment each."""
    document = example("group.json").decode()
    cluster.run("group", "add", "-", "--timeout", "120", stdin=document)
    launched = [event["data"]["task"]["app"] for event in cluster.events(*TASKS) if event["type"] == "task.launched"]
    assert [app for app in launched if app in SHOP][:4] == [SHOP[0], SHOP[1], SHOP[1], SHOP[2]]
    changed = json.loads(document)
    changed["groups"][1]["apps"] = changed["groups"][1]["apps"][:1]
    assert f"- {SHOP[2]}" in cluster.run("group", "plan", "-", stdin=json.dumps(changed))
    cluster.run("group", "update", "-", stdin=json.dumps(changed))
    assert cluster.running(SHOP[2]) == {}
    cluster.run("group", "rollback", "/shop")
    assert len(cluster.running(SHOP[2])) == 1
    cluster.run("group", "remove", "/shop")
    assert not any(cluster.running(app) for app in SHOP)


TASKS = ("--noun", "task", "--lines", "1000")
SHOP = ("/shop/store/db", "/shop/front/web", "/shop/front/mail")
