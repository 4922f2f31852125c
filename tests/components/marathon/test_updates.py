"""What follows from a task's status: one word to the client, and a replacement where one is wanted."""

from __future__ import annotations

from importlib import import_module

import pytest

from bus.events import KillRequested
from bus.nouns import AgentId, AppId, Now, Reason, TaskId, TaskState, second
from bus.services import AppRequested, AppUpdated, InstanceScheduled, ScaleRequested
from components.marathon.backoff import next_delay_us
from components.marathon.state import Backoff
from tests.components.driver import START, only, types
from tests.components.marathon.play import (
    ALICE,
    FAILED,
    FINISHED,
    KILLED,
    RUNNING,
    STARTING,
    UNREACHABLE,
    WEB,
    Play,
    launches,
    scheduled,
    spec,
)


def delays_s(play: Play, failures: int) -> list[float]:
    """The delays of an app that fails as soon as it is launched."""
    found = []
    for _ in range(failures):
        (task,) = launches(play.make())
        (updated,) = only(play.update(task.task, FAILED), AppUpdated)
        assert updated.delay_until is not None
        found.append((updated.delay_until - play.now) / second)
        play.advance(found[-1])
    return found


# ---- the word to the client -------------------------------------------------------------------------------------


def test_each_change_goes_to_the_client_once():
    """Step 12, with state, agent and counts; the same again yields nothing."""
    play = Play()
    play.add(instances=2)
    first, second_ = launches(play.make())
    seen = []
    for task, state in ((first, STARTING), (first, RUNNING), (second_, RUNNING)):
        event, *_ = play.update(task.task, state)
        assert (event.to, event.trace) == (ALICE.id, "t1")
        assert play.update(task.task, state) == []
        fact = only([event], AppUpdated)[0]
        seen.append((fact.app, fact.status.state, fact.agent, fact.instances, fact.running))
    assert seen == [
        (WEB, STARTING, AgentId("a1"), 2, 0),
        (WEB, RUNNING, AgentId("a1"), 2, 1),
        (WEB, RUNNING, AgentId("a1"), 2, 2),
    ]


def test_a_status_that_is_no_move_is_old():
    """Mesos' table of states; a late STARTING after RUNNING changes nothing."""
    play = Play()
    (task,) = play.up()
    assert play.update(task, STARTING) == []
    assert play.update(task, TaskState.STAGING) == []


def test_an_end_lowers_the_number_that_runs():
    play = Play()
    tasks = play.up(instances=2)
    (updated,) = only(play.update(tasks[0], FAILED), AppUpdated)
    assert (updated.instances, updated.running) == (2, 1)


def test_the_end_of_a_dismissed_instance_is_no_change_of_those_wanted():
    play = Play()
    tasks = play.up(instances=2)
    play.ask(ScaleRequested(app=WEB, instances=1))
    (updated,) = only(play.update(tasks[1], KILLED), AppUpdated)
    assert (updated.instances, updated.running, updated.delay_until) == (1, 1, None)


def test_what_is_not_ours_and_has_ended_is_no_news():
    play = Play()
    assert play.update(TaskId("web.1"), FAILED) == []
    assert play.update(TaskId("web.1"), UNREACHABLE) == []


# ---- replacement ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [FAILED, FINISHED, TaskState.GONE, TaskState.ERROR])
def test_what_ends_by_itself_is_replaced_after_a_delay(state):
    """FINISHED too: an app is to run for ever."""
    play = Play()
    (task,) = play.up()
    events = play.update(task, state, message="exit 1")
    assert types(events) == ["app.updated", "instance.scheduled"]
    assert only(events, AppUpdated)[0].delay_until == play.now + second
    assert only(events, InstanceScheduled)[0].replaces == task
    assert (events[1].cause, events[1].trace) == (events[0].cause, "t1")
    failure = play.app().last_failure
    assert failure is not None
    assert (failure.task, failure.state, failure.message) == (task, state, "exit 1")


