"""How an instance of a pod becomes a group of tasks: their ids, ports, environment, checks, volumes.

Rule of this room: as in `tasks`; of a pod's variables those of the system win. (Marathon: `TaskGroupBuilder.scala`)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec.structs import replace

from bus.documents import AppSpec, PodContainer, PodHealthCheck, PodSpec, plain_env, secret_env, secret_files
from bus.documents.base import resources
from bus.documents.secrets import confided
from bus.nouns import (
    AgentId,
    AppId,
    Check,
    Command,
    FrameworkId,
    Offer,
    OfferId,
    Probe,
    Resources,
    SharedVolume,
    TaskGroup,
    TaskGroupId,
    TaskId,
    TaskInfo,
    TraceId,
    Uri,
    normal,
)
from components.constraints import place_of
from components.marathon.tasks import label_variables, place_bytes_max, task_bytes, task_id, task_info
from components.matching import Taken
from components.places import sandbox_name


def infos_of(
    spec: AppSpec | PodSpec,
    version: str,
    trace: TraceId | None,
    instance: TaskId,
    framework: FrameworkId,
    offer: Offer,
    taken: Taken,
) -> tuple[TaskInfo, ...]:
    """The tasks that are one instance on an offer: of an app one, of a pod one for each container."""
    if isinstance(spec, AppSpec):
        return (task_info(spec, version, trace, instance, framework, offer, taken),)
    return group_infos(spec, version, trace, instance, framework, offer, taken)


def key_of(spec: AppSpec | PodSpec, n: int, k: int) -> TaskId:
    """The id of the `k`-th instance scheduled by the decision after event `n`."""
    return task_id(spec.id, n, k) if isinstance(spec, AppSpec) else instance_id(spec.id, n, k)


path_chars_max = 120
"""Of a pod's path in the ids of its containers' tasks."""


def instance_id(pod: AppId, n: int, k: int) -> TaskId:
    """The id of the `k`-th instance scheduled by the decision after event `n`."""
    path = pod.strip("/").replace("/", "_")[:path_chars_max]
    return TaskId(f"{path}.instance-{n}-{k}")


def container_task(instance: TaskId, container: str) -> TaskId:
    """The id of a container's task."""
    return TaskId(f"{instance}.{container}.1")


def group_infos(
    pod: PodSpec,
    version: str,
    trace: TraceId | None,
    instance: TaskId,
    framework: FrameworkId,
    offer: Offer,
    taken: Taken,
) -> tuple[TaskInfo, ...]:
    """The tasks that are one instance on an offer."""
    own, size = pod.executor_resources, len(pod.containers)
    executor = resources(own.cpus, own.mem, own.disk)
    named = dict(zip((port.name for port in pod.wanted_ports), taken.ports, strict=True))
    shared = endpoint_variables(pod, named)
    infos = []
    for index, container in enumerate(pod.containers):
        ports = tuple(named[one.name] for one in container.endpoints if one.name in named)
        group = TaskGroup(id=TaskGroupId(instance), index=index, size=size, executor=executor)
        info = TaskInfo(
            task=container_task(instance, container.name),
            name=container.name,
            agent=offer.agent,
            hostname=offer.hostname,
            framework=framework,
            resources=_amount(container, ports),
            ports=ports,
            command=_command(pod, container, environment(pod, container, version, offer.hostname) | shared),
            health=None if container.health_check is None else _check(container.health_check, named),
            labels=pod.labels | container.labels,
            place=place_of(pod.constraints, offer),
            app=pod.id,
            trace=trace,
            group=group,
            volumes=_volumes(pod, container),
        )
        grace_s = container.lifecycle.kill_grace_period_seconds
        infos.append(info if grace_s is None else replace(info, kill_grace_s=float(grace_s)))
    return tuple(infos)


def _amount(container: PodContainer, ports: tuple[int, ...]) -> Resources:
    asked = resources(container.resources.cpus, container.resources.mem, container.resources.disk)
    return replace(asked, ports=normal((port, port) for port in ports))


