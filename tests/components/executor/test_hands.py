"""The executor's mind and hands on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from functools import partial

import pytest

from bus.nouns import Command, Reason, TaskId, TaskState, second
from components.executor import component
from components.executor.attach import LauncherLost
from components.executor.hands import ExecutorHands, order
from tests.components.executor.nouns import delivered
from tests.components.executor.place import alive, wait_until
from tests.components.executor.test_launcher import FOREVER
from tests.components.executor.test_survival import GATED, kernel_tells_exits, open_gate
from tests.components.executor.world import World

pytestmark = pytest.mark.timeout(90)
STARTING, RUNNING, KILLING = TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING
FINISHED, FAILED, KILLED = TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED


async def test_a_task_goes_its_way(world):
    """RUNNING, FINISHED, each told to the agent once; STARTING is for its own log."""
    await world.launch("t1", "echo hello")
    assert (await world.wait_state("t1")).exit_status == 0
    assert world.story("t1") == [RUNNING, FINISHED]
    assert world.place.read("t1") == "hello\n"


async def test_a_failure_says_code_or_signal(world):
    await world.launch("t1", "exit 137")
    await world.launch("t2", "kill -9 $$")
    assert (await world.wait_state("t1")).message == "Command exited with status 137"
    assert (await world.wait_state("t2")).message == "Command terminated with signal SIGKILL"


async def test_the_environment_is_the_tasks_and_nothing_of_ours(world):
    """What it was given, who and where it is, PATH and its user; not our environment."""
    os.environ["BUSBAR_SECRET"] = "credentials"
    sandbox = str(world.place.sandbox("t1"))
    await world.hear(
        delivered(
            "t1", sandbox=sandbox, command=Command(shell="env", env={"GREETING": "hi", "MESOS_TASK_ID": "forged"})
        )
    )
    await world.wait_state("t1", FINISHED)
    env = dict(line.split("=", 1) for line in world.place.read("t1").splitlines())
    assert env.keys() - {"HOME", "USER", "LOGNAME", "PWD", "PATH"} == {
        "GREETING",
        "MESOS_TASK_ID",
        "MESOS_SANDBOX",
        "MESOS_DIRECTORY",
        "MESOS_FRAMEWORK_ID",
        "MESOS_EXECUTOR_ID",
        "MESOS_SLAVE_ID",
        "MESOS_AGENT_ID",
    }
    assert (env["GREETING"], env["MESOS_TASK_ID"], env["MESOS_SANDBOX"]) == ("hi", "t1", sandbox)


def test_a_task_may_say_where_its_programs_are():
    given = delivered(command=Command(argv=("x", "y"), env={"PATH": "/mine"}, user="nobody"))
    told = order(given)
    assert (told["argv"], told["user"]) == (["x", "y"], "nobody")
    assert told["env"]["PATH"] == "/mine"


@pytest.mark.parametrize("again", [False, True])
async def test_a_clock_that_was_an_hour_ahead_gives_no_task_another_hour(world, again):
    """The log's time is ahead of the host's clock since: the grace is counted on the log, also by a new process."""
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    world.log_ahead_us = 3600 * second
    if again:
        await world.die()
    await world.kill("t1", 0.2)
    if again:
        await world.begin()
    assert (await world.wait_state("t1")).signal == signal.SIGKILL


async def test_a_kill_gives_its_grace_and_then_none(world):
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}", kill_grace_s=0.2)
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    await world.kill("t1")
    status = await world.wait_state("t1")
    assert (status.state, status.signal) == (KILLED, 9)
    assert world.story("t1") == [RUNNING, KILLING, KILLED]


async def test_a_second_kill_shortens_the_first(world):
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    await world.kill("t1", 1000.0)
    await world.kill("t1", 0.0)
    assert (await world.wait_state("t1")).signal == 9
    assert world.story("t1") == [RUNNING, KILLING, KILLED]


async def test_a_task_killed_in_the_same_breath_is_killed(world):
    await world.launch("t1", FOREVER)
    await world.kill("t1")
    assert (await world.wait_state("t1")).state is KILLED


async def test_a_task_that_has_had_its_time_fails(world):
    await world.launch("t1", FOREVER, max_completion_s=5.0)
    await world.wait_state("t1", RUNNING)
    await world.advance(6)
    status = await world.wait_state("t1")
    assert (status.state, status.reason) == (FAILED, Reason.MAX_COMPLETION_TIME_REACHED)


async def test_what_cannot_be_launched_has_failed(world):
    await world.hear(delivered("t1", sandbox=str(world.place.sandbox("t1")), command=Command(argv=("no-such",))))
    status = await world.wait_state("t1")
    assert (status.state, status.reason) == (FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert status.message == "[Errno 2] No such file or directory: 'no-such'"


async def test_a_restarted_executor_goes_on(world):
    """What runs is adopted; what ended meanwhile has its status; what was said to be starting is started once."""
    await world.launch("ends", GATED)
    await world.launch("stays", f"echo ready; {FOREVER}")
    await world.place.wait_line("ends")
    await world.place.wait_line("stays")
    await world.wait_state("ends", RUNNING)
    await world.wait_state("stays", RUNNING)
    await world.die()
    await world.launch("said", "echo once >> lines")  # in the log, but its hands are dead
    open_gate(world.place, "ends")
    await wait_until(lambda: "status" in world.place.record("ends"))
    await world.begin()
    assert (await world.wait_state("ends")).message == "Command exited with status 6"
    assert (await world.wait_state("said")).state is FINISHED
    assert world.status("stays").state is RUNNING
    assert world.story("stays") == [RUNNING]
    await world.kill("stays", 0.0)
    await world.wait_state("stays", KILLED)
    assert world.place.read("said", "lines") == "once\n"


async def test_what_may_have_been_executed_before_the_machine_stopped_is_not_executed_again(world):
    """Nothing of it is on the disk, not even that it was launched; the log alone says that it may have been."""
    await world.die()
    await world.begin_on("first")
    await world.launch("t0", "true")
    await world.wait_state("t0")  # the launcher is there
    await world.launch("t1", f"echo launched >> launches; echo ready; {FOREVER}")
    await world.die()
    await world.place.wait_line("t1")
    assert world.status("t1").state is STARTING
    await world.restart_machine("second")
    status = await world.wait_state("t1")
    assert (status.state, status.reason) == (FAILED, Reason.EXECUTOR_TERMINATED)
    assert world.place.read("t1", "launches") == "launched\n"
    await world.launch("t2", "true")
    assert (await world.wait_state("t2")).state is FINISHED


async def test_who_takes_over_in_the_same_run_of_the_machine_launches_what_was_said_to_be_starting(world):
    await world.die()
    await world.begin_on("first")
    await world.die()
    await world.launch("t1", "echo once >> lines")  # in the log, but its hands are dead
    await world.begin_on("first")
    assert (await world.wait_state("t1")).state is FINISHED
    assert world.place.read("t1", "lines") == "once\n"


async def test_a_task_that_was_being_killed_when_the_machine_stopped_is_killed_but_was_executed(world):
    """It is not said to have been killed before it was launched."""
    await world.die()
    await world.begin_on("first")
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await world.wait_state("t1", RUNNING)
    await world.kill("t1", 3600)
    await world.restart_machine("second")
    status = await world.wait_state("t1")
    assert (status.state, status.reason) == (KILLED, None)


async def test_tasks_of_a_release_that_did_not_say_in_which_run_of_the_machine_it_was(world):
    """What it said to be starting may have been executed before a restart; what runs can still be killed."""
    await world.launch("runs", f"echo ready; {FOREVER}")
    await world.wait_state("runs", RUNNING)
    await world.die()
    await world.launch("said", "echo once >> lines")
    await world.begin_on("first")
    assert (await world.wait_state("said")).reason is Reason.EXECUTOR_TERMINATED
    await world.kill("runs", 0.0)
    assert (await world.wait_state("runs")).state is KILLED
    assert not world.place.sandbox("said").exists()


async def test_a_restarted_executor_still_kills(world):
    """The kill was said, but the hands died before they could tell; the grace has passed meanwhile."""
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    await world.die()
    await world.kill("t1", 3.0)
    world.stage.advance(5)
    await world.begin()
    assert (await world.wait_state("t1")).signal == 9


async def test_a_task_killed_before_its_hands_could_launch_it_never_runs(world):
    await world.die()
    await world.launch("t1", "echo hello")
    await world.kill("t1")
    await world.begin()
    status = await world.wait_state("t1")
    assert (status.state, status.reason) == (KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert not world.place.sandbox("t1").joinpath("stdout").exists()


async def test_the_deadline_of_a_kill_survives_the_executor(world):
    """SIGKILL is the launcher's to send."""
    await world.launch("t1", f"trap '' TERM; echo ready; {FOREVER}")
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    await world.kill("t1", 0.3)
    await asyncio.sleep(0)
    await world.die()
    await wait_until(lambda: "status" in world.place.record("t1"))
    assert world.place.record("t1")["status"] == 9
    await world.begin()
    assert (await world.wait_state("t1")).state is KILLED