def test_dropped_for_another_reason_than_its_offer_is_a_failure():
    play = Play()
    play.add()
    (task,) = launches(play.make())
    events = play.update(task.task, TaskState.DROPPED, reason=Reason.AGENT_REMOVED)
    assert only(events, AppUpdated)[0].delay_until is not None


def test_what_was_killed_by_others_is_replaced_without_a_delay():
    """Marathon: backoff does not grow on TASK_KILLED."""
    play = Play()
    (task,) = play.up()
    events = play.update(task, KILLED)
    assert types(events) == ["app.updated", "instance.scheduled", "framework.revived"]
    assert all(event.last for event in events), "each alone is sooner there than with what follows"
    assert {event.cause for event in events} == {events[0].cause}
    assert only(events, AppUpdated)[0].delay_until is None
    assert play.app().last_failure is None


def test_a_machine_that_goes_down_with_forty_instances_brings_no_delay():
    """Nobody knows how they ended; with forty failures in a row the app would wait for four minutes and a half."""
    play = Play()
    tasks = play.up(instances=40)
    events = [event for task in tasks for event in play.update(task, FAILED, reason=Reason.EXECUTOR_TERMINATED)]
    assert {fact.delay_until for fact in only(events, AppUpdated)} == {None}


def test_an_unreachable_instance_is_replaced_at_once():
    """Marathon: unreachableStrategy 0/0. That a node is lost says nothing of the app."""
    play = Play()
    (task,) = play.up()
    events = play.update(task, UNREACHABLE)
    assert types(events) == ["app.updated", "instance.scheduled", "framework.revived"]
    assert only(events, AppUpdated)[0].delay_until is None
    assert task not in play.state.owners
    assert play.app().last_failure is not None


@pytest.mark.parametrize("state", [TaskState.STAGING, STARTING, RUNNING])
def test_an_expunged_instance_that_comes_back_is_killed(state):
    """Marathon: expunged instances are killed if seen again. The event says which of the two survives."""
    play = Play()
    (task,) = play.up()
    (new,) = only(play.update(task, UNREACHABLE), InstanceScheduled)
    events = play.update(task, state, reason=Reason.AGENT_REREGISTERED)
    why = f"it came back after it was given up as unreachable: {new.task} took its place and stays"
    assert only(events, KillRequested) == [KillRequested(task=task, reason=why)]
    assert play.update(task, TaskState.KILLING) == []
    assert play.update(task, KILLED) == []


def test_a_dying_instance_that_becomes_unreachable_is_forgotten():
    play = Play()
    (task,) = play.up()
    play.ask(ScaleRequested(app=WEB, instances=0))
    play.update(task, UNREACHABLE)
    assert play.state.owners == {}
    (event,) = play.update(task, RUNNING)
    why = "it came back after it was given up as unreachable: it is wanted no more"
    assert event.fact == KillRequested(task=task, reason=why)


def test_of_the_expunged_only_the_latest_are_remembered(monkeypatch):
    """What is not remembered any more is killed all the same."""
    monkeypatch.setattr(import_module("components.marathon.unreachable"), "expunged_kept_max", 1)
    play = Play()
    first, second = play.up(instances=2)
    play.update(first, UNREACHABLE)
    play.update(second, UNREACHABLE)
    assert list(play.state.expunged) == [second]
    (event,) = play.update(first, RUNNING)
    assert event.fact == KillRequested(task=first, reason="no app has this instance any more")


def test_a_dismissed_instance_that_fails_is_neither_replaced_nor_delayed():
    play = Play()
    (task,) = play.up()
    play.ask(ScaleRequested(app=WEB, instances=0))
    event, ended = play.update(task, FAILED)
    assert ended.type == "deployment.ended"
    assert only([event], AppUpdated)[0].delay_until is None
    assert play.app().backoff.delay_us == 0


