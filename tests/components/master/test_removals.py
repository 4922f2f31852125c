"""A framework that does not come back in time is forgotten, and its tasks are killed; one that does keeps them."""

from __future__ import annotations

import pytest

from bus.events import FrameworkDisconnected, FrameworkRegistered, FrameworkRemoved, KillDirected, RequestRefused
from bus.nouns import Reason, Refusal, TaskState, second
from bus.subjects import Author, Kind
from components.master.membership import hear_first_s
from components.master.queries import frameworks
from components.master.removals import kills_max
from tests.components.driver import START, only, types
from tests.components.master.datacenter import Datacenter, info, made, updates

S = TaskState


@pytest.fixture
def dc():
    """An agent that runs a task of a framework which may be away for a minute."""
    dc = Datacenter()
    dc.register("a1")
    dc.enroll("f", failover_timeout_s=60.0)
    dc.launch("f", "a1", info("t1", framework="f"))
    dc.report("a1", "t1", S.RUNNING)
    yield dc
    assert dc.rebuilt() == dc.hash()


def test_the_due_moment_is_in_the_log_and_in_the_answer_to_frameworks(dc):
    (fact,) = only(dc.silence("f"), FrameworkDisconnected)
    assert fact.removed_at == START + 60 * second
    (row,) = frameworks(dc.state, b"", dc.now)
    assert (row.state, row.removed_at_latest) == ("DISCONNECTED", fact.removed_at)
    dc.reconcile("f")
    (row,) = frameworks(dc.state, b"", dc.now)
    assert (row.state, row.removed_at_latest) == ("ACTIVE", None)


@pytest.mark.parametrize("back", [Datacenter.enroll, Datacenter.reconcile])
def test_back_in_time_its_tasks_go_on_and_nothing_is_due(dc, back):
    dc.silence("f")
    assert dc.pass_time(59.9) == []
    back(dc, "f")
    assert only(dc.pass_time(1000), FrameworkRemoved) == []
    assert dc.state_of("t1") is S.RUNNING


def test_at_its_due_moment_it_is_forgotten_and_its_tasks_are_killed(dc):
    dc.silence("f")
    events = dc.pass_time(60)
    assert types(events) == ["framework.removed", "kill.directed"]
    assert events[0].at == START + 60 * second
    assert events[0].fact.message == "it did not come back within its failover timeout of 60 s; its tasks are killed: 1"
    assert (events[1].to, events[1].fact) == ("a1", KillDirected(task="t1", reason="its framework f was removed"))
    assert dc.state.frameworks == {}


def test_its_tasks_hold_what_they_use_until_they_have_ended_and_say_why(dc):
    """Nobody is offered what a task that is being killed still uses."""
    dc.silence("f")
    dc.pass_time(60)
    assert dc.free("a1").cpu_milli == 3000
    assert updates(dc.report("a1", "t1", S.KILLING)) == [("t1", S.KILLING, None)]
    assert updates(dc.report("a1", "t1", S.KILLED)) == [("t1", S.KILLED, Reason.FRAMEWORK_REMOVED)]
    assert dc.free("a1").cpu_milli == 4000


def test_a_task_that_ended_by_itself_says_so(dc):
    dc.silence("f")
    dc.pass_time(60)
    assert updates(dc.report("a1", "t1", S.FINISHED)) == [("t1", S.FINISHED, None)]


def test_what_a_removed_framework_used_counts_for_no_share(dc):
    dc.enroll("g")
    dc.silence("f")
    dc.pass_time(60)
    rows = {row.framework: row for row in frameworks(dc.state, b"", dc.now)}
    assert list(rows) == ["g"]


def test_without_a_failover_timeout_it_is_removed_at_once():
    dc = Datacenter()
    dc.enroll("f", failover_timeout_s=0.0)
    assert types(dc.silence("f")) == ["framework.disconnected", "framework.removed"]


def test_the_due_moment_outlives_the_master(dc):
    dc.silence("f")
    dc.pass_time(30)
    dc.restart()
    dc.enroll("g")
    events = dc.pass_time(hear_first_s + 1)
    assert [event.at for event in events if isinstance(event.fact, FrameworkRemoved)] == [
        START + (30 + hear_first_s) * second
    ]


def test_a_new_leader_hears_first_who_came_back_while_nobody_led(dc):
    """The framework registered in time, but no master was there to hear it."""
    dc.silence("f")
    back = dc.said(Author(Kind.FRAMEWORK, "f"), FrameworkRegistered(name="f"))
    dc.now = dc.now + 3600 * second
    dc.restart()
    assert dc.settle() == []
    events = dc.hear_event(back) + dc.pass_time(1000)
    assert only(events, FrameworkRemoved) == []
    assert dc.state_of("t1") is S.RUNNING


def test_registering_again_it_is_admitted_as_new(dc):
    dc.silence("f")
    dc.pass_time(60)
    (refused,) = only(dc.kill("f", "t1"), RequestRefused)
    assert refused.reason is Refusal.NOT_FOUND
    assert made(dc.enroll("f")) == [("f", ["a1"])]
    assert only(dc.reconcile("f"), FrameworkRemoved) == []
    assert updates(dc.report("a1", "t1", S.KILLED)) == [("t1", S.KILLED, Reason.FRAMEWORK_REMOVED)]


def test_an_unreachable_agents_tasks_are_killed_when_it_comes_back(dc):
    mark = dc.lose("a1")[0]
    dc.silence("f")
    dc.pass_time(60)
    assert dc.state_of("t1") is S.UNREACHABLE
    events = dc.register("a1", answers=mark.position, tasks=[dc.held("t1", S.RUNNING)])
    assert updates(events) == [("t1", S.RUNNING, Reason.AGENT_REREGISTERED)]
    assert only(events, KillDirected) == [KillDirected(task="t1", reason="its framework was removed")]
    assert updates(dc.report("a1", "t1", S.KILLED)) == [("t1", S.KILLED, Reason.FRAMEWORK_REMOVED)]


def test_ended_while_its_agent_was_away_it_says_why_too(dc):
    mark = dc.lose("a1")[0]
    dc.silence("f")
    dc.pass_time(60)
    events = dc.register("a1", answers=mark.position, tasks=[dc.held("t1", S.KILLED)])
    assert updates(events) == [("t1", S.KILLED, Reason.FRAMEWORK_REMOVED)]


def test_many_tasks_are_killed_in_several_decisions():
    dc = Datacenter()
    dc.register("a1", "cpus:100000;mem:100000")
    dc.enroll("f", failover_timeout_s=0.0)
    many = [info(f"t{number}", framework="f", resources="cpus:1;mem:1") for number in range(kills_max + 50)]
    dc.launch("f", "a1", *many)
    events = dc.silence("f")
    assert len(only(events, KillDirected)) == len(many)
    assert sum(event.last for event in events if isinstance(event.fact, KillDirected)) == 2
    assert dc.rebuilt() == dc.hash()
