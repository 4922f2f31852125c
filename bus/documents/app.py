"""Apps, in Marathon's shape. (Marathon: `docs/rest-api/public/api/v2/types/app.raml`)

Rule of this room: as in `bus.documents`. What only Busbar has is under `rollout`, and off unless asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from bus.documents.base import (
    Argv,
    Cpus,
    Document,
    Env,
    Fetches,
    Fraction,
    Instances,
    Labels,
    Line,
    Megabytes,
    Name,
    Port,
    Seconds,
    Secrets,
    SecretVolume,
    SecretVolumes,
    WholeSeconds,
    Word,
    resources,
)
from bus.documents.check import AppCheck
from bus.nouns import AppId, Resources

Constraint = Annotated[tuple[str, ...], Meta(min_length=2, max_length=3)]
"""Field, operator, and a value where the operator takes one: `["hostname", "UNIQUE"]`."""
Constraints = Annotated[tuple[Constraint, ...], Meta(max_length=100)]
Roles = Annotated[tuple[Name, ...], Meta(max_length=10)]


class Container(Document, frozen=True):
    """Where an app's instances run: on the host, beside files that hold secrets."""

    type: Literal["MESOS"] = "MESOS"
    volumes: SecretVolumes = ()


class PortDefinition(Document, frozen=True):
    """A port an app wants on its host; 0 asks for any free one."""

    port: Port = 0
    name: Word | None = None
    protocol: Literal["tcp", "udp", "udp,tcp"] = "tcp"
    labels: Labels = {}


class Network(Document, frozen=True):
    """A network an app's instances are in."""

    mode: Literal["host", "container/bridge", "container"] = "host"
    name: Name | None = None
    labels: Labels = {}


class UpgradeStrategy(Document, frozen=True):
    """How many of the wanted instances stay healthy, and how many more there may be, while they are replaced."""

    minimum_health_capacity: Fraction = 1.0
    maximum_over_capacity: Fraction = 1.0


class UnreachableStrategy(Document, frozen=True):
    """After how long an instance that cannot be reached is replaced, and after how long it is given up."""

    inactive_after_seconds: WholeSeconds = 0
    expunge_after_seconds: WholeSeconds = 0


class HealthCommand(Document, frozen=True):
    """A shell line that is executed in the sandbox: healthy if it exits with 0."""

    value: Line


class HealthCheck(Document, frozen=True):
    """How it is found out whether an instance serves."""

    protocol: Literal["HTTP", "HTTPS", "TCP", "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP", "COMMAND"] = "HTTP"
    path: Annotated[str, Meta(max_length=1024, pattern=r"^/[^\x00-\x20]*\Z")] | None = None
    port_index: Annotated[int, Meta(ge=0, le=99)] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    command: HealthCommand | None = None
    grace_period_seconds: WholeSeconds = 300
    interval_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 60
    timeout_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 20
    max_consecutive_failures: Annotated[int, Meta(ge=0, le=1000)] = 3
    delay_seconds: WholeSeconds = 15
    """Before the first check; the executor's checks only."""
    ignore_http1xx: bool = field(default=False, name="ignoreHttp1xx")
    ip_protocol: Literal["IPv4", "IPv6"] = "IPv4"


class ReadinessCheck(Document, frozen=True):
    """Whether an instance that was just started may count in a deployment."""

    name: Name = "readinessCheck"
    protocol: Literal["HTTP", "HTTPS"] = "HTTP"
    path: Annotated[str, Meta(max_length=1024, pattern=r"^/[^\x00-\x20]*\Z")] = "/"
    port_name: Word = "http-api"
    interval_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 30
    timeout_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 10
    http_status_codes_for_ready: Annotated[
        tuple[Annotated[int, Meta(ge=100, le=999)], ...], Meta(min_length=1, max_length=100)
    ] = (200,)
    preserve_last_response: bool = False


class Rollout(Document, frozen=True):
    """When a deployment gives up, and how it begins: nothing of it unless asked for. (not in Marathon)"""

    progress_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    """After so long without one more instance up, the deployment has failed."""
    auto_rollback: bool = False
    """A failed deployment goes back to what was before it."""
    max_launch_attempts: Annotated[int, Meta(ge=1, le=1000)] | None = None
    """Failures of one version's instances after which the deployment has failed."""
    canaries: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Instances of a new version that run beside all of the old before it goes on by a person's word."""


class AppSpec(Document, frozen=True):
    """A service to keep running: N instances of one command."""

    id: AppId
    cmd: Line | None = None
    args: Argv | None = None
    cpus: Cpus = 1.0
    mem: Megabytes = 128.0
    disk: Megabytes = 0.0
    gpus: Annotated[int, Meta(ge=0, le=1000)] = 0
    instances: Instances = 1
    env: Env = {}
    labels: Labels = {}
    ports: Annotated[tuple[Port, ...], Meta(max_length=100)] | None = None
    port_definitions: Annotated[tuple[PortDefinition, ...], Meta(max_length=100)] | None = None
    require_ports: bool = False
    networks: Annotated[tuple[Network, ...], Meta(max_length=10)] = ()
    backoff_seconds: Seconds = 1.0
    backoff_factor: Annotated[float, Meta(ge=1, le=100)] = 1.15
    max_launch_delay_seconds: Seconds = 300.0
    task_kill_grace_period_seconds: Seconds | None = None
    user: Name | None = None
    secrets: Secrets = {}
    container: Container | None = None
    fetch: Fetches = ()
    constraints: Constraints = ()
    accepted_resource_roles: Roles = ()
    role: Name | None = None
    dependencies: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    health_checks: Annotated[tuple[HealthCheck, ...], Meta(max_length=10)] = ()
    readiness_checks: Annotated[tuple[ReadinessCheck, ...], Meta(max_length=1)] = ()
    check: AppCheck | None = None
    upgrade_strategy: UpgradeStrategy = UpgradeStrategy()
    unreachable_strategy: UnreachableStrategy | Literal["disabled"] = UnreachableStrategy()
    kill_selection: Literal["YOUNGEST_FIRST", "OLDEST_FIRST"] = "YOUNGEST_FIRST"
    rollout: Rollout = Rollout()

    @property
    def resources(self) -> Resources:
        """What one instance takes, ports aside."""
        return resources(self.cpus, self.mem, self.disk)

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """The files of an instance that hold secrets."""
        return self.container.volumes if self.container is not None else ()

    @property
    def wanted_ports(self) -> tuple[PortDefinition, ...]:
        """The ports one instance wants; `[0]` unless said otherwise, as Marathon has it."""
        if self.port_definitions is not None:
            return self.port_definitions
        return tuple(PortDefinition(port=port) for port in (self.ports if self.ports is not None else (0,)))
