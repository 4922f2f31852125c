"""Jobs, in Metronome's shape. (Metronome: `api/v1/schema`)

Rule of this room: as in `bus.documents`. What a run needs and nothing here can give is refused where it is written,
instead of being taken and not done.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bus.documents.app import Network
from bus.documents.base import (
    Argv,
    Document,
    Env,
    Fetches,
    Labels,
    Line,
    Megabytes,
    Name,
    Seconds,
    Secrets,
    SecretVolume,
    resources,
)
from bus.nouns import JobId, Resources
from bus.secrets import references_max

schedules_max = 32
"""Of one job. (Metronome: one)"""
dependencies_max = 100
"""Of one job."""


class Restart(Document, frozen=True):
    """What a job's run does when its task fails."""

    policy: Literal["NEVER", "ON_FAILURE"] = "NEVER"
    active_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None


class JobConstraint(Document, frozen=True):
    """One rule of where a run may be: an attribute of the node, and what it is to be."""

    attribute: Name
    operator: Literal["IS", "LIKE", "UNLIKE", "EQ"]
    """EQ is the older name of IS, and is read as that. (Metronome: `ConstraintSpec`)"""
    value: Annotated[str, Meta(max_length=1024)] | None = None

    def __post_init__(self) -> None:
        if self.operator == "EQ":
            msgspec.structs.force_setattr(self, "operator", "IS")


class JobPlacement(Document, frozen=True):
    """Where a run may be."""

    constraints: Annotated[tuple[JobConstraint, ...], Meta(max_length=100)] = ()


class JobVolume(Document, frozen=True):
    """A file of a run that holds a secret; of a host's directory, which is refused, what Metronome has."""

    container_path: str
    secret: Name | None = None
    host_path: str | None = None
    mode: Literal["RO", "RW"] | None = None


class DockerParameter(Document, frozen=True):
    """An option of a container platform."""

    key: Name
    value: Annotated[str, Meta(max_length=4096)]


class Docker(Document, frozen=True):
    """An image for Docker to run: read, so that it can be refused with its path."""

    image: Name
    force_pull_image: bool = False
    privileged: bool = False
    parameters: Annotated[tuple[DockerParameter, ...], Meta(max_length=100)] = ()


class UcrImage(Document, frozen=True):
    """An image for Mesos' own containerizer."""

    id: Name
    kind: Literal["docker", "appc"] = "docker"
    force_pull: bool = False


class Ucr(Document, frozen=True):
    """As `Docker`."""

    image: UcrImage
    privileged: bool = False


class JobRunSpec(Document, frozen=True):
    """How one run of a job executes. (Metronome requires cpus, mem and disk)"""

    cpus: Annotated[float, Meta(ge=0.01, le=100_000)]
    mem: Annotated[float, Meta(ge=32, le=1_000_000_000)]
    disk: Megabytes
    gpus: Annotated[int, Meta(ge=0, le=1000)] = 0
    cmd: Line | None = None
    args: Argv | None = None
    env: Env = {}
    user: Name | None = None
    restart: Restart = Restart()
    placement: JobPlacement = JobPlacement()
    max_launch_delay: Annotated[int, Meta(ge=1, le=31_536_000)] = 3600
    task_kill_grace_period_seconds: Seconds | None = None
    artifacts: Fetches = ()
    networks: Annotated[tuple[Network, ...], Meta(max_length=10)] = ()
    secrets: Secrets = {}
    volumes: Annotated[tuple[JobVolume, ...], Meta(max_length=references_max)] = ()
    docker: Docker | None = None
    ucr: Ucr | None = None

    @property
    def resources(self) -> Resources:
        """What one run takes."""
        return resources(self.cpus, self.mem, self.disk)

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """The files of a run that hold secrets."""
        secret = ((volume.container_path, volume.secret) for volume in self.volumes)
        return tuple(SecretVolume(container_path=path, secret=key) for path, key in secret if key is not None)

    @property
    def constraints(self) -> tuple[tuple[str, ...], ...]:
        """Where a run may be, as apps say it."""
        rules = self.placement.constraints
        return tuple((rule.attribute, rule.operator, *(() if rule.value is None else (rule.value,))) for rule in rules)


class Schedule(Document, frozen=True):
    """When a job runs by itself: five cron fields, and a sixth for the year, in an IANA time zone."""

    cron: Annotated[str, Meta(max_length=255)]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")] = "default"
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    enabled: bool = True
    concurrency_policy: Literal["ALLOW", "FORBID"] = "ALLOW"
    starting_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 900
    catch_up: Literal["none", "latest", "all"] = "none"
    """Which of the firings that were missed while nobody was there are made up for. (not in Metronome: none)"""


class Dependency(Document, frozen=True):
    """A job that has to succeed before."""

    id: JobId


class JobSpec(Document, frozen=True):
    """A computation that ends: run now, on a schedule, or when those it depends on have succeeded."""

    id: JobId
    run: JobRunSpec
    description: Annotated[str, Meta(max_length=2048)] = ""
    labels: Labels = {}
    schedules: Annotated[tuple[Schedule, ...], Meta(max_length=schedules_max)] = ()
    dependencies: Annotated[tuple[Dependency, ...], Meta(max_length=dependencies_max)] = ()

    @property
    def parents(self) -> tuple[JobId, ...]:
        """The jobs it depends on."""
        return tuple(dependency.id for dependency in self.dependencies)

    @property
    def enabled(self) -> tuple[Schedule, ...]:
        """The schedules that fire."""
        return tuple(schedule for schedule in self.schedules if schedule.enabled)

    def schedule(self, id: str) -> Schedule | None:
        """Its schedule of that name."""
        return next((schedule for schedule in self.schedules if schedule.id == id), None)
