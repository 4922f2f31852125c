"""The life of a run: states, restarts, deadlines, and a task that comes back."""

from __future__ import annotations

import pytest

from bus.events import KillRequested, TaskReconciled
from bus.nouns import MASTER, AgentId, Now, Reason, RunId, TaskState, second
from bus.services import AttemptScheduled, RunStopped, RunUpdated
from components.metronome import MetronomeConfig
from components.metronome.runs import next_delay_us
from components.metronome.state import RUN_ENDED, RUN_MOVES, Run, RunState
from components.metronome.tasks import largest_task_bytes, task_bytes, task_id
from tests.components.driver import START, only, types
from tests.components.metronome.play import (
    ALICE,
    COUNT,
    DROPPED,
    FAILED,
    FINISHED,
    KILLED,
    METRONOME,
    RUNNING,
    STARTING,
    UNREACHABLE,
    Play,
    launches,
    spec,
    states,
    status,
)

ERROR, GONE, KILLING, UNKNOWN = TaskState.ERROR, TaskState.GONE, TaskState.KILLING, TaskState.UNKNOWN


# ---- states -----------------------------------------------------------------------------------------------------


def test_a_run_goes_through_its_states():
    """INITIAL, STARTING, ACTIVE, SUCCESS: each is one run.updated to who asked for the run, with the task's status."""
    play = Play()
    play.add()
    run = play.start()
    task = play.launch()
    assert play.run(run).state == "INITIAL"
    events = [*play.update(task, STARTING), *play.update(task, RUNNING), *play.update(task, FINISHED)]
    assert states(events) == ["STARTING", "ACTIVE", "SUCCESS"]
    assert {(event.to, event.trace) for event in events} == {(ALICE.id, "t1")}
    assert events[1].fact == RunUpdated(
        job=COUNT, run=run, state="ACTIVE", status=status(task, RUNNING), agent=AgentId("a1")
    )
    job = play.state.jobs[COUNT]
    assert (job.successes, job.failures, job.last_success_at) == (1, 0, START)


def test_a_status_said_again_yields_nothing():
    """The same, an older one, one of reconciliation: a run is updated once for each change."""
    play = Play()
    run, task = play.running()
    for state in (RUNNING, STARTING, TaskState.STAGING):
        assert play.update(task, state, reason=Reason.RECONCILIATION) == []
    play.update(task, FINISHED)
    for state in (FINISHED, RUNNING, FAILED, UNREACHABLE, UNKNOWN):
        assert play.update(task, state) == []
    assert play.run(run).state == "SUCCESS"


def test_the_moves_of_a_run_end_it_once():
    """What ends a run is derived from the table: SUCCESS and FAILED."""
    assert {"SUCCESS", "FAILED"} == RUN_ENDED
    assert all(RUN_MOVES[state] for state in set(RunState) - RUN_ENDED)


def test_a_failed_task_fails_its_run():
    """NEVER: one task; the message says how it ended."""
    play = Play()
    _, task = play.running()
    (event,) = play.update(task, FAILED, message="exit 1")
    assert isinstance(event.fact, RunUpdated)
    assert (event.fact.state, event.fact.message) == ("FAILED", "TASK_FAILED exit 1")
    assert play.state.jobs[COUNT].failures == 1
    assert launches(play.make()) == []


@pytest.mark.parametrize("end", [FAILED, KILLED, GONE, UNREACHABLE, UNKNOWN, ERROR])
def test_every_end_but_finished_is_a_failure(end: TaskState):
    """Lost kinds too. (Metronome: lost kinds are FAILED)"""
    play = Play()
    _, task = play.running()
    if end is ERROR:
        play.start()
        task = play.launch()
    assert states(play.update(task, end)) == ["FAILED"]


