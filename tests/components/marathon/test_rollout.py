"""What only Busbar has, and only if asked for: deployments that give up, go back, begin with canaries; kills."""

from __future__ import annotations

from bus.documents import Rollout
from bus.events import Event, KillRequested
from bus.nouns import Refusal, TaskId
from bus.plans import Outcome
from bus.services import (
    AppRequested,
    ContinueRequested,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentPaused,
    DeploymentStarted,
    InstanceDismissed,
    KillsGranted,
    KillsRequested,
)
from tests.components.driver import only
from tests.components.marathon.play import FAILED, KILLED, RUNNING, WEB, Play, launches, scheduled, spec
from tests.components.marathon.test_deployments import ended, named, refusal, run_all

# ---- rollout -----------------------------------------------------------------------------------------------------


def test_a_deployment_gives_up_after_its_deadline_and_says_why():
    play = Play()
    play.up(instances=2)
    slow = Rollout(progress_deadline_seconds=60)
    changed = named(play.ask(AppRequested(app=spec(instances=2, cmd="true", rollout=slow), update=True)))
    tasks = [task.task for task in launches(play.make())]
    play.advance(30)
    play.update(tasks[0], RUNNING)
    assert ended(play.advance(59)) == []
    (fact,) = only(play.advance(1), DeploymentEnded)
    assert (fact.deployment, fact.outcome) == (changed, Outcome.FAILED)
    assert fact.message.startswith("RestartApplication /web came no further for 60 s: 1 of 2 up; ")
    assert play.state.deployments == {}


def test_a_failed_deployment_goes_back_by_itself_if_asked_for():
    play = Play()
    old = play.up(instances=2)
    version = play.app().version
    back = Rollout(progress_deadline_seconds=60, auto_rollback=True)
    changed = named(play.ask(AppRequested(app=spec(instances=2, cmd="true", rollout=back), update=True)))
    play.make()
    events = play.advance(60)
    assert ended(events) == [(changed, Outcome.FAILED)]
    assert only(events, DeploymentStarted)[0].reverses == changed
    run_all(play)
    assert (play.app().version, list(play.app().launched)) == (version, old)


def test_no_deployment_fails_while_not_all_is_heard():
    """What came up while nobody led is heard of before the master admits who leads now."""
    play = Play()
    slow = Rollout(progress_deadline_seconds=60)
    changed = named(play.add(rollout=slow))
    (task,) = launches(play.make())
    play.restart()
    play.advance(100)
    refused = refusal(play.ask(AppRequested(app=spec(instances=3), update=True)))
    assert refused.held_by == (changed,)
    assert list(play.state.deployments) == [changed]
    assert ended(play.update(task.task, RUNNING)) == [(changed, Outcome.SUCCEEDED)]


def test_too_many_failures_end_a_deployment():
    play = Play()
    play.up()
    bad = Rollout(max_launch_attempts=3)
    play.ask(AppRequested(app=spec(cmd="true", rollout=bad), update=True))
    events: list[Event] = []
    for _ in range(3):
        assert ended(events) == []
        (task,) = launches(play.make())
        events = play.update(task.task, FAILED)
        play.advance(5)
    (fact,) = only(events, DeploymentEnded)
    assert fact.message.startswith("RestartApplication /web failed 3 times, at most 3 are allowed: ")


def test_canaries_wait_for_a_persons_word_whatever_became_of_the_old():
    """Somebody kills the old before they are up: that is not said to be good, and is not waited for without a word."""
    play = Play()
    old = play.up(instances=2)
    play.ask(AppRequested(app=spec(instances=2, cmd="true", rollout=Rollout(canaries=1)), update=True))
    (canary,) = launches(play.make())
    for task in old:
        play.ask(KillRequested(task=task))
        play.update(task, KILLED)
    assert not play.app().outdated
    assert only(play.update(canary.task, RUNNING), DeploymentPaused)


def test_canaries_wait_for_a_persons_word():
    play = Play()
    old = play.up(instances=3)
    rollout = Rollout(canaries=1, progress_deadline_seconds=60)
    changed = named(play.ask(AppRequested(app=spec(instances=3, cmd="true", rollout=rollout), update=True)))
    (canary,) = launches(play.make())
    (paused,) = only(play.update(canary.task, RUNNING), DeploymentPaused)
    assert (paused.deployment, paused.app, paused.canaries) == (changed, WEB, 1)
    play.advance(10_000)
    assert list(play.app().launched) == [*old, canary.task]
    events = play.ask(ContinueRequested(deployment=changed))
    assert only(events, DeploymentContinued)[0].apps == (WEB,)
    run_all(play)
    assert len(play.app().up) == 3
    assert canary.task in play.app().launched
    assert not set(old) & set(play.app().launched)


def test_no_canaries_are_tried_of_none():
    """Scaled to nothing while its canaries wait for a word: nobody is asked about the rest."""
    play = Play()
    play.up(instances=3)
    rollout = Rollout(canaries=1)
    play.ask(AppRequested(app=spec(instances=3, cmd="true", rollout=rollout), update=True))
    (canary,) = launches(play.make())
    play.update(canary.task, RUNNING)
    events = play.ask(AppRequested(app=spec(instances=0, cmd="true", rollout=rollout), update=True, force=True))
    assert only(events, DeploymentPaused) == []
    run_all(play)
    assert (play.state.deployments, play.app().launched) == ({}, {})


def test_nothing_goes_on_that_does_not_wait():
    play = Play()
    created = named(play.add())
    refused = refusal(play.ask(ContinueRequested(deployment=created)))
    assert refused.message == f"deployment {created} waits for nobody's word"


# ---- kills -------------------------------------------------------------------------------------------------------


def test_several_instances_are_killed_and_replaced():
    play = Play()
    tasks = play.up(instances=3)
    events = play.ask(KillsRequested(tasks=(tasks[0], tasks[2])))
    assert only(events, KillsGranted) == [KillsGranted(tasks=(tasks[0], tasks[2]))]
    assert [fact.task for fact in only(events, KillRequested)] == [tasks[0], tasks[2]]
    assert len(scheduled(events)) == 2


def test_who_is_being_killed_already_is_passed_over():
    """All of an app that is just being replaced are killed: what goes already is not in the way."""
    play = Play()
    first, second = play.up(instances=2)
    play.ask(KillRequested(task=first))
    events = play.ask(KillsRequested(tasks=(first, second)))
    assert only(events, KillsGranted) == [KillsGranted(tasks=(second,))]
    assert [fact.task for fact in only(events, KillRequested)] == [second]
    fewer = play.ask(KillsRequested(tasks=(first,), scale=True))
    assert only(fewer, InstanceDismissed) == []
    assert play.app().spec.instances == 2


def test_killed_with_scale_the_app_has_fewer():
    """Exactly the named ones go."""
    play = Play()
    tasks = play.up(instances=3)
    events = play.ask(KillsRequested(tasks=(tasks[0],), scale=True))
    assert [fact.task for fact in only(events, InstanceDismissed)] == [tasks[0]]
    assert scheduled(events) == []
    assert play.app().spec.instances == 2
    run_all(play)
    assert list(play.app().launched) == tasks[1:]


def test_an_unknown_instance_kills_none():
    play = Play()
    (task,) = play.up()
    refused = refusal(play.ask(KillsRequested(tasks=(task, TaskId("nobody")))))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "no instance nobody")
