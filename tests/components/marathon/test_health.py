"""What Marathon makes of what is found about its instances."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bus.app_rows import AppRow
from bus.documents.app import HealthCheck, HealthCommand, PortDefinition, ReadinessCheck, Rollout
from bus.documents.check import AppCheck, CheckCommand, ExecCheck, HttpCheck, TcpCheck
from bus.events import KillRequested
from bus.nouns import Check, Command, Now, Probe, Reason, TaskId, TaskInfo, TaskState, second
from bus.queries import pack
from bus.services import (
    AppRequested,
    AppUpdated,
    DeploymentEnded,
    HealthChanged,
    InstanceDismissed,
    InstanceScheduled,
    ReadinessChanged,
)
from components.marathon import queries
from components.marathon.sights import CheckSeen, ReadinessSeen
from components.marathon.state import UNHEALTHY
from tests.components.driver import only, types
from tests.components.marathon.play import KILLED, RUNNING, UNREACHABLE, WEB, Play, launches, spec

HTTP = HealthCheck(path="/health", grace_period_seconds=10, max_consecutive_failures=3)
MESOS = HealthCheck(protocol="MESOS_HTTP", path="/health")
READY = ReadinessCheck(port_name="http-api", path="/ready")
HTTP_API = (PortDefinition(name="http-api"),)
UPDATED = Reason.TASK_HEALTH_CHECK_STATUS_UPDATED


def good(task: TaskId, check: int = 0) -> CheckSeen:
    return CheckSeen(task=task, check=check, healthy=True)


def bad(task: TaskId, check: int = 0) -> CheckSeen:
    return CheckSeen(task=task, check=check, healthy=False, cause="HTTP 500")


def told(events: list) -> list[tuple[bool, int]]:
    return [(fact.healthy, fact.failures) for fact in only(events, HealthChanged)]


def row(play: Play) -> AppRow:
    return queries.apps(play.state, pack(None), play.now)[0]


def launched(**fields: object) -> TaskInfo:
    """The task that is launched for an app."""
    play = Play()
    play.add(**fields)
    (task,) = launches(play.make())
    return task


# ---- which checks an instance has -------------------------------------------------------------------------------


def test_an_executors_check_has_the_instances_port_and_the_apps_numbers():
    task = launched(health_checks=(MESOS,), ports=(0, 0))
    assert task.watched == ()
    assert task.health == Check(
        probe=Probe.HTTP,
        port=task.ports[0],
        path="/health",
        delay_s=15.0,
        interval_s=60.0,
        timeout_s=20.0,
        grace_s=300.0,
        failures_max=3,
    )


@pytest.mark.parametrize(
    ("given", "probe", "port"),
    [
        ({"protocol": "MESOS_TCP", "port_index": 1}, Probe.TCP, 1),
        ({"protocol": "MESOS_HTTPS", "port": 9999}, Probe.HTTPS, 9999),
        ({"protocol": "MESOS_HTTP", "port_index": 1, "port": 9999}, Probe.HTTP, 9999),
        ({"protocol": "COMMAND", "command": HealthCommand(value="true")}, Probe.COMMAND, None),
    ],
)
def test_a_port_by_number_goes_before_one_by_index(given, probe, port):
    task = launched(health_checks=(HealthCheck(**given),), ports=(0, 0))
    assert task.health is not None
    assert task.health.probe is probe
    assert task.health.port == {1: task.ports[1], None: 0}.get(port, port)
    assert task.health.command == (Command(shell="true") if port is None else None)


def test_marathons_checks_are_watched_and_begin_without_delay():
    task = launched(health_checks=(HTTP, HealthCheck(protocol="TCP")))
    assert task.health is None
    assert [(one.probe, one.path, one.delay_s) for one in task.watched] == [
        (Probe.HTTP, "/health", 0.0),
        (Probe.TCP, "/", 0.0),
    ]


def test_readiness_is_asked_at_the_named_port():
    ports = (PortDefinition(name="admin"), PortDefinition(name="http-api"))
    task = launched(readiness_checks=(READY,), port_definitions=ports)
    assert task.readiness is not None
    assert (task.readiness.port, task.readiness.path, task.readiness.codes) == (task.ports[1], "/ready", (200,))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (AppCheck(http=HttpCheck(port_index=1, path="/x", scheme="HTTPS")), Check(probe=Probe.HTTPS, path="/x")),
        (AppCheck(tcp=TcpCheck(port_index=1)), Check(probe=Probe.TCP)),
        (
            AppCheck(exec=ExecCheck(command=CheckCommand(argv=("a", "b")))),
            Check(probe=Probe.COMMAND, command=Command(argv=("a", "b"))),
        ),
    ],
)
def test_the_check_from_which_nothing_follows_is_the_executors(given, found):
    task = launched(check=given, ports=(0, 0))
    port = 0 if found.probe is Probe.COMMAND else task.ports[1]
    assert task.check == replace(found, port=port, delay_s=15.0, interval_s=60.0, timeout_s=20.0, grace_s=0.0)
    assert (task.health, task.watched) == (None, ())


def test_an_app_without_checks_is_told_nothing_of_them():
    task = launched()
    assert (task.health, task.watched, task.readiness) == (None, (), None)
    assert not {"health", "watched", "readiness"} & msgspec.to_builtins(task).keys()


# ---- marathon's own checks --------------------------------------------------------------------------------------


def test_only_changes_and_failures_that_count_are_said():
    play = Play()
    (task,) = play.up(health_checks=(HTTP,))
    assert play.see(bad(task)) == []
    assert told(play.see(good(task))) == [(True, 0)]
    assert play.see(good(task)) == []
    assert told(play.see(bad(task))) == [(False, 1)]
    assert told(play.see(good(task))) == [(True, 0)]
    play.advance(10)
    assert told(play.see(bad(task))) == [(False, 1)]


def test_the_last_failure_dismisses_the_instance_and_another_follows_after_the_backoff():
    play = Play()
    (task,) = play.up(health_checks=(HTTP,))
    play.see(good(task))
    for _ in range(2):
        play.see(bad(task))
    events = play.see(bad(task))
    assert types(events) == ["health.changed", "instance.dismissed", "kill.requested", "instance.scheduled"]
    (dismissed,), (kill,) = only(events, InstanceDismissed), only(events, KillRequested)
    assert (dismissed.reason, dismissed.delay_until) == (UNHEALTHY, play.now + second)
    assert dismissed.why == kill.reason == "3 checks in a row failed, the last one: HTTP 500"
    assert only(events, InstanceScheduled)[0].replaces == task
    assert launches(play.make()) == []
    assert play.see(bad(task)) == []
    play.update(task, KILLED)
    play.advance(1)
    assert len(launches(play.make())) == 1


def test_a_deployment_of_instances_that_turn_bad_has_failed():
    """Marathon's own checks count as the executor's do."""
    play = Play()
    play.up()
    check = HealthCheck(grace_period_seconds=0, max_consecutive_failures=1)
    bad_one = spec(health_checks=(check,), rollout=Rollout(max_launch_attempts=2))
    play.ask(AppRequested(app=bad_one, update=True))
    events: list = []
    for _ in range(2):
        assert only(events, DeploymentEnded) == []
        (info,) = launches(play.make())
        play.update(info.task, RUNNING)
        events = play.see(bad(info.task)) + play.settle()
        events += play.update(info.task, KILLED)
        play.advance(5)
    (fact,) = only(events, DeploymentEnded)
    assert fact.message.startswith("RestartApplication /web failed 2 times, at most 2 are allowed")


def test_no_maximum_means_never_killed():
    play = Play()
    (task,) = play.up(health_checks=(HealthCheck(grace_period_seconds=0, max_consecutive_failures=0),))
    for count in range(1, 20):
        assert told(play.see(bad(task))) == [(False, count)]
    assert not only(play.log, InstanceDismissed)


def test_healthy_is_who_passes_all_checks():
    play = Play()
    (task,) = play.up(health_checks=(HTTP, HTTP))
    instance = play.app().launched[task]
    assert instance.healthy is None
    play.see(good(task, 0))
    assert instance.healthy is None
    play.see(good(task, 1))
    assert instance.healthy is True
    play.see(bad(task, 1))
    assert instance.healthy is False


def test_the_grace_is_counted_from_when_it_runs():
    play = Play()
    play.add(health_checks=(HTTP,))
    (info,) = launches(play.make())
    play.advance(100)
    play.update(info.task, RUNNING)
    assert play.see(bad(info.task)) == []
    play.advance(9.999)
    assert play.see(bad(info.task)) == []
    play.advance(0.001)
    assert told(play.see(bad(info.task))) == [(False, 1)]


def test_what_is_seen_of_an_instance_that_does_not_run_is_old():
    play = Play()
    play.add(health_checks=(HTTP,))
    (info,) = launches(play.make())
    assert play.see(good(info.task)) == []
    assert play.see(good(TaskId("nobody"))) == []
    play.update(info.task, RUNNING)
    assert play.see(good(info.task, check=7)) == []
    play.update(info.task, UNREACHABLE)
    assert play.see(bad(info.task)) == []


def test_who_leads_anew_knows_what_was_found_and_kills_for_no_failure_of_before():
    """So a change of the leader stops no deployment, and nobody is killed for it."""
    play = Play()
    (task,) = play.up(health_checks=(HTTP,))
    for seen in (good(task), bad(task), bad(task)):
        play.see(seen)
    play.restart()
    assert play.app().launched[task].healthy is False
    assert told(play.see(bad(task))) == [(False, 1)]
    assert told(play.see(good(task))) == [(True, 0)]
    assert not only(play.log, InstanceDismissed)


def test_the_row_shows_what_was_found_and_when():
    play = Play()
    tasks = play.up(health_checks=(HTTP,), instances=3)
    play.see(good(tasks[0]))
    play.see(good(tasks[1]))
    first = play.now
    play.advance(5)
    play.see(bad(tasks[1]))
    assert (row(play).healthy, row(play).unhealthy) == (1, 1)
    (found,) = row(play).instances[1].found
    assert (found.alive, found.failures, found.cause) == (False, 1, "HTTP 500")
    assert (found.first_success, found.last_success, found.last_failure) == (first, first, play.now)
    assert [one.healthy for one in row(play).instances] == [True, False, None]


class Model:
    """The rule in a few lines."""

    def __init__(self, grace_s: int, failures_max: int) -> None:
        self.grace_s, self.failures_max = grace_s, failures_max
        self.age_s, self.failures = 0, 0
        self.alive: bool | None = None
        self.proven = self.dead = False

    def see(self, waited_s: int, healthy: bool) -> list[tuple[bool, int]]:
        """What is said of it."""
        self.age_s += waited_s
        if self.dead or (not healthy and not self.proven and self.age_s < self.grace_s):
            return []
        news = self.alive is not True if healthy else True
        self.alive, self.failures = healthy, 0 if healthy else self.failures + 1
        self.proven = self.proven or healthy
        self.dead = 0 < self.failures_max <= self.failures
        return [(healthy, self.failures)] if news else []


@given(st.integers(0, 20), st.integers(0, 4), st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=25))
def test_any_looks_are_said_by_the_rule(grace_s, failures_max, looks):
    play, model = Play(), Model(grace_s, failures_max)
    check = HealthCheck(grace_period_seconds=grace_s, max_consecutive_failures=failures_max)
    (task,) = play.up(health_checks=(check,))
    for waited_s, healthy in looks:
        play.advance(waited_s)
        assert told(play.see(good(task) if healthy else bad(task))) == model.see(waited_s, healthy)
        assert bool(only(play.log, InstanceDismissed)) == model.dead
    assert play.rebuilt() == play.hash()


# ---- an executor's checks ---------------------------------------------------------------------------------------


def test_what_an_executor_found_is_said_once():
    play = Play()
    (task,) = play.up(health_checks=(MESOS,))
    events = play.update(task, RUNNING, healthy=True, reason=UPDATED)
    assert types(events) == ["health.changed", "deployment.ended"]
    assert play.app().launched[task].healthy is True
    assert play.update(task, RUNNING, healthy=True, reason=Reason.RECONCILIATION) == []
    events = play.update(task, RUNNING, healthy=False, failures=1, reason=UPDATED, message="HTTP 500")
    assert told(events) == [(False, 1)]
    assert only(events, HealthChanged)[0].cause == "HTTP 500"
    assert play.update(task, RUNNING, healthy=False, failures=1) == []
    assert play.see(good(task)) == []


def test_what_an_executor_found_outlives_the_leader():
    play = Play()
    (task,) = play.up(health_checks=(MESOS,))
    play.update(task, RUNNING, healthy=True)
    play.restart()
    assert play.app().launched[task].healthy is True


def test_who_was_killed_as_unhealthy_has_failed():
    play = Play()
    (task,) = play.up(health_checks=(MESOS,))
    events = play.update(task, KILLED, healthy=False, failures=3, reason=UPDATED)
    (updated,) = only(events, AppUpdated)
    assert updated.delay_until == play.now + second
    assert play.app().last_failure is not None
    assert launches(play.make()) == []


def test_an_instance_that_comes_back_healthy_is_known_to_be():
    play = Play()
    play.add(health_checks=(MESOS,))
    (info,) = launches(play.make())
    play.update(info.task, RUNNING, healthy=True)
    assert play.app().launched[info.task].healthy is True


def test_the_health_of_a_dying_instance_is_said_and_changes_nothing_else():
    play = Play()
    (task,) = play.up(health_checks=(MESOS,))
    play.ask(KillRequested(task=task))
    assert types(play.update(task, RUNNING, healthy=True)) == ["health.changed"]
    assert play.update(task, RUNNING, healthy=True) == []


def test_what_the_other_check_finds_is_shown_and_nothing_follows():
    play = Play()
    (task,) = play.up(check=AppCheck(tcp=TcpCheck()), health_checks=(MESOS,))
    play.update(task, RUNNING, healthy=True, checked=1)
    events = play.update(task, RUNNING, healthy=True, checked=0)
    assert types(events) == ["check.changed"]
    assert row(play).instances[0].checked == 0
    assert play.update(task, RUNNING, healthy=True, checked=0, reason=Reason.RECONCILIATION) == []
    assert types(play.update(task, RUNNING, healthy=True)) == ["check.changed"]
    assert row(play).instances[0].checked is None


# ---- readiness --------------------------------------------------------------------------------------------------


def ready(task: TaskId, status: int = 200, body: str = "") -> ReadinessSeen:
    return ReadinessSeen(task=task, ready=status == 200, status=status, content_type="text/plain", body=body)


def test_an_instance_is_ready_once():
    play = Play()
    (task,) = play.up(readiness_checks=(READY,), port_definitions=HTTP_API)
    instance = play.app().launched[task]
    assert instance.ready is None
    (fact,) = only(play.see(ready(task, 503)), ReadinessChanged)
    assert (fact.ready, fact.status, fact.body) == (False, None, "")
    assert play.see(ready(task, 500)) == []
    assert types(play.see(ready(task))) == ["readiness.changed", "deployment.ended"]
    assert instance.ready is True
    assert play.see(ready(task, 503)) == play.see(ready(task)) == []
    play.restart()
    assert play.app().launched[task].ready is True


def test_the_last_answer_is_kept_if_wanted():
    play = Play()
    (task,) = play.up(readiness_checks=(ReadinessCheck(preserve_last_response=True),), port_definitions=HTTP_API)
    play.see(ready(task, 503, "no"))
    play.see(ready(task, 503, "not yet"))
    assert play.see(ready(task, 503, "not yet")) == []
    shown = row(play).instances[0].readiness
    assert shown is not None
    assert (shown.name, shown.ready, shown.status, shown.content_type, shown.body) == (
        "readinessCheck",
        False,
        503,
        "text/plain",
        "not yet",
    )


def test_an_app_that_asks_for_no_readiness_takes_none():
    play = Play()
    (task,) = play.up()
    assert play.see(ready(task)) == []
    assert play.app(WEB).launched[task].ready is None
    assert play.now > Now(0)
    assert play.app().launched[task].state is TaskState.RUNNING