async def test_a_killed_launcher_is_replaced_and_adopts(world):
    await world.launch("t1", GATED)
    await world.place.wait_line("t1")
    await world.wait_state("t1", RUNNING)
    first = world.place.launcher_pid
    os.kill(first, signal.SIGKILL)
    await wait_until(lambda: world.place.launcher_pid != first, "another launcher")
    open_gate(world.place)
    status = await world.wait_state("t1")
    if kernel_tells_exits():
        assert status.message == "Command exited with status 6"
    else:
        assert (status.message, status.reason) == ("exit status unknown", Reason.EXECUTOR_TERMINATED)
    assert world.story("t1") == [RUNNING, FAILED]


async def test_a_task_that_died_with_its_launcher_is_said_to_be_lost(world):
    await world.launch("t1", FOREVER)
    pid = int((await world.wait_state("t1", RUNNING)).message.removeprefix("pid "))
    await world.die()
    launcher = world.place.launcher_pid
    os.kill(launcher, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: not alive(launcher) and not os.path.exists(f"/proc/{pid}"))
    await world.begin()
    status = await world.wait_state("t1")
    assert (status.state, status.reason, status.message) == (FAILED, Reason.EXECUTOR_TERMINATED, "exit status unknown")


async def test_a_task_that_is_not_in_the_log_is_ended(world):
    """The launcher runs what the log does not know: its log was lost, and nobody else would ever end it."""
    await world.launch("t1", FOREVER)
    pid = int((await world.wait_state("t1", RUNNING)).message.removeprefix("pid "))
    await world.die()
    world.stage.state.tasks.clear()
    hands = ExecutorHands(world.place.config)
    running = asyncio.create_task(hands.run(world.stage.state, world.see))
    await wait_until(lambda: not alive(pid))
    running.cancel()
    world.stage.state = world.stage.refolded()


