"""A status moves along the table and is passed on once; kills and questions go where they belong."""

from __future__ import annotations

import pytest

from bus.events import KillDirected, RequestRefused, TaskReported, TaskUpdated
from bus.nouns import MOVES, TERMINAL, Reason, Refusal, Source, TaskState, TaskStatus
from bus.subjects import Author, Kind
from components.master import MasterConfig
from components.master.tasks import NOT_AN_AGENTS
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter, info, updates

S = TaskState
RECONCILED = Reason.RECONCILIATION
PATHS = {
    S.STAGING: (),
    S.STARTING: (S.STARTING,),
    S.RUNNING: (S.RUNNING,),
    S.KILLING: (S.RUNNING, S.KILLING),
    S.FINISHED: (S.FINISHED,),
    S.FAILED: (S.FAILED,),
    S.KILLED: (S.KILLED,),
    S.ERROR: (S.ERROR,),
    S.DROPPED: (S.DROPPED,),
    S.GONE: (S.GONE,),
}


def launched(*tasks: str, agent: str = "a1") -> Datacenter:
    dc = Datacenter()
    dc.register("a1")
    dc.register("a2")
    dc.enroll("marathon")
    dc.launch("marathon", agent, *(info(task, agent) for task in tasks))
    return dc


# ---- reports


@pytest.mark.parametrize("before", PATHS)
@pytest.mark.parametrize("after", TaskState)
def test_a_report_moves_a_task_along_the_table_or_not_at_all(before, after):
    dc = launched("t1")
    for step in PATHS[before]:
        dc.report("a1", "t1", step)
    assert dc.state_of("t1") is before
    events = dc.report("a1", "t1", after)
    if after in MOVES[before] and after not in NOT_AN_AGENTS:
        assert updates(events) == [("t1", after, None)]
        assert dc.state_of("t1") is after
    else:
        assert updates(events) == []
        assert dc.state_of("t1") is before
    assert dc.rebuilt() == dc.hash()


def test_a_report_is_passed_on_as_it_was_said():
    dc = launched("t1")
    status = TaskStatus(
        task="t1", state=S.FAILED, source=Source.EXECUTOR, reason=Reason.EXECUTOR_TERMINATED, message="m", exit_status=3
    )
    events = dc.tell(Author(Kind.AGENT, "a1"), TaskReported(status=status))
    update = events[0]
    assert update.fact == TaskUpdated(framework="marathon", status=status, agent="a1", acted_n=2)
    assert update.to == "marathon"


def test_the_same_report_heard_twice_is_one_update():
    dc = launched("t1")
    event = dc.said(
        Author(Kind.AGENT, "a1"), TaskReported(status=TaskStatus(task="t1", state=S.RUNNING, source=Source.EXECUTOR))
    )
    assert types(dc.hear_event(event)) == ["task.updated"]
    assert dc.hear_event(event) == []


def test_an_agent_cannot_speak_in_the_masters_name():
    dc = launched("t1")
    status = TaskStatus(task="t1", state=S.ERROR, source=Source.MASTER, reason=Reason.TASK_INVALID)
    events = dc.tell(Author(Kind.AGENT, "a1"), TaskReported(status=status))
    assert only(events, TaskUpdated)[0].status.source is Source.AGENT
    assert dc.state_of("t1") is S.ERROR


def test_an_agent_is_not_believed_about_others_tasks():
    dc = launched("t1")
    assert dc.report("a2", "t1", S.FINISHED) == []
    assert dc.state_of("t1") is S.STAGING


def test_what_runs_without_the_masters_knowledge_is_killed():
    dc = launched("t1")
    (kill,) = only(dc.report("a2", "t1", S.RUNNING), KillDirected)
    assert kill == KillDirected(task="t1", reason="it is a1's, and survives there")
    (kill,) = only(dc.report("a1", "stray", S.STARTING), KillDirected)
    assert kill == KillDirected(task="stray", reason="the master knows of no such task on a1")
    assert dc.report("a1", "stray", S.FAILED) == []
    assert not dc.task("t1").kill_wanted


@pytest.mark.parametrize("end", sorted(TERMINAL - {S.ERROR, S.DROPPED}))
def test_every_end_gives_the_resources_back_once(end):
    dc = launched("t1")
    dc.report("a1", "t1", S.RUNNING)
    dc.report("a1", "t1", end)
    dc.report("a1", "t1", end)
    agent = dc.state.agents["a1"]
    assert agent.task_ids == set()
    assert dc.state.frameworks["marathon"].task_ids == set()


