"""Pods and how they go, as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `types/pod.raml`, `raml/PodConversion.scala`)
"""

from __future__ import annotations

from typing import Any

import msgspec

from bus.documents import PodSpec
from bus.nouns import Resources, TaskState
from bus.pod_rows import ContainerRow, PodInstanceRow, PodRow, TerminationRow
from components.gateway.shapes.apps import full
from components.gateway.shapes.tasks import addresses
from components.gateway.shapes.times import number, present, zulu


def pod_spec(spec: PodSpec, version: str) -> dict[str, object]:
    """A pod as it was specified."""
    written: dict[str, Any] = msgspec.to_builtins(spec)
    scheduling = full(spec.scheduling)
    scheduling.pop("rollout", None)
    scheduling.setdefault("placement", {"constraints": []})
    shown: dict[str, object] = {
        "id": spec.id,
        "version": version,
        "labels": written.get("labels", {}),
        "user": spec.user,
        "environment": written.get("environment", {}),
        "containers": [_container(each) for each in spec.containers],
        "secrets": written.get("secrets", {}),
        "volumes": [full(each) for each in spec.volumes],
        "networks": [full(each) for each in spec.networks] or [{"mode": "host"}],
        "scaling": full(spec.scaling),
        "scheduling": scheduling,
        "executorResources": full(spec.executor_resources),
        "role": spec.role or "*",
    }
    return {key: value for key, value in shown.items() if value is not None}


def _container(one: Any) -> dict[str, object]:
    shown = full(one)
    if not shown.get("lifecycle"):
        shown.pop("lifecycle", None)
    return shown


# ---- how it goes ------------------------------------------------------------------------------------------------


def version_of(row: PodRow) -> str:
    """Of a pod's last change, also if it was only scaled."""
    return row.change_version or row.app_version


def pod_status(row: PodRow) -> dict[str, object]:
    """A pod and its instances. (Marathon: `types/podStatus.raml`)"""
    return {
        "id": row.pod.id,
        "spec": pod_spec(row.pod, version_of(row)),
        "status": row.status,
        "statusSince": zulu(row.since),
        **present(message=row.message or None),
        "instances": [instance_status(row, each) for each in row.instances],
        "terminationHistory": [_termination(each) for each in row.terminations],
        "lastUpdated": zulu(row.changed),
        "lastChanged": zulu(row.since),
    }


def instance_status(row: PodRow, one: PodInstanceRow) -> dict[str, object]:
    """An instance of a pod."""
    where = addresses(one.hostname or "")
    return {
        "id": one.instance,
        "status": one.status,
        "statusSince": zulu(one.since),
        **present(message=one.message or None),
        "conditions": [],
        **present(agentHostname=one.hostname, agentId=one.agent),
        "resources": _resources(one.resources),
        "networks": [{"addresses": [each["ipAddress"] for each in where]}] if where else [],
        "containers": [_container_status(each) for each in one.containers],
        "specReference": f"/v2/pods{row.pod.id}::versions/{one.app_version}",
        "localVolumes": [],
        "role": row.pod.role or "*",
        "lastUpdated": zulu(one.changed),
        "lastChanged": zulu(one.since),
    }


def _container_status(one: ContainerRow) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": one.name,
        "status": one.state,
        "statusSince": zulu(one.since),
        **present(message=one.message or None),
        "containerId": one.task,
        "endpoints": [
            present(name=each.name, allocatedHostPort=each.host_port, healthy=each.healthy) for each in one.endpoints
        ],
        "resources": _resources(one.resources),
        **present(termination=_ended(one)),
        "conditions": [_healthy(one)] if one.checked and one.state is TaskState.RUNNING else [],
        "lastUpdated": zulu(one.changed),
        "lastChanged": zulu(one.since),
    }
    return shown


def _healthy(one: ContainerRow) -> dict[str, object]:
    """(Marathon: StatusCondition)"""
    value = {None: "unknown", True: "true", False: "false"}[one.healthy]
    return {"name": "healthy", "value": value, "lastChanged": zulu(one.since), "lastUpdated": zulu(one.changed)}


def _ended(one: ContainerRow) -> dict[str, object] | None:
    if one.exit_status is None and one.signal is None:
        return None
    return present(exitCode=one.exit_status, message=one.message or None)


def _resources(one: Resources) -> dict[str, object]:
    return {"cpus": number(one.cpu_milli / 1000), "mem": one.mem_mb, "disk": one.disk_mb, "gpus": 0}


def _termination(one: TerminationRow) -> dict[str, object]:
    return {
        "instanceID": one.instance,
        "startedAt": zulu(one.started_at),
        "terminatedAt": zulu(one.terminated_at),
        **present(message=one.message or None),
        "containers": [
            {"containerId": each.task, "lastKnownState": each.state, **present(termination=_ended(each))}
            for each in one.containers
        ],
    }
