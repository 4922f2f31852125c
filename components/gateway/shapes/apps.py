"""Apps and their tasks as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`; key order and absent keys as PyPI `marathon` needs them.
(Marathon: `types/app.raml`, `types/task.raml`, `raml/AppConversion.scala`, `raml/TaskConversion.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import msgspec

from bus.app_rows import AppRow, InstanceRow
from bus.documents import AppSpec
from bus.nouns import Now, TaskState, second
from components.gateway.shapes.tasks import STAGED, readiness_results, tasks
from components.gateway.shapes.times import number, present, zulu

COUNTS = ("tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy")


def app_spec(
    spec: AppSpec, version: str, config_version: str | None = None, *, rollout: bool = False
) -> dict[str, object]:
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
        fetch=[full(each) for each in spec.fetch],
        healthChecks=[full(each) for each in spec.health_checks],
        instances=spec.instances,
    )
    fields["labels"] = dict(spec.labels)
    fields |= present(
        maxLaunchDelaySeconds=number(spec.max_launch_delay_seconds),
        mem=number(spec.mem),
        gpus=spec.gpus,
        networks=[full(each) for each in spec.networks] or [{"mode": "host"}],
        portDefinitions=ports if host else None,
        readinessChecks=[full(each) for each in spec.readiness_checks],
        requirePorts=spec.require_ports,
        secrets=written.get("secrets"),
        taskKillGracePeriodSeconds=spec.task_kill_grace_period_seconds,
        upgradeStrategy=full(spec.upgrade_strategy),
        user=spec.user,
        version=version,
        versionInfo={"lastScalingAt": version, "lastConfigChangeAt": config_version or version},
        killSelection=spec.kill_selection,
        unreachableStrategy=_unreachable(spec),
        role=spec.role or "*",
        rollout=full(spec.rollout) if rollout else None,
    )
    return fields


def _unreachable(spec: AppSpec) -> object:
    strategy = spec.unreachable_strategy
    return strategy if isinstance(strategy, str) else full(strategy)


def _port(port: Any) -> dict[str, object]:
    return full(port) | {"port": port.port}


def _written(spec: AppSpec) -> dict[str, Any]:
    """As it was written, without what is as it usually is."""
    written: dict[str, Any] = msgspec.to_builtins(spec)
    return written


def full(part: Any) -> dict[str, object]:
    """A part of a document with every field that has a value, also those that are as usual."""
    found: dict[str, object] = {}
    for name, wire in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
        value = getattr(part, name)
        if isinstance(value, msgspec.Struct):
            value = full(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            value = [full(each) for each in value]
        elif isinstance(value, float):
            value = number(value)
        if value is not None and value != () and value != {}:
            found[wire] = msgspec.to_builtins(value)
    return found


# ---- how it goes ------------------------------------------------------------------------------------------------


def app_row(row: AppRow, embed: Iterable[str] = (), now: Now | None = None) -> dict[str, object]:
    """An app in a list: counts and deployments always, the rest if it is asked for. (Marathon: `embed`)"""
    wanted = set(embed)
    shown = app_spec(row.app, version_of(row), row.app_version, rollout="app.rollout" in wanted)
    shown |= counts(row)
    shown["deployments"] = [{"id": each} for each in row.deployments]
    if "app.tasks" in wanted:
        shown["tasks"] = tasks(row)
    if "app.readiness" in wanted:
        shown["readinessCheckResults"] = readiness_results(row)
    if wanted & {"app.lastTaskFailure", "app.failures"} and row.last_failure is not None:
        shown["lastTaskFailure"] = last_failure(row)
    if "app.taskStats" in wanted:
        shown["taskStats"] = task_stats(row, now)
    return shown


def version_of(row: AppRow) -> str:
    """Of an app's last change, also if it was only scaled."""
    return row.change_version or row.app_version


def counts(row: AppRow) -> dict[str, object]:
    """How many of an app's tasks are in which condition."""
    staged, running, healthy, unhealthy = _counted(row.instances)
    return {
        "tasksStaged": staged,
        "tasksRunning": running,
        "tasksHealthy": healthy,
        "tasksUnhealthy": unhealthy,
    }


def _counted(instances: Iterable[InstanceRow]) -> tuple[int, int, int, int]:
    """Staged, running, and of the running those that are known to be healthy, and not to be."""
    instances = tuple(instances)
    running = [each.healthy for each in instances if each.state is TaskState.RUNNING]
    return sum(each.state in STAGED for each in instances), len(running), running.count(True), running.count(False)


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
        "timestamp": zulu(row.failed_at) if row.failed_at is not None else version_of(row),
        "version": row.app_version,
    }


def _words(exit_status: int | None, signal: int | None) -> str:
    if signal is not None:
        return f"Command terminated with signal {signal}"
    return f"Command exited with status {exit_status}" if exit_status is not None else ""


def task_stats(row: AppRow, now: Now | None) -> dict[str, object]:
    """How the tasks of the newest version fare beside the others. (Marathon: TaskStatsByVersion)"""
    launched = [each for each in row.instances if each.state is not None]
    parts = {
        "startedAfterLastScaling": [each for each in launched if each.app_version >= version_of(row)],
        "withLatestConfig": [each for each in launched if each.app_version == row.app_version],
        "withOutdatedConfig": [each for each in launched if each.app_version != row.app_version],
        "totalSummary": launched,
    }
    return {name: {"stats": _stats(part, now)} for name, part in parts.items() if part}


def _stats(instances: Sequence[InstanceRow], now: Now | None) -> dict[str, object]:
    shown: dict[str, object] = {
        "counts": dict(zip(("staged", "running", "healthy", "unhealthy"), _counted(instances), strict=True))
    }
    lives = sorted((now - each.since) / second for each in instances if now and each.state is TaskState.RUNNING)
    if lives:
        shown["lifeTime"] = {"averageSeconds": sum(lives) / len(lives), "medianSeconds": median(lives)}
    return shown
