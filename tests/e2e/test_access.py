"""Joining, being refused and being shut out on three nodes, through the command line only."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from bus import codec
from bus.credentials import read_credentials
from components.executor.attach import shutdown_launcher
from tests.e2e.cluster import Cluster, alive, datacenter, wait_for
from tests.e2e.wire import Wire
from tests.hostile.witness import Witness

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with datacenter(tmp_path_factory.mktemp("access") / "data", masters=3) as running:
        yield running


def joined(cluster: Cluster, file: Path, *named: str) -> Path:
    """Credentials of somebody new."""
    token = cluster.run("access", "token", "create", *named)
    cluster.run("access", "join", "-o", str(file), stdin=token)
    return file


def refused(cluster: Cluster) -> list[tuple[str, str]]:
    """Who tried what, as the audit has it."""
    events = cluster.events("--noun", "attempt")
    return [(event["data"].get("name", ""), event["data"].get("subject", "")) for event in events]


def test_who_joins_may_do_what_its_role_may_and_the_rest_is_in_the_audit(cluster, tmp_path):
    """A viewer looks; what it asks of Marathon is refused by the bus, changes nothing, and is known."""
    bob = joined(cluster, tmp_path / "bob.json", "--client", "bob")
    assert bob.stat().st_mode & 0o777 == 0o600
    mine = ("--credentials", str(bob))
    assert json.loads(cluster.run("app", "list", "--json", *mine)) == []
    said = cluster.run("app", "add", "-", "--no-wait", *mine, stdin='{"id": "/x", "cmd": "true"}', code=1)
    assert "u-bob may ask marathon for nothing: that takes an operator" in said
    denied = cluster.run("access", "revoke", "u-root", *mine, code=1)
    assert "u-bob (viewer) may not say dc.client.u-bob.identity.withdrawn.main" in denied
    assert cluster.ask("app", "list") == []
    told = wait_for("the attempt is told", lambda: [each for each in refused(cluster) if each[0] == "u-bob"])
    assert ("u-bob", "dc.client.u-bob.scheduler.located.marathon") in told


def test_an_operators_app_is_its_operators_in_every_answer(cluster, tmp_path):
    """The person is in what Marathon and the master say because of it, whatever a request would claim."""
    ann = joined(cluster, tmp_path / "ann.json", "--client", "ann", "--role", "operator")
    app = '{"id": "/anns", "cmd": "sleep 1000", "cpus": 0.1, "mem": 32}'
    cluster.run("app", "add", "-", "--credentials", str(ann), stdin=app)
    said = {each["type"] for each in cluster.events("--actor", "u-ann", "-n", "1000")}
    assert {"app.requested", "deployment.started", "offer.accepted", "task.launched"} <= said
    task = next(iter(cluster.running("/anns")))
    assert "u-ann (app add at " in cluster.run("blame", "task", task)
    cluster.run("app", "remove", "/anns")


def test_who_is_revoked_is_refused_by_every_server(cluster, tmp_path):
    eve = joined(cluster, tmp_path / "eve.json", "--client", "eve", "--role", "admin")
    urls = json.loads(eve.read_text())["url"].split(",")
    assert len(urls) == 3
    cluster.run("access", "revoke", "u-eve")

    def out(url: str) -> bool:
        done = cluster._command("app", "list", "--bus", url, "--credentials", str(eve))
        return done.returncode == 3 and "refused the credentials of u-eve (admin): revoked" in done.stderr

    for url in urls:
        wait_for(f"{url} refuses", lambda url=url: out(url))


def test_a_node_joins_with_a_token_and_is_shut_out_while_it_runs(cluster, tmp_path):
    """Nothing was started again for it; its process ends by itself, everybody else's goes on."""
    joined(cluster, tmp_path / "a9.json", "--agent", "a9")
    before = {name: cluster.component_pid(name) for name in ("a1", "a2", "master", "marathon", "bus")}
    argv = [sys.executable, "-m", "cli.main", "run", "agent", "--id", "a9", "--work", str(tmp_path / "a9")]
    given = ["--credentials", str(tmp_path / "a9.json"), "--resources", "cpus:1;mem:256;disk:10"]
    with subprocess.Popen([*argv, *given], stderr=subprocess.PIPE, text=True) as agent:
        try:
            nodes = lambda: {row["agent"]: row["state"] for row in cluster.ask("node", "list")}  # noqa: E731
            wait_for("a9 is a node", lambda: nodes().get("a9") == "ACTIVE")
            wait_for("its executor", (tmp_path / "a9" / "executor.pid").read_text)
            cluster.run("access", "revoke", "a9")
            said = agent.communicate(timeout=60)[1]
            assert "revoked" in said
            nothing_left(tmp_path / "a9")
        finally:
            agent.kill()
    assert {name: cluster.component_pid(name) for name in before} == before
    assert all(map(alive, before.values()))


