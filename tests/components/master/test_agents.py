"""Agents are admitted or refused, marked when they fall silent, and come back by answering the mark."""

from __future__ import annotations

import msgspec
import pytest

from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRefused,
    AgentRegistered,
    KillDirected,
    OfferRescinded,
    TaskUpdated,
)
from bus.nouns import NOTHING, HeldTask, Reason, Refusal, Rescinded, Resources, Source, TaskState, parse_resources
from bus.subjects import Author, Kind
from components.master.decide import PingsMissed
from tests.components.driver import only, types
from tests.components.master.datacenter import BIG, Datacenter, info, made, offered, status, updates

BACK = Reason.AGENT_REREGISTERED
LOST = (TaskState.UNREACHABLE, Reason.AGENT_REMOVED)


@pytest.fixture
def dc():
    dc = Datacenter()
    yield dc
    assert dc.rebuilt() == dc.hash()


def running(dc, *tasks, agent="a1"):
    """The agent runs these tasks of marathon's."""
    if "marathon" not in dc.state.frameworks:
        dc.enroll("marathon")
    if agent not in dc.state.agents:
        dc.register(agent)
    dc.launch("marathon", agent, *(info(task, agent) for task in tasks))
    for task in tasks:
        dc.report(agent, task, TaskState.RUNNING)


def lose(dc, agent="a1"):
    """The agent is marked; where its mark lies."""
    events = dc.lose(agent)
    (mark,) = [event for event in events if event.type == "agent.marked"]
    return mark.position


# ---- coming


def refusal(dc, events):
    (fact,) = only(events, AgentRefused)
    assert types(events) == ["agent.refused"]
    return fact.reason, fact.message


def test_a_new_agent_is_admitted_with_what_it_says(dc):
    (event,) = dc.register("a1", "cpus:2;mem:1024", attributes={"rack": "7"})
    assert event.fact == AgentAdmitted(
        agent="a1",
        hostname="host-a1",
        resources=parse_resources("cpus:2;mem:1024"),
        attributes={"rack": "7"},
        acted_n=1,
    )
    assert event.to == "a1"


def test_an_id_of_a_framework_is_taken(dc):
    dc.enroll("spark")
    assert refusal(dc, dc.register("spark"))[0] is Refusal.ID_TAKEN


@pytest.mark.parametrize("name", ["main", "u-alice", "marathon", "metronome"])
def test_reserved_ids_are_taken(dc, name):
    assert refusal(dc, dc.register(name))[0] is Refusal.ID_TAKEN
    assert not dc.state.agents


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (NOTHING, "it has no resources: expected some of cpus, mem, disk, ports"),
        (Resources(cpu_milli=-1), "cpus is -1: expected 0 to 1000000000000"),
        (Resources(mem_mb=10**13), "mem is 10000000000000: expected 0 to 1000000000000"),
        (Resources(cpu_milli=1, ports=((5, 4),)), "ports: expected ascending, disjoint ranges between 1 and 65535"),
    ],
)
def test_wrong_resources_are_refused_with_the_numbers(dc, resources, message):
    assert refusal(dc, dc.register("a1", resources)) == (Refusal.INVALID, message)


def test_a_wrong_hostname_or_too_many_attributes_are_refused(dc):
    assert "hostname has 0 characters" in refusal(dc, dc.register("a1", hostname=""))[1]
    assert "at most 4096" in refusal(dc, dc.register("a1", attributes={"x": "y" * 5000}))[1]


def test_what_an_agent_says_before_it_is_admitted_has_no_effect(dc):
    assert dc.report("a1", "t1", TaskState.RUNNING) == []


# ---- registering again


