"""What clients ask of Marathon, and the one answer each gets."""

from __future__ import annotations

import re

import pytest

from bus.documents import PortDefinition, UpgradeStrategy
from bus.events import Fact, KillRequested, RequestRefused
from bus.nouns import MASTER, AppId, JobId, Refusal, TaskId, TaskState
from bus.services import (
    AppRemoved,
    AppRequested,
    AppSpecified,
    InstanceDismissed,
    InstanceScheduled,
    RemovalRequested,
    RestartRequested,
    RunRequested,
    ScaleRequested,
    SchedulerLocated,
)
from components.marathon.drafting import app_bytes_max
from components.marathon.tasks import task_id, task_name
from components.marathon.versions import next_version
from tests.components.driver import START, only, types
from tests.components.marathon.play import (
    ALICE,
    BOB,
    KILLED,
    MAIN,
    MARATHON,
    RUNNING,
    WEB,
    Play,
    launches,
    scheduled,
    spec,
)


def refusal(play: Play, fact: Fact) -> RequestRefused:
    """The refusal a request gets; it must change nothing."""
    before = play.state.apps.copy(), play.state.owners.copy()
    events = play.ask(fact)
    assert types(events) == ["request.refused"]
    assert (events[0].to, events[0].request) == (ALICE.id, f"q{play.requests}")
    assert (play.state.apps, play.state.owners) == before
    return only(events, RequestRefused)[0]


AT_ONCE = {"upgrade_strategy": UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=1.0)}


# ---- create -----------------------------------------------------------------------------------------------------


def test_a_created_app_is_answered_and_its_instances_are_scheduled():
    """Step 4, under the request's id and trace."""
    play = Play()
    events = play.add(instances=3)
    assert types(events) == ["deployment.started", "framework.revived"]
    assert len(scheduled(events)) == 3
    answer = events[0]
    assert (answer.to, answer.request, answer.trace) == (ALICE.id, "q1", "t1")
    fact = only(events, AppSpecified)[0]
    assert (fact.app, fact.app_version, fact.changed) == (spec(instances=3), "2027-01-15T08:00:00.000Z", "created")
    assert {event.trace for event in events} == {"t1"}
    assert {event.cause for event in events} == {answer.cause}
    assert {event.actor for event in events} == {ALICE.id}


def test_task_ids_come_from_the_log():
    """Mission 1.6: `<path with _>.instance-<n>-<k>._app.<incarnation>`."""
    play = Play()
    assert scheduled(play.add("/shop/web", instances=2)) == [
        "shop_web.instance-3-0._app.1",
        "shop_web.instance-3-1._app.1",
    ]


def test_a_task_id_stays_a_file_name():
    """At most 255 of [A-Za-z0-9._-], however long the app's path."""
    longest = AppId("/" + "/".join(["a" * 50] * 5))
    task = task_id(longest, 10**12, 999)
    assert len(task) <= 255
    assert re.fullmatch(r"[A-Za-z0-9._-]+", task)


def test_a_task_is_named_by_its_path_backwards():
    """Marathon: `/a/b` is `b.a`."""
    assert task_name(AppId("/a/b")) == "b.a"


def test_an_app_that_exists_is_not_created_again():
    play = Play()
    play.add()
    refused = refusal(play, AppRequested(app=spec(cmd="true")))
    assert (refused.reason, refused.message) == (Refusal.ALREADY_EXISTS, "an app with id /web already exists")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (spec("/Web"), "$.id"),
        (spec("web"), "$.id"),
        (spec(args=("a",)), "$.cmd"),
        (spec(cmd=None), "$.cmd"),
        (spec(ports=(1,), port_definitions=()), "$.ports"),
        (spec(ports=(8080, 8080)), "$.ports"),
    ],
)
def test_a_wrong_app_is_refused_with_the_path_of_the_field(wrong, path):
    refused = refusal(Play(), AppRequested(app=wrong))
    assert refused.reason is Refusal.INVALID
    assert refused.message.endswith(f"at `{path}`")


