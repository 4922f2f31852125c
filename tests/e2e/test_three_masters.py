"""Three nodes, each with a server of the bus and a master: leaders are killed, stopped and asked to go, under work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.ensemble import on_node
from tests.e2e.cluster import Cluster, alive, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
HOLD = "while :; do sleep 1; done"
WANTED = 3
MASTER, MARATHON, METRONOME = "master.main", "framework.marathon", "framework.metronome"
NO_QUORUM = "error: no quorum: 1 of 3 bus servers answer: nothing is written until another comes back; tasks run on\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One datacenter of three nodes for all of these, with a service and a job."""
    with datacenter(tmp_path_factory.mktemp("three") / "data", masters=3) as found:
        found.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32, instances=WANTED)
        job = {"id": "tick", "run": {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}}
        found.run("job", "add", "-", stdin=json.dumps(job))
        yield found


def processes(cluster: Cluster) -> dict[str, int]:
    """The service's running tasks, each with the process its report named."""
    rows = cluster.running("/hold")
    return {task: int(row["status"]["message"].removeprefix("pid ")) for task, row in rows.items()}


@pytest.fixture(autouse=True)
def whole(cluster: Cluster) -> Iterator[None]:
    """Each test leaves the datacenter whole, and every task of the service with the process it had."""
    before = wait_for("the service's tasks", lambda: processes(cluster))
    assert len(before) == WANTED
    yield
    wait_for("all is well again", cluster.all_well)
    assert processes(cluster) == before
    assert all(alive(pid) for pid in before.values())


def leads(cluster: Cluster, by: str) -> dict[str, Any]:
    return wait_for(f"somebody leads {by}", lambda: cluster.leader(by))


def other_leads(cluster: Cluster, by: str, than: dict[str, Any]) -> dict[str, Any]:
    """The first event of the next leader's term."""

    def elected() -> dict[str, Any] | None:
        terms = [event for event in cluster.events("--from", "1", "--noun", "leader") if event["by"] == by]
        newest = [event for event in terms if event["type"] == "leader.elected"][-1]
        return newest if newest["data"]["instance"] != than["instance"] else None

    return wait_for(f"another instance leads {by}", elected)


def process(cluster: Cluster, name: str, node: str) -> int:
    return cluster.component_pid(on_node(name, node))


def newest(cluster: Cluster) -> int:
    """The last position of the log."""
    return int(wait_for("the newest event", lambda: cluster.look().get("position")))


def stream_leader(cluster: Cluster) -> str:
    """The node whose server leads the stream."""
    [name] = [each["name"] for each in cluster.look()["servers"] if each["leader"]]
    return str(name).removeprefix("dc-")


def happened_once(cluster: Cluster, since: int) -> None:
    """Of one run asked for since a position: one request, one run, one launch, one delivery, one end."""
    wait_for("the stream is led", lambda: any(each["leader"] for each in cluster.look().get("servers", ())))
    told = Counter(event["type"] for event in cluster.events("--from", str(since + 1)) if about_tick(event))
    once = ("run.requested", "run.created", "task.launched", "task.delivered")
    assert {type_: told[type_] for type_ in once} == dict.fromkeys(once, 1)


def about_tick(event: dict[str, Any]) -> bool:
    return '"tick' in json.dumps(event["data"])


def finish(command: subprocess.Popen[str]) -> str:
    """What a command that was begun says; it must succeed."""
    out, err = command.communicate(timeout=60)
    assert command.returncode == 0, out + err
    return out


def no_event_of_an_old_term(cluster: Cluster, by: str) -> None:
    """After the first event of a term its author's log has none of an earlier one."""
    terms = [event["epoch"] for event in cluster.events("--from", "1") if event["by"] == by]
    assert terms == sorted(terms)


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Processes that are there and do nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("by", "name"), [(MASTER, "master"), (MARATHON, "marathon"), (METRONOME, "metronome")], ids=lambda text: text
)
def test_a_killed_leader_is_succeeded_and_nothing_happens_twice(cluster: Cluster, by: str, name: str) -> None:
    """kill -9 under work: a standby leads, and the run that was asked for meanwhile happens once."""
    before, since = leads(cluster, by), newest(cluster)
    asked = cluster.begin("job", "run", "tick", "--json")
    os.kill(process(cluster, name, before["node"]), signal.SIGKILL)
    assert json.loads(finish(asked))["state"] == "SUCCESS"
    after = other_leads(cluster, by, before)
    assert after["epoch"] > before["epoch"]
    happened_once(cluster, since)
    no_event_of_an_old_term(cluster, by)


