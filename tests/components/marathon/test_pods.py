"""How an instance of a pod becomes a group of tasks, and what its containers make of it together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents import PodSpec
from bus.documents.reading import parse_document
from bus.nouns import (
    MOVES,
    TERMINAL,
    Offer,
    Probe,
    Reason,
    Resources,
    SharedVolume,
    Source,
    TaskId,
    TaskState,
    TaskStatus,
    TraceId,
    Uri,
    parse_resources,
)
from components.marathon.containers import Contained, instance_of, whole
from components.marathon.pods import container_task, group_infos, instance_id
from components.matching import take

S = TaskState
OFFER = Offer(
    offer="o-1-0", agent="a1", hostname="n1.example", resources=parse_resources("cpus:8;mem:9000;disk:999;ports:[1-9]")
)
POD = {
    "id": "/shop/front",
    "labels": {"team": "a"},
    "environment": {"COMMON": "pod", "ONLY": "pod", "PASSWORD": {"secret": "db"}, "HOST": "mine"},
    "secrets": {"db": {"source": "shop/db"}},
    "user": "www",
    "volumes": [{"name": "data"}, {"name": "key", "secret": "db"}],
    "executorResources": {"cpus": 0.2, "mem": 64, "disk": 20},
    "containers": [
        {
            "name": "web",
            "resources": {"cpus": 0.5, "mem": 64, "disk": 5},
            "exec": {"command": {"shell": "serve"}},
            "endpoints": [{"name": "http", "hostPort": 0}, {"name": "admin-x", "hostPort": 7}],
            "healthCheck": {"http": {"endpoint": "http", "path": "/ok"}, "gracePeriodSeconds": 5},
            "environment": {"COMMON": "web"},
            "labels": {"tier": "1"},
            "volumeMounts": [{"name": "data", "mountPath": "out"}, {"name": "key", "mountPath": "etc/key"}],
            "artifacts": [{"uri": "http://x/y.tgz"}],
            "lifecycle": {"killGracePeriodSeconds": 9.5},
        },
        {
            "name": "log",
            "resources": {"cpus": 0.1, "mem": 32},
            "exec": {"command": {"argv": ["tail", "-f", "in/x"]}},
            "user": "log",
            "volumeMounts": [{"name": "data", "mountPath": "in", "readOnly": True}],
            "healthCheck": {"exec": {"command": {"shell": "test -e in/x"}}},
        },
    ],
}


def pod(**given) -> PodSpec:
    return parse_document(json.dumps(POD | given).encode(), PodSpec)


def infos(spec: PodSpec):
    numbers = tuple(port.port for port in spec.wanted_ports)
    taken = take(OFFER.resources, spec.resources, numbers, required=spec.require_ports)
    name = instance_id(spec.id, 3, 1)
    return group_infos(spec, "2030-01-01T00:00:00.000Z", TraceId("t"), name, "marathon", OFFER, taken), taken


# ---- the tasks of an instance


def test_an_instance_is_a_group_of_tasks_with_ids_after_it():
    (web, log), _ = infos(pod())
    assert (web.task, log.task) == ("shop_front.instance-3-1.web.1", "shop_front.instance-3-1.log.1")
    assert instance_of(web.task) == instance_of(log.task) == web.group.id == "shop_front.instance-3-1"
    assert [(one.group.index, one.group.size) for one in (web, log)] == [(0, 2), (1, 2)]
    assert (web.name, web.app, web.hostname, web.trace) == ("web", "/shop/front", "n1.example", "t")
    assert container_task(TaskId("shop_front.instance-3-1"), "web") == web.task
    assert web.labels == {"team": "a", "tier": "1"}


def test_what_the_tasks_and_their_executor_take_is_what_was_taken():
    """Nothing is booked twice, nothing is left out."""
    (web, log), taken = infos(pod())
    assert web.group.executor == log.group.executor == Resources(cpu_milli=200, mem_mb=64, disk_mb=20)
    assert web.resources + log.resources + web.group.executor == taken.resources
    assert web.ports == taken.ports
    assert web.ports[1] == 7
    assert log.ports == ()


def test_commands_users_graces_artifacts():
    (web, log), _ = infos(pod())
    assert (web.command.shell, web.command.argv, web.command.user) == ("serve", (), "www")
    assert (log.command.shell, log.command.argv, log.command.user) == (None, ("tail", "-f", "in/x"), "log")
    assert (web.kill_grace_s, log.kill_grace_s) == (9.5, 3.0)
    assert web.command.fetch == (Uri(uri="http://x/y.tgz"),)


def test_the_environment_is_marathons():
    """A container's own variables win over its pod's, the system's over both."""
    (web, log), _ = infos(pod())
    port = str(web.ports[0])
    assert web.command.env == {
        "COMMON": "web",
        "ONLY": "pod",
        "HOST": "n1.example",
        "MARATHON_APP_ID": "/shop/front",
        "MARATHON_APP_VERSION": "2030-01-01T00:00:00.000Z",
        "MARATHON_CONTAINER_ID": "web",
        "MARATHON_CONTAINER_RESOURCE_CPUS": "0.5",
        "MARATHON_CONTAINER_RESOURCE_MEM": "64.0",
        "MARATHON_CONTAINER_RESOURCE_DISK": "5.0",
        "MARATHON_CONTAINER_RESOURCE_GPUS": "0",
        "MARATHON_APP_LABEL_TEAM": "a",
        "MARATHON_APP_LABEL_TIER": "1",
        "MARATHON_APP_LABELS": "TEAM TIER",
        "ENDPOINT_HTTP": port,
        "EP_HOST_HTTP": port,
        "ENDPOINT_ADMIN_X": "7",
        "EP_HOST_ADMIN_X": "7",
    }
    assert log.command.env["ENDPOINT_HTTP"] == port, "every container knows every endpoint"
    assert log.command.env["COMMON"] == "pod"