def test_a_stopped_run_ends_failed_when_its_task_is_killed():
    """With the reason it was stopped for; the policy does not restart it."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    play.stop(run)
    assert states(play.update(task, KILLING)) == ["ACTIVE"]
    (event,) = play.update(task, KILLED)
    assert isinstance(event.fact, RunUpdated)
    assert (event.fact.state, event.fact.message) == ("FAILED", "stopped on request")


def test_a_task_that_finished_before_the_kill_reached_it_succeeded():
    """What is done is done."""
    play = Play()
    run, task = play.running()
    play.stop(run)
    assert states(play.update(task, FINISHED)) == ["SUCCESS"]


# ---- restarts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [FAILED, KILLED, GONE, UNREACHABLE, UNKNOWN])
def test_every_end_but_finished_is_restarted(end: TaskState):
    """ON_FAILURE; also of a task that was killed, but not on request."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    assert states(play.update(task, end)) == ["STARTING"]
    assert [fact.task for fact in only(play.advance(1), AttemptScheduled)] == [task_id(COUNT, run, 2)]


def test_on_failure_another_task_follows_in_the_same_run():
    """After the delay, with the next number; the run is STARTING meanwhile."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    (event,) = play.update(task, FAILED)
    assert isinstance(event.fact, RunUpdated)
    assert (event.fact.state, event.fact.delay_until) == ("STARTING", START + second)
    assert play.advance(0.999) == []
    events = play.advance(0.001)
    again = task_id(COUNT, run, 2)
    assert next(event.fact for event in events) == AttemptScheduled(job=COUNT, run=run, task=again)
    assert play.launch() == again
    assert states(play.update(again, RUNNING) + play.update(again, FINISHED)) == ["ACTIVE", "SUCCESS"]
    assert [(one.task, one.state) for one in play.rows()[0].tasks] == [(task, FAILED), (again, FINISHED)]


def test_a_run_that_fails_again_and_again_waits_longer_each_time():
    """1 s × 1.15 each, at most 300 s; from the start again after 300 s of work."""
    run = Run(
        run=RunId("r"),
        job=COUNT,
        version="1",  # type: ignore[arg-type]
        client="_",
        trace=None,
        created_at=START,
        created_n=1,
        schedule=None,
        nominal=None,
        start_by=None,
        end_by=None,
    )
    delays, now = [], START
    for _ in range(60):
        run.delay_us = next_delay_us(run, now)
        run.failed_at = now
        delays.append(run.delay_us)
        now = Now(now + run.delay_us)
    assert delays[:4] == [1_000_000, 1_150_000, 1_322_500, 1_520_875]
    assert delays == sorted(delays)
    assert delays[-1] == 300 * second
    assert next_delay_us(run, Now(now + 300 * second)) == 300 * second
    assert next_delay_us(run, Now(now + 300 * second + 1)) == second


def test_an_accept_that_came_too_late_is_repeated_at_once():
    """The offer was gone: another attempt, no delay, no failure, whatever the policy."""
    play = Play()
    play.add()
    run = play.start()
    task = play.launch()
    events = play.update(task, DROPPED, reason=Reason.INVALID_OFFERS)
    assert types(events) == ["run.updated", "attempt.scheduled", "framework.revived"]
    assert play.launch() == task_id(COUNT, run, 2)
    assert play.state.jobs[COUNT].failures == 0


def test_a_task_that_never_ran_is_attempted_again():
    """Dropped by an agent on its way down: NEVER promises that nothing runs twice; this did not run."""
    play = Play()
    play.add()
    run = play.start()
    events = play.update(play.launch(), DROPPED, reason=Reason.AGENT_REMOVED)
    assert [fact.delay_until for fact in only(events, RunUpdated)] == [START + second]
    assert play.advance(1)[0].fact == AttemptScheduled(job=COUNT, run=run, task=task_id(COUNT, run, 2))


def test_an_invalid_task_is_not_attempted_again():
    """What is wrong stays wrong."""
    play = Play()
    play.add(policy="ON_FAILURE")
    play.start()
    assert states(play.update(play.launch(), ERROR, reason=Reason.TASK_INVALID)) == ["FAILED"]


def test_only_the_latest_attempts_of_a_run_are_kept():
    """A job that fails for ever leaves a bounded state; its numbers go on."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    for _ in range(40):
        play.update(task, FAILED)
        play.advance(300)
        task = play.launch()
    assert task == task_id(COUNT, run, 41)
    assert len(play.run(run).attempts) == len(play.state.tasks) == 20