def test_ended_tasks_are_remembered_up_to_the_limit():
    dc = Datacenter(MasterConfig(tasks_kept_max=2))
    dc.register("a1")
    dc.enroll("marathon")
    dc.launch("marathon", "a1", info("t1"), info("t2"), info("t3"))
    for task in ("t2", "t1", "t3"):
        dc.report("a1", task, S.FINISHED)
    assert list(dc.state.ended) == ["t1", "t3"]


# ---- kills


def test_a_kill_goes_to_the_tasks_agent():
    dc = launched("t1")
    (event,) = dc.kill("marathon", "t1", 5.0)
    assert (event.to, event.fact) == ("a1", KillDirected(task="t1", grace_s=5.0))
    assert types(dc.kill("marathon", "t1", 1.0)) == ["kill.directed"]
    assert updates(dc.report("a1", "t1", S.KILLED)) == [("t1", S.KILLED, None)]


def test_somebody_elses_task_is_not_killed():
    dc = launched("t1")
    dc.enroll("thief")
    (event,) = dc.kill("thief", "t1")
    assert event.fact == RequestRefused(reason=Refusal.NOT_FOUND, message="t1 is not a task of thief's")


def test_a_kill_of_an_unknown_task_is_answered_as_unknown():
    dc = launched()
    assert updates(dc.kill("marathon", "never")) == [("never", S.UNKNOWN, RECONCILED)]


def test_a_kill_of_an_ended_task_is_answered_with_its_end():
    dc = launched("t1")
    dc.report("a1", "t1", S.FAILED)
    assert updates(dc.kill("marathon", "t1")) == [("t1", S.FAILED, RECONCILED)]


def test_a_kill_of_an_unreachable_task_waits_in_its_agents_inbox():
    dc = launched("t1")
    dc.lose("a1")
    (event,) = dc.kill("marathon", "t1")
    assert event.to == "a1"
    assert dc.state_of("t1") is S.UNREACHABLE
    assert dc.task("t1").kill_wanted


def test_a_wrong_grace_is_refused():
    dc = launched("t1")
    (event,) = dc.kill("marathon", "t1", -1.0)
    assert event.fact == RequestRefused(
        reason=Refusal.INVALID, message="grace_s is -1.0: expected 0 to 315360000 seconds"
    )


# ---- reconciliation


def test_explicit_reconciliation_answers_for_each_task_once():
    dc = launched("t1", "t2", "t3")
    dc.enroll("other")
    dc.report("a1", "t1", S.RUNNING)
    dc.report("a1", "t2", S.FINISHED)
    before = dc.state.tasks["t1"]
    events = dc.reconcile("marathon", "t1", "t2", "t3", "never", "t1")
    assert updates(events) == [
        ("t1", S.RUNNING, RECONCILED),
        ("t2", S.FINISHED, RECONCILED),
        ("t3", S.STAGING, RECONCILED),
        ("never", S.UNKNOWN, RECONCILED),
    ]
    assert {fact.status.source for fact in only(events, TaskUpdated)} == {Source.MASTER}
    assert dc.state.tasks["t1"] is before
    assert dc.state_of("t1") is S.RUNNING
    assert updates(dc.reconcile("other", "t1")) == [("t1", S.UNKNOWN, RECONCILED)]


def test_reconciliation_of_an_unreachable_task_says_since_when():
    dc = launched("t1")
    dc.pass_time(3)
    dc.lose("a1")
    since = dc.now
    dc.pass_time(3)
    (fact,) = only(dc.reconcile("marathon", "t1"), TaskUpdated)
    assert (fact.status.state, fact.unreachable_since) == (S.UNREACHABLE, since)


def test_implicit_reconciliation_answers_for_all_that_have_not_ended():
    dc = launched("t2", "t1", "t3")
    dc.launch("marathon", "a2", info("t4", "a2"))
    dc.report("a1", "t3", S.FINISHED)
    dc.lose("a2")
    assert updates(dc.reconcile("marathon")) == [
        ("t1", S.STAGING, RECONCILED),
        ("t2", S.STAGING, RECONCILED),
        ("t4", S.UNREACHABLE, RECONCILED),
    ]


def test_the_exit_status_survives_a_reconciliation_the_message_does_not():
    dc = launched("t1")
    status = TaskStatus(task="t1", state=S.FAILED, source=Source.EXECUTOR, message="exited with 3", exit_status=3)
    dc.tell(Author(Kind.AGENT, "a1"), TaskReported(status=status))
    (fact,) = only(dc.reconcile("marathon", "t1"), TaskUpdated)
    assert (fact.status.message, fact.status.exit_status) == ("", 3)
