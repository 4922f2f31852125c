"""What must hold of a pod beyond its fields. (Marathon: `PodsValidation.scala`)

Rule of this room: as in `bus.documents`; one rule each.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.documents.app_rules import accepted_roles, rollout, unreachable
from bus.documents.base import Complaint, Steps
from bus.documents.ids import id_invalid
from bus.documents.older import NO_NETWORKS
from bus.documents.pod import PodContainer, PodHealthCheck, PodSpec
from bus.documents.rules import Rule, constraints, env_secrets, fetches, twice, undeclared
from bus.secrets import path_invalid, paths_clash

pod_name_chars_max = 54
"""Of the last part of an id: it becomes part of host names. (Marathon: `PodsValidation`)"""


def _id(pod: PodSpec) -> Iterator[Complaint]:
    wrong = id_invalid(pod.id, "a pod id")
    if wrong is not None:
        yield Complaint(wrong, ("id",))
    elif len(pod.id.rsplit("/", 1)[-1]) > pod_name_chars_max:
        yield Complaint(f"the last part of a pod's id has at most {pod_name_chars_max} characters", ("id",))


def _names(pod: PodSpec) -> Iterator[Complaint]:
    for index in twice(container.name for container in pod.containers):
        yield Complaint(f"two containers are called {pod.containers[index].name!r}", ("containers", index, "name"))
    places: list[Steps] = []
    names: list[str] = []
    for index, container in enumerate(pod.containers):
        for at, endpoint in enumerate(container.endpoints):
            places.append(("containers", index, "endpoints", at))
            names.append(endpoint.name)
    for index in twice(names):
        yield Complaint(f"two endpoints are called {names[index]!r}", (*places[index], "name"))


def _networks(pod: PodSpec) -> Iterator[Complaint]:
    for index, network in enumerate(pod.networks):
        if network.mode != "host":
            yield Complaint(f"{network.mode!r} is not built: {NO_NETWORKS}", ("networks", index, "mode"))
    if len(pod.networks) > 1:
        yield Complaint("the host's network is there once", ("networks",))


def _endpoints(pod: PodSpec) -> Iterator[Complaint]:
    taken: set[int] = set()
    for index, container in enumerate(pod.containers):
        for at, endpoint in enumerate(container.endpoints):
            place = ("containers", index, "endpoints", at)
            if endpoint.container_port is not None:
                yield Complaint("on the host's network there is a hostPort only", (*place, "containerPort"))
            if endpoint.host_port is None:
                yield Complaint("on the host's network a hostPort is needed, 0 for any", (*place, "hostPort"))
            elif endpoint.host_port:
                if endpoint.host_port in taken:
                    yield Complaint(f"port {endpoint.host_port} is asked for twice", (*place, "hostPort"))
                taken.add(endpoint.host_port)
            if twice(endpoint.protocol):
                yield Complaint("a protocol is there twice", (*place, "protocol"))


def _commands(pod: PodSpec) -> Iterator[Complaint]:
    for index, container in enumerate(pod.containers):
        at: Steps = ("containers", index, "exec")
        if container.exec is None:
            yield Complaint("no agent runs images, so a container needs a command", at)
        elif (container.exec.command.shell is None) == (container.exec.command.argv is None):
            yield Complaint("expected exactly one of shell and argv", (*at, "command"))
        yield from fetches(container.artifacts, ("containers", index, "artifacts"))
        if container.health_check is not None:
            yield from _check(container.health_check, container, ("containers", index, "healthCheck"))


def _check(check: PodHealthCheck, container: PodContainer, at: Steps) -> Iterator[Complaint]:
    kinds = [name for name, found in (("http", check.http), ("tcp", check.tcp), ("exec", check.exec)) if found]
    if len(kinds) != 1:
        yield Complaint(f"expected exactly one of http, tcp and exec, found {', '.join(kinds) or 'none'}", at)
    if check.timeout_seconds >= check.interval_seconds:
        wrong = f"expected less than the interval of {check.interval_seconds} s, found {check.timeout_seconds} s"
        yield Complaint(wrong, (*at, "timeoutSeconds"))
    known = [endpoint.name for endpoint in container.endpoints]
    for name, looks_at in (("http", check.http), ("tcp", check.tcp)):
        if looks_at is not None and looks_at.endpoint not in known:
            expected = f"expected one of {', '.join(known)}" if known else "the container has none"
            yield Complaint(f"no endpoint is called {looks_at.endpoint!r}: {expected}", (*at, name, "endpoint"))
    if check.exec is not None and (check.exec.command.shell is None) == (check.exec.command.argv is None):
        yield Complaint("expected exactly one of shell and argv", (*at, "exec", "command"))


def _volumes(pod: PodSpec) -> Iterator[Complaint]:
    for index in twice(volume.name for volume in pod.volumes):
        yield Complaint(f"two volumes are called {pod.volumes[index].name!r}", ("volumes", index, "name"))
    volumes = {volume.name: volume for volume in pod.volumes}
    for index, container in enumerate(pod.containers):
        at: Steps = ("containers", index, "volumeMounts")
        for place, mount in enumerate(container.volume_mounts):
            volume = volumes.get(mount.name)
            if volume is None:
                yield Complaint(f"no volume of the pod is called {mount.name!r}", (*at, place, "name"))
            wrong = path_invalid(mount.mount_path)
            if wrong is not None and (volume is None or volume.secret is not None or mount.mount_path[:1] != "/"):
                yield Complaint(wrong, (*at, place, "mountPath"))
        clash = paths_clash([mount.mount_path for mount in container.volume_mounts])
        if clash is not None:
            yield Complaint(f"{clash!r} clashes with another volume", at)


def _mounted(pod: PodSpec) -> Iterator[Complaint]:
    mounted = {mount.name for container in pod.containers for mount in container.volume_mounts}
    for index, volume in enumerate(pod.volumes):
        if volume.name not in mounted:
            yield Complaint(f"no container mounts {volume.name!r}", ("volumes", index))


def _secrets(pod: PodSpec) -> Iterator[Complaint]:
    used = [*env_secrets(pod.environment, ("environment",))]
    for index, container in enumerate(pod.containers):
        used += env_secrets(container.environment, ("containers", index, "environment"))
    for index, volume in enumerate(pod.volumes):
        if volume.secret is not None:
            used.append((("volumes", index), volume.secret))
    yield from undeclared(used, pod.secrets, "$.secrets")


def _scheduling(pod: PodSpec) -> Iterator[Complaint]:
    at: Steps = ("scheduling",)
    placement: Steps = (*at, "placement")
    yield from constraints(pod.constraints, (*placement, "constraints"))
    yield from accepted_roles(pod.accepted_resource_roles, pod.role, (*placement, "acceptedResourceRoles"))
    yield from unreachable(pod.unreachable_strategy, (*at, "unreachableStrategy"))


def _rollout(pod: PodSpec) -> Iterator[Complaint]:
    return rollout(pod.rollout, ("scheduling", "rollout"))


POD_RULES: tuple[Rule[PodSpec], ...] = (
    Rule(("id",), _id),
    Rule(("containers",), _names),
    Rule(("networks",), _networks),
    Rule(("containers",), _endpoints),
    Rule(("containers",), _commands),
    Rule(("containers", "volumes"), _volumes),
    Rule(("containers", "volumes"), _mounted),
    Rule(("containers", "volumes", "environment", "secrets"), _secrets),
    Rule(("scheduling", "role"), _scheduling),
    Rule(("scheduling", "scaling"), _rollout),
)
