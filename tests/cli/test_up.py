"""`busbar up` and `busbar down` with real processes, and what real commands say to a real cluster."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.datacenter import Shape, running
from cli.processes import Process

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
command_s = 60
RESOURCES = "cpus:4;mem:1024;disk:1024"


def busbar(*args, data, code=0, input=None):
    """A command in a process of its own; what it said."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("BUSBAR_")}
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", *args],
        env=env | {"BUSBAR_DATA": str(data)},
        input=input,
        capture_output=True,
        text=True,
        timeout=command_s,
        check=False,
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


def up(data, *more):
    """Start a datacenter; what is up."""
    return json.loads(busbar("up", "--detach", "--resources", RESOURCES, "--json", *more, data=data).stdout)


def by_role(data):
    """The running processes of a datacenter, by name."""
    return {process.name: process for process in running(data)}


def wait_for(what, look, patience_s=20):
    """Look until it is true."""
    deadline = time.monotonic() + patience_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not within {patience_s} s: {what}"
        time.sleep(0.02)
    return seen


def forget(data):
    """Leave nothing running, however a test ended."""
    subprocess.run([sys.executable, "-m", "cli.main", "down", "--data", str(data)], capture_output=True, check=False)
    assert running(data) == []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A datacenter for tests that leave it as they found it."""
    data = tmp_path_factory.mktemp("cluster") / "data"
    try:
        up(data)
        yield data
    finally:
        forget(data)


@pytest.fixture
def data(tmp_path):
    """A data directory of which nothing runs in the end."""
    yield tmp_path / "data"
    forget(tmp_path / "data")


def test_everything_is_up_and_says_so(cluster):
    """`status` finds every component, each in its first term."""
    content = json.loads(busbar("status", "--json", data=cluster).stdout)
    assert {row["by"]: row["state"] for row in content["components"]} == dict.fromkeys(
        (
            *("master.main", "agent.a1", "agent.a2", "executor.a1-cmd", "executor.a2-cmd"),
            *("framework.marathon", "framework.metronome"),
        ),
        "up",
    )


def test_a_second_up_on_the_same_directory_is_refused_with_its_holder(cluster):
    """Exit code 1, in the foreground and detached; the first runs on."""
    holder = by_role(cluster)["supervisor"].pid
    for more in ((), ("--detach",)):
        refused = busbar("up", *more, data=cluster, code=1)
        assert f"runs on {cluster} already: process {holder} holds it" in refused.stderr
        assert "busbar down --data" in refused.stderr
    busbar("status", data=cluster)


def test_secrets_are_in_no_command_line_and_in_files_of_mode_0600(cluster):
    """`ps` shows nothing worth stealing, and no other user can read a key."""
    files = [cluster / "credentials.json", *(cluster / "keys").iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    seeds = {seed.encode() for file in files for seed in re.findall(r"\bS[OAU][A-Z2-7]{56}\b", file.read_text())}
    assert len(seeds) > 10
    for process in running(cluster):
        told = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert not [seed for seed in seeds if seed in told]


def test_logs_of_components_are_json(cluster):
    """One object a line, for programs."""
    for file in (cluster / "logs").glob("[am]*.log"):
        for line in file.read_text().splitlines():
            assert {"event", "level", "timestamp"} <= json.loads(line).keys()


def test_an_app_larger_than_any_node_is_accepted_and_explained(cluster):
    """Every node with what was needed and had; then it can go again."""
    busbar("app", "add", "-", "--no-wait", data=cluster, input='{"id": "/huge", "cmd": "true", "cpus": 1000}')

    def explained():
        checks = json.loads(busbar("app", "explain", "huge", "--json", data=cluster).stdout)["checks"]
        return checks if len(checks) == 2 else None

    checks = wait_for("both nodes held against it", explained)
    assert {(each["unfit"]["agent"], each["unfit"]["reason"], each["unfit"]["needed"]) for each in checks} == {
        ("a1", "InsufficientCpus", "1000 cpus"),
        ("a2", "InsufficientCpus", "1000 cpus"),
    }
    locked = busbar("app", "scale", "huge", "2", data=cluster, code=1)
    assert "error: locked: /huge is locked by deployment d-" in locked.stderr
    failed = busbar("app", "scale", "huge", "2", "--force", "--timeout", "0.5", data=cluster, code=1)
    assert "0 of 2 up; 2 instances wait for an offer" in failed.stderr
    busbar("app", "remove", "huge", data=cluster)
    assert "app /huge does not exist" in busbar("app", "explain", "huge", data=cluster, code=1).stderr


def test_what_a_scheduler_refuses_changes_nothing(cluster):
    """Unknown ids, impossible cron, unknown zone: the reason, the path, exit code 1, no app and no job."""
    job = {"id": "j", "run": {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}}
    for schedule, why in (
        ({"cron": "61 * * * *"}, "$.schedules[0].cron"),
        ({"cron": "0 0 30 2 *"}, "$.schedules[0].cron"),
        ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "$.schedules[0].timezone"),
    ):
        document = json.dumps(job | {"schedules": [schedule]})
        refused = busbar("job", "add", "-", data=cluster, code=1, input=document)
        assert refused.stderr.startswith("error: invalid: ")
        assert why in refused.stderr
    for args in (("app", "scale", "nothing", "3"), ("app", "remove", "nothing"), ("job", "run", "nothing")):
        assert "error: not_found: " in busbar(*args, data=cluster, code=1).stderr
    assert json.loads(busbar("job", "list", "--json", data=cluster).stdout) == []
    assert json.loads(busbar("app", "list", "--json", data=cluster).stdout) == []


def test_an_app_lives_its_life_from_the_command_line(cluster):
    """Add, refuse a second add, scale, read, trace, restart, kill, remove."""
    document = '{"id": "/life", "cmd": "echo here I am; exec sleep 600", "cpus": 0.1, "mem": 32, "ports": []}'
    busbar("app", "add", "-", data=cluster, input=document)
    assert "already_exists" in busbar("app", "add", "-", data=cluster, code=1, input=document).stderr
    busbar("app", "scale", "life", "2", data=cluster)
    first, second = sorted(row["task"] for row in json.loads(busbar("task", "list", "--json", data=cluster).stdout))
    assert busbar("task", "log", first, data=cluster).stdout == "here I am\n"
    assert "fits 2 tasks" in busbar("task", "log", "life", data=cluster, code=1).stderr
    trace = json.loads(busbar("task", "trace", first, "--json", data=cluster).stdout)
    assert [row["step"] for row in trace["rows"] if row.get("position")] == list(range(1, 13))
    assert busbar("task", "kill", second, data=cluster).stdout.startswith(f"{second}: TASK_KILLED")
    busbar("app", "restart", "life", data=cluster)
    after = {row["task"] for row in json.loads(busbar("task", "list", "--json", data=cluster).stdout)}
    assert len(after) == 2
    assert not after & {first, second}
    lines = busbar("events", "tail", "--from", "1", "--task", first, "--json", data=cluster).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert {"task.launched", "task.delivered", "task.reported", "task.updated"} <= {each["type"] for each in told}
    busbar("app", "remove", "life", data=cluster)
    assert json.loads(busbar("task", "list", "--json", data=cluster).stdout) == []


def test_the_store_of_a_running_master_can_be_told(cluster):
    """A reader beside the writer; nothing else is asked."""
    file = cluster / "master" / "events.db"
    told = ("events", "replay", "--speed", "0", "--to", "20")
    from_bus = busbar(*told, data=cluster).stdout
    assert busbar(*told, "--store", str(file), data=cluster).stdout == from_bus
    assert len(from_bus.splitlines()) == 20


def test_a_wrong_address_or_passport_is_no_cluster(cluster, tmp_path):
    """Exit code 3 and what was wrong, within seconds."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{unused.getsockname()[1]}"
        assert url in busbar("app", "list", "--bus", url, data=cluster, code=3).stderr
    wrong = json.loads((cluster / "credentials.json").read_text())
    wrong["passport"] = wrong["passport"][:-4] + "AAAA"
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    (tmp_path / "wrong.json").chmod(0o600)
    refused = busbar("app", "list", "--credentials", str(tmp_path / "wrong.json"), data=cluster, code=3)
    assert wrong["url"] in refused.stderr


