"""Tasks of apps as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `types/task.raml`, `raml/TaskConversion.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable

from bus.app_rows import AppRow, InstanceRow
from bus.nouns import Now, TaskState
from components.gateway.shapes.times import present, zulu

STAGED = (TaskState.STAGING, TaskState.STARTING)
ENDING = (TaskState.KILLING, TaskState.UNREACHABLE)
STATES = {"running": (TaskState.RUNNING,), "staging": STAGED}
"""What `status=` asks for."""


def tasks(row: AppRow) -> list[dict[str, object]]:
    """The tasks of an app; an instance that waits for an offer has none."""
    return [task(row, each) for each in row.instances if each.state is not None]


def task(row: AppRow, one: InstanceRow) -> dict[str, object]:
    """One task."""
    ports = list(one.ports)
    started = one.since if one.state is TaskState.RUNNING else None
    return (
        present(
            id=one.task,
            appId=row.app.id,
            host=one.hostname or "",
            state=one.state,
            role=row.app.role or "*",
            slaveId=one.agent,
            stagedAt=zulu(one.since),
            startedAt=_time(started),
            version=one.app_version,
        )
        | {
            "ports": ports,
            "servicePorts": [port.port for port in row.app.wanted_ports][: len(ports)],
            "ipAddresses": addresses(one.hostname or ""),
        }
        | present(healthCheckResults=health_results(one))
    )


def addresses(host: str) -> list[dict[str, object]]:
    """Where a host is, if its name says so."""
    return [{"ipAddress": host, "protocol": "IPv4"}] if host.replace(".", "").isdigit() else []


def health_results(one: InstanceRow) -> list[dict[str, object]]:
    """What each health check of a task found so far. (Marathon: HealthCheckResult)"""
    return [
        {
            "alive": each.alive,
            "consecutiveFailures": each.failures,
            "firstSuccess": _time(each.first_success),
            "lastSuccess": _time(each.last_success),
            "lastFailure": _time(each.last_failure),
            "lastFailureCause": each.cause or None,
            "instanceId": one.task,
        }
        for each in one.found
        if each.alive is not None
    ]


def readiness_results(row: AppRow) -> list[dict[str, object]]:
    """What the tasks of an app answered to its readiness check. (Marathon: ReadinessCheckResult)"""
    return [
        present(
            name=each.readiness.name,
            taskId=each.task,
            ready=each.readiness.ready,
            lastResponse=(
                {
                    "status": each.readiness.status,
                    "contentType": each.readiness.content_type,
                    "body": each.readiness.body,
                }
                if each.readiness.status is not None
                else None
            ),
        )
        for each in row.instances
        if each.readiness is not None
    ]


def _time(at: Now | None) -> str | None:
    return zulu(at) if at is not None else None


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
