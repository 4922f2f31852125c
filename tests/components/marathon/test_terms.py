"""How Marathon begins a term, and what it makes of the master's words about it."""

from __future__ import annotations

import pytest

from bus.events import (
    FrameworkDisconnected,
    FrameworkRegistered,
    FrameworkRevived,
    OfferMade,
    TaskReconciled,
    TaskUpdated,
)
from bus.nouns import MASTER, AgentId, Reason, TaskState
from bus.subjects import Author, Kind
from components.component import state_hash
from components.marathon import MarathonConfig
from tests.components.driver import only, types
from tests.components.marathon.play import (
    ALICE,
    FAILED,
    MAIN,
    MARATHON,
    RUNNING,
    WEB,
    Play,
    launches,
    scheduled,
    status,
)


def test_a_term_begins_with_a_registration():
    """As Mesos' SUBSCRIBE: name, role and failover timeout go to the master, once."""
    play = Play(admitted=False)
    events = play.settle()
    assert types(events) == ["framework.registered"]
    assert events[0].to == MASTER
    assert only(events, FrameworkRegistered)[0] == FrameworkRegistered(
        name="marathon", role="*", failover_timeout_s=604_800.0
    )
    assert play.settle() == []


def test_a_registration_is_said_even_if_something_is_heard_before_the_first_wake():
    play = Play(admitted=False)
    assert types(play.add())[0] == "framework.registered"


def test_once_admitted_all_tasks_are_reconciled():
    """Mesos: implicit reconciliation, no task named."""
    play = Play(admitted=False)
    play.settle()
    events = play.admit()
    assert [fact.tasks for fact in only(events, TaskReconciled)] == [()]
    assert play.state.admitted


def test_offers_from_before_the_admission_are_void_and_not_answered():
    play = Play(admitted=False)
    play.add()
    assert play.make() == []
    events = play.admit()
    assert types(events) == ["task.reconciled", "framework.revived"]
    assert len(launches(play.make())) == 1


def test_every_new_term_registers_again():
    play = Play()
    play.restart()
    assert types(play.settle()) == ["framework.registered"]
    assert types(play.admit()) == ["task.reconciled"]


def test_what_waits_after_a_restart_asks_for_offers():
    """Suppression and filters from before the restart may still hold offers back."""
    play = Play()
    play.add(cpus=100)
    play.make()
    play.restart()
    play.settle()
    assert types(play.admit()) == ["task.reconciled", "framework.revived"]


def test_a_disconnected_marathon_registers_again():
    play = Play()
    events = play.hear(MAIN, FrameworkDisconnected(framework=MARATHON))
    assert types(events) == ["framework.registered"]
    assert not play.state.admitted


def test_only_the_master_makes_offers_and_updates_tasks():
    """An agent or a client that says so changes nothing."""
    play = Play()
    (task,) = play.up()
    before = state_hash(play.state)
    for liar in (Author(Kind.AGENT, "a1"), ALICE, Author(Kind.MASTER, "other")):
        made = OfferMade(framework=MARATHON, role="*", offers=(play.offer(),), expires_at=play.now)
        assert play.hear(liar, made) == []
        assert play.hear(liar, TaskUpdated(framework=MARATHON, status=status(task, FAILED))) == []
    assert state_hash(play.state) == before


def test_an_accepted_void_offer_is_no_failure():
    """Mesos: DROPPED with REASON_INVALID_OFFERS; the instance is relaunched without a delay."""
    play = Play()
    play.add()
    (task,) = launches(play.make())
    events = play.update(task.task, TaskState.DROPPED, reason=Reason.INVALID_OFFERS)
    assert types(events) == ["app.updated", "instance.scheduled", "framework.revived"]
    assert play.app().backoff.delay_us == 0
    assert play.app().last_failure is None
    assert len(launches(play.make())) == 1


def test_a_launch_nobody_reports_is_asked_for_and_not_doubled():
    """Marathon: launch confirmation; here by explicit reconciliation, every 300 s."""
    play = Play()
    play.add()
    (task,) = launches(play.make())
    assert play.advance(299) == []
    events = play.advance(2)
    assert [fact.tasks for fact in only(events, TaskReconciled)] == [(task.task,)]
    assert scheduled(events) == []
    assert play.update(task.task, TaskState.STAGING, reason=Reason.RECONCILIATION) == []
    assert types(play.advance(300)) == ["task.reconciled"]
    play.update(task.task, RUNNING)
    assert play.advance(3000) == []


def test_a_launch_the_master_does_not_know_is_replaced():
    play = Play()
    play.add()
    (task,) = launches(play.make())
    play.advance(301)
    events = play.update(task.task, TaskState.UNKNOWN, reason=Reason.RECONCILIATION)
    assert types(events) == ["app.updated", "instance.scheduled", "framework.revived"]


def test_a_late_launch_is_not_asked_for_before_the_admission():
    play = Play()
    play.add()
    play.make()
    play.restart()
    play.settle()
    assert play.advance(1000) == []
    asked = [fact.tasks for fact in only(play.admit(), TaskReconciled)]
    assert asked == [(), tuple(play.state.unconfirmed)], "all of them, and then by its name the one that is late"


def test_a_configured_marathon_uses_its_name_and_role():
    play = Play(MarathonConfig(role="web", failover_timeout_s=60.0), admitted=False)
    assert only(play.settle(), FrameworkRegistered) == [
        FrameworkRegistered(name="marathon", role="web", failover_timeout_s=60.0)
    ]


@pytest.mark.parametrize(
    ("field", "value"), [("decline_s", 0.0), ("launch_timeout_s", float("nan")), ("launches_max", 0)]
)
def test_a_wrong_setting_is_named(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}: expected at least"):
        MarathonConfig(**{field: value})


def test_a_long_life_leaves_a_state_as_small_as_what_lives():
    """Instances that ended are forgotten; of a failing app one status stays."""
    play = Play(MarathonConfig(decline_s=5.0))
    play.add(backoff_seconds=0)
    for _ in range(200):
        for task in launches(play.make()):
            play.update(task.task, FAILED, message="exit 1")
    assert len(play.state.owners) == 1
    assert play.app().last_failure is not None
    assert (len(play.app().waiting), len(play.app().vacant), len(play.state.unconfirmed)) == (1, 0, 0)
    assert list(play.state.last_ports) == [AgentId("a1")]
    assert only(play.log, FrameworkRevived)
    assert play.rebuilt() == play.hash()
    assert list(play.state.apps) == [WEB]