def test_a_port_that_is_taken_is_named(data):
    """Exit code 1; nothing is left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = busbar("up", "--detach", "--port", str(port), data=data, code=1)
    assert f"port {port} of 127.0.0.1 is taken" in refused.stderr
    assert running(data) == []


def test_a_directory_that_cannot_be_is_named(tmp_path):
    """Exit code 1, the path, what to do."""
    (tmp_path / "file").write_text("")
    refused = busbar("up", "--detach", data=tmp_path / "file" / "data", code=1)
    assert refused.stderr == (
        f"error: {tmp_path / 'file' / 'data'}: Not a directory\nnext:  name another directory with --data DIR\n"
    )


@pytest.mark.parametrize("text", ["cpus:-1", "cpus", "gpus:1", "ports:[5-1]", "cpus:1;cpus:2"])
def test_wrong_resources_are_a_usage_error(tmp_path, text):
    """The part, and what is allowed; nothing is created."""
    refused = busbar("up", "--detach", "--resources", text, data=tmp_path / "data", code=2)
    assert "--resources: " in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("before", "wanted"), [(1, "3"), (3, "1"), (3, "5")])
def test_the_number_of_masters_is_for_ever(tmp_path, before, wanted):
    """A stream that one server keeps is not one that three keep: refused, and nothing is started."""
    data = tmp_path / "data"
    data.mkdir()
    Shape(agents=1, resources="cpus:1", masters=before).write(data)
    refused = busbar("up", "--detach", "--masters", wanted, data=data, code=1)
    assert refused.stderr == (
        f"error: {data} was made with --masters {before}, and that number cannot be changed\n"
        f"next:  start a new datacenter in another directory: busbar up --masters {wanted} --data DIR\n"
    )
    assert "is not one of '1', '3', '5'" in busbar("up", "--masters", "2", data=data, code=2).stderr
    assert running(data) == []


def test_down_where_nothing_runs_is_no_cluster(tmp_path):
    """Exit code 3, never used or already down."""
    assert "nothing runs on" in busbar("down", data=tmp_path / "data", code=3).stderr


def test_what_is_killed_is_started_again_and_the_end_leaves_nothing(data):
    """Agents, masters, schedulers and the bus come back; `down` ends every task and process, also then."""
    up(data)
    document = '{"id": "/stay", "cmd": "sleep 600", "cpus": 0.1, "mem": 32, "ports": []}'
    busbar("app", "add", "-", data=data, input=document)
    [task] = json.loads(busbar("task", "list", "--json", data=data).stdout)
    before = by_role(data)
    for name in ("a1", "a1-cmd", "master", "marathon", "bus"):
        before[name].send(signal.SIGKILL)
    wait_for("new processes", lambda: by_role(data).keys() >= before.keys() and new(before, by_role(data)) == 5)
    wait_for("everything up", lambda: healthy(data))
    [same] = json.loads(busbar("task", "list", "--json", data=data).stdout)
    assert (same["task"], same["status"]["state"]) == (task["task"], "TASK_RUNNING")
    said = (data / "logs" / "up.log").read_text()
    for name in ("a1", "master", "marathon", "bus"):
        assert f"{name} was killed by SIGKILL; it is started again in 0.2 s" in said
    pid = int(task["status"]["message"].removeprefix("pid "))
    by_role(data)["a2"].send(signal.SIGKILL)
    busbar("down", data=data)
    assert running(data) == []
    assert not Path(f"/proc/{pid}").exists()
    assert "nothing runs on" in busbar("down", data=data, code=3).stderr


def test_a_full_disk_does_not_end_the_supervisor(data):
    """It cannot even log what it starts again, and starts it all the same."""
    (data / "logs").mkdir(parents=True)
    (data / "logs" / "up.log").symlink_to("/dev/full")
    up(data, "--agents", "1")
    before = by_role(data)["marathon"]
    before.send(signal.SIGKILL)
    wait_for("everything up", lambda: not before.alive and healthy(data))
    assert by_role(data)["supervisor"].alive
    busbar("down", data=data)


def new(before, now):
    return sum(now[name].pid != process.pid for name, process in before.items())


def healthy(data):
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", "status", "--data", str(data)], capture_output=True, check=False
    )
    return result.returncode == 0


def test_a_dead_supervisor_leaves_nothing_that_the_next_does_not_end(data):
    """Killed with -9, its components live on; the next `up` ends them and resumes history; `down` alone can too."""
    first = up(data)
    busbar("job", "add", "-", data=data, input='{"id": "j", "run": {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}}')
    before = by_role(data)
    assert before["supervisor"].pid == first["supervisor"]
    before["supervisor"].send(signal.SIGKILL)
    wait_for("the supervisor's end", lambda: not before["supervisor"].alive)
    assert before["master"].alive
    second = up(data)
    assert second["supervisor"] != first["supervisor"]
    assert not any(process.alive for process in before.values())
    assert [row["job"]["id"] for row in json.loads(busbar("job", "list", "--json", data=data).stdout)] == ["j"]
    by_role(data)["supervisor"].send(signal.SIGKILL)
    wait_for("the supervisor's end", lambda: "supervisor" not in by_role(data))
    busbar("down", data=data)
    assert running(data) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_datacenter_in_the_foreground(data, number):
    """Ctrl-C is an end in good order: exit code 0, no process left."""
    argv = [sys.executable, "-m", "cli.main", "up", "--data", str(data), "--agents", "1", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        content = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert {row["by"] for row in content["components"]} >= {"master.main", "agent.a1"}
        process.send_signal(number)
        assert process.wait(30) == 0, process.stderr.read()
    assert running(data) == []


def test_processes_are_told_by_what_they_are(cluster):
    """Every one wrote itself down, the executors too."""
    roles = {process.role for process in running(cluster)}
    assert roles == {"supervisor", "bus", "master", "agent", "executor", "framework", "gateway"}
    assert all(isinstance(process, Process) for process in running(cluster))