def test_a_replayed_registration_loses_no_task(dc):
    """Somebody publishes the agent's first registration again, byte for byte: it lists no task, and is ignored."""
    a1 = Author(Kind.AGENT, "a1")
    first = dc.said(a1, AgentRegistered(hostname="host-a1", resources=parse_resources(BIG)))
    dc.hear_event(first)
    running(dc, "t1")
    again = msgspec.structs.replace(dc.said(a1, first.fact), n=first.n)
    assert dc.hear_event(again) == []
    assert dc.task("t1").status.state is TaskState.RUNNING
    lose(dc)
    assert dc.hear_event(msgspec.structs.replace(again, position=dc.said(a1, first.fact).position)) == []


def test_a_known_agent_is_admitted_again_and_its_offers_are_void(dc):
    dc.enroll("marathon")
    dc.register("a1")
    events = dc.register("a1", "cpus:8;mem:9000")
    assert types(events) == ["offer.rescinded", "agent.admitted", "offer.made"]
    assert only(events, OfferRescinded)[0].reason is Rescinded.AGENT_REREGISTERED
    assert offered(events)[0].resources == parse_resources("cpus:8;mem:9000")


def test_less_than_its_tasks_hold_is_refused_with_the_numbers(dc):
    running(dc, "t1", "t2")
    reason, message = refusal(dc, dc.register("a1", "cpus:1;mem:1024", tasks=[dc.held("t1", "TASK_RUNNING")]))
    assert reason is Refusal.BELOW_HELD
    assert message == "a1 registered with cpus:1; mem:1024; disk:0, less than its tasks hold: cpus:2; mem:256; disk:0"
    assert dc.state.agents["a1"].total == parse_resources(BIG)


def test_a_list_that_is_known_changes_nothing(dc):
    running(dc, "t1")
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)])
    assert updates(events) == []
    assert only(events, AgentAdmitted)[0].changes == ()
    assert dc.state_of("t1") is TaskState.RUNNING


def test_a_status_in_the_list_that_is_news_is_passed_on(dc):
    running(dc, "t1")
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.KILLING)])
    assert updates(events) == [("t1", TaskState.KILLING, None)]


def test_a_status_that_cannot_follow_is_passed_over(dc):
    running(dc, "t1")
    assert updates(dc.register("a1", tasks=[dc.held("t1", TaskState.STARTING)])) == []


def test_a_task_the_agent_reported_once_and_does_not_list_is_gone(dc):
    running(dc, "t1", "t2")
    events = dc.register("a1", tasks=[dc.held("t2", TaskState.RUNNING)])
    assert updates(events) == [("t1", TaskState.GONE, BACK)]
    assert dc.free("a1") != parse_resources(BIG)


def test_a_launch_that_is_still_on_its_way_is_not_gone(dc):
    """The agent registered before it heard the launch; it will hear it, and report."""
    running(dc, "t1")
    dc.pass_time(120)
    dc.launch("marathon", "a1", info("t2"))
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)])
    assert updates(events) == []
    assert updates(dc.report("a1", "t2", TaskState.RUNNING)) == [("t2", TaskState.RUNNING, None)]


def test_a_launch_before_one_that_the_agent_lists_was_heard(dc):
    """The agent hears in order: who has the second has heard the first."""
    dc.enroll("marathon")
    dc.register("a1")
    dc.launch("marathon", "a1", info("t1"), info("t2"))
    events = dc.register("a1", tasks=[dc.held("t2", TaskState.STAGING)])
    assert updates(events) == [("t1", TaskState.GONE, BACK)]


def test_a_task_the_master_never_launched_is_killed(dc):
    stray = HeldTask(info=info("stray"), status=status("stray", TaskState.RUNNING))
    events = dc.register("a1", tasks=[stray])
    assert [(event.to, event.fact) for event in events[1:]] == [
        ("a1", KillDirected(task="stray", reason="the master knows of no such task on a1"))
    ]
    assert "stray" not in dc.state.tasks


def test_a_task_that_ended_for_the_master_is_killed(dc):
    running(dc, "t1")
    listed = dc.held("t1", TaskState.RUNNING)
    dc.register("a1")
    assert dc.state_of("t1") is TaskState.GONE
    events = dc.register("a1", tasks=[listed])
    why = "it ended as TASK_GONE, and its framework was told so"
    assert only(events, KillDirected) == [KillDirected(task="t1", reason=why)]
    assert dc.state_of("t1") is TaskState.GONE


