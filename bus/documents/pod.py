"""Pods, in Marathon's shape: containers that run together or not at all.

(Marathon: `docs/rest-api/public/api/v2/types/pod.raml`, `podContainer.raml`)

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bus.documents.app import Constraint, Network, PortDefinition, Roles, Rollout, UnreachableStrategy, UpgradeStrategy
from bus.documents.base import (
    Argv,
    Cpus,
    Document,
    Env,
    Fetches,
    Instances,
    Labels,
    Line,
    Megabytes,
    Name,
    Port,
    Seconds,
    Secrets,
    WholeSeconds,
    Word,
    resources,
)
from bus.nouns import AppId, Resources, total


class Amounts(Document, frozen=True):
    """What a container takes."""

    cpus: Cpus = 1.0
    mem: Megabytes = 128.0
    disk: Megabytes = 0.0
    gpus: Annotated[int, Meta(ge=0, le=1000)] = 0


class ExecutorAmounts(Document, frozen=True):
    """What the executor of a pod takes beside its containers."""

    cpus: Cpus = 0.1
    mem: Megabytes = 32.0
    disk: Megabytes = 10.0


class PodCommand(Document, frozen=True):
    """A command line for /bin/sh, or a program and its arguments: exactly one of the two."""

    shell: Line | None = None
    argv: Argv | None = None


class Exec(Document, frozen=True):
    """What a container executes."""

    command: PodCommand


class Endpoint(Document, frozen=True):
    """A port a container serves at; with host networking the host's: 0 asks for any free one."""

    name: Word
    container_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    host_port: Port | None = None
    protocol: tuple[Literal["tcp", "udp"], ...] = ("tcp",)
    labels: Labels = {}


class PodHttpCheck(Document, frozen=True):
    """Healthy if it answers 200 to 399."""

    endpoint: Word
    path: Annotated[str, Meta(max_length=1024, pattern=r"^/[^\x00-\x20]*\Z")] | None = None
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class PodTcpCheck(Document, frozen=True):
    """Healthy if it takes connections."""

    endpoint: Word


class PodCommandCheck(Document, frozen=True):
    """Healthy if it exits with 0."""

    command: PodCommand


class PodHealthCheck(Document, frozen=True):
    """How it is found out whether a container serves; its executor checks."""

    http: PodHttpCheck | None = None
    tcp: PodTcpCheck | None = None
    exec: PodCommandCheck | None = None
    grace_period_seconds: WholeSeconds = 300
    interval_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 60
    timeout_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 20
    max_consecutive_failures: Annotated[int, Meta(ge=0, le=1000)] = 3
    delay_seconds: WholeSeconds = 15


class VolumeMount(Document, frozen=True):
    """Where a container finds a volume of its pod."""

    name: Name
    mount_path: Annotated[str, Meta(min_length=1, max_length=1000)]
    read_only: bool = False


class Lifecycle(Document, frozen=True):
    """How a container is ended."""

    kill_grace_period_seconds: Seconds | None = None


class PodContainer(Document, frozen=True):
    """One of the programs of a pod."""

    name: Word
    resources: Amounts
    exec: Exec | None = None
    endpoints: Annotated[tuple[Endpoint, ...], Meta(max_length=100)] = ()
    health_check: PodHealthCheck | None = None
    volume_mounts: Annotated[tuple[VolumeMount, ...], Meta(max_length=100)] = ()
    artifacts: Fetches = ()
    environment: Env = {}
    labels: Labels = {}
    user: Name | None = None
    lifecycle: Lifecycle = Lifecycle()


class PodVolume(Document, frozen=True):
    """A directory that the containers of an instance share, gone with its sandbox; or a file with a secret."""

    name: Name
    secret: Name | None = None


class Scaling(Document, frozen=True):
    """How many instances."""

    kind: Literal["fixed"] = "fixed"
    instances: Instances = 1


class PodBackoff(Document, frozen=True):
    """How long a pod waits after failures."""

    backoff: Seconds = 1.0
    backoff_factor: Annotated[float, Meta(ge=1, le=100)] = 1.15
    max_launch_delay: Seconds = 300.0


