"""What an executor says to each delivery, kill, sight and hour."""

from __future__ import annotations

import pytest

from bus.events import RequestRefused, TaskReported
from bus.nouns import AgentId, ExecutorId, Reason, Refusal, Source, TaskId, TaskState, TaskStatus, second
from bus.subjects import Author, Kind, SubjectError
from components.executor import ExecutorConfig
from components.executor.sights import LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState, ended_max
from tests.components.driver import Stage, only
from tests.components.executor.nouns import AGENT, CONFIG, delivered, killed, stage

T1 = TaskId("t1")
STARTED = TaskStarted(task=T1, pid=71)
SIGKILLED, SIGTERMED = 9, 15


def exited(code: int) -> TaskEnded:
    return TaskEnded(task=T1, wait_status=code << 8)


def ended(wait_status: int | None) -> TaskEnded:
    return TaskEnded(task=T1, wait_status=wait_status)


def running(**given: float) -> Stage[ExecutorState]:
    played = stage()
    played.hear(AGENT, delivered(**given))  # type: ignore[arg-type]  # only numbers are given here
    played.see(STARTED)
    return played


def status_of(events: list) -> TaskStatus:
    (reported,) = only(events, TaskReported)
    return reported.status


def test_a_delivered_task_is_starting_and_its_own_log_knows_all_of_it():
    """STARTING goes to nobody, in the task's trace, with the delivery in it: the log is the only memory."""
    played, handed = stage(), delivered()
    (event,) = played.hear(AGENT, handed, trace="another")
    assert event.fact == TaskReported(
        status=TaskStatus(task=T1, state=TaskState.STARTING, source=Source.EXECUTOR), delivered=handed
    )
    assert (event.to, event.trace, event.cause) == ("_", "trace-1", played.position - 1)
    assert played.refolded().tasks[T1].delivered == handed


def test_a_started_task_is_running_once():
    played = stage()
    played.hear(AGENT, delivered())
    assert status_of(played.see(STARTED)).state is TaskState.RUNNING
    assert played.see(STARTED) == []


@pytest.mark.parametrize(
    ("wait_status", "state", "reason", "message", "exit_status", "signal"),
    [
        (0, TaskState.FINISHED, None, "Command exited with status 0", 0, None),
        (1 << 8, TaskState.FAILED, None, "Command exited with status 1", 1, None),
        (137 << 8, TaskState.FAILED, None, "Command exited with status 137", 137, None),
        (9, TaskState.FAILED, None, "Command terminated with signal SIGKILL", None, 9),
        (11 | 0x80, TaskState.FAILED, None, "Command terminated with signal SIGSEGV", None, 11),
        (40, TaskState.FAILED, None, "Command terminated with signal 40", None, 40),
        (None, TaskState.FAILED, Reason.EXECUTOR_TERMINATED, "exit status unknown", None, None),
    ],
)
def test_the_wait_status_of_a_task_says_how_it_ended(wait_status, state, reason, message, exit_status, signal):
    """(Mesos: executor.cpp, reaped)"""
    status = status_of(running().see(ended(wait_status)))
    assert status == TaskStatus(
        task=T1,
        state=state,
        source=Source.EXECUTOR,
        reason=reason,
        message=message,
        exit_status=exit_status,
        signal=signal,
    )


@pytest.mark.parametrize("wait_status", [0, 1 << 8, SIGTERMED, SIGKILLED, None])
def test_a_task_that_ends_because_everything_does_was_killed(wait_status):
    """`busbar down`, or a launcher told to end: its framework starts it again without counting a failure."""
    status = status_of(running().see(TaskEnded(task=T1, wait_status=wait_status, stopped=True)))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.EXECUTOR_TERMINATED)
    assert status.message.endswith("; everything here was stopped")


def test_a_task_may_end_before_it_was_seen_to_start():
    played = stage()
    played.hear(AGENT, delivered())
    assert status_of(played.see(exited(0))).state is TaskState.FINISHED


