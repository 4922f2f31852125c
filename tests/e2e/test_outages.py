"""Worse than one death: many at once, frozen processes, a bus that is away, a dead supervisor, a full disk."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bus import codec
from bus.documents import AppSpec
from bus.events import Event
from bus.jetstream import connect
from bus.nouns import AppId, RequestId, TraceId
from bus.permits import Role
from bus.port import Message, OutcomeUnknown
from bus.services import AppRequested
from bus.subjects import Author, Kind
from cli.session import wall_clock
from tests.e2e.cluster import Cluster, CommandFailed, alive, datacenter, processes_under, wait_for
from tests.identities import identity_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
HOLD = "while :; do sleep 1; done"
WANTED = 4
COMPONENTS = ("master", "marathon", "metronome", "a1", "a2", "a1.executor", "a2.executor", "bus")
PINGS = ("--ping-interval-s", "0.2", "--pings-missed-max", "3")
REQUESTS = 400
AT_ONCE = 20
BURST = "u-burst"
"""Who asks for them."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One datacenter for all of these, with a service that one node cannot hold and a job on a schedule."""
    with datacenter(tmp_path_factory.mktemp("outages") / "data", up_options=PINGS) as found:
        found.add_app(id="/hold", cmd=HOLD, cpus=1.5, mem=32, instances=WANTED)
        schedules = [{"cron": "* * * * *", "concurrencyPolicy": "FORBID"}]
        run = {"cmd": "true", "cpus": 0.1, "mem": 32, "disk": 0}
        found.run("job", "add", "-", stdin=json.dumps({"id": "tick", "run": run, "schedules": schedules}))
        yield found


def pids(cluster: Cluster) -> dict[str, int]:
    """The instances of the service with their processes."""
    return {task: cluster.pid_of(task) for task in cluster.running("/hold")}


def all_up(cluster: Cluster) -> bool:
    """Whether every component answers."""
    found = cluster.try_ask_status()
    return found is not None and all(row["state"] == "up" for row in found["components"])


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def launchers(cluster: Cluster) -> list[int]:
    """The launchers of a datacenter: their command line names their work directory."""
    return [int(line.split()[0]) for line in processes_under(cluster.data) if "components.executor.launcher" in line]


# ---- deaths ---------------------------------------------------------------------------------------------------------


def test_a_killed_launcher_ends_no_task(cluster: Cluster) -> None:
    """Its successor adopts them: the same processes, and each can still be killed and replaced."""
    before = pids(cluster)
    killed = launchers(cluster)
    assert len(killed) == 2
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_for("new launchers", lambda: len(set(launchers(cluster)) - set(killed)) == 2)
    assert pids(cluster) == before
    assert all(alive(pid) for pid in before.values())
    victim = next(iter(before))
    cluster.run("task", "kill", victim)
    wait_for("its replacement runs", lambda: len(cluster.running("/hold")) == WANTED)
    assert not alive(before[victim])