# ---- deadlines --------------------------------------------------------------------------------------------------


def test_a_run_that_is_not_active_in_time_ends():
    """maxLaunchDelay, counted from its creation: it waited for an offer that never came."""
    play = Play()
    play.add(run_maxLaunchDelay=60)
    run = play.start()
    assert play.advance(59.9) == []
    events = play.advance(0.1)
    reason = "not ACTIVE within maxLaunchDelay 60 s"
    assert [event.fact for event in events] == [
        RunStopped(job=COUNT, run=run, reason=reason),
        RunUpdated(job=COUNT, run=run, state="FAILED", message=reason),
    ]
    assert [event.to for event in events] == [ALICE.id, ALICE.id]
    assert launches(play.make()) == []


def test_a_task_that_is_not_running_in_time_is_killed():
    """It was launched, nobody saw it run."""
    play = Play()
    play.add(run_maxLaunchDelay=60)
    play.start()
    task = play.launch()
    play.update(task, STARTING)
    events = play.advance(60)
    assert types(events) == ["run.stopped", "kill.requested"]
    assert states(play.update(task, KILLED)) == ["FAILED"]


def test_a_run_that_was_active_once_has_started_in_time():
    """Later attempts may wait longer."""
    play = Play()
    _, task = play.running(policy="ON_FAILURE", run_maxLaunchDelay=60)
    play.update(task, FAILED)
    assert "run.stopped" not in types(play.advance(3600))


def test_a_run_that_takes_too_long_is_ended():
    """activeDeadlineSeconds from its creation: its task is killed, then it is FAILED and says why."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE", restart_activeDeadlineSeconds=120)
    events = play.advance(120)
    reason = "not ended within activeDeadlineSeconds 120"
    assert [event.fact for event in events] == [
        RunStopped(job=COUNT, run=run, reason=reason),
        KillRequested(task=task),
    ]
    (event,) = play.update(task, KILLED)
    assert isinstance(event.fact, RunUpdated)
    assert (event.fact.state, event.fact.message) == ("FAILED", reason)
    assert play.advance(10_000) == []


def test_no_attempt_follows_a_deadline():
    """It passes while the run waits for its next attempt."""
    play = Play()
    _, task = play.running(policy="ON_FAILURE", restart_activeDeadlineSeconds=1)
    play.update(task, FAILED)
    assert states(play.advance(1)) == ["FAILED"]
    assert "attempt.scheduled" not in types(play.advance(1000))


def test_a_deadline_outlives_the_process():
    """It is an absolute time, folded from the log."""
    play = Play()
    play.running(restart_activeDeadlineSeconds=120)
    play.restart()
    play.settle()
    play.now = Now(play.now + 500 * second)
    assert types(play.settle()) == ["run.stopped", "kill.requested"]


# ---- lost and found ---------------------------------------------------------------------------------------------

BACK = "it came back after it was given up as unreachable"


def test_a_task_given_up_is_killed_when_it_comes_back():
    """Unreachable is a failure; whenever it is back it is killed, and its run says nothing more."""
    play = Play()
    run, task = play.running()
    assert states(play.update(task, UNREACHABLE)) == ["FAILED"]
    for _ in range(2):
        (event,) = play.update(task, RUNNING, reason=Reason.AGENT_REREGISTERED)
        why = f"{BACK}: run {run} has ended as FAILED"
        assert (event.fact, event.to, event.trace) == (KillRequested(task=task, reason=why), MASTER, "t1")
        assert play.update(task, UNREACHABLE) == []
    assert play.update(task, KILLED) == []
    assert play.state.jobs[COUNT].failures == 1


def test_a_task_given_up_that_is_back_before_the_next_attempt_is_killed():
    """The run rests meanwhile and goes on with another task, not with two."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    play.update(task, UNREACHABLE)
    (event,) = play.update(task, RUNNING)
    assert event.fact == KillRequested(task=task, reason=f"{BACK}: another follows")
    assert play.update(task, KILLED) == []
    assert [fact.task for fact in only(play.advance(1), AttemptScheduled)] == [task_id(COUNT, run, 2)]