def test_a_key_that_others_can_read_opens_nothing(cluster, tmp_path):
    """With the command that mends it; a component says the same."""
    file = tmp_path / "open.json"
    file.write_text((cluster.data / "credentials.json").read_text())
    file.chmod(0o640)
    for args in (("app", "list"), ("run", "marathon")):
        said = cluster.run(*args, "--credentials", str(file), code=1)
        assert f"next:  chmod 600 {file}" in said


def test_a_name_whose_key_was_stolen_is_good_again_under_another(cluster, tmp_path):
    """The thief says terms, numbers and chains far beyond the true ones, to everybody who hears the node, in the names
    of the agent and of its executor. Nobody else's work stops; once the name is revoked and joins anew, it works."""
    before = {name: cluster.component_pid(name) for name in cluster_names()}
    work, argv = tmp_path / "a8", [sys.executable, "-m", "cli.main", "run", "agent", "--id", "a8"]
    given = ["--work", str(work), "--resources", "cpus:2;mem:20000;disk:10;ports:[34000-34099]"]

    def started(file: Path) -> subprocess.Popen[str]:
        started_ = subprocess.Popen([*argv, *given, "--credentials", str(file)], stderr=subprocess.PIPE, text=True)
        wait_for("a8 is a node", lambda: state_of(cluster, "a8") == "ACTIVE")
        return started_

    def work_runs(name: str) -> None:
        cluster.add_app(id=name, cmd="while :; do sleep 1; done", cpus=0.1, mem=9000)  # more than any other node has
        assert {row["agent"] for row in cluster.running(name).values()} == {"a8"}
        cluster.run("app", "remove", name)
        wait_for(f"{name} is gone", lambda: not cluster.tasks(app=name))

    first = started(joined(cluster, tmp_path / "a8.json", "--agent", "a8"))
    try:
        work_runs("/first")
        usurp(cluster, tmp_path / "a8.json", "agent.a8", ("main", "a8-cmd"))
        usurp(cluster, tmp_path / "a8-cmd.json", "executor.a8-cmd", ("a8",))
        cluster.add_app(id="/others", cmd="while :; do sleep 1; done", cpus=0.1, mem=32, instances=2)
        cluster.run("app", "remove", "/others")
        cluster.run("access", "revoke", "a8")
        assert "revoked" in first.communicate(timeout=60)[1]
    finally:
        first.kill()
    second = started(joined(cluster, tmp_path / "again.json", "--agent", "a8"))
    try:
        work_runs("/second")
    finally:
        cluster.run("access", "revoke", "a8")
        second.communicate(timeout=60)
        nothing_left(work)
    assert {name: cluster.component_pid(name) for name in before} == before
    assert all(map(alive, before.values()))


def nothing_left(work: Path) -> None:
    """A revoked agent's executor ends by itself; their launcher would wait a minute for another."""
    executor = int(json.loads((work / "executor.pid").read_text())["pid"])
    wait_for("its executor is out, too", lambda: not alive(executor))
    asyncio.run(shutdown_launcher(str(work / "executor")))


def cluster_names() -> tuple[str, ...]:
    return ("a1", "a2", "a1.executor", "a2.executor", "master", "marathon", "metronome", "bus")


def state_of(cluster: Cluster, agent: str) -> str | None:
    return {row["agent"]: row["state"] for row in cluster.ask("node", "list")}.get(agent)


def usurp(cluster: Cluster, file: Path, author: str, hearers: tuple[str, ...]) -> None:
    """What a thief says with a key: what its owner said last to each, of a later term and with a later number, and two
    events that extend each other, far beyond the end of its log."""
    said = [each for each in Witness(cluster.data).read() if each.author == author]
    with Wire(read_credentials(file)) as wire:
        for to in hearers:
            last = next(each for each in reversed(said) if each.subject.endswith(f".{to}"))
            event = msgpack.unpackb(last.body)
            wire.publish(last.subject, msgpack.packb(event | {"epoch": 999, "n": 10**9}))
        prev = b"x" * 32
        for n in range(3):
            body = msgpack.packb(msgpack.unpackb(said[-1].body) | {"n": event["n"] + 500 + n, "prev": prev})
            wire.publish(said[-1].subject, body)
            prev = codec.link(body)
        wire.flush()
