"""Every call that PyPI `marathon` has, one after the other, as a user of it would make them."""

from __future__ import annotations

import collections
import collections.abc
import time
from collections.abc import Callable
from typing import Any

import pytest

if not hasattr(collections, "Iterable"):
    collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]  # marathon 0.13.0 is of Python 3.9

from marathon import MarathonClient
from marathon.exceptions import ConflictError, MarathonHttpError, NotFoundError
from marathon.models import MarathonApp, MarathonGroup
from marathon.models.app import MarathonHealthCheck, MarathonUpgradeStrategy
from marathon.models.constraint import MarathonConstraint
from marathon.models.events import MarathonStatusUpdateEvent

patience_s = 60.0
SMALL = {"cpus": 0.1, "mem": 32}
UNSUPPORTED = {"create_event_subscription", "delete_event_subscription"}
"""What Marathon itself refuses unless it was started for it. (Marathon: `--event_subscriber http_callback`)"""


class Recorded:
    """A client that remembers which of its calls were made."""

    def __init__(self, client: MarathonClient) -> None:
        self._client, self.called = client, set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._client, name)


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"never: {look}"
        time.sleep(0.05)  # between two looks at a condition
    return found


def running(client: Any, app_id: str, count: int) -> Any:
    """An app, once so many tasks run and nothing more is to be done."""

    def look() -> Any:
        app = client.get_app(app_id, embed_tasks=True)
        return app if app.tasks_running == count == app.instances and not app.deployments else None

    return until(look)


def settled(client: Any) -> None:
    """No deployment goes on."""
    until(lambda: not client.list_deployments())


def every_call(marathon: MarathonClient, cmd: str, *, abdicate: bool = False) -> set[str]:
    """Make every call there is; which were made. Who abdicates is started again only where somebody does so."""
    client = Recorded(marathon)
    _about(client)
    _apps(client, cmd)
    _tasks(client, cmd)
    _events(client, cmd)
    _waiting(client, cmd)
    _groups(client, cmd)
    if abdicate:
        assert client.delete_leader() == {"message": "Leadership abdicated"}
        until(lambda: client.get_info().elected)
        assert [app.id for app in client.list_apps()] == ["/front/web"]
    return client.called


def calls() -> set[str]:
    """The names of all calls there are."""
    return {name for name in vars(MarathonClient) if not name.startswith("_")}


def _about(client: Any) -> None:
    assert client.ping() == b"pong"
    until(lambda: client.get_info().elected)
    info = client.get_info()
    assert (info.name, info.elected, info.framework_id) == ("marathon", True, "marathon")
    assert info.marathon_config.hostname == "127.0.0.1"
    assert client.get_leader() == {"leader": info.leader}
    assert client.get_metrics()["gauges"]
    assert client.list_event_subscriptions() == []
    for call in (client.create_event_subscription, client.delete_event_subscription):
        with pytest.raises(MarathonHttpError) as refused:
            call("http://127.0.0.1:1/")
        assert refused.value.status_code == 400, "nobody is called back here"


def _apps(client: Any, cmd: str) -> None:
    app = MarathonApp(
        cmd=cmd,
        instances=1,
        labels={"tier": "front"},
        constraints=[MarathonConstraint("hostname", "LIKE", ".*")],
        health_checks=[MarathonHealthCheck(protocol="COMMAND", command="true", grace_period_seconds=5)],
        upgrade_strategy=MarathonUpgradeStrategy(minimum_health_capacity=0.5, maximum_over_capacity=0.5),
        env={"A": "b"},
        **SMALL,
    )
    created = client.create_app("/front/web", app)
    assert (created.id, created.tasks_running, len(created.deployments)) == ("/front/web", 0, 1)
    first = running(client, "/front/web", 1)
    assert first.version_info.last_config_change_at == first.version_info.last_scaling_at
    assert (first.env, first.labels, first.constraints) == ({"A": "b"}, {"tier": "front"}, app.constraints)
    assert first.health_checks[0].command == {"value": "true"}
    assert [each.id for each in client.list_apps(cmd=cmd[:4], label="tier==front", embed_tasks=True)] == ["/front/web"]
    everything = dict.fromkeys(("embed_counts", "embed_deployments", "embed_readiness"), True)
    everything |= dict.fromkeys(("embed_last_task_failure", "embed_failures", "embed_task_stats"), True)
    [listed] = client.list_apps(app_id="front", **everything)
    assert listed.task_stats.total_summary.stats.counts.running == 1

    changed = client.update_app("/front/web", MarathonApp(env={"A": "c"}))
    assert set(changed) == {"version", "deploymentId"}
    until(lambda: client.get_app("/front/web").version == changed["version"])
    running(client, "/front/web", 1)
    as_shown = client.get_app("/front/web")
    client.update_app("/front/web", as_shown)
    settled(client)
    assert client.get_app("/front/web").env == {"A": "c"}, "what was shown can be sent back"
    client.scale_app("/front/web", instances=3)
    running(client, "/front/web", 3)
    client.scale_app("/front/web", delta=-1)
    scaled = running(client, "/front/web", 2)
    assert scaled.version_info.last_config_change_at < scaled.version_info.last_scaling_at
    client.update_apps([MarathonApp(id="/front/web", instances=1), MarathonApp(id="/front/other", cmd=cmd, **SMALL)])
    running(client, "/front/web", 1)
    running(client, "/front/other", 1)

    versions = client.list_versions("/front/web")
    assert versions == sorted(versions, reverse=True)
    assert first.version in versions
    assert client.get_version("/front/web", first.version).env == {"A": "b"}
    client.rollback_app("/front/web", first.version)
    until(lambda: client.get_app("/front/web").env == {"A": "b"})
    running(client, "/front/web", 1)
    before = {task.id for task in client.list_tasks("/front/web")}
    client.restart_app("/front/web", force=True)
    until(lambda: before.isdisjoint(task.id for task in running(client, "/front/web", 1).tasks))
    with pytest.raises(ConflictError, match=r"An app with id \[/front/web\] already exists\."):
        client.create_app("/front/web", MarathonApp(cmd=cmd))
    with pytest.raises(MarathonHttpError) as wrong:
        client.create_app("/front/wrong", MarathonApp(cmd=cmd, instances=-1))
    assert (wrong.value.status_code, wrong.value.error_details[0]["path"]) == (422, "/instances")


