"""On real processes: a task finds the files it wants, or fails with the URI and why; one that is killed gets none."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components.fetcher.house import member, server, tar
from tests.e2e.cluster import Cluster, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
TOOLS = tar((member("bin/hello", mode=0o755), b"#!/bin/sh\necho hello from $0\nexec sleep 1000\n"), kind="gz")
SMALL = {"cpus": 0.1, "mem": 32}
ASKED, GO_ON = threading.Event(), threading.Event()


def talk(connection: socket.socket, path: str) -> None:
    """A server of one archive; `/slow` sends it when that is wanted, `/none` is not there."""
    if path.startswith("/slow"):
        ASKED.set()
        GO_ON.wait()
    status = "404 Not Found" if path.startswith("/none") else "200 OK"
    connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(TOOLS)}\r\n\r\n".encode() + TOOLS)


@pytest.fixture(scope="module")
def at() -> Iterator[str]:
    with server(talk) as uri:
        yield uri


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with datacenter(tmp_path_factory.mktemp("artifacts") / "data", agents=1) as found:
        yield found


def log_of(cluster: Cluster, task: str) -> str:
    return cluster.run("task", "log", task)


def test_an_app_runs_what_it_fetched(cluster: Cluster, at: str) -> None:
    """An archive, unpacked, and known by its checksum."""
    checksum = f"sha256:{hashlib.sha256(TOOLS).hexdigest()}"
    cluster.add_app(
        id="/hello", cmd="exec bin/hello", fetch=[{"uri": f"{at}/tools.tgz", "checksum": checksum}], **SMALL
    )
    (task,) = cluster.running("/hello")
    wait_for("it says hello", lambda: "hello from bin/hello" in log_of(cluster, task))
    assert [event["type"] for event in cluster.ask("task", "history", task)].count("artifacts.awaited") == 1


def test_what_is_not_there_fails_the_task(cluster: Cluster, at: str) -> None:
    """And is told to whoever wants to know."""
    spec = {"id": "/none", "cmd": "x", "uris": [f"{at}/none.tgz"], **SMALL}
    cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(spec))
    failed = wait_for("a failure is known", lambda: cluster.ask("app", "show", "/none").get("last_failure"))
    assert failed["message"] == f"{at}/none.tgz was not fetched: the server answers 404 Not Found"
    assert failed["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    cluster.run("app", "remove", "/none")


def test_an_agent_that_dies_meanwhile_begins_again(cluster: Cluster, at: str) -> None:
    """Killed by -9 in the middle; its next process fetches everything, and the task runs once."""
    spec = {"id": "/slow", "cmd": "exec bin/hello", "uris": [f"{at}/slow.tgz"], **SMALL}
    cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(spec))
    assert ASKED.wait(60)
    before = cluster.component_pid("a1")
    os.kill(before, signal.SIGKILL)
    GO_ON.set()
    wait_for("it runs", lambda: cluster.running("/slow"))
    (task,) = cluster.running("/slow")
    assert sorted(path.name for path in Path(cluster.data).rglob(f"{task}/bin/*")) == ["hello"]
    assert [event["type"] for event in cluster.ask("task", "history", task)].count("task.delivered") == 1
