"""On real processes: the past up to now is what is there now, and a difference tells what was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest

from tests.e2e.cluster import Cluster, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
LISTS = ("node list", "framework list", "offer list", "task list --all", "app list", "job list", "job runs")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with datacenter(tmp_path_factory.mktemp("past") / "data") as found:
        found.add_app(id="/hold", cmd="while :; do sleep 1; done", cpus=0.1, mem=32, instances=2)
        job = {"id": "once", "run": {"cmd": "exit 3", "cpus": 0.1, "mem": 32, "disk": 0}}
        found.run("job", "add", "-", stdin=json.dumps(job))
        found.run("job", "run", "once", code=1)
        yield found


def test_the_past_up_to_now_is_what_is_there_now(cluster: Cluster):
    """Every list, row for row: asked of the components, folded from the store, and told by the master."""
    credentials = str(cluster.data / "credentials.json")

    def alike(command: str) -> bool:
        words = command.split()
        live = cluster.ask(*words)
        return bool(
            live == cluster.ask(*words, "--at", "now")
            and live == cluster.ask(*words, "--at", "now", "--credentials", credentials)
        )

    for command in LISTS:
        wait_for(f"{command} is alike", partial(alike, command))


def test_a_difference_tells_what_was_done(cluster: Cluster):
    """An app is scaled: the app by its field, and its new instance as a task."""
    before = cluster.ask("state", "apps")["position"]
    cluster.run("app", "scale", "/hold", "3")

    def told() -> bool:
        found = cluster.ask("diff", "--from", str(before))
        fields = {
            move["field"]: (move["before"], move["after"]) for change in found["apps"] for move in change["moves"]
        }
        started = [change for change in found["tasks"] if change["change"] == "new"]
        return fields.get("instances") == (2, 3) and fields.get("running") == (2, 3) and len(started) == 1

    wait_for("the difference", told)
    assert cluster.ask("state", "apps", "--at", str(before))["apps"][0]["app"]["instances"] == 2
