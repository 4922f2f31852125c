"""Apps and their tasks as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`; key order and absent keys as PyPI `marathon` needs them.
(Marathon: `types/app.raml`, `types/task.raml`, `raml/AppConversion.scala`, `raml/TaskConversion.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from bus.documents import AppSpec
from bus.nouns import TaskState
from bus.queries import AppRow, InstanceRow
from components.gateway.shapes.times import number, present, zulu

STAGED = (TaskState.STAGING, TaskState.STARTING)
COUNTS = ("tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy")


def app_spec(spec: AppSpec, version: str, *, rollout: bool = False) -> dict[str, object]:
    """An app as it was specified; what only Busbar has is left out unless it is asked for."""
    written = _written(spec)
    host = all(network.mode == "host" for network in spec.networks)
    ports = [_port(port) for port in spec.wanted_ports]
    fields = present(
        id=spec.id,
        acceptedResourceRoles=written.get("acceptedResourceRoles"),
        args=written.get("args"),
        backoffFactor=number(spec.backoff_factor),
        backoffSeconds=number(spec.backoff_seconds),
        cmd=spec.cmd,
        constraints=written.get("constraints"),
        container=written.get("container"),
        cpus=number(spec.cpus),
        dependencies=written.get("dependencies"),
        disk=number(spec.disk),
        env=written.get("env"),
        executor="",
        fetch=[_full(each) for each in spec.fetch],
        healthChecks=[_full(each) for each in spec.health_checks],
        instances=spec.instances,
    )
    fields["labels"] = dict(spec.labels)
    fields |= present(
        maxLaunchDelaySeconds=number(spec.max_launch_delay_seconds),
        mem=number(spec.mem),
        gpus=spec.gpus,
        networks=[_full(each) for each in spec.networks] or [{"mode": "host"}],
        portDefinitions=ports if host else None,
        readinessChecks=[_full(each) for each in spec.readiness_checks],
        requirePorts=spec.require_ports,
        secrets=written.get("secrets"),
        taskKillGracePeriodSeconds=spec.task_kill_grace_period_seconds,
        upgradeStrategy=_full(spec.upgrade_strategy),
        user=spec.user,
        version=version,
        versionInfo={"lastScalingAt": version, "lastConfigChangeAt": version},
        killSelection=spec.kill_selection,
        unreachableStrategy=_unreachable(spec),
        role=spec.role or "*",
        rollout=_full(spec.rollout) if rollout else None,
    )
    return fields


def _unreachable(spec: AppSpec) -> object:
    strategy = spec.unreachable_strategy
    return strategy if isinstance(strategy, str) else _full(strategy)


def _port(port: Any) -> dict[str, object]:
    return _full(port) | {"port": port.port}


def _written(spec: AppSpec) -> dict[str, Any]:
    """As it was written, without what is as it usually is."""
    written: dict[str, Any] = msgspec.to_builtins(spec)
    return written


def _full(part: Any) -> dict[str, object]:
    """A part of a document with every field that has a value, also those that are as usual."""
    found: dict[str, object] = {}
    for field in msgspec.structs.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, msgspec.Struct):
            value = _full(value)
        elif isinstance(value, float):
            value = number(value)
        if value is not None and value != () and value != {}:
            found[field.encode_name] = msgspec.to_builtins(value)
    return found


# ---- how it goes ------------------------------------------------------------------------------------------------


def app_row(row: AppRow, embed: Iterable[str] = ()) -> dict[str, object]:
    """An app in a list: counts and deployments always, the rest if it is asked for. (Marathon: `embed`)"""
    wanted = set(embed)
    shown = app_spec(row.app, row.app_version, rollout="app.rollout" in wanted)
    shown |= counts(row)
    shown["deployments"] = [{"id": each} for each in getattr(row, "deployments", ())]
    if "app.tasks" in wanted:
        shown["tasks"] = tasks(row)
    if "app.readiness" in wanted:
        shown["readinessCheckResults"] = []
    if wanted & {"app.lastTaskFailure", "app.failures"} and row.last_failure is not None:
        shown["lastTaskFailure"] = last_failure(row)
    return shown


def counts(row: AppRow) -> dict[str, object]:
    """How many of an app's tasks are in which condition."""
    health = [getattr(each, "healthy", None) for each in row.instances if each.state is TaskState.RUNNING]
    return {
        "tasksStaged": sum(each.state in STAGED for each in row.instances),
        "tasksRunning": sum(each.state is TaskState.RUNNING for each in row.instances),
        "tasksHealthy": sum(each is True for each in health),
        "tasksUnhealthy": sum(each is False for each in health),
    }


def last_failure(row: AppRow) -> dict[str, object]:
    """Of an app whose task failed."""
    status = row.last_failure
    assert status is not None, "it failed"
    return {
        "appId": row.app.id,
        "host": "",
        "message": status.message or _words(status.exit_status, status.signal),
        "state": status.state,
        "taskId": status.task,
        "timestamp": row.app_version,
        "version": row.app_version,
    }


def _words(exit_status: int | None, signal: int | None) -> str:
    if signal is not None:
        return f"Command terminated with signal {signal}"
    return f"Command exited with status {exit_status}" if exit_status is not None else ""


def tasks(row: AppRow) -> list[dict[str, object]]:
    """The tasks of an app; an instance that waits for an offer has none."""
    return [task(row, each) for each in row.instances if each.state is not None]


def task(row: AppRow, one: InstanceRow) -> dict[str, object]:
    """One task."""
    started = one.since if one.state is TaskState.RUNNING else None
    ports = list(one.ports)
    return present(
        id=one.task,
        appId=row.app.id,
        host=one.hostname or "",
        state=one.state,
        role=row.app.role or "*",
        slaveId=one.agent,
        stagedAt=zulu(one.since),
        startedAt=zulu(started) if started is not None else None,
        version=one.app_version,
    ) | {
        "ports": ports,
        "servicePorts": [port.port for port in row.app.wanted_ports][: len(ports)],
        "ipAddresses": _addresses(one),
        "healthCheckResults": [],
        "localVolumes": [],
    }


def _addresses(one: InstanceRow) -> list[dict[str, object]]:
    host = one.hostname or ""
    return [{"ipAddress": host, "protocol": "IPv4"}] if host.replace(".", "").isdigit() else []


def tasks_text(rows: Iterable[AppRow]) -> str:
    """Where each app's ports are, one a line. (Marathon: EndpointsHelper, `Accept: text/plain`)"""
    lines = []
    for row in rows:
        up = [each for each in row.instances if each.state is TaskState.RUNNING]
        name = row.app.id.strip("/").replace("/", "_")
        for index, port in enumerate(row.app.wanted_ports):
            where = "\t".join(f"{each.hostname}:{each.ports[index]}" for each in up if index < len(each.ports))
            lines.append(f"{name}\t{port.port}\t{where}\n")
        if not row.app.wanted_ports:
            lines.append(f"{name}\t \t" + "\t".join(str(each.hostname) for each in up) + "\n")
    return "".join(lines)