def test_a_task_that_cannot_be_launched_has_failed_with_the_systems_own_words():
    played = stage()
    played.hear(AGENT, delivered())
    status = status_of(played.see(LaunchFailed(task=T1, message="[Errno 13] Permission denied: '/s'")))
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.CONTAINER_LAUNCH_FAILED)
    assert status.message == "[Errno 13] Permission denied: '/s'"


@pytest.mark.parametrize("wait_status", [0, 1 << 8, SIGTERMED, SIGKILLED, None])
def test_a_killed_task_is_killed_whatever_its_exit_code(wait_status):
    """(Mesos: executor.cpp, `if (killed)`)"""
    played = running()
    assert status_of(played.hear(AGENT, killed())).state is TaskState.KILLING
    status = status_of(played.see(ended(wait_status)))
    assert (status.state, status.reason) == (TaskState.KILLED, None)


@pytest.mark.parametrize(
    ("given", "of_task", "grace_s"), [(None, 3.0, 3), (None, 7.5, 7.5), (1.0, 7.5, 1), (0.0, 3.0, 0)]
)
def test_the_grace_is_the_kills_own_else_the_tasks(given, of_task, grace_s):
    played = running(kill_grace_s=of_task)
    (event,) = played.hear(AGENT, killed(grace_s=given))
    assert isinstance(event.fact, TaskReported)
    assert event.fact.kill_at == event.at + grace_s * second


def test_another_kill_can_only_shorten_the_grace():
    """The new deadline is for the own log; the agent hears KILLING once."""
    played = running()
    played.hear(AGENT, killed(grace_s=10))
    assert played.hear(AGENT, killed(grace_s=20)) == []
    (event,) = played.hear(AGENT, killed(grace_s=1))
    assert event.to == "_"
    assert played.state.tasks[T1].kill_at == played.now + 1 * second
    played.advance(0.5)
    assert played.hear(AGENT, killed(grace_s=1)) == []


@pytest.mark.parametrize("grace_s", [-1.0, float("inf"), float("nan")])
def test_an_absurd_grace_is_bounded(grace_s):
    (event,) = running().hear(AGENT, killed(grace_s=grace_s))
    assert isinstance(event.fact, TaskReported)
    assert event.fact.kill_at is not None
    assert event.at <= event.fact.kill_at <= event.at + 4000 * 24 * 3600 * second


def test_a_task_killed_while_it_starts_may_be_running_already():
    """The launch may be under way: KILLING; if the hands find that it never began, killed during launch."""
    played = stage()
    played.hear(AGENT, delivered())
    assert status_of(played.hear(AGENT, killed())[-1:]).state is TaskState.KILLING
    assert played.see(STARTED) == []
    status = status_of(played.see(LaunchFailed(task=T1, message="killed before it was launched")))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)


def test_a_task_killed_before_it_was_delivered_is_never_launched():
    played = stage()
    status = status_of(played.hear(AGENT, killed()))
    assert (status.state, status.reason) == (TaskState.KILLED, Reason.TASK_KILLED_DURING_LAUNCH)
    assert played.hear(AGENT, killed()) == []
    (event,) = played.hear(AGENT, delivered())
    assert isinstance(event.fact, TaskReported)
    assert (event.fact.status, event.fact.delivered) == (status, None)


def test_a_known_task_delivered_again_is_told_about_again():
    """At every stage: the latest status, to the agent, and nothing changes."""
    played = stage()
    for step in (lambda: played.hear(AGENT, delivered()), lambda: played.see(STARTED), lambda: played.see(exited(0))):
        latest = status_of(step())
        before = (dict(played.state.tasks), dict(played.state.ended))
        (event,) = played.hear(AGENT, delivered())
        assert isinstance(event.fact, TaskReported)
        assert (event.to, event.fact.status, event.fact.delivered) == ("a1", latest, None)
        assert (played.state.tasks, played.state.ended) == before


