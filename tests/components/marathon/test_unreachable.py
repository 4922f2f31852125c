"""Instances whose agent cannot be reached: replaced and given up exactly when it is due."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.documents import UnreachableStrategy
from bus.events import KillRequested
from bus.nouns import TaskId, second
from bus.queries import pack
from bus.services import (
    InstanceDeactivated,
    InstanceDismissed,
    InstanceExpunged,
    InstanceScheduled,
    RemovalRequested,
    ScaleRequested,
)
from components.marathon import queries
from components.marathon.state import OVER_CAPACITY
from tests.components.driver import only, types
from tests.components.marathon.play import FAILED, KILLED, RUNNING, UNREACHABLE, WEB, Play, launches, scheduled

SLOW = UnreachableStrategy(inactive_after_seconds=60, expunge_after_seconds=600)


def lost(strategy: object = SLOW, **fields: object) -> tuple[Play, TaskId]:
    """An app of one instance that cannot be reached."""
    play = Play()
    (task,) = play.up(unreachable_strategy=strategy, **fields)
    play.update(task, UNREACHABLE)
    return play, task


def replaced(**fields: object) -> tuple[Play, TaskId, TaskId]:
    """The same, when another took its place and runs."""
    play, task = lost(**fields)
    play.advance(60)
    (info,) = launches(play.make())
    play.update(info.task, RUNNING)
    return play, task, info.task


def test_nothing_happens_before_it_is_due():
    play, task = lost()
    assert play.update(task, UNREACHABLE) == []
    assert play.advance(59.999999) == []
    assert list(play.app().launched) == [task]


def test_it_is_replaced_and_given_up_each_at_its_moment():
    play, task = lost()
    began = play.now
    events = play.advance(10_000)
    assert types(events)[:2] == ["instance.deactivated", "instance.scheduled"]
    assert only(events, InstanceScheduled)[0].replaces == task
    assert [event.at - began for event in events if event.type.startswith("instance.")] == [
        60 * second,
        60 * second,
        600 * second,
    ]
    (gone,) = only(events, InstanceExpunged)
    assert gone.replaced_by == scheduled(events)[0]
    assert task not in play.state.owners
    (kill,) = only(play.update(task, RUNNING), KillRequested)
    assert kill.reason.endswith(f"{gone.replaced_by} took its place and stays")


def test_one_that_comes_back_in_time_was_never_away():
    play, task = lost()
    play.advance(59)
    assert types(play.update(task, RUNNING)) == ["app.updated"]
    assert play.advance(10_000) == []
    assert play.app().running == 1


def test_of_two_copies_the_youngest_is_killed_and_it_is_said_why():
    play, task, second_ = replaced()
    events = play.update(task, RUNNING)
    assert types(events) == ["app.updated", "instance.dismissed", "kill.requested"]
    (dismissed,) = only(events, InstanceDismissed)
    assert (dismissed.task, dismissed.reason) == (second_, OVER_CAPACITY)
    assert dismissed.why == f"{task} came back after it had been replaced; killSelection is YOUNGEST_FIRST"
    assert only(events, KillRequested)[0].reason == dismissed.why
    play.update(second_, KILLED)
    assert list(play.app().launched) == [task]
    assert play.advance(10_000) == []


def test_or_the_oldest_if_the_app_says_so():
    play, task, second_ = replaced(kill_selection="OLDEST_FIRST")
    (dismissed,) = only(play.update(task, RUNNING), InstanceDismissed)
    assert dismissed.task == task
    assert dismissed.why == "it came back after it had been replaced; killSelection is OLDEST_FIRST"
    assert list(play.app().launched) == [second_]


def test_one_that_comes_back_before_its_replacement_is_launched_makes_it_unwanted():
    play, task = lost()
    (waiting,) = scheduled(play.advance(60))
    (dismissed,) = only(play.update(task, RUNNING), InstanceDismissed)
    assert dismissed.task == waiting
    assert list(play.app().launched) == [task]


def test_one_that_ended_while_it_was_away_is_forgotten():
    play, task, second_ = replaced()
    assert types(play.update(task, FAILED)) == ["app.updated"]
    assert list(play.app().launched) == [second_]
    assert play.app().backoff.until is None
    assert task not in play.state.owners
    assert play.advance(10_000) == []


def test_disabled_waits_without_end():
    play, task = lost("disabled")
    assert play.advance(30 * 24 * 3600) == []
    assert list(play.app().launched) == [task]
    play.update(task, RUNNING)
    assert play.app().running == 1


def test_by_default_it_is_given_up_at_once():
    play, task = lost(UnreachableStrategy())
    assert task not in play.state.owners
    assert list(play.app().waiting)


def test_without_a_delay_it_is_replaced_at_once_and_may_come_back():
    play, task = lost(UnreachableStrategy(inactive_after_seconds=0, expunge_after_seconds=600))
    assert only(play.log, InstanceDeactivated)
    assert list(play.app().absent) == [task]
    assert list(play.app().waiting)


def test_the_same_moment_for_both_means_given_up_and_replaced():
    play, _ = lost(UnreachableStrategy(inactive_after_seconds=60, expunge_after_seconds=60))
    assert types(play.advance(60))[:2] == ["instance.expunged", "instance.scheduled"]


def test_when_fewer_are_wanted_the_unreachable_goes_first_and_nobody_waits_for_its_end():
    play = Play()
    tasks = play.up(unreachable_strategy=SLOW, instances=3)
    play.update(tasks[0], UNREACHABLE)
    events = play.ask(ScaleRequested(app=WEB, instances=2))
    assert [fact.task for fact in only(events, KillRequested)] == [tasks[0]]
    assert list(play.app().launched) == tasks[1:]
    assert not play.app().dying


def test_an_app_that_is_removed_waits_for_none_that_is_away():
    play, task, second_ = replaced()
    play.ask(RemovalRequested(app=WEB))
    play.update(second_, KILLED)
    assert WEB not in play.state.apps
    assert only(play.update(task, RUNNING), KillRequested)
    play, task = lost()
    play.ask(RemovalRequested(app=WEB))
    assert WEB not in play.state.apps


def test_a_person_may_have_one_killed_that_is_away():
    play, task, _ = replaced()
    assert only(play.ask(KillRequested(task=task)), KillRequested)
    assert not play.app().absent
    play, task = lost()
    events = play.ask(KillRequested(task=task))
    assert len(scheduled(events)) == 1


def test_who_leads_anew_gives_up_nothing_before_it_has_heard_what_was_said_meanwhile():
    play, task = lost()
    play.restart()
    play.now += 10_000 * second
    assert "instance.expunged" not in types(play.settle())
    play.update(task, RUNNING)
    play.admit()
    assert play.app().running == 1
    play, task = lost()
    play.restart()
    play.now += 10_000 * second
    play.settle()
    assert "instance.expunged" in types(play.admit())


def test_the_row_shows_who_is_away():
    play, task, second_ = replaced()
    (row,) = queries.apps(play.state, pack(None), play.now)
    assert {one.task: one.state for one in row.instances} == {task: UNREACHABLE, second_: RUNNING}


@pytest.mark.parametrize("strategy", [SLOW, "disabled", UnreachableStrategy(expunge_after_seconds=90)])
@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["lose", "find", "fail", "run", "wait", "scale"])), max_size=30
    )
)
def test_whatever_happens_as_many_are_wanted_as_there_are_and_every_timer_is_somebodys(strategy, steps):
    """The checks of the state hold after each decision, and the log gives the same state again."""
    play = Play()
    play.up(unreachable_strategy=strategy, instances=3)
    for number, what in steps:
        app = play.app()
        tasks = sorted((*app.launched, *app.absent))
        task = tasks[number % len(tasks)] if tasks else None
        match what:
            case "wait":
                play.advance(number * 40)
            case "scale":
                play.ask(ScaleRequested(app=WEB, instances=number % 5))
            case "run":
                for info in launches(play.make()):
                    play.update(info.task, RUNNING)
            case "lose" if task in app.launched:
                play.update(task, UNREACHABLE)
            case "find" if task is not None and (app.launched.get(task) or app.absent[task]).state is UNREACHABLE:
                play.update(task, RUNNING)
            case "fail" if task is not None:
                play.update(task, FAILED)
        assert len(play.app().waiting) + len(play.app().launched) == play.app().spec.instances
    assert play.rebuilt() == play.hash()
