"""What is wrong is refused with an exact message and the right exit code, changes nothing, and stops nobody."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from bus.nkey import For, Key
from bus.permits import Role
from tests.e2e.cluster import Cluster, alive, datacenter, processes_under, wait_for
from tests.e2e.wire import Wire
from tests.identities import identity_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
HOLD = "while :; do sleep 1; done"
NAMES = ("master", "marathon", "metronome", "a1", "a2")
command_s = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One datacenter for all of these, with one service on it that nothing here may disturb."""
    with datacenter(tmp_path_factory.mktemp("bad") / "data") as found:
        found.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32, instances=2)
        yield found


def busbar(*args: str, data: Path, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUSBAR_")}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        input=stdin,
        capture_output=True,
        timeout=command_s,
        env=inherited | {"BUSBAR_DATA": str(data)} | env,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def refused(*args: str, data: Path, code: int, why: str, stdin: bytes = b"") -> str:
    """A command that is refused so, without a word on stdout and without a traceback."""
    found, out, err = busbar(*args, data=data, stdin=stdin)
    assert (found, out) == (code, ""), f"{args}: exit {found}\n{out}\n{err}"
    assert why in err, f"{args}: {err}"
    assert err.startswith("error: "), err
    assert "Traceback" not in err
    return err


def app(**more: object) -> bytes:
    return json.dumps({"id": "/bad", "cmd": "true", "instances": 0} | more).encode()


def job(cron: str = "* * * * *", **more: object) -> bytes:
    run = {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}
    return json.dumps({"id": "bad", "run": run, "schedules": [{"cron": cron} | more]}).encode()


# ---- documents ------------------------------------------------------------------------------------------------------

APPS = [
    (b"", "it is empty, expected a JSON object"),
    (b"{", "Input data was truncated"),
    (b"[]", "Expected `object`, got `array`"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"id": "/bad", "env": ' + b'{"a":' * 50_000, "nested too deeply"),
    (b"x" * 500_000, "longer than 409600 bytes"),
    ('{"id": "/bad", "cmd": "ä"}'.encode("latin-1"), "not UTF-8: invalid continuation byte 0xe4 (byte 23)"),
    (app()[:-1] + b', "id": "/twice"}', "the field `id` is written twice"),
    (app(instance=3), "unknown field `instance` (did you mean `instances`?), expected one of id, cmd, args"),
    (app(instances="3"), "Expected `int`, got `str` - at `$.instances`"),
    (app(instances=-1), "Expected `int` >= 0 - at `$.instances`"),
    (app(cpus=1e30), "Expected `float` <= 100000.0 - at `$.cpus`"),
    (app(mem=-5), "Expected `float` >= 0.0 - at `$.mem`"),
    (app(id="/Not A Name"), "'/Not A Name' is not an app id: expected /a/b, parts of [a-z0-9.-] - at `$.id`"),
    (app(env={"GOOD": "", "1BAD": ""}), "'1BAD' is not allowed, expected letters, digits and _"),
    (app(ports=[70_000]), "Expected `int` <= 65535 - at `$.ports[0]`"),
    (app(env={f"A{n}": "x" * 60_000 for n in range(4)}), "makes messages of"),
]
JOBS = [
    (job("* * * *"), "'* * * *' has 4 fields: expected five"),
    (job("@daily"), "'@daily' has 1 field: expected five"),
    (job("0 0 30 2 *"), "'30' does not exist in month '2', so it would never fire"),
    (job("60 * * * *"), "minute: '60' is not allowed: expected 0 to 59"),
    (job("*/0 * * * *"), "minute: '*/0' has the step 0"),
    (job(timezone="Mars/Olympus"), "'Mars/Olympus' is not a time zone: expected an IANA name such as UTC"),
    (job(timezone="../../etc/passwd"), "is not a time zone"),
    (job(concurrencyPolicy="REPLACE"), "Invalid enum value 'REPLACE', expected one of ALLOW, FORBID"),
    (b'{"id": "bad", "run": {"cmd": "true"}}', "Object missing required field `cpus` - at `$.run`"),
]


def test_wrong_documents_are_refused_and_nothing_changes(cluster: Cluster) -> None:
    """The path of the field, what was wrong, what is allowed; exit code 1. Impossible cron and unknown zones, too."""
    for noun, documents in (("app", APPS), ("job", JOBS)):
        for document, why in documents:
            refused(noun, "add", "-", data=cluster.data, stdin=document, code=1, why=why)
    assert [row["app"]["id"] for row in cluster.ask("app", "list")] == ["/hold"]
    assert cluster.ask("job", "list") == []


def test_a_second_app_of_the_same_id_is_refused_with_the_way_on(cluster: Cluster) -> None:
    """And changes nothing about the first."""
    again = json.dumps({"id": "/hold", "cmd": "false"}).encode()
    said = refused("app", "add", "-", data=cluster.data, stdin=again, code=1, why="already_exists")
    assert "next:  busbar app update -" in said
    assert cluster.ask("app", "show", "/hold")["app"]["cmd"] == HOLD


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (("app", "add", "no-such-file.json"), 2, "No such file"),
        (("app", "add", "/tmp"), 2, "Is a directory"),
        (("app", "add"), 2, "Missing argument 'FILE'"),
        (("app", "show", "/nope"), 1, "there is no app /nope"),
        (("app", "scale", "/nope", "1"), 1, "not_found: app /nope does not exist"),
        (("app", "scale", "/hold", "many"), 2, "'many' is not a valid integer"),
        (("app", "scale", "/hold", "1", "--timeout", "nan"), 2, "nan"),
        (("app", "explain", "A B"), 1, "is not an app id"),
        (("job", "run", "nope"), 1, "not_found: job nope does not exist"),
        (("job", "stop", "nope"), 1, "no active run"),
        (("task", "show", "nope"), 1, "no task's id begins with 'nope'"),
        (("task", "show", "hold"), 1, "'hold' fits 2 tasks:"),
        (("task", "kill", "hold", "--grace-s", "nan"), 2, "nan"),
        (("node", "show", "nope"), 1, "no node is called 'nope'; there are: a1, a2"),
        (("events", "show", "0"), 2, "0 is not in the range x>=1"),
        (("events", "show", "99999999"), 1, "there is no event 99999999 yet"),
        (("events", "tail", "--since", "yesterday"), 2, "is not a length of time"),
        (("events", "tail", "--noun", "a.b"), 2, "is not a token"),
        (("events", "replay", "--from", "5", "--to", "3"), 2, "--to 3 is before --from 5"),
        (("events", "replay", "--store", "/etc/passwd", "--speed", "0"), 1, "file is not a database"),
        (("events", "replay", "--speed", "nan"), 2, "nan"),
        (("nonsense",), 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_wrong_command_says_what_was_wrong(cluster: Cluster, args: tuple[str, ...], code: int, why: str) -> None:
    """2 for what cannot be meant, 1 for what is refused."""
    refused(*args, data=cluster.data, code=code, why=why)


# ---- the wrong cluster, the wrong place -----------------------------------------------------------------------------


def test_a_cluster_that_is_not_there_is_exit_code_3(cluster: Cluster, tmp_path: Path) -> None:
    """No data directory, nobody at the address, a stranger at the address, somebody else's key, wrong cluster."""
    known = json.loads((cluster.data / "credentials.json").read_text())
    refused("status", data=tmp_path / "none", code=3, why="no cluster:")
    refused("status", "--bus", "nats://127.0.0.1:1", data=cluster.data, code=3, why="no NATS server answers")
    refused("status", "--bus", "http://x", data=cluster.data, code=2, why="expected nats://HOST:PORT")
    refused("down", data=tmp_path / "none", code=3, why="was never used there")
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    for change, code, why in (
        ({"seed": Key.new(For.USER).seed}, 3, "refused the credentials of u-"),
        ({"seed": "SUABC"}, 1, "not the seed of a key"),
        ({"cluster": "typo"}, 1, "(admin) may not say log.typo.info"),
        ({"cluster": "a.b c"}, 1, "'a.b c' is not an id"),
        ({"url": 5}, 1, "Expected `str`, got `int` - at `$.url`"),
        ({"token": "x"}, 1, "unknown field `token`"),
    ):
        file.write_text(json.dumps(known | change))
        refused("app", "list", "--credentials", str(file), data=cluster.data, code=code, why=why)


def test_up_where_it_cannot_be(cluster: Cluster, tmp_path: Path) -> None:
    """A file, a directory that cannot be made, a port that is taken, settings that cannot be, a directory in use."""
    file = tmp_path / "file"
    file.write_text("I am a file")
    refused("up", "--detach", "--data", str(file), data=tmp_path, code=1, why="File exists")
    refused("up", "--detach", "--data", "/proc/busbar", data=tmp_path, code=1, why="/proc/busbar: No such file")
    refused("up", "--detach", data=cluster.data, code=1, why="already: process")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        data = tmp_path / "port"
        refused("up", "--detach", "--port", port, data=data, code=1, why=f"port {port} of 127.0.0.1 is taken")
    for setting, value in (("--ping-interval-s", "-1"), ("--ping-interval-s", "nan"), ("--pings-missed-max", "0")):
        refused("up", "--detach", setting, value, data=data, code=2, why="expected at least")
    refused("up", "--detach", "--resources", "gpus:1", data=data, code=2, why="expected cpus:N, mem:MB")
    assert not (data / "shape.json").exists(), "a start that failed has no say in the next one"
    assert processes_under(tmp_path) == []


def test_an_app_larger_than_any_node_waits_and_explain_says_why(cluster: Cluster) -> None:
    """Accepted, exit code 0; node by node, needed and had."""
    huge = json.dumps({"id": "/huge", "cmd": "true", "cpus": 1000, "mem": 32}).encode()
    code, out, _ = busbar("app", "add", "-", "--no-wait", data=cluster.data, stdin=huge)
    assert (code, "/huge is created" in out) == (0, True)

    def explained() -> str:
        found = busbar("app", "explain", "/huge", data=cluster.data)[1]
        return found if "1000 cpus" in found else ""

    said = wait_for("explain names both nodes", explained)
    assert "a1" in said
    assert "a2" in said
    assert "4 cpus" in said
    cluster.run("app", "remove", "/huge")


# ---- messages by hand -----------------------------------------------------------------------------------------------

BODIES = (b"", b"garbage", b"\xc1", b"{}", b"x" * 900_000, b"\x91" * 5000, *map(msgpack.packb, (None, [1], {}, 5, "x")))
EVENT = {"v": 1, "type": "a.b", "by": "client.u-x", "to": "marathon", "at": 1, "data": {}}


def forgeries(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    """Everything said so far once more, byte for byte; and changed so that it is not its author's next event.

    A registration with a fresh number is left out: no inbox can tell that from what its agent says. (architecture 5b)
    """
    with sqlite3.connect(f"file:{cluster.data}/master/events.db?mode=ro", uri=True) as store:
        said = store.execute("SELECT subject, body FROM event WHERE n IS NOT NULL").fetchall()
    for subject, body in said:
        yield subject, body
        tokens, event = subject.split("."), msgpack.unpackb(body)
        yield ".".join([*tokens[:2], "zz", *tokens[3:]]), body
        if event["type"] != "agent.registered":
            yield subject, msgpack.packb(event | {"n": event["n"] + 500})
        yield subject, msgpack.packb(event | {"prev": b"x" * 32})
        yield subject, msgpack.packb(event | {"v": 99})
        yield f"dc.executor.zz.a.b.{tokens[2]}", msgpack.packb(EVENT | {"by": "executor.zz", "to": tokens[2]})


def garbage() -> Iterator[tuple[str, bytes]]:
    """Nothing of it is an event: on inboxes, on logs, on subjects outside the grammar."""
    logs = ("master.main", "framework.marathon", "framework.metronome", "agent.a1", "executor.a1-cmd", "client.u-x")
    for log in logs:
        for to in ("main", "marathon", "metronome", "a1", "a1-cmd", "u-x", "_"):
            for body in BODIES[: 4 if to == "_" else 11]:
                yield f"dc.{log}.task.reported.{to}", body
            yield f"dc.{log}.a.b.{to}", msgpack.packb(EVENT)
            yield f"dc.{log}.a.b.{to}", msgpack.packb(EVENT | {"by": log, "to": to, "at": 2**62, "request": "r"})
    for subject in ("dc.x", "dc.a.b.c.d.e.f.g.h", "dc.MASTER.main.a.b.marathon"):
        yield subject, b"garbage"


def test_what_is_published_by_hand_is_alarmed_and_stops_nobody(cluster: Cluster) -> None:
    """Afterwards everybody is the same process, every task runs on, a new app is deployed, its trace is whole."""
    before = {name: cluster.component_pid(name) for name in (*NAMES, "a1.executor", "a2.executor")}
    tasks = {task: cluster.pid_of(task) for task in cluster.running("/hold")}
    with Wire(identity_of(cluster.data, Role.ADMINISTRATOR, "")) as wire:
        for subject, body in (*garbage(), *forgeries(cluster)):
            wire.publish(subject, body)
        wire.publish("dc.client.u-x.a.b.marathon", b"x", reply="dc.framework.marathon.app.updated.main")
        wire.publish("dc.client.u-x.a.b.marathon", b"", header=b"NATS/1.0")
        wire.publish(b"dc.client.\xff.a.b.marathon", b"x")
        wire.flush()
    cluster.add_app(id="/after", cmd=HOLD, cpus=0.1, mem=32)
    (task,) = cluster.running("/after")
    trace = cluster.ask("task", "trace", task)
    assert {row["step"] for row in trace["rows"] if row.get("position")} == set(range(1, 13))
    assert {name: cluster.component_pid(name) for name in before} == before
    assert set(cluster.running("/hold")) == set(tasks)
    assert all(alive(pid) for pid in tasks.values())
    foreign = cluster.ask("status")["foreign"]
    assert foreign["count"] > 500
    assert "alarm:" in cluster.run("status")
    assert '"event": "foreign message on the stream"' in (cluster.data / "logs" / "master.log").read_text()
    assert "Traceback" not in cluster.run("events", "tail", "-n", "100000")
    cluster.run("app", "remove", "/after")


def test_after_it_a_restart_reads_the_same_history(cluster: Cluster) -> None:
    """The garbage stays on the stream for ever: who rebuilds from it passes over it, too."""
    tasks = set(cluster.running("/hold"))
    for name in NAMES:
        before = cluster.component_pid(name)
        os.kill(before, 9)
        wait_for(f"{name} is back", lambda name=name, before=before: is_back(cluster, name, before))
    wait_for("the service runs on", lambda: set(cluster.running("/hold")) == tasks)
    cluster.run("app", "scale", "/hold", "3")
    cluster.run("app", "scale", "/hold", "2")


def is_back(cluster: Cluster, name: str, before: int) -> bool:
    """Whether a component has a new process, and that answers."""
    found = cluster.component_pid(name)
    rows: list[dict[str, Any]] = (cluster.try_ask_status() or {}).get("components", [])
    return found != before and any(row["state"] == "up" and row["summary"]["pid"] == found for row in rows)


QUESTIONS = {
    "master.main": "agents frameworks offers tasks history trace counts foreign summary nonsense",
    "framework.marathon": "apps explain summary",
    "framework.metronome": "jobs runs explain summary",
    "agent.a1": "log tasks standing summary",
    "executor.a1-cmd": "summary tasks",
}
ODD = (
    b"\xa3\xed\xa0\x80",
    b"\x81\xa6prefix\xa3\xed\xa0\x80",
    b"\x81\xa4task\xa3\xed\xa0\x80",
    *BODIES[:4],
    *BODIES[5:],
)


def test_questions_by_hand_end_nobody(cluster: Cluster) -> None:
    """Not MessagePack, not UTF-8, out of range, out of the sandbox: refused in words, by the same process."""
    before = {name: cluster.component_pid(name) for name in (*NAMES, "a1.executor")}
    (task, _) = cluster.running("/hold")
    asked = [
        {"task": task, "file": "../../../agent.db"},
        {"task": "../x"},
        {"task": task, "offset": 2**63, "limit": -1},
    ]
    asked += [{"noun": "task", "id": task, "after": 2**64 - 1, "limit": 2**64 - 1}, {"noun": "\0", "id": "x" * 100_000}]
    with Wire(identity_of(cluster.data, Role.VIEWER, "u-odd")) as wire:
        for author, queries in QUESTIONS.items():
            for query in queries.split():
                for question in (*ODD, *map(msgpack.packb, asked)):
                    wire.publish(f"ask.dc.{author}.{query}", question, reply="_INBOX.nobody")
            wire.publish(f"ping.dc.{author}", b"\xff", reply="dc.framework.marathon.a.b.main")
        wire.flush()
    cluster.run("app", "scale", "/hold", "2")
    cluster.run("status")
    assert {name: cluster.component_pid(name) for name in before} == before


def test_a_user_nobody_knows_fails_the_task_and_says_so(cluster: Cluster) -> None:
    """As root the executor cannot become somebody who is not there; else it cannot become anybody."""
    cluster.run("app", "add", "-", "--no-wait", stdin=app(user="nobody-of-that-name", instances=1).decode())

    def failure() -> Any:
        return (cluster.ask("app", "show", "/bad").get("last_failure") or {}).get("message")

    assert "nobody-of-that-name" in wait_for("its failure is told", failure)
    cluster.run("app", "remove", "/bad")