def _tasks(client: Any, cmd: str) -> None:
    client.scale_app("/front/web", instances=3, force=True)
    app = running(client, "/front/web", 3)
    task = app.tasks[0]
    assert (task.app_id, task.state, task.role) == ("/front/web", "TASK_RUNNING", "*")
    assert task.staged_at <= task.started_at
    assert {each.id for each in client.list_tasks()} >= {each.id for each in client.list_tasks("/front/web")}
    endpoints = [each for each in client.list_endpoints() if each.app_id == "/front/web"]
    assert {each.task_port for each in endpoints} == {port for each in app.tasks for port in each.ports}
    killed = client.kill_task("/front/web", task.id)
    assert killed.id == task.id
    until(lambda: task.id not in {each.id for each in running(client, "/front/web", 3).tasks})
    victim = running(client, "/front/web", 3).tasks[0].id
    assert set(client.kill_task("/front/web", victim, scale=True)) == {"version", "deploymentId"}
    two = {each.id for each in running(client, "/front/web", 2).tasks}
    assert client.kill_given_tasks(list(two)) is True
    until(lambda: two.isdisjoint(each.id for each in running(client, "/front/web", 2).tasks))
    killed = client.kill_tasks("/front/web", host=task.host)
    assert len(killed) == 2
    until(lambda: {each.id for each in killed}.isdisjoint(each.id for each in running(client, "/front/web", 2).tasks))
    assert client.kill_tasks("/front/web", host="nowhere") == []
    for call in (lambda: client.kill_task("/front/web", "no"), lambda: client.get_app("/no")):
        with pytest.raises(NotFoundError, match="does not exist"):
            call()


def _events(client: Any, cmd: str) -> None:
    stream = client.event_stream(event_types=[MarathonStatusUpdateEvent, "event_stream_attached"])
    assert next(stream).event_type == "event_stream_attached"
    client.create_app("/heard", MarathonApp(cmd=cmd, **SMALL))
    while True:
        event = next(stream)
        assert isinstance(event, MarathonStatusUpdateEvent)
        if event.app_id == "/heard" and event.task_status == "TASK_RUNNING":
            break
    assert event.slave_id
    assert event.host
    stream.close()
    client.delete_app("/heard")


def _waiting(client: Any, cmd: str) -> None:
    client.create_app("/large", MarathonApp(cmd=cmd, cpus=1000, mem=32))
    [item] = until(lambda: client.list_queue(embed_last_unused_offers=True))
    assert (item.app.id, item.count, item.delay.overdue) == ("/large", 1, True)
    until(lambda: client.list_queue()[0].processed_offers_summary["unusedOffersCount"])
    reasons = client.list_queue()[0].processed_offers_summary["rejectSummaryLastOffers"]
    assert "InsufficientCpus" in [each["reason"] for each in reasons if each["declined"]]
    client.reset_delay("/large")
    [deployment] = client.list_deployments()
    assert (deployment.affected_apps, deployment.total_steps) == (["/large"], 2)
    assert deployment.current_actions[0].action == "ScaleApplication"
    with pytest.raises(ConflictError, match="locked by one or more deployments"):
        client.scale_app("/large", instances=2)
    undone = client.delete_deployment(deployment.id)
    assert set(undone) == {"version", "deploymentId"}
    until(lambda: not [each for each in client.list_apps() if each.id == "/large"])
    client.create_app("/large", MarathonApp(cmd=cmd, cpus=1000, mem=32))
    [deployment] = until(client.list_deployments)
    assert client.delete_deployment(deployment.id, force=True) == {}
    settled(client)
    client.delete_app("/large")
    settled(client)


def _groups(client: Any, cmd: str) -> None:
    apps = [MarathonApp(id="/shop/db", cmd=cmd, **SMALL), MarathonApp(id="/shop/web", cmd=cmd, **SMALL)]
    begun = client.create_group(MarathonGroup(id="/shop", apps=apps))
    assert set(begun) == {"version", "deploymentId"}
    running(client, "/shop/web", 1)
    running(client, "/shop/db", 1)
    settled(client)
    group = client.get_group("/shop")
    assert sorted(each.id for each in group.apps) == ["/shop/db", "/shop/web"]
    assert "/shop" in [each.id for each in client.list_groups()]
    client.scale_group("/shop", 2)
    running(client, "/shop/web", 2)
    settled(client)
    client.update_group("/shop", MarathonGroup(apps=apps[:1]), force=True)
    until(lambda: [each.id for each in client.get_group("/shop").apps] == ["/shop/db"])
    settled(client)
    client.rollback_group("/shop", begun["version"])
    running(client, "/shop/web", 1)
    settled(client)
    assert set(client.delete_group("/shop", force=True)) == {"version", "deploymentId"}
    until(lambda: "/shop" not in [each.id for each in client.list_groups()])
    assert set(client.delete_app("/front/other")) == {"version", "deploymentId"}
    settled(client)


__all__ = ["calls", "every_call"]
