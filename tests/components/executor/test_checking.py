"""The executor's checks on real processes and real servers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import msgspec
import pytest

from bus.nouns import Check, Command, Probe, Reason, TaskId, TaskState
from components.executor.sights import HealthSeen
from tests.components.executor.nouns import delivered
from tests.components.executor.place import alive, patience_s, wait_until
from tests.components.executor.test_launcher import FOREVER
from tests.components.executor.world import World
from tests.components.servers import Server, ok, serving

pytestmark = pytest.mark.timeout(90)
RUNNING, KILLED = TaskState.RUNNING, TaskState.KILLED
UPDATED = Reason.TASK_HEALTH_CHECK_STATUS_UPDATED


def check(probe: Probe = Probe.COMMAND, **given: object) -> Check:
    often = {"delay_s": 0.0, "interval_s": 0.01, "timeout_s": 10.0, "grace_s": 0.0, "failures_max": 3}
    return Check(probe=probe, **{**often, **given})  # type: ignore[arg-type]


def shell(line: str, **given: object) -> Check:
    return check(command=Command(shell=line), **given)


async def launch(world: World, health: Check, line: str = FOREVER, **env: str) -> None:
    command = Command(shell=line, env=env)
    await world.hear(delivered("t1", command=command, sandbox=str(world.place.sandbox("t1")), health=health))


async def wait_status(world: World, true: Callable[..., bool]) -> None:
    async with asyncio.timeout(patience_s), world.changed:
        await world.changed.wait_for(lambda: (status := world.status("t1")) is not None and true(status))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as given:
        yield given


@pytest.mark.parametrize("probe", [Probe.TCP, Probe.HTTP])
async def test_a_server_is_healthy_and_then_is_not_and_its_task_is_killed(world, server, probe):
    path = "/health" if probe is Probe.HTTP else "/"
    await launch(world, check(probe, port=server.port, path=path))
    await wait_status(world, lambda status: status.healthy)
    if probe is Probe.HTTP:
        server.reply = lambda _path: ok(status="500 Broken")
        ended = await world.wait_state("t1")
        assert (ended.state, ended.reason, ended.healthy, ended.failures) == (KILLED, UPDATED, False, 3)
        assert ended.message.endswith(f"unhealthy: HTTP 500 from http://127.0.0.1:{server.port}/health")
        asked = len(server.asked)
        assert not world.hands._checking._looking
        assert set(server.asked) == {path}
        assert asked >= 4


async def test_a_redirection_is_followed(world, server):
    server.reply = lambda path: ok(b"", "302 Found", "Location: /there") if path == "/" else ok()
    await launch(world, check(Probe.HTTP, port=server.port))
    await wait_status(world, lambda status: status.healthy)
    assert "/there" in server.asked


async def test_a_command_has_the_tasks_environment_sandbox_and_user(world):
    """What it prints is in the sandbox, in stderr."""
    line = 'test "$GREETING" = hi && test "$MINE" = 1 && test "$PWD" = "$MESOS_SANDBOX" && echo looked'
    health = check(command=Command(shell=line, env={"MINE": "1", "MESOS_SANDBOX": "forged"}))
    await launch(world, health, GREETING="hi")
    await wait_status(world, lambda status: status.healthy)
    assert (await world.place.wait_line("t1", "stderr"))[0] == "looked"
    assert world.place.read("t1", "stdout") == ""


async def test_a_command_is_confined_as_its_task_is(world):
    (world.place.root / "canary").write_text("secret")
    await launch(world, shell(f"test ! -e {world.place.root}/canary && test -e stdout"))
    await wait_status(world, lambda status: status.healthy)


@pytest.mark.parametrize("trap", ["mkfifo stderr", "ln -s ../../canary stderr", "ln ../../canary stderr"])
async def test_a_task_cannot_have_a_check_write_or_wait_elsewhere(world, trap):
    """The launcher, which may be root, opens what the task has put into its sandbox; others must not wait for it."""
    canary = world.place.root / "canary"
    canary.write_text("")
    given = delivered("t1", health=shell("echo looked"), sandbox=str(world.place.sandbox("t1")))
    command = Command(shell=f"rm stderr; {trap}; touch set; {FOREVER}")
    world.place.config = replace(world.place.config, unconfined=True)
    await world.die()
    await world.begin()
    await world.hear(msgspec.structs.replace(given, task=msgspec.structs.replace(given.task, command=command)))
    await wait_until(lambda: (world.place.sandbox("t1") / "set").exists(), "the trap is set")
    seen = len(world.sights)
    await wait_until(lambda: sum(isinstance(one, HealthSeen) for one in world.sights[seen:]) > 3, "looked at")
    assert world.status("t1").healthy
    assert canary.read_text() == ""


async def test_a_command_that_fails_is_the_end_of_its_task(world):
    await launch(world, shell("exit 7"))
    ended = await world.wait_state("t1")
    assert (ended.state, ended.healthy) == (KILLED, False)
    assert ended.message.endswith("unhealthy: Command exited with status 7")


async def test_a_command_that_does_not_exist_is_a_failure(world):
    await launch(world, check(command=Command(argv=("/nowhere/at/all",)), failures_max=1))
    assert "/nowhere/at/all" in (await world.wait_state("t1")).message


async def test_a_command_out_of_time_is_killed_with_all_it_started(world):
    line = "sleep 1000 & echo $! >> pids; echo $$ >> pids; wait"
    await launch(world, shell(line, timeout_s=0.2, failures_max=1))
    ended = await world.wait_state("t1")
    assert ended.message.endswith("unhealthy: no answer within 0.2 s")
    pids = [int(pid) for pid in await world.place.wait_line("t1", "pids", lines=2)]
    await wait_until(lambda: not any(map(alive, pids)), f"{pids} gone")


async def test_a_command_ends_with_its_task(world):
    await launch(world, shell("echo $$ >> pids; exec sleep 1000", timeout_s=0))
    pid = int((await world.place.wait_line("t1", "pids"))[0])
    await world.kill("t1", 0.0)
    await world.wait_state("t1", KILLED)
    await wait_until(lambda: not alive(pid), f"{pid} gone")


async def test_the_checks_go_on_in_the_next_process_of_the_executor(world):
    """Failures are counted over a restart; a task that is killed meanwhile is not looked after."""
    await launch(world, shell("test -e good", failures_max=1000, grace_s=0.0), f"touch good; {FOREVER}")
    await wait_status(world, lambda status: status.healthy)
    (world.place.sandbox("t1") / "good").unlink()
    await wait_status(world, lambda status: status.failures >= 2)
    await world.die()
    before = world.status("t1").failures
    await world.begin()
    await wait_status(world, lambda status: status.failures > before)
    await world.kill("t1", 0.0)
    await world.wait_state("t1", KILLED)


async def test_a_launcher_that_is_gone_for_a_while_is_no_failure_of_the_task(world):
    await launch(world, shell("true", failures_max=1))
    await wait_status(world, lambda status: status.healthy)
    os.kill(world.place.launcher_pid, signal.SIGKILL)
    seen = len(world.sights)
    await wait_until(lambda: sum(isinstance(one, HealthSeen) for one in world.sights[seen:]) > 3, "looked at again")
    assert world.status("t1").healthy
    assert TaskId("t1") in world.stage.state.tasks


async def test_a_launcher_of_before_there_were_checks_is_no_failure_of_the_task(world):
    """It says that it does not understand: the task's health stays unknown, and the link is kept."""
    await launch(world, shell("exec sleep 1000", timeout_s=0, failures_max=1))
    await wait_until(lambda: world.hands._looks, "it is looked at")
    for _ in range(3):
        await wait_until(lambda: world.hands._looks, "it is looked at again")
        await world.hands._see({"say": "refused", "message": "not attached, or not understood: check"}, world.see)
        await wait_until(lambda: not any(look.done() for look in world.hands._looks.values()), "it is known")
    assert world.status("t1").healthy is None
    assert not [one for one in world.sights if isinstance(one, HealthSeen)]