def test_as_many_are_replaced_as_fail():
    play = Play()
    tasks = play.up(instances=3)
    for task in tasks:
        play.update(task, FAILED)
    assert len(play.app().waiting) == 3
    assert [one.replaces for one in play.app().waiting.values()] == tasks


# ---- backoff ----------------------------------------------------------------------------------------------------


def test_the_delay_grows_by_its_factor_up_to_its_maximum():
    """Marathon: 1 s × 1.15, at most 300 s; here up to 3 s."""
    play = Play()
    play.add(max_launch_delay_seconds=1.5)
    assert delays_s(play, 5) == [1.0, 1.15, 1.3225, 1.5, 1.5]


def test_the_default_delays_reach_five_minutes_and_stay():
    play = Play()
    play.add()
    found = delays_s(play, 45)
    assert found[:3] == [1.0, 1.15, 1.3225]
    assert found == sorted(found)
    assert found[40:] == [267.863494, 300.0, 300.0, 300.0, 300.0]


def test_the_delay_begins_anew_after_the_longest_delay_without_a_failure():
    play = Play()
    play.add()
    delays_s(play, 5)
    (task,) = launches(play.make())
    play.update(task.task, RUNNING)
    play.advance(299)
    (updated,) = only(play.update(task.task, FAILED), AppUpdated)
    assert updated.delay_until == play.now + round(1.15**5 * second)
    play.advance(10)
    (task,) = launches(play.make())
    play.update(task.task, RUNNING)
    play.advance(303)
    (updated,) = only(play.update(task.task, FAILED), AppUpdated)
    assert updated.delay_until == play.now + second


def test_a_new_version_starts_without_a_delay():
    """Marathon: the delay is per app and version."""
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    events = play.ask(AppRequested(app=spec(cmd="true"), update=True))
    assert types(events)[-1] == "framework.revived"
    assert len(launches(play.make())) == 1
    assert play.state.delays == []


def test_scaling_keeps_the_delay():
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    assert "framework.revived" not in types(play.ask(ScaleRequested(app=WEB, instances=2)))
    assert launches(play.make()) == []
    play.advance(1)
    assert len(launches(play.make())) == 2


def test_without_a_backoff_the_next_launch_is_at_once():
    play = Play()
    (task,) = play.up(backoff_seconds=0)
    assert types(play.update(task, FAILED)) == ["app.updated", "instance.scheduled", "framework.revived"]


def test_several_apps_wait_each_its_own_time():
    play = Play()
    (slow,) = play.up("/slow", backoff_seconds=5)
    (fast,) = play.up("/fast", backoff_seconds=2)
    play.update(slow, FAILED)
    play.update(fast, FAILED)
    assert [app for _, app in play.state.delays] == ["/fast", "/slow"]
    assert [(event.type, play.state.at - START) for event in play.advance(2)] == [("framework.revived", 2 * second)]
    assert [task.app for task in launches(play.make())] == ["/fast"]
    play.advance(3)
    assert [task.app for task in launches(play.make())] == ["/slow"]


def test_a_delay_that_ends_while_nothing_waits_wakes_nobody():
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    play.ask(ScaleRequested(app=WEB, instances=0))
    assert play.advance(10) == []


def test_a_delay_is_never_longer_than_the_longest():
    assert next_delay_us(spec(backoff_seconds=9, max_launch_delay_seconds=4), Backoff(), START) == 4 * second
    grown = Backoff(delay_us=3 * second, failed_at=START)
    steep = spec(backoff_factor=100, max_launch_delay_seconds=31_536_000)
    assert next_delay_us(steep, grown, Now(START + 1)) == 300 * second


def test_delays_survive_a_restart():
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    play.restart()
    play.settle()
    play.admit()
    assert launches(play.make()) == []
    play.advance(1)
    assert len(launches(play.make())) == 1
    assert scheduled(play.log) == list(dict.fromkeys(scheduled(play.log)))
    assert AppId("/web") in play.state.apps