@pytest.mark.parametrize(
    ("by", "name"), [(MASTER, "master"), (MARATHON, "marathon"), (METRONOME, "metronome")], ids=lambda text: text
)
def test_a_leader_that_is_asked_to_go_hands_over_at_once(cluster: Cluster, by: str, name: str) -> None:
    """SIGTERM: its last word is that it resigns, and the next term begins without anybody waiting for it."""
    before, since = leads(cluster, by), newest(cluster)
    os.kill(process(cluster, name, before["node"]), signal.SIGTERM)
    other_leads(cluster, by, before)
    leaders = cluster.events("--from", str(since + 1), "--noun", "leader")
    resigned, elected = [event for event in leaders if event["by"] == by][:2]
    assert (resigned["type"], elected["type"]) == ("leader.resigned", "leader.elected")
    assert elected["data"]["instance"] != before["instance"]
    assert elected["at"] - resigned["at"] < 1_000_000


def test_a_stopped_leader_writes_nothing_when_it_wakes(cluster: Cluster) -> None:
    """SIGSTOP: silence ends its term in the others' eyes; woken, it finds the next one in the log and goes."""
    before = leads(cluster, MASTER)
    pid = process(cluster, "master", before["node"])
    with stopped(pid):
        after = other_leads(cluster, MASTER, before)
        finish(cluster.begin("job", "run", "tick"))
    wait_for("it has gone", lambda: not alive(pid))
    wait_for("its successor stands by", lambda: cluster.instances(MASTER).get(before["node"], before)["pid"] != pid)
    assert leads(cluster, MASTER)["instance"] == after["data"]["instance"]
    no_event_of_an_old_term(cluster, MASTER)


def test_a_whole_node_may_go(cluster: Cluster) -> None:
    """The node that leads the stream and everything on it stand still: what is asked is done once; then it is back."""
    since, node = newest(cluster), stream_leader(cluster)
    names = ("bus", "master") if node == "n3" else ("bus", "master", "marathon", "metronome")
    with stopped(*(process(cluster, name, node) for name in names)):
        assert json.loads(finish(cluster.begin("job", "run", "tick", "--json")))["state"] == "SUCCESS"
    happened_once(cluster, since)
    wait_for("all is well", cluster.all_well)
    for by in (MASTER, MARATHON, METRONOME):
        no_event_of_an_old_term(cluster, by)


def test_a_killed_server_of_the_bus_costs_nothing(cluster: Cluster) -> None:
    """kill -9 of the one that leads the stream: it comes back where it was, and requests go on meanwhile."""
    since, node = newest(cluster), stream_leader(cluster)
    asked = cluster.begin("job", "run", "tick", "--json")
    os.kill(process(cluster, "bus", node), signal.SIGKILL)
    assert json.loads(finish(asked))["state"] == "SUCCESS"
    happened_once(cluster, since)


def test_a_node_whose_disk_is_lost_gets_everything_back(cluster: Cluster, tmp_path: Path) -> None:
    """Its server copies the stream from the others, its master the history: whole again without a word to anybody."""
    (cluster.data / "bus-n2" / "jetstream").rename(tmp_path / "jetstream")
    (cluster.data / "master-n2").rename(tmp_path / "master-n2")
    (cluster.data / "master-n2").mkdir()
    for name in ("bus", "master"):
        os.kill(process(cluster, name, "n2"), signal.SIGKILL)
    end = newest(cluster)
    wait_for("its store is whole", lambda: cluster.instances(MASTER).get("n2", {}).get("stored", 0) >= end)
    wait_for("all is well", cluster.all_well)


def test_two_lost_nodes_stop_every_change_and_no_task(cluster: Cluster) -> None:
    """Requests are refused in a bounded time with exact words; when one is back, everything goes on by itself."""
    pids = processes(cluster).values()
    with stopped(process(cluster, "bus", "n2"), process(cluster, "bus", "n3")):
        for command in (("app", "scale", "/hold", "4"), ("job", "run", "tick"), ("status",)):
            assert cluster.run(*command, code=1).startswith(NO_QUORUM)
        assert all(alive(pid) for pid in pids)
    assert json.loads(finish(cluster.begin("job", "run", "tick", "--json")))["state"] == "SUCCESS"
    assert len(cluster.running("/hold")) == WANTED
