"""How an instance becomes a task: its id, its name, its environment.

Rule of this room: names and variables are the original's, because programs and people look for them.
(Marathon: `EnvironmentHelper.scala`, `TaskBuilder.scala`, `docs/task-environment-vars.md`)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from bus.documents import AppSpec, plain_env, secret_env, secret_files
from bus.documents.rules import uris_of
from bus.nouns import AgentId, AppId, Command, FrameworkId, Offer, OfferId, Resources, TaskId, TaskInfo, TraceId
from components.constraints import place_of
from components.marathon.checks import check_of, health_of, readiness_of, watched_of
from components.matching import Taken

name_chars_max = 200
"""Of an app's path in a task id, which is a file name too."""
place_bytes_max = 4096
"""Of what a task carries of its agent: all an agent's attributes."""
label_chars_max = 512
"""Longer labels do not become variables. (Marathon: maxEnvironmentVarLength)"""


def task_id(app: AppId, n: int, k: int) -> TaskId:
    """The id of the `k`-th instance scheduled by the decision after event `n`."""
    path = app.strip("/").replace("/", "_")[:name_chars_max]
    return TaskId(f"{path}.instance-{n}-{k}._app.1")


def task_name(app: AppId) -> str:
    """`/a/b` is `b.a`, which gives the host name b-a.marathon. (Marathon: PathId.toHostname)"""
    return ".".join(reversed(app.strip("/").split("/")))


def task_info(
    spec: AppSpec,
    version: str,
    trace: TraceId | None,
    task: TaskId,
    framework: FrameworkId,
    offer: Offer,
    taken: Taken,
) -> TaskInfo:
    """The task that runs one instance on an offer."""
    info = TaskInfo(
        task=task,
        name=task_name(spec.id),
        agent=offer.agent,
        hostname=offer.hostname,
        framework=framework,
        resources=taken.resources,
        ports=taken.ports,
        command=Command(
            shell=spec.cmd,
            argv=spec.args or (),
            env=environment(spec, version, offer.hostname, taken.ports),
            user=spec.user,
            secret_env=secret_env(spec),
            secret_files=secret_files(spec),
            fetch=uris_of(spec.fetch),
        ),
        health=health_of(spec, taken.ports),
        check=check_of(spec, taken.ports),
        watched=watched_of(spec, taken.ports),
        readiness=readiness_of(spec, taken.ports),
        labels=spec.labels,
        place=place_of(spec.constraints, offer),
        app=spec.id,
        trace=trace,
    )
    grace_s = spec.task_kill_grace_period_seconds
    return info if grace_s is None else replace(info, kill_grace_s=grace_s)


def environment(spec: AppSpec, version: str, hostname: str, ports: tuple[int, ...]) -> dict[str, str]:
    """What an instance finds in its environment; what the app itself says wins."""
    about_app = {
        "MARATHON_APP_ID": spec.id,
        "MARATHON_APP_VERSION": version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(spec.cpus)),
        "MARATHON_APP_RESOURCE_MEM": str(float(spec.mem)),
        "MARATHON_APP_RESOURCE_DISK": str(float(spec.disk)),
        "MARATHON_APP_RESOURCE_GPUS": "0",
    }
    return about_app | label_variables(spec.labels) | {"HOST": hostname} | dict(_ports(spec, ports)) | plain_env(spec)


def label_variables(labels: dict[str, str]) -> dict[str, str]:
    """Labels as variables."""
    found = dict(_labels(labels))
    one_by_one = {f"MARATHON_APP_LABEL_{name}": value for name, value in found.items()}
    return one_by_one | {"MARATHON_APP_LABELS": " ".join(found)}


def _labels(labels: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in labels.items():
        if len(name) < label_chars_max and len(value) < label_chars_max:
            yield re.sub(r"[^a-zA-Z0-9_]+", "_", name).upper(), value


def _ports(spec: AppSpec, ports: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if ports:
        yield "PORT", str(ports[0])
        yield "PORTS", ",".join(map(str, ports))
    for index, (definition, port) in enumerate(zip(spec.wanted_ports, ports, strict=True)):
        yield f"PORT{index}", str(port)
        if definition.name:
            yield f"PORT_{definition.name.upper().replace('-', '_')}", str(port)


def task_bytes(task: TaskInfo) -> int:
    """About how large a task is on the bus."""
    return len(msgspec.msgpack.encode(task))


def largest_task_bytes(spec: AppSpec) -> int:
    """About how large an app's tasks are at most."""
    ports = tuple(65535 for _ in spec.wanted_ports)
    offer = Offer(offer=OfferId("o-0-0"), agent=AgentId("a" * 63), hostname="h" * 253, resources=Resources())
    taken = Taken(Resources(ports=tuple((port, port) for port in ports)), ports)
    task = task_id(spec.id, 10**9, 1000)
    info = task_info(spec, "2000-01-01T00:00:00.000Z", None, task, FrameworkId("f" * 63), offer, taken)
    return task_bytes(info) + (place_bytes_max if spec.constraints else 0)