@pytest.mark.parametrize("sight", [STARTED, exited(0), exited(1), ended(None), LaunchFailed(task=T1, message="no")])
def test_what_is_seen_of_an_ended_or_unknown_task_is_old(sight):
    assert stage().see(sight) == []
    played = running()
    played.see(exited(3))
    assert played.see(sight) == []
    assert played.hear(AGENT, killed()) == []


def test_a_task_that_has_had_its_time_is_killed_without_grace_and_has_failed():
    """(Mesos: executor.cpp, taskCompletionTimeout)"""
    played = running(max_completion_s=5)
    assert played.advance(4) == []
    (event,) = played.advance(2)
    assert isinstance(event.fact, TaskReported)
    assert (event.fact.status.state, event.fact.kill_at) == (TaskState.KILLING, event.at)
    status = status_of(played.see(ended(SIGKILLED)))
    assert (status.state, status.reason) == (TaskState.FAILED, Reason.MAX_COMPLETION_TIME_REACHED)
    assert status.message == "Command terminated with signal SIGKILL; max_completion_s was 5"


def test_a_task_that_finished_while_its_time_ran_out_has_finished():
    """The executor may have been away when it ended well: nothing was killed."""
    played = running(max_completion_s=5)
    played.advance(6)
    assert status_of(played.see(exited(0))).state is TaskState.FINISHED


def test_a_kill_ends_the_count_of_the_completion_time():
    played = running(max_completion_s=5)
    played.hear(AGENT, killed(grace_s=60))
    assert played.advance(30) == []
    assert status_of(played.see(ended(SIGTERMED))).state is TaskState.KILLED


def test_more_overdue_tasks_than_fit_into_a_decision_are_killed_in_several():
    played = stage()
    for number in range(1001):
        played.hear(AGENT, delivered(f"t{number}", max_completion_s=1))
        played.see(TaskStarted(task=TaskId(f"t{number}"), pid=number))
    assert len(only(played.advance(2), TaskReported)) == 1001
    assert played.state.due == []


def test_a_restarted_executor_still_knows_every_deadline():
    played = running(max_completion_s=5)
    played.hear(AGENT, delivered("t2"))
    played.hear(AGENT, killed("t2", grace_s=9))
    kill_at = played.state.tasks[TaskId("t2")].kill_at
    played.restart()
    assert played.state.tasks[TaskId("t2")].kill_at == kill_at
    assert [event.fact.status.task for event in played.advance(6) if isinstance(event.fact, TaskReported)] == ["t1"]


def test_only_its_agent_may_deliver_and_kill():
    played = stage()
    for by in (Author(Kind.AGENT, "a2"), Author(Kind.CLIENT, "u-eve"), Author(Kind.EXECUTOR, "a1")):
        for fact in (delivered(), killed()):
            (refused,) = only(played.hear(by, fact), RequestRefused)
            assert refused.reason is Refusal.INVALID
    assert played.state.tasks == {}


def test_a_task_for_another_executor_is_refused():
    played = stage()
    foreign = delivered()
    (refused,) = only(
        played.hear(AGENT, type(foreign)(task=foreign.task, executor=ExecutorId("a1-own"), sandbox="/s")),
        RequestRefused,
    )
    assert refused.message == "delivered to a1-cmd, but for a1-own"


def test_a_refusal_is_not_answered():
    assert stage().hear(AGENT, RequestRefused(reason=Refusal.INVALID, message="what?")) == []


def test_ended_tasks_are_forgotten_oldest_first():
    played = stage()
    for number in range(ended_max + 5):
        played.hear(AGENT, killed(f"t{number}"))
    assert len(played.state.ended) == ended_max
    assert next(iter(played.state.ended)) == "t5"


def test_an_executor_is_named_after_its_agent():
    assert (CONFIG.id, str(CONFIG.author)) == ("a1-cmd", "executor.a1-cmd")
    with pytest.raises(SubjectError):
        ExecutorConfig(agent=AgentId("A 1"), work="/w")
    with pytest.raises(ValueError, match="absolute path"):
        ExecutorConfig(agent=AgentId("a1"), work="w")
