"""A task of which the executor says nothing has failed at a moment that is in the log, and is not started after it."""

from __future__ import annotations

from bus.events import KillDelivered, TaskReported
from bus.nouns import Reason, Refusal, Source, TaskId, TaskState, TaskStatus, second
from components.agent.decide import given_up_at_once_max
from components.agent.state import believed_s, hear_first_s
from components.executor import ExecutorConfig
from components.executor import component as executor
from tests.components.agent.play import EXECUTOR, MASTER, launched, marked, reports, runs, stage
from tests.components.agent.test_decide import refused
from tests.components.driver import START, Stage, only, types

S = TaskState
TIMEOUT = TaskStatus(
    task=TaskId("t1"),
    state=S.FAILED,
    source=Source.AGENT,
    reason=Reason.EXECUTOR_REGISTRATION_TIMEOUT,
    message="a1-cmd did not take it within 60 s",
)


def test_an_executor_that_never_starts_fails_its_tasks():
    """Mesos: executor_registration_timeout, 1 min. The executor's word has a little longer to arrive."""
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    assert acting.advance(60 + believed_s - 0.001) == []
    kill, report = acting.advance(0.001)
    assert (kill.to, kill.fact) == ("a1-cmd", KillDelivered(task=TaskId("t1"), grace_s=0.0))
    assert (report.to, report.fact, report.trace) == ("main", TaskReported(status=TIMEOUT), "trace-t1")
    assert report.at == START + (60 + believed_s) * second
    assert list(acting.state.ended) == ["t1"]
    assert acting.rebuilt() == acting.hash()


def test_a_word_of_the_executor_is_enough():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    reports(acting, "t1", S.STARTING)
    assert acting.advance(1000) == []


def test_the_moment_outlives_the_agent_but_what_was_said_meanwhile_is_heard_first():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    acting.now = acting.now + 3600 * second
    acting.restart()
    acting.settle()
    assert acting.advance(hear_first_s - 1) == []
    assert types(acting.advance(1)) == ["kill.delivered", "task.reported"]


def test_later_tasks_are_handed_to_the_executor_as_before():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    acting.advance(70)
    assert types(acting.hear(MASTER, launched("t2"))) == ["task.delivered"]
    reports(acting, "t2", S.STARTING, S.RUNNING)
    assert list(acting.state.tasks) == ["t2"]


def test_what_a_given_up_executor_says_after_all_is_old():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    acting.advance(70)
    assert reports(acting, "t1", S.STARTING, S.KILLED) == []


def test_its_end_is_told_in_answer_to_a_mark():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    acting.advance(70)
    (event,) = acting.hear(MASTER, marked(0))
    assert [held.status.reason for held in event.fact.tasks] == [Reason.EXECUTOR_REGISTRATION_TIMEOUT]


def test_an_end_may_make_a_refused_registration_acceptable():
    acting = stage()
    runs(acting, "t0")
    acting.hear(MASTER, launched("t1"))
    acting.hear(MASTER, refused(Refusal.BELOW_HELD))
    assert types(acting.advance(70)) == ["kill.delivered", "task.reported", "agent.registered"]


def test_many_are_given_up_in_several_decisions():
    acting = stage()
    for number in range(given_up_at_once_max + 10):
        acting.hear(MASTER, launched(f"t{number}"))
    events = acting.advance(70)
    assert len(only(events, KillDelivered)) == given_up_at_once_max + 10
    assert acting.state.tasks == {}


# ---- the executor's side -----------------------------------------------------------------------------------------


def delivery():
    acting = stage()
    (event,) = acting.hear(MASTER, launched("t1"))
    return event


def executor_at(late_us):
    """An executor that begins its term so long after the last moment."""
    event = delivery()
    played = Stage(executor(ExecutorConfig(agent="a1", work="/w")), event.fact.start_by + late_us)
    played.begin()
    return played, event


def test_a_task_heard_of_too_late_is_not_started():
    """A second copy may run elsewhere already: it is not executed twice, not even for a moment."""
    played, event = executor_at(2_500_000)
    (said,) = played.hear(event.by, event.fact)
    assert (said.to, said.trace) == ("a1", "trace-t1")
    assert said.fact.delivered is None
    assert (said.fact.status.state, said.fact.status.reason) == (S.FAILED, Reason.EXECUTOR_REGISTRATION_TIMEOUT)
    assert said.fact.status.message == "it was not started: the executor heard of it 2500 ms too late"
    assert played.hear(event.by, KillDelivered(task=TaskId("t1"))) == []
    assert played.rebuilt() == played.hash()


def test_just_in_time_it_is_started():
    played, event = executor_at(-1)
    (said,) = played.hear(event.by, event.fact)
    assert said.fact.status.state is S.STARTING


def test_the_agent_passes_the_executors_refusal_on():
    acting = stage()
    acting.hear(MASTER, launched("t1"))
    played, event = executor_at(0)
    (said,) = played.hear(event.by, event.fact)
    acting.advance(61)
    (passed,) = acting.hear(EXECUTOR, said.fact)
    assert passed.fact.status.reason is Reason.EXECUTOR_REGISTRATION_TIMEOUT
    assert acting.advance(100) == []
