"""A public zone, constraints, and why something is not placed, now and then: on a real datacenter."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
HOLD = "while :; do sleep 1; done"
SMALL = {"cmd": HOLD, "cpus": 0.1, "mem": 32}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two private agents and a public one."""
    data = tmp_path_factory.mktemp("placement") / "data"
    with datacenter(data, agents=3, up_options=("--public-agents", "1")) as found:
        yield found


def agents_of(cluster: Cluster, app: str) -> set[str]:
    return {row["agent"] for row in cluster.running(app).values()}


def test_an_app_lands_in_the_zone_whose_role_it_accepts(cluster: Cluster) -> None:
    rows = {row["agent"]: row for row in cluster.ask("node", "list")}
    assert (rows["a3"]["role"], rows["a3"]["attributes"]["public_ip"]) == ("slave_public", "true")
    cluster.add_app(id="/edge", instances=2, acceptedResourceRoles=["slave_public"], **SMALL)
    cluster.add_app(id="/inner", instances=4, **SMALL)
    cluster.add_app(id="/spread", instances=4, constraints=[["public_ip", "UNLIKE", "true"]], **SMALL)
    assert agents_of(cluster, "/edge") == {"a3"}
    assert agents_of(cluster, "/inner") <= {"a1", "a2"}
    assert agents_of(cluster, "/spread") <= {"a1", "a2"}


def test_why_it_waits_is_told_also_when_it_waits_no_more(cluster: Cluster) -> None:
    """Every node here has the same hostname, so a second instance finds none."""
    spec = {"id": "/one", "instances": 2, "constraints": [["hostname", "UNIQUE"]], **SMALL}
    cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(spec))

    def reasons() -> set[str]:
        return {check["unfit"]["reason"] for check in cluster.ask("app", "explain", "/one")["checks"]}

    wait_for("/one is refused", lambda: "UnfulfilledConstraint" in reasons() and len(cluster.running("/one")) == 1)
    told = cluster.ask("app", "explain", "/one")
    position = cluster.events("--lines", "1")[-1]["position"]
    assert told["wants"]["places"] == {"hostname": {"127.0.0.1": 1}}
    cluster.run("app", "scale", "/one", "1", "--force")
    assert cluster.ask("app", "explain", "/one")["waiting"] == 0
    then = cluster.ask("app", "explain", "/one", "--at", str(position))
    assert (then["waiting"], then["note"]) == (1, told["note"])
    one = cluster.ask("app", "explain", "/one", "--at", str(position), "--on", "a3")
    assert "UnfulfilledRole" in one["note"]