def test_a_task_of_another_agent_is_killed_where_it_does_not_belong(dc):
    running(dc, "t1")
    events = dc.register("a2", tasks=[dc.held("t1", TaskState.RUNNING)])
    assert [(event.to, event.fact) for event in events if event.type == "kill.directed"] == [
        ("a2", KillDirected(task="t1", reason="it is a1's, and survives there"))
    ]
    assert not dc.task("t1").kill_wanted


# ---- falling silent


def test_a_silent_agent_is_marked_its_offers_rescinded_its_tasks_unreachable(dc):
    running(dc, "t1", "t2")
    dc.pass_time(120)
    events = dc.lose("a1")
    assert types(events) == ["agent.marked", "offer.rescinded", "task.updated", "task.updated"]
    assert only(events, OfferRescinded)[0].reason is Rescinded.AGENT_LOST
    assert updates(events) == [("t1", *LOST), ("t2", *LOST)]
    assert {fact.unreachable_since for fact in only(events, TaskUpdated)} == {dc.now}
    assert dc.free("a1") == parse_resources(BIG)
    assert made(dc.pass_time(1000)) == []


def test_the_mark_says_which_event_was_acted_on_last(dc):
    running(dc, "t1")  # the registration is 1, RUNNING is 2
    dc.report("a1", "t1", TaskState.RUNNING)  # 3 is old news
    (mark,) = only(dc.lose("a1"), AgentMarked)
    assert mark.acted_n == 2


def test_a_sight_from_before_the_agent_was_admitted_again_is_old(dc):
    dc.register("a1")
    sight = PingsMissed(kind=Kind.AGENT, id="a1", since_n=dc.state.agents["a1"].admitted_n, missed=5)
    dc.register("a1")
    assert dc.see(sight) == []
    dc.lose("a1")
    assert dc.see(sight) == []
    assert dc.see(PingsMissed(kind=Kind.AGENT, id="nobody", since_n=1, missed=5)) == []


def test_a_sight_seen_twice_marks_once(dc):
    dc.register("a1")
    sight = PingsMissed(kind=Kind.AGENT, id="a1", since_n=dc.state.agents["a1"].admitted_n, missed=5)
    assert types(dc.see(sight)) == ["agent.marked"]
    assert dc.see(sight) == []


def test_nothing_an_unreachable_agent_says_counts(dc):
    running(dc, "t1")
    lose(dc)
    assert dc.report("a1", "t1", TaskState.FINISHED) == []
    assert dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)]) == []
    assert dc.state_of("t1") is TaskState.UNREACHABLE


# ---- coming back


def test_an_agent_comes_back_by_answering_its_mark(dc):
    running(dc, "t1", "t2", "t3")
    mark = lose(dc)
    listed = [dc.held("t1", TaskState.RUNNING), dc.held("t2", TaskState.FINISHED)]
    events = dc.register("a1", tasks=listed, answers=mark)
    assert types(events)[0] == "agent.admitted"
    assert updates(events) == [
        ("t1", TaskState.RUNNING, BACK),
        ("t2", TaskState.FINISHED, None),
        ("t3", TaskState.GONE, BACK),
    ]
    assert [fact.status.source for fact in only(events, TaskUpdated)] == [Source.MASTER, Source.EXECUTOR, Source.MASTER]
    assert dc.task("t1").unreachable_since is None
    assert dc.free("a1").cpu_milli in (0, 3000)


def test_an_answer_tells_of_a_launch_that_was_on_its_way(dc):
    """Everything launched before the mark was heard before the mark was answered."""
    dc.enroll("marathon")
    dc.register("a1")
    dc.launch("marathon", "a1", info("t1"))
    mark = lose(dc)
    assert updates(dc.register("a1", answers=mark)) == [("t1", TaskState.GONE, BACK)]


