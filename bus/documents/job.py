"""Jobs, in Metronome's shape. (Metronome: `api/v1/schema`)

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from bus.documents.base import (
    Argv,
    Document,
    Env,
    Labels,
    Line,
    Megabytes,
    Name,
    Seconds,
    Secrets,
    SecretVolume,
    SecretVolumes,
    resources,
)
from bus.nouns import JobId, Resources


class Restart(Document, frozen=True):
    """What a job's run does when its task fails."""

    policy: Literal["NEVER", "ON_FAILURE"] = "NEVER"
    active_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None


class JobRunSpec(Document, frozen=True):
    """How one run of a job executes. (Metronome requires cpus, mem and disk)"""

    cpus: Annotated[float, Meta(ge=0.01, le=100_000)]
    mem: Annotated[float, Meta(ge=32, le=1_000_000_000)]
    disk: Megabytes
    cmd: Line | None = None
    args: Argv | None = None
    env: Env = {}
    user: Name | None = None
    restart: Restart = Restart()
    max_launch_delay: Annotated[int, Meta(ge=1, le=31_536_000)] = 3600
    task_kill_grace_period_seconds: Seconds | None = None
    secrets: Secrets = {}
    volumes: SecretVolumes = ()

    @property
    def resources(self) -> Resources:
        """What one run takes."""
        return resources(self.cpus, self.mem, self.disk)

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """The files of a run that hold secrets."""
        return self.volumes


class Schedule(Document, frozen=True):
    """When a job runs by itself: five cron fields in an IANA time zone."""

    cron: Annotated[str, Meta(max_length=255)]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")] = "default"
    timezone: Annotated[str, Meta(min_length=1, max_length=64)] = "UTC"
    enabled: bool = True
    concurrency_policy: Literal["ALLOW", "FORBID"] = "ALLOW"
    starting_deadline_seconds: Annotated[int, Meta(ge=1, le=31_536_000)] = 900


class JobSpec(Document, frozen=True):
    """A computation that ends: run now, or on a schedule."""

    id: JobId
    run: JobRunSpec
    description: Annotated[str, Meta(max_length=2048)] = ""
    labels: Labels = {}
    schedules: Annotated[tuple[Schedule, ...], Meta(max_length=1)] = ()
