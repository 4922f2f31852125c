"""Joining, being refused and being shut out on three nodes, through the command line only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, alive, datacenter, wait_for

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
    events = cluster.events("--actor", "u-ann", "-n", "1000")
    assert {"app.requested", "app.specified", "offer.accepted", "task.launched"} <= {each["type"] for each in events}
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
            executor = int(json.loads(wait_for("its executor", (tmp_path / "a9" / "executor.pid").read_text))["pid"])
            cluster.run("access", "revoke", "a9")
            said = agent.communicate(timeout=60)[1]
            assert "revoked" in said.splitlines()[-1]
            wait_for("its executor is out, too", lambda: not alive(executor))
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