@pytest.mark.parametrize(
    "fields",
    [
        {"env": {f"V{index}": "x" * 60_000 for index in range(3)}},
        {"labels": {f"label-{index}": "" for index in range(3000)}},
        {"port_definitions": tuple(PortDefinition(labels={"a": "x" * 4000}) for _ in range(40))},
    ],
)
def test_an_app_too_large_for_the_bus_is_refused(fields):
    """Its tasks carry it on, with variables made of its labels: one message must hold one task."""
    refused = refusal(Play(), AppRequested(app=spec(**fields)))
    assert refused.reason is Refusal.INVALID
    assert f"at most {app_bytes_max} are allowed" in refused.message


def test_the_same_request_is_answered_the_same_and_done_once():
    """A client that resends its event, or an inbox heard again after a crash."""
    play = Play()
    asked = play.said(ALICE, AppRequested(app=spec()), request="q1")
    play.hear_event(asked)
    again = play.hear_event(asked)
    assert types(again) == ["deployment.started"]
    assert len(play.app().waiting) == 1
    assert play.rebuilt() == play.hash()


# ---- change -----------------------------------------------------------------------------------------------------


def test_an_update_creates_what_is_not_there():
    play = Play()
    (fact,) = only(play.ask(AppRequested(app=spec(), update=True)), AppSpecified)
    assert fact.changed == "created"


def test_an_update_kills_and_replaces():
    """A new version; where none has to stay up, each is dismissed and named as what its successor replaces."""
    play = Play()
    tasks = play.up(instances=2, **AT_ONCE)
    play.now = START
    events = play.ask(AppRequested(app=spec(instances=2, cmd="sleep 2", **AT_ONCE), update=True))
    assert types(events) == [
        "deployment.started",
        *["instance.dismissed", "kill.requested"] * 2,
        *["instance.scheduled"] * 2,
        "framework.revived",
    ]
    assert [fact.reason for fact in only(events, InstanceDismissed)] == ["Upgrading"] * 2
    assert [fact.replaces for fact in only(events, InstanceScheduled)] == tasks[::-1]
    versions = [fact.app_version for fact in (*only(play.log, AppSpecified), *only(events, InstanceScheduled))]
    assert versions == ["2027-01-15T08:00:00.000Z"] + ["2027-01-15T08:00:00.001Z"] * 3


def test_an_update_forgets_what_still_waits():
    play = Play()
    play.add(instances=2, cpus=100)
    events = play.ask(AppRequested(app=spec(instances=2), update=True, force=True))
    assert only(events, KillRequested) == []
    assert len(play.app().waiting) == 2
    assert [task.resources.cpu_milli for task in launches(play.make())] == [1000, 1000]


def test_an_update_that_only_changes_the_number_restarts_nothing():
    """Marathon: a scale-only change keeps the version."""
    play = Play()
    (task,) = play.up()
    events = play.ask(AppRequested(app=spec(instances=2), update=True))
    assert types(events) == ["deployment.started", "framework.revived"]
    assert len(scheduled(events)) == 1
    assert only(events, AppSpecified)[0].app_version == only(play.log, AppSpecified)[0].app_version
    assert list(play.app().launched) == [task]


def test_an_update_to_the_same_is_answered_and_does_nothing():
    play = Play()
    play.up()
    assert types(play.ask(AppRequested(app=spec(), update=True))) == ["deployment.started", "deployment.ended"]


def test_scaling_up_only_adds():
    play = Play()
    (task,) = play.up()
    events = play.ask(ScaleRequested(app=WEB, instances=3))
    assert types(events) == ["deployment.started", "framework.revived"]
    assert len(scheduled(events)) == 2
    assert only(events, AppSpecified)[0].changed == "scaled"
    assert list(play.app().launched) == [task]


def test_scaling_down_dismisses_the_waiting_first_then_the_youngest():
    """Marathon: killSelection YOUNGEST_FIRST; what waits was never there."""
    play = Play()
    tasks = play.up(instances=3)
    waiting = scheduled(play.ask(ScaleRequested(app=WEB, instances=4)))
    events = play.ask(ScaleRequested(app=WEB, instances=2, force=True))
    assert [fact.task for fact in only(events, InstanceDismissed)] == [*waiting, tasks[2]]
    assert [fact.task for fact in only(events, KillRequested)] == [tasks[2]]
    assert [event.to for event in events if event.type == "kill.requested"] == [MASTER]
    assert [fact.reason for fact in only(events, InstanceDismissed)] == ["OverCapacity"] * 2