def test_a_task_given_up_does_not_disturb_the_next():
    """The run goes on with its second task; the first is killed when it is back."""
    play = Play()
    _, first = play.running(policy="ON_FAILURE")
    play.update(first, UNREACHABLE)
    play.advance(1)
    second_ = play.launch()
    play.update(second_, RUNNING)
    (event,) = play.update(first, RUNNING)
    assert event.fact == KillRequested(task=first, reason=f"{BACK}: {second_} took its place and stays")
    assert play.update(first, KILLED) == []
    assert states(play.update(second_, FINISHED)) == ["SUCCESS"]


def test_a_task_nobody_knows_is_killed():
    """Of a run that is forgotten."""
    play = Play(MetronomeConfig(runs_kept_max=0))
    _, task = play.running()
    play.update(task, UNREACHABLE)
    assert play.state.runs == play.state.tasks == {}
    (event,) = play.update(task, RUNNING)
    assert event.fact == KillRequested(task=task, reason="no run has this task any more")
    assert play.update(task, KILLED) == []


def test_a_launch_nobody_reports_is_asked_for():
    """After 300 s, and again, until the master knows."""
    play = Play()
    play.add()
    play.start()
    task = play.launch()
    assert [event.fact for event in play.advance(300)] == [TaskReconciled(tasks=(task,))]
    assert [event.fact for event in play.advance(300)] == [TaskReconciled(tasks=(task,))]
    assert states(play.update(task, UNKNOWN, reason=Reason.RECONCILIATION)) == ["FAILED"]


# ---- tasks ------------------------------------------------------------------------------------------------------


def test_a_run_becomes_a_task():
    """Its ids, its resources, its environment; the job's own variables win."""
    play = Play()
    play.add(
        labels={"team": "a"},
        run_cpus=0.5,
        run_mem=64.2,
        run_disk=10,
        run_env={"A": "1", "HOST": "mine"},
        run_user="nobody",
        run_taskKillGracePeriodSeconds=7,
    )
    run = play.start()
    (task,) = launches(play.make())
    assert (task.task, task.name, task.job, task.run) == (f"count.{run}.1", "count", COUNT, run)
    assert (task.resources.cpu_milli, task.resources.mem_mb, task.resources.disk_mb) == (500, 65, 10)
    assert task.command.env == {"METRONOME_JOB_ID": "count", "METRONOME_RUN_ID": run, "HOST": "mine", "A": "1"}
    assert (task.command.shell, task.command.argv, task.command.user) == ("wc -l", (), "nobody")
    assert (task.kill_grace_s, task.labels, task.hostname, task.framework) == (
        7.0,
        {"team": "a"},
        "a1.example",
        METRONOME,
    )


def test_arguments_are_handed_on_as_they_are():
    """No shell."""
    play = Play()
    play.add(run_cmd=None, run_args=["wc", "-l"])
    play.start()
    (task,) = launches(play.make())
    assert (task.command.shell, task.command.argv, task.kill_grace_s) == (None, ("wc", "-l"), 3.0)


def test_a_task_id_is_a_file_name():
    """Even of the longest job id."""
    task = task_id("a" * 255, RunId("20270115080000zzzzz"), 99)  # type: ignore[arg-type]
    assert len(task) <= 200


def test_the_size_of_a_task_is_known_before():
    """The bound a job is checked with is one."""
    play = Play()
    play.add(run_env={"A": "x" * 1000})
    play.start()
    (task,) = launches(play.make())
    assert task_bytes(task) <= largest_task_bytes(spec(run_env={"A": "x" * 1000}))