def test_executors_say_in_which_run_of_the_machine_they_began(cluster: Cluster) -> None:
    """So after the next one they know what may have been executed before it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    terms = [event for event in cluster.events("--kind", "executor") if event["type"] == "executor.started"]
    assert len(terms) >= 2
    assert {event["data"]["boot"] for event in terms} == {boot}


def test_everything_but_the_tasks_may_die_at_once(cluster: Cluster) -> None:
    """Nobody is left who remembers but the disk: the same tasks run on, and new work is done."""
    before = pids(cluster)
    for pid in [cluster.component_pid(name) for name in COMPONENTS]:
        os.kill(pid, signal.SIGKILL)
    wait_for("all are back", lambda: all_up(cluster))
    assert pids(cluster) == before
    assert all(alive(pid) for pid in before.values())
    cluster.add_app(id="/after", cmd=HOLD, cpus=0.1, mem=32)
    cluster.run("app", "remove", "/after")


# ---- freezes --------------------------------------------------------------------------------------------------------


def test_a_frozen_agent_is_replaced_and_gives_back_what_it_kept(cluster: Cluster) -> None:
    """Unreachable after its pings; when it is back, what was replaced meanwhile is killed: never more than wanted."""
    before = pids(cluster)
    there = {row["task"] for row in cluster.tasks(app="/hold", agent="a2")}
    assert there
    cluster.run("app", "scale", "/hold", str(WANTED - len(there)))
    cluster.run("app", "scale", "/hold", "2")
    gone = {row["task"] for row in cluster.tasks(app="/hold", agent="a2")}
    with frozen(cluster.component_pid("a2")):
        wait_for("a2 is unreachable", lambda: state_of(cluster, "a2") == "UNREACHABLE")
        wait_for("two run elsewhere", lambda: on(cluster, "a1") >= 2)
    wait_for("a2 is back", lambda: state_of(cluster, "a2") == "ACTIVE")
    wait_for("the replaced are gone", lambda: not any(alive(pid) for t, pid in before.items() if t in gone))
    assert len(cluster.running("/hold")) == 2
    cluster.run("app", "scale", "/hold", str(WANTED))


def state_of(cluster: Cluster, agent: str) -> str:
    rows: list[dict[str, Any]] = cluster.try_ask("node", "list") or []
    return next((row["state"] for row in rows if row["agent"] == agent), "")


def on(cluster: Cluster, agent: str) -> int:
    """How many instances run on a node."""
    return sum(row["agent"] == agent for row in cluster.running("/hold").values())


def test_a_frozen_scheduler_answers_when_it_wakes(cluster: Cluster) -> None:
    """The request stands in the log; the client is told so, and it is done once."""
    with frozen(cluster.component_pid("marathon")):
        said = cluster.run("app", "scale", "/hold", str(WANTED - 1), code=1)
        assert "did not answer within" in said
        assert "the request stands as event" in said
    wait_for("it is done", lambda: len(cluster.running("/hold")) == WANTED - 1)
    cluster.run("app", "scale", "/hold", str(WANTED))


def test_a_bus_that_is_away_longer_than_the_pings_costs_no_task(cluster: Cluster) -> None:
    """Nobody was silent: the master could not hear."""
    before = pids(cluster)
    position = cluster.ask("status")["position"]
    with frozen(cluster.component_pid("bus")), suppress(CommandFailed):
        cluster.run("status")  # until its patience is over, which is longer than the pings'
    wait_for("all answer", lambda: all_up(cluster))
    assert pids(cluster) == before
    said = cluster.run("events", "tail", "--from", str(position), "--json")
    assert "agent.marked" not in {json.loads(line)["type"] for line in said.splitlines()}


# ---- exactly once ---------------------------------------------------------------------------------------------------


def test_a_burst_of_requests_through_a_dying_bus_is_done_once_each(cluster: Cluster) -> None:
    """The server is killed twice meanwhile: what was acknowledged is answered once, however often it was sent."""
    acknowledged = asyncio.run(burst(cluster))
    assert len(acknowledged) == REQUESTS
    wait_for("all answer", lambda: all_up(cluster))

    def answered() -> Counter[str]:
        lines = cluster.run("events", "tail", "-n", "100000", "--kind", "framework", "--to", BURST, "--json")
        return Counter(name for line in lines.splitlines() if (name := json.loads(line).get("request")))

    wait_for("all are answered", lambda: set(answered()) >= set(acknowledged))
    assert set(answered().values()) == {1}
    assert len(cluster.ask("app", "list")) == REQUESTS + 1
    # an agent that found the server again later than three of these short pings was replaced
    wait_for("all run", lambda: len(cluster.running("/hold")) == WANTED)


async def burst(cluster: Cluster) -> list[str]:
    """Ask for many apps, again until each is acknowledged; kill the server in between."""
    bus = await connect(identity_of(cluster.data, Role.OPERATOR, BURST))
    turns, acknowledged = asyncio.Semaphore(AT_ONCE), list[str]()

    async def ask(number: int) -> None:
        message = app_requested(f"/burst/{number}")
        async with turns:
            while True:
                try:
                    await bus.append([message], None)
                    break
                except OutcomeUnknown:
                    await asyncio.sleep(0.1)
        acknowledged.append(str(message.request))
        if len(acknowledged) in (REQUESTS // 4, REQUESTS // 2):
            os.kill(cluster.component_pid("bus"), signal.SIGKILL)

    try:
        await asyncio.gather(*map(ask, range(REQUESTS)))
    finally:
        await bus.close()
    return acknowledged


def app_requested(name: str) -> Message:
    """A request for an app without instances, by hand."""
    request = RequestId(uuid4().hex)
    event = Event(
        by=Author(Kind.CLIENT, BURST),
        to="marathon",
        fact=AppRequested(app=AppSpec(id=AppId(name), cmd="true", instances=0)),
        at=wall_clock(),
        trace=TraceId(request),
        request=request,
    )
    return Message(codec.subject("dc", event), codec.encode(event), request)


# ---- the whole datacenter -------------------------------------------------------------------------------------------


def test_two_datacenters_on_one_machine_do_not_meet(cluster: Cluster, tmp_path: Path) -> None:
    """Each its own bus, ports, tasks; the end of one is nothing to the other."""
    before = pids(cluster)
    with datacenter(tmp_path / "data", agents=1) as other:
        other.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32)
        (theirs,) = other.tasks()
        mine = cluster.ask("app", "show", "/hold")["instances"]
        ports = other.ask("app", "show", "/hold")["instances"][0]["ports"]
        assert other.pid_of(theirs["task"]) not in set(before.values())
        assert not set(ports) & {port for row in mine for port in row["ports"]}
    assert pids(cluster) == before
    assert all(alive(pid) for pid in before.values())


def test_a_dead_supervisor_is_followed_by_another(cluster: Cluster) -> None:
    """What it left is ended first; then the same datacenter is up again, and its services come back at once."""
    left = pids(cluster)
    os.kill(cluster.component_pid("supervisor"), signal.SIGKILL)
    cluster.up()
    assert not any(alive(pid) for pid in left.values())
    wait_for("the service is back", lambda: len(cluster.running("/hold")) == WANTED)
    assert not set(cluster.running("/hold")) & set(left)
    failure = cluster.ask("app", "show", "/hold").get("last_failure") or {}
    assert failure.get("task") not in left, "that it was ended is not its failure"


def test_down_in_the_middle_of_a_deployment(cluster: Cluster) -> None:
    """Nothing is left running; the next start finishes what was asked for."""
    wide = {"id": "/wide", "cmd": HOLD, "cpus": 0.01, "mem": 32, "instances": 30}
    cluster.run("app", "add", "-", "--no-wait", stdin=json.dumps(wide))
    cluster.down()
    assert processes_under(cluster.data) == []
    cluster.run("status", code=3)
    cluster.up()
    wait_for("all thirty run", lambda: len(cluster.running("/wide")) == 30)
    wait_for("the service is back", lambda: len(cluster.running("/hold")) == WANTED)
    cluster.run("app", "remove", "/wide")


def test_after_all_this_every_minute_has_fired_at_most_once(cluster: Cluster) -> None:
    """Whatever died when: a firing is its nominal time, and none is done twice."""
    runs = wait_for(
        "a firing", lambda: [row for row in cluster.ask("job", "runs", "tick") if row["state"] == "SUCCESS"]
    )
    nominal = Counter(row["nominal"] for row in runs)
    assert set(nominal.values()) == {1}


# ---- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(mount)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return file


def test_a_full_disk_stops_the_work_and_loses_nothing(small_disk: Path) -> None:
    """The client is told; a task that ends meanwhile keeps its exit status; with room again all goes on by itself."""
    with datacenter(small_disk / "data", agents=1) as cluster:
        cluster.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32)
        before = pids(cluster)
        job = {"id": "slow", "run": {"cmd": "sleep 3; exit 7", "cpus": 0.1, "mem": 32, "disk": 0}}
        cluster.run("job", "add", "-", stdin=json.dumps(job))
        run = cluster.ask("job", "run", "slow", "--no-wait")["run"]
        wait_for("it runs", lambda: any(row["status"]["state"] == "TASK_RUNNING" for row in cluster.tasks(run=run)))
        filler = fill(small_disk)
        said = cluster.run("app", "scale", "/hold", "2", code=1)
        assert "is full" in said
        assert "Traceback" not in said
        assert all(alive(pid) for pid in before.values())
        filler.unlink()
        wait_for("all answer", lambda: all_up(cluster))
        result = wait_for("the run's end is known", lambda: ended(cluster, run))
        assert (result["state"], result["tasks"][0]["exit_status"]) == ("FAILED", 7)
        assert set(before) <= set(cluster.running("/hold"))
        cluster.run("app", "scale", "/hold", "3")


def ended(cluster: Cluster, run: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = cluster.try_ask("job", "runs") or []
    return next((row for row in rows if row["run"] == run and row["state"] in ("SUCCESS", "FAILED")), None)


def test_up_on_a_full_disk_says_so_and_leaves_nobody(small_disk: Path) -> None:
    """Exit code 1, what to do, no process."""
    filler = fill(small_disk)
    cluster = Cluster(small_disk / "data", agents=1)
    said = cluster.run("up", "--detach", "--agents", "1", code=1)
    assert "No space left on device" in said
    assert "Traceback" not in said
    wait_for("nobody is left", lambda: not processes_under(small_disk))
    filler.unlink()
    cluster.up()
    cluster.down()