async def test_nothing_is_looked_at_before_the_delay(world, server):
    await launch(world, check(Probe.HTTP, port=server.port, delay_s=1000.0))
    await world.wait_state("t1", RUNNING)
    await world.die()
    await world.begin()
    assert server.asked == []
    assert TaskId("t1") in world.hands._checking._looking


# ---- the check from which nothing follows -----------------------------------------------------------------------


@pytest.mark.parametrize(("probe", "bad"), [(Probe.HTTP, 503), (Probe.TCP, 0), (Probe.COMMAND, 7)])
async def test_what_is_found_is_told_and_nobody_is_killed(world, server, probe, bad):
    good = {Probe.HTTP: 200, Probe.TCP: 1, Probe.COMMAND: 0}[probe]
    looks = check(probe, port=server.port, command=Command(shell="test -e good || exit 7"))
    command = Command(shell=f"touch good; {FOREVER}")
    await world.hear(delivered("t1", command=command, sandbox=str(world.place.sandbox("t1")), check=looks))
    await wait_status(world, lambda status: status.checked == good)
    server.reply = lambda _path: ok(status="503 No")
    if probe is Probe.TCP:
        server.listening.close()
    mark = world.place.sandbox("t1") / "good"
    await wait_until(mark.exists, "it runs")
    mark.unlink()
    await wait_status(world, lambda status: status.checked == bad)
    assert world.status("t1").state is RUNNING
    assert world.status("t1").reason is Reason.TASK_CHECK_STATUS_UPDATED


async def test_both_checks_of_a_task_go_on_beside_each_other(world):
    """Neither ends the other's command."""
    await world.hear(
        delivered(
            "t1",
            command=Command(shell=FOREVER),
            sandbox=str(world.place.sandbox("t1")),
            health=shell("sleep 0.05"),
            check=shell("sleep 0.05; exit 3"),
        )
    )
    await wait_status(world, lambda status: status.healthy and status.checked == 3)
    assert world.status("t1").failures == 0