def test_a_dismissed_instance_is_killed_with_the_grace_of_its_app():
    play = Play()
    (task,) = play.up(task_kill_grace_period_seconds=7.5)
    events = play.ask(ScaleRequested(app=WEB, instances=0))
    assert only(events, KillRequested) == [KillRequested(task=task, grace_s=7.5)]


def test_a_dismissed_instance_that_was_killed_is_not_replaced():
    play = Play()
    tasks = play.up(instances=2)
    play.ask(ScaleRequested(app=WEB, instances=1))
    assert types(play.update(tasks[1], TaskState.KILLING)) == ["app.updated"]
    assert types(play.update(tasks[1], KILLED)) == ["app.updated", "deployment.ended"]
    assert list(play.state.owners) == [tasks[0]]
    assert play.app().backoff.delay_us == 0


@pytest.mark.parametrize("instances", [-1, 100_001])
def test_an_absurd_scale_is_refused(instances):
    play = Play()
    play.add()
    refused = refusal(play, ScaleRequested(app=WEB, instances=instances))
    assert refused.reason is Refusal.INVALID
    assert refused.message == f"Expected `int` from 0 to 100000, found {instances} - at `$.instances`"


def test_a_restart_replaces_every_instance_by_the_same():
    """A new version of the same."""
    play = Play()
    tasks = play.up(instances=2, **AT_ONCE)
    events = play.ask(RestartRequested(app=WEB))
    assert only(events, AppSpecified)[0].changed == "restarted"
    assert only(events, AppSpecified)[0].app == spec(instances=2, **AT_ONCE)
    assert [fact.task for fact in only(events, InstanceDismissed)] == tasks[::-1]
    assert len(scheduled(events)) == 2


@pytest.mark.parametrize(
    "fact", [ScaleRequested(app=WEB, instances=1), RestartRequested(app=WEB), RemovalRequested(app=WEB)]
)
def test_an_app_that_is_not_there_cannot_be_changed(fact):
    refused = refusal(Play(), fact)
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "app /web does not exist")


# ---- remove -----------------------------------------------------------------------------------------------------


def test_a_removed_app_is_forgotten_with_its_last_instance():
    play = Play()
    tasks = play.up(instances=2)
    play.ask(ScaleRequested(app=WEB, instances=3))
    events = play.ask(RemovalRequested(app=WEB))
    assert types(events) == [
        "deployment.ended",
        "deployment.started",
        "instance.dismissed",
        *["instance.dismissed", "kill.requested"] * 2,
    ]
    assert only(events, AppRemoved)[0].app == WEB
    assert {fact.reason for fact in only(events, InstanceDismissed)} == {"DeletingApp"}
    play.update(tasks[0], KILLED)
    assert WEB in play.state.apps
    play.update(tasks[1], KILLED)
    assert (play.state.apps, play.state.owners, play.state.uneven) == ({}, {}, {})


def test_a_removed_app_without_instances_is_forgotten_at_once():
    play = Play()
    play.add(instances=0)
    assert types(play.ask(RemovalRequested(app=WEB))) == ["deployment.started", "deployment.ended"]
    assert play.state.apps == {}


def test_a_removed_app_can_be_changed_no_more():
    play = Play()
    play.up()
    play.ask(RemovalRequested(app=WEB))
    assert refusal(play, ScaleRequested(app=WEB, instances=5)).reason is Refusal.NOT_FOUND
    assert refusal(play, RemovalRequested(app=WEB)).reason is Refusal.NOT_FOUND


def test_a_removed_app_can_be_created_again_while_its_instances_die():
    play = Play()
    (old,) = play.up()
    play.ask(RemovalRequested(app=WEB))
    assert refusal(play, AppRequested(app=spec(cmd="true"))).reason is Refusal.LOCKED
    events = play.ask(AppRequested(app=spec(cmd="true"), force=True))
    assert only(events, AppSpecified)[0].changed == "created"
    assert only(events, AppSpecified)[0].app_version > only(play.log, AppSpecified)[0].app_version
    play.update(old, KILLED)
    assert (len(play.app().waiting), play.app().dying) == (1, {})


def test_a_removal_that_names_no_app_is_refused():
    refused = refusal(Play(), RemovalRequested(job=JobId("nightly")))
    assert (refused.reason, refused.message) == (Refusal.INVALID, "expected the id of an app - at `$.app`")


# ---- kill -------------------------------------------------------------------------------------------------------