def test_secrets_are_named_and_nowhere_else():
    (web, log), _ = infos(pod())
    assert web.command.secret_env == log.command.secret_env == {"PASSWORD": "shop/db"}
    assert (web.command.secret_files, log.command.secret_files) == ({"etc/key": "shop/db"}, {})


def test_volumes_are_directories_of_the_group():
    (web, log), _ = infos(pod())
    assert web.volumes == (SharedVolume(name="data", path="out"),)
    assert log.volumes == (SharedVolume(name="data", path="in", read_only=True),)


def test_checks_are_the_executors():
    (web, log), _ = infos(pod())
    assert (web.health.probe, web.health.port, web.health.path) == (Probe.HTTP, web.ports[0], "/ok")
    assert (web.health.grace_s, web.health.interval_s, web.health.timeout_s) == (5.0, 60.0, 20.0)
    assert (web.health.delay_s, web.health.failures_max) == (15.0, 3)
    assert (log.health.probe, log.health.command.shell) == (Probe.COMMAND, "test -e in/x")


def test_a_long_path_makes_no_id_too_long():
    longest = "/" + "/".join(["a" * 60] * 4)
    name = container_task(instance_id(longest, 10**12, 999), "c" * 63)
    assert len(name) <= 255


# ---- an instance is what its containers are


def contained(**states: TaskState | TaskStatus) -> dict[TaskId, Contained]:
    return {
        TaskId(f"i.{name}.1"): Contained(
            name=name,
            status=told if isinstance(told, TaskStatus) else status(name, told),
            since=0,
            changed=0,
        )
        for name, told in states.items()
    }


def status(name: str, state: TaskState, **more) -> TaskStatus:
    return TaskStatus(task=TaskId(f"i.{name}.1"), state=state, source=Source.EXECUTOR, **more)


@pytest.mark.parametrize(
    ("a", "b", "together"),
    [
        (S.STAGING, S.STAGING, S.STAGING),
        (S.STARTING, S.STAGING, S.STAGING),
        (S.RUNNING, S.STARTING, S.STARTING),
        (S.RUNNING, S.RUNNING, S.RUNNING),
        (S.RUNNING, S.FINISHED, S.RUNNING),
        (S.STARTING, S.FINISHED, S.STARTING),
        (S.RUNNING, S.KILLING, S.KILLING),
        (S.FAILED, S.RUNNING, S.KILLING),
        (S.FAILED, S.KILLING, S.KILLING),
        (S.FINISHED, S.FINISHED, S.FINISHED),
        (S.FAILED, S.KILLED, S.FAILED),
        (S.KILLED, S.FAILED, S.FAILED),
        (S.KILLED, S.KILLED, S.KILLED),
        (S.KILLED, S.FINISHED, S.KILLED),
        (S.ERROR, S.ERROR, S.ERROR),
        (S.RUNNING, S.UNREACHABLE, S.UNREACHABLE),
        (S.FINISHED, S.UNREACHABLE, S.UNREACHABLE),
        (S.RUNNING, S.UNKNOWN, S.UNKNOWN),
    ],
)
def test_two_containers(a, b, together):
    found = whole(TaskId("i"), contained(a=a, b=b))
    assert (found.task, found.state) == ("i", together)
    news = status("b", b)
    assert whole(TaskId("i"), contained(a=a, b=S.STAGING), news).state is together, "news is as if it were known"


def test_an_end_names_the_container_that_was_the_cause():
    failed = status("b", S.FAILED, message="Command exited with status 1", exit_status=1)
    found = whole(TaskId("i"), contained(a=status("a", S.KILLED, message="killed: ..."), b=failed))
    assert (found.message, found.exit_status) == ("i.b.1: Command exited with status 1", 1)


def test_one_killed_as_unhealthy_is_the_cause():
    sick = status("b", S.KILLED, reason=Reason.TASK_HEALTH_CHECK_STATUS_UPDATED, message="no answer")
    found = whole(TaskId("i"), contained(a=S.KILLED, b=sick))
    assert (found.reason, found.message) == (Reason.TASK_HEALTH_CHECK_STATUS_UPDATED, "i.b.1: no answer")


@pytest.mark.parametrize(
    ("a", "b", "healthy"),
    [(True, True, True), (True, False, False), (True, None, None), (None, False, False), (None, None, None)],
)
def test_an_instance_is_healthy_if_all_that_are_checked_are(a, b, healthy):
    containers = contained(a=status("a", S.RUNNING, healthy=a), b=status("b", S.RUNNING, healthy=b), c=S.RUNNING)
    for name in ("a", "b"):
        containers[TaskId(f"i.{name}.1")].checked = True
    assert whole(TaskId("i"), containers).healthy is healthy


@given(st.lists(st.sampled_from(sorted(S)), min_size=1, max_size=5))
def test_an_instance_ends_with_the_last_of_its_containers(states):
    found = whole(TaskId("i"), contained(**{f"c{n}": state for n, state in enumerate(states)}))
    lost = {S.UNREACHABLE, S.UNKNOWN} & set(states)
    assert (found.state in TERMINAL) == (not lost and all(state in TERMINAL for state in states))
    assert found.state in MOVES or found.state is S.UNKNOWN
