"""On real processes: what is secret reaches its task, and nothing else that Busbar ever writes, says or shows."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from components.places import secrets_of
from tests.e2e.canaries import Lookout, canary, found_in, found_under
from tests.e2e.cluster import Cluster, CommandFailed, datacenter, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SHELL = 'printf %s "$PW" | sha256sum; sha256sum < conf/key; exec sleep 1000'
SMALL = {"cpus": 0.1, "mem": 32}


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def app(name: str = "/web", **fields: object) -> dict[str, object]:
    """A service that says the hashes of what it was given."""
    return {
        "id": name,
        "cmd": SHELL,
        **SMALL,
        "env": {"PW": {"secret": "pw"}},
        "secrets": {"pw": {"source": "db/password"}, "key": {"source": "tls/key"}},
        "container": {"volumes": [{"containerPath": "conf/key", "secret": "key"}]},
        **fields,
    }


def job(name: str, cmd: str) -> dict[str, object]:
    run = {
        "cmd": cmd,
        **SMALL,
        "disk": 0,
        "env": {"PW": {"secret": "pw"}},
        "secrets": {"pw": {"source": "db/password"}},
    }
    return {"id": name, "run": run}


def keep(cluster: Cluster, name: str, value: str) -> str:
    return cluster.run("secret", "set", name, stdin=value)


def hashes(cluster: Cluster, task: str, count: int = 2) -> list[str]:
    """The hashes that a task said, once it said so many."""

    def said() -> list[str]:
        lines = cluster.run("task", "log", task).splitlines()
        return [line.split()[0] for line in lines] if len(lines) >= count else []

    return wait_for(f"{count} lines of {task}", said)


def told(cluster: Cluster) -> dict[str, str]:
    """Everything the commands that look have to say, for people and for programs."""
    tasks = [row["task"] for row in cluster.ask("task", "list", "--all")]
    about = [[*words, task] for task in tasks for words in TASK]
    said = {}
    for words in [*map(str.split, LOOKS), *about]:
        for form in ([], ["--json"]):
            done = cluster._command(*words, *form)
            assert done.returncode == 0, f"{words}: {done.stderr}"
            said[" ".join([*words, *form])] = done.stdout + done.stderr
    return said


TASK = (
    ("task", "show"),
    ("task", "history"),
    ("task", "trace"),
    ("task", "log"),
    ("task", "log", "--stderr"),
    ("blame", "task"),
)
LOOKS = (
    "status",
    "secret list",
    "secret list --at now",
    "app list",
    "app show /web",
    "app explain /web",
    "job list",
    "job show fails",
    "job runs",
    "task list --all",
    "node list",
    "node show a1",
    "framework list",
    "offer list",
    "events tail --since 1h",
    "events replay --speed 0",
    "state",
    "diff --from 1",
    "store verify",
    "store export",
)


def test_a_secret_reaches_its_task_and_nothing_else(tmp_path: Path):
    """Canaries by variable and by file, of a task that fails, one that was removed, and one under a wrong name: in no
    file, no output, no command line, and nothing of them is left in memory. What is planted in plain sight is found."""
    data = tmp_path / "data"
    by_env, by_file, of_failing, removed, misnamed, plain = (canary() for _ in range(6))
    hidden = [by_env, by_file, of_failing, removed, misnamed]
    said: dict[str, str] = {}
    with Lookout(hidden) as lookout, datacenter(data) as cluster:
        said["set"] = keep(cluster, "db/password", by_env) + keep(cluster, "tls/key", by_file)
        said["again"] = keep(cluster, "gone", removed) + cluster.run("secret", "remove", "gone")
        said["misnamed"] = cluster.run("secret", "set", "Wrong Name", stdin=misnamed, code=1)
        said["argument"] = cluster.run("secret", "set", "db/password", plain, code=2)
        said["add"] = cluster.run("app", "add", "-", stdin=json.dumps(app(labels={"plain": plain})))
        (web,) = cluster.running("/web")
        assert hashes(cluster, web) == [digest(by_env), digest(by_file)]
        keep(cluster, "db/password", of_failing)
        cluster.run("job", "add", "-", stdin=json.dumps(job("fails", 'printf %s "$PW" | sha256sum; exit 3')))
        said["fails"] = cluster.run("job", "run", "fails", code=1)
        cluster.run("job", "add", "-", stdin=json.dumps(job("cannot", '"$NO/such/command"')))
        said["cannot"] = cluster.run("job", "run", "cannot", code=1)
        (failed,) = [row["task"] for row in cluster.ask("task", "list", "--all") if row.get("job") == "fails"]
        assert hashes(cluster, failed, 1) == [digest(of_failing)]
        wait_for("only what a live task was given is kept", partial(given, data, [web]))
        said |= told(cluster)
    assert lookout.looks > 10
    assert lookout.hits == set()
    assert found_under(data, hidden) == []
    assert [hit for text in said.values() for hit in found_in(text.encode(), hidden)] == []
    assert given(data, [])
    assert_found_in_plain_sight(data, said, plain)


def given(data: Path, tasks: list[str]) -> bool:
    """Whether in memory there is what these tasks were given, and of no other."""
    places = [Path(secrets_of(str(path))) for path in (data / "agents").iterdir()]
    return [path.name for place in places if place.exists() for path in place.iterdir()] == tasks


def assert_found_in_plain_sight(data: Path, said: dict[str, str], plain: str) -> None:
    """What is no secret is found by the same search: in the stream, the stores, and what commands say."""
    places = {Path(hit.partition(":")[0]).relative_to(data).parts[0] for hit in found_under(data, [plain])}
    assert {"bus", "master", "marathon", "agents"} <= places
    assert found_in(said["app show /web --json"].encode(), [plain])
    assert found_in(said["events replay --speed 0 --json"].encode(), [plain])
    assert found_in(said["store export --json"].encode(), [plain])
    assert not found_in(said["argument"].encode(), [plain])


def test_the_search_finds_what_is_planted(tmp_path: Path):
    """In each form, in a file, in a name, in a command line and in an environment."""
    value = canary()
    for name, text in (
        ("raw", value),
        ("hex", value.encode().hex()),
        ("base64", json.dumps({"v": base64.b64encode(b"ab" + value.encode() + b"c").decode()})),
        (f"named {value}", ""),
    ):
        (tmp_path / name).write_text(text)
        assert found_under(tmp_path, [value]) != []
        (tmp_path / name).unlink()
    assert found_under(tmp_path, [value]) == []
    for argv, env in (([value], {}), ([], {"PW": value})):
        with Lookout([value]) as lookout:
            cat = [sys.executable, "-c", "import sys; sys.stdin.read()", *argv]
            process = subprocess.Popen(cat, stdin=subprocess.PIPE, env=env)
            wait_for("a hit", lambda found=lookout: found.hits)
            process.communicate()


def test_what_is_killed_in_between_loses_no_secret_and_leaks_none(tmp_path: Path):
    """Agents, executors and the master die; tasks launched afterwards get what they refer to, and nothing is left."""
    data = tmp_path / "data"
    password, key = canary(), canary()
    with datacenter(data, agents=1) as cluster:
        keep(cluster, "db/password", password)
        keep(cluster, "tls/key", key)
        cluster.run("app", "add", "-", stdin=json.dumps(app()))
        for number, name in enumerate(("a1", "a1.executor", "master"), start=2):
            os.kill(cluster.component_pid(name), signal.SIGKILL)
            cluster.run("app", "scale", "/web", str(number), "--timeout", "60")
        for task in cluster.running("/web"):
            assert hashes(cluster, task) == [digest(password), digest(key)]
        os.kill(cluster.component_pid("a1"), signal.SIGKILL)
        cluster.run("app", "scale", "/web", "1")
        wait_for("what one task was given is left", lambda: given(data, list(cluster.running("/web"))))
    assert found_under(data, [password, key]) == []


def test_a_master_that_is_away_is_waited_for(tmp_path: Path):
    """Launched just before the master was killed: the task runs once it is back."""
    data, password = tmp_path / "data", canary()
    with datacenter(data, agents=1) as cluster:
        keep(cluster, "db/password", password)
        keep(cluster, "tls/key", password)
        cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(app(instances=5)))
        os.kill(cluster.component_pid("master"), signal.SIGKILL)
        running = wait_for("five instances", lambda: all_of(cluster.running("/web"), 5))
        for task in running:
            assert hashes(cluster, task) == [digest(password)] * 2


def all_of(found: dict[str, Any], count: int) -> dict[str, Any]:
    return found if len(found) == count else {}


def test_what_does_not_exist_is_refused_with_its_path_and_what_is_removed_fails_by_name(tmp_path: Path):
    """The app is not created; a task of one that was is not started, and says which secret is missing."""
    with datacenter(tmp_path / "data", agents=1) as cluster:
        keep(cluster, "db/password", canary())
        with pytest.raises(CommandFailed, match=r"secret tls/key does not exist - at `\$\.secrets\.key\.source`"):
            cluster.run("app", "add", "-", stdin=json.dumps(app()))
        keep(cluster, "tls/key", canary())
        cluster.run("app", "add", "-", stdin=json.dumps(app()))
        cluster.run("secret", "remove", "tls/key")
        cluster.run("app", "restart", "/web", "--no-wait")

        def failure() -> str:
            return str((cluster.ask("app", "show", "/web").get("last_failure") or {}).get("message", ""))

        expected = "secret tls/key is withheld by the master: it does not exist any more"
        assert wait_for("the failure", failure) == expected
        keep(cluster, "tls/key", canary())
        wait_for("it runs", lambda: cluster.running("/web"))


def test_when_the_clusters_key_is_lost_what_was_kept_is_named_and_set_again(tmp_path: Path):
    """The runbook's steps: a new key is made, the list and an alarm name what is lost, each is set again."""
    data = tmp_path / "data"
    before, after = canary(), canary()
    with datacenter(data, agents=1) as cluster:
        keep(cluster, "db/password", before)
        keep(cluster, "tls/key", before)
        cluster.down()
        (data / "cluster.key").unlink()
        cluster.up()
        assert {row["name"]: row["lost"] for row in cluster.ask("secret", "list")} == {
            "db/password": True,
            "tls/key": True,
        }
        alarm = wait_for("the alarm", lambda: [each for each in cluster.look().get("wrong", []) if "secrets" in each])
        assert alarm
        cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(app()))
        message = "secret db/password is withheld by the master: it is sealed to another key than the cluster's"

        def failed() -> bool:
            found = cluster.ask("app", "show", "/web").get("last_failure") or {}
            return str(found.get("message", "")).startswith(message)

        wait_for("it fails", failed)
        keep(cluster, "db/password", after)
        keep(cluster, "tls/key", after)
        assert not any(row.get("lost") for row in cluster.ask("secret", "list"))
        (web,) = wait_for("it runs", lambda: cluster.running("/web"))
        assert hashes(cluster, web) == [digest(after)] * 2
        wait_for("all is well", cluster.all_well)
        cluster.run("store", "verify")
    assert found_under(data, [before, after]) == []