def test_a_client_may_kill_an_instance_and_it_is_replaced():
    """The answer dismisses it; the replacement comes without a delay."""
    play = Play()
    (task,) = play.up()
    events = play.ask(KillRequested(task=task, grace_s=1.0), by=BOB)
    assert types(events) == ["instance.dismissed", "kill.requested", "instance.scheduled", "framework.revived"]
    assert (events[0].to, events[0].request) == (BOB.id, "q2")
    assert only(events, InstanceDismissed)[0].reason == "UserRequest"
    assert only(events, KillRequested)[0] == KillRequested(task=task, grace_s=1.0)
    assert only(events, InstanceScheduled)[0].replaces == task
    assert events[2].cause == events[0].cause
    assert types(play.update(task, KILLED)) == ["app.updated"]
    assert play.app().backoff.delay_us == 0


def test_killing_twice_asks_the_master_twice_and_replaces_once():
    play = Play()
    (task,) = play.up()
    play.ask(KillRequested(task=task))
    assert types(play.ask(KillRequested(task=task, grace_s=0.0))) == ["instance.dismissed", "kill.requested"]
    assert len(play.app().waiting) == 1


def test_what_is_no_instance_cannot_be_killed():
    refused = refusal(Play(), KillRequested(task=TaskId("web.1")))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "no instance web.1")


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf")])
def test_a_kill_with_an_impossible_grace_is_refused(grace_s):
    """The master would not direct it, and the instance would die for ever."""
    play = Play()
    (task,) = play.up()
    refused = refusal(play, KillRequested(task=task, grace_s=grace_s))
    assert refused.reason is Refusal.INVALID
    assert refused.message == f"Expected `float` from 0 to 31536000, found {grace_s} - at `$.grace_s`"


@pytest.mark.parametrize(
    "fact", [RestartRequested(app=AppId("\\" * 500_000)), KillRequested(task=TaskId("t" * 500_000))]
)
def test_the_refusal_of_something_huge_is_small(fact):
    assert len(refusal(Play(), fact).message) == 1000


def test_what_waits_cannot_be_killed():
    play = Play()
    (task,) = scheduled(play.add())
    assert refusal(play, KillRequested(task=task)).reason is Refusal.NOT_RUNNING


# ---- others -----------------------------------------------------------------------------------------------------


def test_who_located_marathon_needs_no_answer():
    """Step 1 is in the client's log."""
    assert Play().ask(SchedulerLocated(framework=MARATHON, through="marathon")) == []


def test_what_marathon_does_not_do_is_refused():
    refused = refusal(Play(), RunRequested(job=JobId("nightly")))
    assert refused.message == "marathon knows nothing of run.requested"


def test_only_clients_are_answered():
    play = Play()
    assert play.hear(MAIN, AppRequested(app=spec())) == []
    assert play.state.apps == {}


def test_large_apps_come_up_in_several_decisions():
    """At most 1000 events at once; the rest is due in state and goes on after a crash."""
    play = Play()
    first = play.hear(ALICE, AppRequested(app=spec(instances=2000)), request="big", trace="t1")
    assert len(first) <= 1000
    assert WEB in play.state.uneven
    play.restart()
    play.settle()
    assert len(play.app().waiting) == 2000
    assert {event.trace for event in play.log if event.type == "instance.scheduled"} == {"t1"}
    assert {event.cause for event in play.log if event.type == "instance.scheduled"} == {first[0].cause}
    play.ask(RemovalRequested(app=WEB))
    assert play.state.apps == {}


def test_versions_rise_even_within_a_millisecond():
    """Marathon: ISO-8601 in UTC with milliseconds."""
    first = next_version(START, None)
    assert first == "2027-01-15T08:00:00.000Z"
    assert next_version(START, first) == "2027-01-15T08:00:00.001Z"
    assert next_version(START, "2027-01-15T08:00:59.999Z") == "2027-01-15T08:01:00.000Z"


def test_the_client_who_changed_an_app_last_hears_of_it():
    play = Play()
    play.add()
    play.ask(ScaleRequested(app=WEB, instances=2, force=True), by=BOB, trace="t2")
    _, task = launches(play.make())
    (event,) = play.update(task.task, RUNNING)
    assert (event.to, task.trace, event.trace) == (BOB.id, "t2", "t2")