def test_a_task_that_was_never_reported_comes_back_as_it_was(dc):
    dc.enroll("marathon")
    dc.register("a1")
    dc.launch("marathon", "a1", info("t1"))
    mark = lose(dc)
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.STAGING)], answers=mark)
    assert updates(events) == [("t1", TaskState.STAGING, BACK)]


def test_the_answer_to_an_earlier_mark_is_not_an_answer(dc):
    dc.register("a1")
    first = lose(dc)
    dc.register("a1", answers=first)
    lose(dc)
    assert dc.register("a1", answers=first) == []
    assert not dc.state.agents["a1"].active


def test_an_answer_from_one_who_is_back_already_is_a_registration(dc):
    dc.register("a1")
    mark = lose(dc)
    dc.register("a1", answers=mark)
    assert types(dc.register("a1", answers=mark)) == ["agent.admitted"]


def test_what_returns_takes_its_resources_before_anything_is_offered(dc):
    running(dc, "t1")
    mark = lose(dc)
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)], answers=mark)
    (offer,) = offered(events)
    assert offer.resources == parse_resources(BIG) - parse_resources("cpus:1;mem:128")


def test_a_refused_answer_is_asked_for_again(dc):
    """The agent answered once and will not by itself; the mark that follows its next registration makes it."""
    running(dc, "t1", "t2")
    mark = lose(dc)
    listed = [dc.held("t1", TaskState.RUNNING), dc.held("t2", TaskState.RUNNING)]
    assert refusal(dc, dc.register("a1", "cpus:1;mem:1024", tasks=listed, answers=mark))[0] is Refusal.BELOW_HELD
    (again,) = dc.register("a1", "cpus:4;mem:1024", tasks=listed)
    assert (again.type, again.fact.acted_n) == ("agent.marked", 3)
    assert dc.register("a1", "cpus:4;mem:1024", tasks=listed, answers=mark) == []
    events = dc.register("a1", "cpus:4;mem:1024", tasks=listed, answers=again.position)
    assert updates(events) == [("t1", TaskState.RUNNING, BACK), ("t2", TaskState.RUNNING, BACK)]


def test_only_what_still_lives_must_fit_on_the_way_back(dc):
    running(dc, "t1", "t2")
    mark = lose(dc)
    listed = [dc.held("t1", TaskState.RUNNING), dc.held("t2", TaskState.FAILED)]
    assert "agent.admitted" in types(dc.register("a1", "cpus:1;mem:128", tasks=listed, answers=mark))


def test_a_kill_asked_for_meanwhile_is_directed_again(dc):
    running(dc, "t1")
    mark = lose(dc)
    assert only(dc.kill("marathon", "t1", 7.0), KillDirected) == [KillDirected(task="t1", grace_s=7.0)]
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)], answers=mark)
    why = "it was to be killed while it could not be reached"
    assert only(events, KillDirected) == [KillDirected(task="t1", grace_s=7.0, reason=why)]


def test_a_report_of_a_task_that_stayed_unreachable_waits_for_room(dc):
    """An agent that hides a task on its return can bring it back only while its resources are free."""
    running(dc, "t1")
    mark = lose(dc)
    dc.register("a1", tasks=[dc.held("t1", TaskState.UNKNOWN)], answers=mark)
    assert dc.free("a1").cpu_milli == 0
    assert dc.report("a1", "t1", TaskState.RUNNING) == []
    dc.decline("marathon")
    assert updates(dc.report("a1", "t1", TaskState.RUNNING)) == [("t1", TaskState.RUNNING, None)]


def test_a_crash_in_the_middle_of_the_story_changes_nothing(dc):
    running(dc, "t1")
    mark = lose(dc)
    dc.restart()
    events = dc.register("a1", tasks=[dc.held("t1", TaskState.RUNNING)], answers=mark)
    assert updates(events) == [("t1", TaskState.RUNNING, BACK)]