class PodConstraint(Document, frozen=True):
    """One rule of where instances may be."""

    field_name: str
    operator: str
    value: str | None = None


class Placement(Document, frozen=True):
    """Where instances may be."""

    constraints: Annotated[tuple[PodConstraint, ...], Meta(max_length=100)] = ()
    accepted_resource_roles: Roles = ()


class Scheduling(Document, frozen=True):
    """How instances are placed, replaced and given up."""

    backoff: PodBackoff = PodBackoff()
    upgrade: UpgradeStrategy = UpgradeStrategy()
    placement: Placement = Placement()
    kill_selection: Literal["YOUNGEST_FIRST", "OLDEST_FIRST"] = "YOUNGEST_FIRST"
    unreachable_strategy: UnreachableStrategy | Literal["disabled"] = UnreachableStrategy()
    rollout: Rollout = Rollout()


class PodSpec(Document, frozen=True):
    """A service of several containers that start together, share a directory, and end together."""

    id: AppId
    containers: Annotated[tuple[PodContainer, ...], Meta(min_length=1, max_length=100)]
    version: str | None = None
    """What Marathon says, never what it is told."""
    labels: Labels = {}
    environment: Env = {}
    networks: Annotated[tuple[Network, ...], Meta(max_length=10)] = ()
    volumes: Annotated[tuple[PodVolume, ...], Meta(max_length=100)] = ()
    scaling: Scaling = Scaling()
    scheduling: Scheduling = Scheduling()
    secrets: Secrets = {}
    user: Name | None = None
    role: Name | None = None
    executor_resources: ExecutorAmounts = ExecutorAmounts()

    # what an app calls them: so that both are kept running by the same rules

    @property
    def instances(self) -> int:
        return self.scaling.instances

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        rules = self.scheduling.placement.constraints
        return tuple((rule.field_name, rule.operator, *(() if rule.value is None else (rule.value,))) for rule in rules)

    @property
    def accepted_resource_roles(self) -> tuple[str, ...]:
        return self.scheduling.placement.accepted_resource_roles

    @property
    def upgrade_strategy(self) -> UpgradeStrategy:
        return self.scheduling.upgrade

    @property
    def unreachable_strategy(self) -> UnreachableStrategy | Literal["disabled"]:
        return self.scheduling.unreachable_strategy

    @property
    def kill_selection(self) -> Literal["YOUNGEST_FIRST", "OLDEST_FIRST"]:
        return self.scheduling.kill_selection

    @property
    def rollout(self) -> Rollout:
        return self.scheduling.rollout

    @property
    def backoff_seconds(self) -> float:
        return self.scheduling.backoff.backoff

    @property
    def backoff_factor(self) -> float:
        return self.scheduling.backoff.backoff_factor

    @property
    def max_launch_delay_seconds(self) -> float:
        return self.scheduling.backoff.max_launch_delay

    @property
    def task_kill_grace_period_seconds(self) -> float | None:
        """None: each container has its own, `lifecycle.killGracePeriodSeconds`."""
        return None

    @property
    def gpus(self) -> int:
        return sum(container.resources.gpus for container in self.containers)

    @property
    def wanted_ports(self) -> tuple[PortDefinition, ...]:
        """The ports of the host that one instance takes, container by container."""
        endpoints = [endpoint for container in self.containers for endpoint in container.endpoints]
        return tuple(
            PortDefinition(port=endpoint.host_port, name=endpoint.name)
            for endpoint in endpoints
            if endpoint.host_port is not None
        )

    @property
    def require_ports(self) -> bool:
        """A number that is asked for is meant."""
        return True

    @property
    def is_checked(self) -> bool:
        """Whether something is checked of its instances."""
        return any(container.health_check is not None for container in self.containers)

    @property
    def resources(self) -> Resources:
        """What one instance takes, ports aside: its containers and its executor."""
        own = self.executor_resources
        each = [one.resources for one in self.containers]
        return total([resources(own.cpus, own.mem, own.disk), *(resources(o.cpus, o.mem, o.disk) for o in each)])