async def test_an_executor_of_an_older_term_gives_up(world):
    """Another instance owns the log; this one may not touch its tasks."""
    await world.launch("t1", "true")
    await world.wait_state("t1")
    older = world.stage.refolded()
    older.epoch = 0
    with pytest.raises(LauncherLost, match="serves term 1, not 0"):
        await ExecutorHands(world.place.config).run(older, world.see)


async def test_a_launcher_that_does_not_answer_ends_the_executor(place):
    """It is stopped here; asked whether it lives, it says nothing. Its tasks are not touched."""
    place.config = replace(place.config, launcher_silent_s=0.2)
    world = World(place)
    await world.begin()
    await world.launch("t1", FOREVER)
    await world.wait_state("t1", RUNNING)
    os.kill(place.launcher_pid, signal.SIGSTOP)
    with pytest.raises(LauncherLost, match="does not answer"):
        await world.running
    assert world.status("t1").state is RUNNING
    os.kill(place.launcher_pid, signal.SIGCONT)


async def test_a_launcher_that_cannot_start_ends_the_executor(place):
    place.work.mkdir()
    place.work.joinpath("tasks.log").mkdir()
    executor = component(place.config, partial(ExecutorHands, place.config))
    assert executor.hands is not None
    state = executor.start()
    with pytest.raises(LauncherLost, match="Is a directory"):
        await executor.hands().run(state, lambda sight: asyncio.sleep(0))
    place.work.joinpath("tasks.log").rmdir()


async def test_a_burst_reports_every_end_once(world):
    for number in range(100):
        await world.launch(f"t{number}", "true")
    for number in range(100):
        assert (await world.wait_state(f"t{number}")).state is FINISHED
        assert world.story(f"t{number}") == [RUNNING, FINISHED]
    assert world.stage.state.tasks == {}
    assert world.stage.rebuilt() == world.stage.hash()
    assert TaskId("t7") in world.stage.state.ended
