"""Deployments: from request to end, who holds a lock, how one is undone, and when one gives up."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from bus.documents import HealthCheck, UpgradeStrategy
from bus.events import Event, KillRequested, RequestRefused
from bus.nouns import AppId, Refusal, TaskId
from bus.plans import DeploymentId, Outcome
from bus.services import (
    AppRequested,
    AppSpecified,
    AppsRequested,
    AppWish,
    CancelRequested,
    DeploymentAdvanced,
    DeploymentEnded,
    DeploymentStarted,
    InstanceDismissed,
    InstanceScheduled,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
    facts_of,
    in_short,
)
from components.component import Wake, apply
from components.marathon.levels import changes_max
from components.marathon.planning import deployments_max
from components.marathon.state import MarathonState
from tests.components.driver import drive, only, types
from tests.components.marathon.play import ALICE, BOB, FAILED, KILLED, RUNNING, WEB, Play, launches, scheduled, spec

GENTLE = {"upgrade_strategy": UpgradeStrategy(minimum_health_capacity=0.5, maximum_over_capacity=0.0)}


def run_all(play: Play) -> list[Event]:
    """Whatever waits is launched and runs, whatever is to be killed is killed, until nothing is left to do."""
    events: list[Event] = []
    for _ in range(50):
        before = len(play.log)
        for task in dying(play):
            events += play.update(task, KILLED)
        if any(app.waiting for app in play.state.apps.values()):
            events += play.make()
        for app in list(play.state.apps.values()):
            for task, one in list(app.launched.items()):
                if one.state is not RUNNING:
                    events += play.update(task, RUNNING)
        if len(play.log) == before:
            break
    return events


def dying(play: Play) -> list[TaskId]:
    return [task for app in play.state.apps.values() for task in app.dying]


def apart(log: list[Event]) -> list[Event]:
    """The log as releases wrote it that said all that rides on an answer by events of its own."""
    facts = [(event, fact) for event in log for fact in facts_of(event.fact)]
    return [
        replace(event, n=n, fact=in_short(fact), request=event.request if fact is event.fact else None)
        for n, (event, fact) in enumerate(facts, start=1)
    ]


def ended(events: list[Event]) -> list[tuple[str, Outcome]]:
    return [(fact.deployment, fact.outcome) for fact in only(events, DeploymentEnded)]


def refusal(events: list[Event]) -> RequestRefused:
    (fact,) = only(events, RequestRefused)
    return fact


def named(events: list[Event]) -> DeploymentId:
    (fact,) = only(events, DeploymentStarted)
    return fact.deployment


def actions(events: list[Event]) -> list[list[str]]:
    (fact,) = only(events, DeploymentStarted)
    return [[f"{one.name} {one.id}" for one in step] for step in fact.plan.steps]


# ---- how one goes ------------------------------------------------------------------------------------------------


def test_a_new_app_is_started_and_then_scaled():
    play = Play()
    events = play.add(instances=2)
    assert actions(events) == [["StartApplication /web"], ["ScaleApplication /web"]]
    assert types(events) == ["deployment.started", "framework.revived"]
    assert [fact.type for fact in facts_of(events[0].fact)] == [
        "deployment.started",
        "app.specified",
        "deployment.advanced",
        "deployment.advanced",
        *["instance.scheduled"] * 2,
    ]
    assert play.app().deployment == named(events)
    assert ended(run_all(play)) == [(named(events), Outcome.SUCCEEDED)]
    assert play.app().deployment is None
    assert play.state.deployments == {}


def test_a_deployment_without_steps_ends_at_once():
    play = Play()
    play.up()
    events = play.ask(AppRequested(app=spec(), update=True))
    assert types(events) == ["deployment.started", "deployment.ended"]


def test_a_rolling_update_keeps_half_of_it_up():
    """Minimum 0.5, over 0: two are killed, two are started once they ended, and so on."""
    play = Play()
    old = play.up(instances=4, **GENTLE)
    events = play.ask(AppRequested(app=spec(instances=4, cmd="true", **GENTLE), update=True))
    assert actions(events) == [["RestartApplication /web"]]
    assert [fact.task for fact in only(events, InstanceDismissed)] == [old[3], old[2]]
    assert scheduled(events) == []
    events = play.update(old[3], KILLED)
    assert len(scheduled(events)) == 1
    ups = []
    while play.app().deployment:
        ups.append(len(play.app().up))
        assert run_one(play)
    assert min(ups) == 2
    assert {one.app_version for one in play.app().launched.values()} == {play.app().version}


def run_one(play: Play) -> bool:
    """One thing happens in the world."""
    for task in dying(play):
        play.update(task, KILLED)
        return True
    for task, one in play.app().launched.items():
        if one.state is not RUNNING:
            play.update(task, RUNNING)
            return True
    if play.app().waiting:
        play.make()
        return True
    return False


def test_what_is_not_healthy_holds_a_step():
    """The next app waits until the first is up: running, healthy, ready."""
    play = Play()
    check = HealthCheck(protocol="MESOS_TCP", port_index=0)
    wishes = (AppWish(app=spec("/db", health_checks=(check,))), AppWish(app=spec("/web", dependencies=("/db",))))
    events = play.ask(AppsRequested(apps=wishes))
    assert actions(events) == [
        ["StartApplication /db", "StartApplication /web"],
        ["ScaleApplication /db"],
        ["ScaleApplication /web"],
    ]
    (task,) = launches(play.make())
    assert task.app == "/db"
    assert only(play.update(task.task, RUNNING), DeploymentAdvanced) == []
    assert only(play.update(task.task, RUNNING, healthy=True), DeploymentAdvanced)[0].step == 2
    assert len(play.app().waiting) == 1


def test_old_instances_are_kept_as_they_were_until_their_step():
    """One that fails before is replaced by its like."""
    play = Play()
    play.up("/db")
    (web,) = play.up("/web")
    wishes = (
        AppWish(app=spec("/db", cmd="true")),
        AppWish(app=spec("/web", cmd="true", dependencies=("/db",))),
    )
    play.ask(AppsRequested(apps=wishes))
    before = play.app().version
    play.update(web, FAILED)
    play.advance(5)
    tasks = [task for task in launches(play.make()) if task.app == "/web"]
    assert [task.command.shell for task in tasks] == ["sleep 1000"]
    assert play.app().version == before
    run_all(play)
    assert play.app().spec.cmd == "true"


# ---- locks -------------------------------------------------------------------------------------------------------


def test_who_holds_a_lock_is_named():
    play = Play()
    first = named(play.add(instances=2))
    refused = refusal(play.ask(ScaleRequested(app=WEB, instances=3), by=BOB))
    assert refused.reason is Refusal.LOCKED
    assert refused.held_by == (first,)
    assert refused.message == (
        f"/web is locked by deployment {first} of u-alice since 2027-01-15T08:00:00.000Z,"
        " at step 2 of 2: ScaleApplication /web"
    )


def test_force_stops_who_is_in_the_way():
    play = Play()
    first = named(play.add(instances=2))
    events = play.ask(ScaleRequested(app=WEB, instances=3, force=True))
    assert ended(events) == [(first, Outcome.CANCELLED)]
    assert only(events, DeploymentStarted)[0].cancels == (first,)
    assert events[1].request == "q2"
    assert ended(run_all(play)) == [(named(events), Outcome.SUCCEEDED)]
    assert len(play.app().up) == 3


def test_other_apps_are_not_locked():
    play = Play()
    play.add("/a")
    play.add("/b")
    assert len(play.state.deployments) == 2


def test_more_than_a_hundred_are_too_many():
    play = Play()
    for index in range(deployments_max):
        play.add(f"/app-{index}", cpus=100)
    refused = refusal(play.add("/one-more"))
    assert refused.reason is Refusal.TOO_MANY
    assert refused.message.startswith("100 deployments go on")
    events = play.ask(AppRequested(app=spec("/app-7", cpus=50), update=True, force=True))
    assert only(events, DeploymentStarted)


# ---- cancel ------------------------------------------------------------------------------------------------------


def test_cancel_goes_back_and_keeps_what_is_old():
    """Old instances that still run are good again: nothing of them is restarted."""
    play = Play()
    old = play.up(instances=4, **GENTLE)
    version = play.app().version
    changed = named(play.ask(AppRequested(app=spec(instances=4, cmd="true", **GENTLE), update=True)))
    play.update(old[3], KILLED)
    play.update(old[2], KILLED)
    play.make()
    events = play.ask(CancelRequested(deployment=changed))
    assert ended(events) == [(changed, Outcome.REVERSED)]
    assert only(events, DeploymentStarted)[0].reverses == changed
    assert (play.app().version, play.app().spec.cmd) == (version, "sleep 1000")
    assert len(play.app().up) == 2
    run_all(play)
    assert [one.app_version for one in play.app().launched.values()] == [version] * 4
    assert set(old[:2]) <= set(play.app().launched)


def test_the_cancel_of_a_creation_removes_it():
    play = Play()
    created = named(play.add())
    events = play.ask(CancelRequested(deployment=created))
    assert actions(events) == [["StopApplication /web"]]
    assert play.state.apps == {}
    assert play.state.deployments == {}


def test_the_cancel_of_a_removal_brings_it_back():
    play = Play()
    (task,) = play.up()
    removed = named(play.ask(RemovalRequested(app=WEB)))
    events = play.ask(CancelRequested(deployment=removed))
    assert only(events, AppSpecified)[0].changed == "reversed"
    play.update(task, KILLED)
    run_all(play)
    assert len(play.app().up) == 1


def test_a_forced_cancel_only_stops():
    """State is left mixed; what then fails is replaced by the new version."""
    play = Play()
    old = play.up(instances=4, **GENTLE)
    changed = named(play.ask(AppRequested(app=spec(instances=4, cmd="true", **GENTLE), update=True)))
    events = play.ask(CancelRequested(deployment=changed, force=True))
    assert types(events)[0] == "deployment.ended"
    assert events[0].request is not None
    run_all(play)
    assert set(old[:2]) <= set(play.app().launched)
    assert len(play.app().up) == 4
    assert len(play.app().outdated) == 2
    events = play.ask(AppRequested(app=spec(instances=4, cmd="true", **GENTLE), update=True))
    assert actions(events) == [["RestartApplication /web"]]
    run_all(play)
    assert play.app().outdated == {}


def test_what_has_ended_cannot_be_cancelled():
    refused = refusal(Play().ask(CancelRequested(deployment=DeploymentId("d-1"))))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "deployment d-1 does not exist")


# ---- versions ----------------------------------------------------------------------------------------------------


def test_a_rollback_is_a_new_version_of_the_old_configuration():
    play = Play()
    play.up()
    first = play.app().version
    play.ask(AppRequested(app=spec(cmd="true"), update=True))
    run_all(play)
    play.ask(RollbackRequested(app=WEB, to_version=first))
    run_all(play)
    assert play.app().spec.cmd == "sleep 1000"
    assert play.app().version > first
    assert len(play.app().history) == 3
    refused = refusal(play.ask(RollbackRequested(app=WEB, to_version="2020-01-01T00:00:00.000Z")))
    assert refused.message == "/web has no version 2020-01-01T00:00:00.000Z"


def test_a_scale_is_a_version_of_its_own_and_keeps_the_configurations():
    play = Play()
    play.up()
    first = play.app().version
    events = play.ask(ScaleRequested(app=WEB, instances=2))
    (fact,) = only(events, AppSpecified)
    assert fact.app_version == first
    assert fact.change_version is not None
    assert fact.change_version > first


def test_fifty_versions_are_kept():
    play = Play()
    play.up()
    for index in range(60):
        play.ask(ScaleRequested(app=WEB, instances=index % 2))
        run_all(play)
    assert len(play.app().history) == 50
    assert len(play.state.changes) == 50


def test_a_partial_update_keeps_the_other_fields():
    play = Play()
    play.up(mem=64)
    partial = AppRequested(app=spec(cmd="true"), update=True, partial=("cmd",))
    (fact,) = only(play.ask(partial), AppSpecified)
    assert (fact.app.cmd, fact.app.mem) == ("true", 64)


def test_an_app_that_is_not_there_is_not_created_by_a_patch():
    refused = refusal(Play().ask(AppRequested(app=spec(), update=True, only_existing=True)))
    assert (refused.reason, refused.message) == (Refusal.NOT_FOUND, "app /web does not exist")


def test_a_single_instance_stays_single_and_is_replaced_only_when_it_has_ended():
    """Marathon: MARATHON_SINGLE_INSTANCE_APP."""
    play = Play()
    single = {
        "labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"},
        "upgrade_strategy": UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=0.0),
    }
    (task,) = play.up(**single)
    assert refusal(play.ask(ScaleRequested(app=WEB, instances=2))).message.endswith("at `$.instances`")
    events = play.ask(RestartRequested(app=WEB))
    assert ([fact.task for fact in only(events, KillRequested)], scheduled(events)) == ([task], [])
    assert len(scheduled(play.update(task, KILLED))) == 1


def test_an_old_log_is_folded_as_it_was_meant():
    """Before there were deployments, an app was at once as it was specified, and all old instances were replaced."""
    play = Play()
    old = play.up(instances=2)
    said = [event for event in apart(play.log) if not event.type.startswith("deployment.")]
    state = play.component.start()
    for n, event in enumerate(said, start=1):
        fact = event.fact
        if isinstance(fact, AppSpecified):
            fact = replace(fact, deployment=None)
        apply(play.component, state, replace(event, n=n, fact=fact))
    changed = AppSpecified(app=spec(instances=2, cmd="true"), app_version="2027-01-15T08:00:00.001Z", changed="updated")
    apply(play.component, state, replace(said[-1], n=len(said) + 1, fact=changed, to="u-alice"))
    play.component.check(state)
    app = state.apps[WEB]
    assert (app.deployment, app.at_once, list(app.outdated)) == (None, True, old)
    events = drive(play.component, state, Wake(), play.now)
    assert [fact.task for fact in only(events, InstanceDismissed)] == old[::-1]
    assert [fact.replaces for fact in only(events, InstanceScheduled)] == old[::-1]
    assert app.even
    assert not app.at_once


def test_what_rides_on_an_answer_was_said_by_events_of_its_own():
    """The log of a release that said it so is folded to the same state."""
    play = Play()
    play.up(instances=2)
    play.ask(ScaleRequested(app=WEB, instances=3))
    play.ask(RestartRequested(app=WEB, force=True))
    run_all(play)
    play.add("/gone", instances=1)
    play.ask(RemovalRequested(app=AppId("/gone")))
    state = play.component.start()
    for event in apart(play.log):
        apply(play.component, state, event)
    assert state.n > play.state.n
    assert kept(state) == kept(play.state)


def kept(state: MarathonState) -> object:
    """A state, without numbers of events."""
    for app in state.apps.values():
        for order, waiting in enumerate(app.waiting.values()):
            waiting.order = order
    state.n = 0
    return msgspec.to_builtins(state)


def test_what_follows_from_an_answer_is_found_by_the_next_term():
    """Answered, and nothing else said yet, when the process dies: who comes next does the rest."""
    play = Play()
    tasks = play.up(instances=2)
    play.make()
    for fact in (ScaleRequested(app=WEB, instances=3), RemovalRequested(app=WEB)):
        told = play.hear(ALICE, fact, request=fact.type)
        assert [(event.type, event.to, event.last) for event in told][-1:] == [("deployment.started", ALICE.id, True)]
        play.restart()
        play.settle()
        after = play.admit()
        if isinstance(fact, ScaleRequested):
            assert "framework.revived" in types(after)
    assert sorted(fact.task for fact in only(play.log, KillRequested)) == sorted(tasks)
    assert play.rebuilt() == play.hash()


def test_many_instances_are_not_all_said_with_the_answer():
    """The rest follows, all of it with one wish for offers."""
    play = Play()
    events = play.add(instances=changes_max + 5)
    assert types(events) == ["deployment.started", *["instance.scheduled"] * 5, "framework.revived"]
    assert len(set(scheduled(events))) == changes_max + 5


def test_what_went_is_replaced_by_name_also_after_an_answer():
    """A scale that is forced while the last old instance still dies: the first new one takes its place."""
    play = Play()
    (old,) = play.up(upgrade_strategy=UpgradeStrategy(minimum_health_capacity=0.0, maximum_over_capacity=0.0))
    assert scheduled(play.ask(RestartRequested(app=WEB))) == []
    events = play.ask(ScaleRequested(app=WEB, instances=2, force=True))
    assert [fact.replaces for fact in only(events, InstanceScheduled)] == [old, None]


def test_an_app_is_created_again_before_its_old_instances_are_dismissed():
    """Two requests heard in a row, with nothing decided between them: the old go first."""
    play = Play()
    play.add()
    (waits,) = play.app().waiting
    play.hear(ALICE, RemovalRequested(app=WEB), request="r1")
    play.hear(ALICE, AppRequested(app=spec(instances=2), force=True), request="r2")
    events = play.settle()
    assert [fact.task for fact in only(events, InstanceDismissed)] == [waits]
    assert len(play.app().waiting) == len(scheduled(events)) == 2


def test_what_is_kept_of_an_answer_is_short():
    """It is said again if the request is, for a day: without the app, which may be large."""
    play = Play()
    asked = play.said(ALICE, AppRequested(app=spec(instances=3)), request="q1")
    (told,) = play.hear_event(asked)
    (again,) = play.hear_event(asked)
    assert again.fact == in_short(told.fact) != told.fact
    assert facts_of(again.fact) == (again.fact,)


# ---- dependencies ------------------------------------------------------------------------------------------------


def test_apps_that_wait_for_each_other_are_refused():
    play = Play()
    wishes = (
        AppWish(app=spec("/a", dependencies=("/b",))),
        AppWish(app=spec("/b", dependencies=("/c",))),
        AppWish(app=spec("/c", dependencies=("/a",))),
    )
    refused = refusal(play.ask(AppsRequested(apps=wishes)))
    assert refused.message == ("apps depend on each other in a circle: /a -> /b -> /c -> /a - at `$.dependencies`")
    assert play.state.apps == {}


def test_an_app_and_a_group_cannot_have_the_same_id():
    play = Play()
    play.add("/a/b")
    assert refusal(play.add("/a")).message == "/a is a group, and cannot be an app - at `$.id`"
    assert refusal(play.add("/a/b/c")).message == "/a/b is an app, and cannot be the group of /a/b/c - at `$.id`"


def test_a_crash_in_the_middle_changes_nothing():
    play = Play()
    play.up(instances=4, **GENTLE)
    play.ask(RestartRequested(app=WEB))
    play.restart()
    play.settle()
    play.admit()
    run_all(play)
    assert len(play.app().up) == 4
    assert play.app(AppId("/web")).deployment is None