def _command(pod: PodSpec, container: PodContainer, system: Mapping[str, str]) -> Command:
    told = container.exec.command if container.exec is not None else None
    spec = confided(pod, container)
    secrets = {variable: secret for variable, secret in secret_env(spec).items() if variable not in system}
    return Command(
        shell=told.shell if told is not None else None,
        argv=(told.argv or ()) if told is not None else (),
        env=plain_env(spec) | dict(system),
        user=container.user or pod.user,
        secret_env=secrets,
        secret_files=secret_files(spec),
        fetch=tuple(
            Uri(
                uri=one.uri,
                extract=one.extract,
                executable=one.executable,
                cache=one.cache,
                dest_path=one.dest_path,
                checksum=one.checksum,
            )
            for one in container.artifacts
        ),
    )


def _volumes(pod: PodSpec, container: PodContainer) -> tuple[SharedVolume, ...]:
    """The directories that the container shares; a secret is a file of its own."""
    shared = {volume.name for volume in pod.volumes if volume.secret is None}
    return tuple(
        SharedVolume(name=sandbox_name(TaskGroupId(mount.name)), path=mount.mount_path, read_only=mount.read_only)
        for mount in container.volume_mounts
        if mount.name in shared
    )


def largest_bytes(spec: PodSpec) -> int:
    """About how large the tasks of one instance are together at most."""
    ports = tuple(65535 for _ in spec.wanted_ports)
    offer = Offer(offer=OfferId("o-0-0"), agent=AgentId("a" * 63), hostname="h" * 253, resources=Resources())
    taken = Taken(Resources(ports=tuple((port, port) for port in ports)), ports)
    instance = instance_id(spec.id, 10**9, 1000)
    infos = group_infos(spec, "2000-01-01T00:00:00.000Z", None, instance, FrameworkId("f" * 63), offer, taken)
    return sum(map(task_bytes, infos)) + (place_bytes_max * len(infos) if spec.constraints else 0)


# ---- the environment --------------------------------------------------------------------------------------------


def environment(pod: PodSpec, container: PodContainer, version: str, hostname: str) -> dict[str, str]:
    """What a container finds in its environment, beside what its pod and it say themselves, and the endpoints."""
    amounts = container.resources
    return {
        "HOST": hostname,
        "MARATHON_APP_ID": pod.id,
        "MARATHON_APP_VERSION": version,
        "MARATHON_CONTAINER_ID": container.name,
        "MARATHON_CONTAINER_RESOURCE_CPUS": str(float(amounts.cpus)),
        "MARATHON_CONTAINER_RESOURCE_MEM": str(float(amounts.mem)),
        "MARATHON_CONTAINER_RESOURCE_DISK": str(float(amounts.disk)),
        "MARATHON_CONTAINER_RESOURCE_GPUS": str(amounts.gpus),
        **label_variables(pod.labels | container.labels),
    }


def endpoint_variables(pod: PodSpec, ports: Mapping[str | None, int]) -> dict[str, str]:
    """Of every endpoint of the pod, for each of its containers: the port it is at."""
    found = {}
    for container in pod.containers:
        for endpoint in container.endpoints:
            name = re.sub(r"[^A-Z0-9_]+", "_", endpoint.name.upper())
            if endpoint.name in ports:
                found[f"ENDPOINT_{name}"] = found[f"EP_HOST_{name}"] = str(ports[endpoint.name])
            if endpoint.container_port is not None:
                found[f"EP_CONTAINER_{name}"] = str(endpoint.container_port)
    return found


# ---- checks -----------------------------------------------------------------------------------------------------


def _check(check: PodHealthCheck, ports: Mapping[str | None, int]) -> Check:
    """What the executor checks: a command, or a port of the container's; 0, where every look fails, if it has none."""
    told, port, path = (None, 0, "/")
    if check.exec is not None:
        probe, told = Probe.COMMAND, check.exec.command
    elif check.http is not None:
        probe, port, path = Probe(check.http.scheme), ports.get(check.http.endpoint, 0), check.http.path or "/"
    else:
        probe, port = Probe.TCP, ports.get(check.tcp.endpoint, 0) if check.tcp is not None else 0
    return Check(
        probe=probe,
        port=port,
        path=path,
        command=None if told is None else Command(shell=told.shell, argv=told.argv or ()),
        delay_s=float(check.delay_seconds),
        interval_s=float(check.interval_seconds),
        timeout_s=float(check.timeout_seconds),
        grace_s=float(check.grace_period_seconds),
        failures_max=check.max_consecutive_failures,
    )
