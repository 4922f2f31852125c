"""Pods are kept running as apps are; an instance is what its containers are."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.documents import PodSpec
from bus.documents.reading import parse_document
from bus.events import Event, KillRequested, OfferDeclined, RequestRefused
from bus.nouns import NOTHING, TERMINAL, AppId, Now, Reason, Refusal, Resources, TaskId, TaskState
from bus.plans import Outcome
from bus.services import (
    AppRequested,
    AppUpdated,
    DeploymentEnded,
    HealthChanged,
    InstanceDismissed,
    KillsRequested,
    PodRequested,
    PodSpecified,
    RemovalRequested,
    RestartRequested,
    ScaleRequested,
)
from components.marathon.podded import UNHEALTHY, UNREACHABLE, pods
from components.marathon.state import terminations_kept_max
from tests.components.driver import only, types
from tests.components.marathon.play import RUNNING, Play, launches, scheduled, spec
from tests.components.master.datacenter import Datacenter

POD = AppId("/pod")
S = TaskState


def pod(pod_id: str = "/pod", *, instances: int = 1, checked: bool = False, **given) -> PodSpec:
    check = {"http": {"endpoint": "http"}, "gracePeriodSeconds": 0}
    document = {
        "id": pod_id,
        "containers": [
            {
                "name": "web",
                "resources": {"cpus": 0.5, "mem": 64},
                "exec": {"command": {"shell": "serve"}},
                "endpoints": [{"name": "http", "hostPort": 0}],
                **({"healthCheck": check} if checked else {}),
            },
            {"name": "log", "resources": {"cpus": 0.1, "mem": 32}, "exec": {"command": {"shell": "follow"}}},
        ],
        "scaling": {"kind": "fixed", "instances": instances},
    }
    return parse_document(json.dumps(document | given).encode(), PodSpec)


class Pods(Play):
    """Marathon with pods on it."""

    def want(self, pod_id: str = "/pod", **given) -> list[Event]:
        return self.ask(PodRequested(pod=pod(pod_id, **given), update=pod_id in self.state.apps))

    def all(self, instance: TaskId, state: TaskState, **more) -> list[Event]:
        """Something becomes of every container of an instance that lives."""
        live = [task for task, one in self.found(instance).containers.items() if one.state not in TERMINAL]
        return [event for task in live for event in self.update(task, state, **more)]

    def run(self, **given) -> list[TaskId]:
        """A pod is created and all its instances run."""
        self.want(**given)
        self.make()
        for instance in list(self.app(POD).launched):
            self.all(instance, RUNNING)
        return list(self.app(POD).launched)

    def found(self, instance: TaskId):
        app = self.app(POD)
        return app.launched.get(instance) or app.dying.get(instance) or app.absent[instance]

    def containers(self, instance: TaskId) -> list[TaskId]:
        return list(self.found(instance).containers)

    def row(self):
        (row,) = pods(self.state, b"", self.now)
        return row


@pytest.fixture
def play():
    play = Pods()
    yield play
    assert play.rebuilt() == play.hash()


# ---- launched together


def test_an_instance_is_one_group_on_one_offer(play):
    events = play.want(instances=2)
    (one, two) = scheduled(events)
    infos = launches(play.make())
    assert [info.task for info in infos] == [f"{one}.web.1", f"{one}.log.1", f"{two}.web.1", f"{two}.log.1"]
    assert [info.group.id for info in infos] == [one, one, two, two]
    assert play.found(one).ports == (31000,)
    assert play.state.suppressed


def test_what_does_not_fit_as_a_whole_is_not_placed(play):
    """Web alone would fit."""
    play.want()
    events = play.make(play.offer(Resources(cpu_milli=650, mem_mb=999, disk_mb=99, ports=((31000, 31001),))))
    (declined,) = only(events, OfferDeclined)
    assert [(one.reason, one.needed, one.had, one.app) for one in declined.unfit] == [
        ("InsufficientCpus", "0.7 cpus", "0.65 cpus", POD)
    ]


def test_a_fixed_host_port_is_meant(play):
    containers = [{**json.loads(json.dumps({"name": "w", "resources": {}, "exec": {"command": {"shell": "x"}}}))}]
    containers[0]["endpoints"] = [{"name": "http", "hostPort": 80}]
    play.want(containers=containers)
    events = play.make()
    assert [one.reason for one in only(events, OfferDeclined)[0].unfit] == ["InsufficientPorts"]


# ---- how they stand


def test_a_deployment_ends_when_every_container_runs(play):
    play.want()
    play.make()
    (instance,) = play.app(POD).launched
    web, log = play.containers(instance)
    assert play.row().instances[0].status == "STAGING"
    assert not only(play.update(web, RUNNING), DeploymentEnded)
    assert (play.row().status, play.app(POD).running) == ("DEGRADED", 0)
    events = play.update(log, RUNNING)
    assert [fact.outcome for fact in only(events, DeploymentEnded)] == [Outcome.SUCCEEDED]
    assert (play.row().status, play.row().instances[0].status, play.app(POD).running) == ("STABLE", "STABLE", 1)


def test_each_container_is_told_of_to_the_client(play):
    """So that each has its twelve steps."""
    play.want()
    play.make()
    (instance,) = play.app(POD).launched
    web, _ = play.containers(instance)
    (event,) = [event for event in play.update(web, RUNNING) if isinstance(event.fact, AppUpdated)]
    assert (event.fact.app, event.fact.status.task, event.to) == (POD, web, "u-alice")


def test_a_row_says_what_a_pod_status_needs(play):
    (instance,) = play.run(checked=True)
    web, log = play.containers(instance)
    row = play.row().instances[0]
    assert (row.agent, row.hostname, row.up) == ("a1", "a1.example", False)
    assert row.resources == Resources(cpu_milli=700, mem_mb=128, disk_mb=10)
    first = row.containers[0]
    assert (first.name, first.task, first.state, first.checked, first.healthy) == ("web", web, RUNNING, True, None)
    assert [(one.name, one.host_port, one.healthy) for one in first.endpoints] == [("http", 31000, None)]
    assert (row.status, row.message) == ("DEGRADED", UNHEALTHY)
    play.update(web, RUNNING, healthy=True)
    row = play.row().instances[0]
    assert (row.status, row.message, row.up) == ("STABLE", "", True)
    assert row.containers[0].endpoints[0].healthy is True
    assert row.containers[1].task == log


def test_a_waiting_instance_is_pending(play):
    play.want()
    (row,) = play.row().instances
    assert (row.status, play.row().status) == ("PENDING", "DEGRADED")


def test_health_of_a_container_is_the_instances(play):
    (instance,) = play.run(checked=True)
    web, _ = play.containers(instance)
    events = play.update(web, RUNNING, healthy=True)
    assert [(fact.task, fact.healthy) for fact in only(events, HealthChanged)] == [(web, True)]
    assert [fact.outcome for fact in only(events, DeploymentEnded)] == [Outcome.SUCCEEDED]
    assert play.update(web, RUNNING, healthy=True) == [], "said again"
    play.update(web, RUNNING, healthy=False, failures=1)
    assert play.row().instances[0].status == "DEGRADED"


# ---- ends


def test_one_that_fails_is_the_end_of_the_instance_once_all_have_ended(play):
    (instance,) = play.run()
    web, log = play.containers(instance)
    assert scheduled(play.update(web, S.FAILED, message="Command exited with status 1")) == []
    assert play.found(instance).state is S.KILLING
    (replacement,) = scheduled(play.update(log, S.KILLED, message="killed: ..."))
    app = play.app(POD)
    assert app.waiting[replacement].replaces == instance
    assert app.last_failure.message == f"{web}: Command exited with status 1"
    assert app.backoff.until == Now(play.now + 1_000_000)
    (ended,) = play.row().terminations
    assert (ended.instance, ended.message) == (instance, f"{web}: Command exited with status 1")
    assert [(one.name, one.state) for one in ended.containers] == [("web", S.FAILED), ("log", S.KILLED)]


def test_one_that_finishes_leaves_the_instance_alone(play):
    (instance,) = play.run()
    web, log = play.containers(instance)
    play.update(web, S.FINISHED)
    assert play.found(instance).state is RUNNING
    assert play.row().instances[0].containers[0].resources == NOTHING
    assert len(scheduled(play.update(log, S.FINISHED))) == 1


def test_an_end_that_is_said_again_is_no_news(play):
    (instance,) = play.run()
    web, _ = play.containers(instance)
    play.update(web, S.FINISHED)
    assert play.update(web, S.FINISHED, reason=Reason.RECONCILIATION) == []


def test_an_invalid_group_is_one_failure(play):
    play.want()
    play.make()
    (instance,) = play.app(POD).launched
    play.all(instance, S.ERROR, reason=Reason.TASK_GROUP_INVALID)
    assert len(play.app(POD).waiting) == 1
    assert play.app(POD).failures == 1
    assert play.app(POD).backoff.until is not None


def test_what_is_remembered_of_ends_is_bounded(play):
    play.run()
    for _ in range(terminations_kept_max + 2):
        (instance,) = play.app(POD).launched
        play.all(instance, S.KILLED)
        play.make()
    assert len(play.row().terminations) == terminations_kept_max


# ---- kills


def test_an_instance_is_killed_as_a_group(play):
    """By one word to the master, which names one of its containers that live."""
    (instance,) = play.run()
    web, log = play.containers(instance)
    play.update(web, S.FINISHED)
    events = play.ask(KillRequested(task=instance))
    assert [(kill.task, kill.group, kill.grace_s) for kill in only(events, KillRequested)] == [(log, True, None)]
    assert [(fact.task, fact.reason) for fact in only(events, InstanceDismissed)] == [(instance, "UserRequest")]


def test_a_container_that_is_to_be_killed_stands_for_its_instance(play):
    (instance,) = play.run()
    _, log = play.containers(instance)
    events = play.ask(KillsRequested(tasks=(log,)))
    assert [fact.task for fact in only(events, InstanceDismissed)] == [instance]


def test_a_pod_is_scaled_and_removed(play):
    (first,) = play.run()
    assert len(scheduled(play.ask(ScaleRequested(pod=POD, instances=2)))) == 1
    play.make()
    second = next(name for name in play.app(POD).launched if name != first)
    play.all(second, RUNNING)
    events = play.ask(ScaleRequested(pod=POD, instances=1))
    assert [fact.task for fact in only(events, InstanceDismissed)] == [second], "the youngest"
    play.all(second, S.KILLED)
    play.ask(RemovalRequested(pod=POD))
    assert play.row().status == "TERMINAL"
    play.all(first, S.KILLED)
    assert pods(play.state, b"", play.now) == []


def test_a_restart_makes_a_new_version_and_replaces(play):
    (old,) = play.run()
    (specified,) = only(play.ask(RestartRequested(pod=POD)), PodSpecified)
    play.make()
    (new,) = [name for name in play.app(POD).launched if name != old]
    events = play.all(new, RUNNING)
    assert [fact.task for fact in only(events, InstanceDismissed)] == [old]
    assert play.found(new).app_version == specified.app_version
    events = play.all(old, S.KILLED)
    assert [fact.outcome for fact in only(events, DeploymentEnded)] == [Outcome.SUCCEEDED]


# ---- lost and found


def test_an_instance_that_cannot_be_reached_is_replaced_once(play):
    (instance,) = play.run()
    web, log = play.containers(instance)
    assert len(scheduled(play.update(web, S.UNREACHABLE, reason=Reason.AGENT_REMOVED))) == 1
    assert play.update(log, S.UNREACHABLE, reason=Reason.AGENT_REMOVED) == []
    for task in (web, log):
        assert [kill.task for kill in only(play.update(task, RUNNING), KillRequested)] == [task], "it came back"


def test_one_that_is_given_up_before_it_ran_is_asked_for_no_more(play):
    """The first word of its agent being lost ends it: the launch of its other container stays unconfirmed for ever."""
    play.want()
    play.make()
    (instance,) = play.app(POD).launched
    play.update(play.containers(instance)[0], S.UNREACHABLE, reason=Reason.AGENT_REMOVED)
    assert not play.state.unconfirmed
    assert [one.instance for one in play.row().terminations] == [instance]


def test_one_that_is_given_up_after_a_while_is_remembered(play):
    (instance,) = play.run(scheduling={"unreachableStrategy": {"inactiveAfterSeconds": 60, "expungeAfterSeconds": 600}})
    for task in play.containers(instance):
        play.update(task, S.UNREACHABLE, reason=Reason.AGENT_REMOVED)
    play.advance(600)
    (ended,) = play.row().terminations
    assert (ended.instance, ended.message) == (instance, "it could not be reached, and was given up")


def test_an_instance_that_is_waited_for_comes_back_with_its_last_container(play):
    strategy = {"unreachableStrategy": {"inactiveAfterSeconds": 60, "expungeAfterSeconds": 600}}
    (instance,) = play.run(scheduling=strategy)
    web, log = play.containers(instance)
    for task in (web, log):
        play.update(task, S.UNREACHABLE, reason=Reason.AGENT_REMOVED)
    row = play.row().instances[0]
    assert (row.status, row.message) == ("DEGRADED", UNREACHABLE)
    play.update(web, RUNNING)
    assert play.found(instance).state is S.UNREACHABLE
    play.update(log, RUNNING)
    assert play.found(instance).state is RUNNING
    assert play.row().status == "STABLE"


def test_health_is_heard_of_one_that_is_not_all_back():
    """One container is back and checked, the other is not, and another instance has taken their place."""
    strategy = {"unreachableStrategy": {"inactiveAfterSeconds": 60, "expungeAfterSeconds": 600}}
    play = Pods()
    (instance,) = play.run(scheduling=strategy, checked=True)
    web, log = play.containers(instance)
    for task in (web, log):
        play.update(task, S.UNREACHABLE, reason=Reason.AGENT_REMOVED)
    play.advance(60)
    assert instance in play.app(POD).absent
    play.update(web, RUNNING)
    play.update(web, RUNNING, healthy=True)
    play.update(log, RUNNING)
    assert play.rebuilt() == play.hash()
    assert play.found(instance).healthy


def test_one_that_is_replaced_is_killed_as_a_group():
    strategy = {"unreachableStrategy": {"inactiveAfterSeconds": 60, "expungeAfterSeconds": 600}}
    play = Pods()
    (instance,) = play.run(scheduling=strategy)
    web, log = play.containers(instance)
    for task in (web, log):
        play.update(task, S.UNREACHABLE, reason=Reason.AGENT_REMOVED)
    play.advance(60)
    (kill,) = only(play.ask(KillRequested(task=web)), KillRequested)
    assert (kill.task, kill.group) == (web, True)


# ---- requests that are refused


def refusal(events: list[Event]) -> tuple[Refusal, str]:
    (fact,) = only(events, RequestRefused)
    return fact.reason, fact.message


def test_what_is_refused(play):
    play.want()
    again = play.ask(PodRequested(pod=pod()))
    assert refusal(again) == (Refusal.ALREADY_EXISTS, "a pod with id /pod already exists")
    reason, message = refusal(play.ask(AppRequested(app=spec("/pod"), update=True, force=True)))
    assert (reason, "/pod is a pod" in message) == (Refusal.INVALID, True)
    secret = {"environment": {"A": {"secret": "k"}}, "secrets": {"k": {"source": "none"}}}
    reason, message = refusal(play.ask(PodRequested(pod=pod("/other", **secret))))
    assert (reason, message) == (Refusal.INVALID, "secret none does not exist - at `$.secrets.k.source`")
    assert refusal(play.ask(RemovalRequested(pod=AppId("/none"))))[0] is Refusal.NOT_FOUND
    large = {"environment": {f"V{n}": "x" * 60_000 for n in range(2)}}
    reason, message = refusal(play.ask(PodRequested(pod=pod("/other", **large))))
    assert (reason, "the pod makes messages of" in message) == (Refusal.INVALID, True)


# ---- whatever happens


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_an_instance_is_never_forgotten_before_its_last_container_and_never_kept_after(data):
    """Containers change as they may, clients ask, offers come; then everything ends, and nothing is left."""
    play = Pods()
    play.want(instances=data.draw(st.integers(1, 3)), checked=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(5, 30))):
        step = data.draw(st.sampled_from(["offer", "update", "update", "update", "scale", "restart", "kill", "time"]))
        tasks = [
            task
            for app in play.state.apps.values()
            for instance in (*app.launched.values(), *app.dying.values())
            for task, one in instance.containers.items()
            if one.state not in TERMINAL
        ]
        if step == "offer":
            play.make()
        elif step == "update" and tasks:
            task = data.draw(st.sampled_from(sorted(tasks)))
            following = [S.STARTING, RUNNING, S.KILLING, S.FINISHED, S.FAILED, S.KILLED, S.UNREACHABLE]
            play.update(task, data.draw(st.sampled_from(following)), healthy=data.draw(st.sampled_from([None, True])))
        elif step == "scale":
            play.ask(ScaleRequested(pod=POD, instances=data.draw(st.integers(0, 3)), force=True))
        elif step == "restart":
            play.ask(RestartRequested(pod=POD, force=True))
        elif step == "kill" and play.app(POD).launched:
            play.ask(KillRequested(task=data.draw(st.sampled_from(sorted(play.app(POD).launched)))))
        elif step == "time":
            play.advance(data.draw(st.sampled_from([1.0, 60.0])))
        whole(play)
    play.ask(RemovalRequested(pod=POD, force=True))
    for _ in range(5):
        for app in list(play.state.apps.values()):
            for instance in [*app.launched, *app.dying]:
                play.all(instance, S.KILLED)
        play.settle()
    assert not play.state.apps
    assert not play.state.owners
    assert not play.state.unconfirmed
    assert play.rebuilt() == play.hash()


def whole(play: Pods) -> None:
    """Each instance that is there has a container that lives, and is counted as what its containers are."""
    for app in play.state.apps.values():
        for instance in (*app.launched.values(), *app.dying.values()):
            states = [one.state for one in instance.containers.values()]
            assert any(state not in TERMINAL for state in states), f"{instance}: all of it ended, and it is kept"
            bad = [state for state in states if state in TERMINAL and state is not S.FINISHED]
            assert not (bad and instance.state is RUNNING), f"half alive: {states}"
        assert app.running == sum(one.state is RUNNING for one in app.launched.values())


def test_the_master_refuses_nothing_that_marathon_asks_for(play):
    """What a pod becomes is a valid group. (`master.validity`)"""
    play.want(instances=2)
    infos = launches(play.make())
    dc = Datacenter()
    dc.register("a1", "cpus:8;mem:9000;disk:999;ports:[31000-31009]")
    dc.enroll("marathon")
    events = dc.launch("marathon", "a1", *infos)
    assert types(events) == ["task.launched"] * 4
