"""What people write: apps, pods and groups in Marathon's shape, jobs in Metronome's.

Rule of this room: the fields, defaults and limits are the originals', and a wrong document is refused with
the path of the field. What reads and judges documents is in `reading` and `rules`: most need no more than their shape.
(Marathon: `docs/rest-api/public/api/v2/types`; Metronome: `api/v1/schema`)
"""

from __future__ import annotations

from bus.documents.app import (
    AppSpec,
    Constraint,
    Container,
    HealthCheck,
    HealthCommand,
    Network,
    PortDefinition,
    ReadinessCheck,
    Rollout,
    UnreachableStrategy,
    UpgradeStrategy,
)
from bus.documents.base import APP_ID, JOB_ID, Complaint, DocumentError, EnvSecret, Fetch, SecretSource, SecretVolume
from bus.documents.group import GroupSpec
from bus.documents.ids import ROOT, is_below, parent, resolved
from bus.documents.job import (
    Dependency,
    JobConstraint,
    JobPlacement,
    JobRunSpec,
    JobSpec,
    JobVolume,
    Restart,
    Schedule,
)
from bus.documents.pod import Endpoint, PodCommand, PodContainer, PodHealthCheck, PodSpec, PodVolume, VolumeMount
from bus.documents.secrets import Confided, Confiding, confided, plain_env, secret_env, secret_files

__all__ = [
    "APP_ID",
    "JOB_ID",
    "ROOT",
    "AppSpec",
    "Complaint",
    "Confided",
    "Confiding",
    "Constraint",
    "Container",
    "Dependency",
    "DocumentError",
    "Endpoint",
    "EnvSecret",
    "Fetch",
    "GroupSpec",
    "HealthCheck",
    "HealthCommand",
    "JobConstraint",
    "JobPlacement",
    "JobRunSpec",
    "JobSpec",
    "JobVolume",
    "Network",
    "PodCommand",
    "PodContainer",
    "PodHealthCheck",
    "PodSpec",
    "PodVolume",
    "PortDefinition",
    "ReadinessCheck",
    "Restart",
    "Rollout",
    "Schedule",
    "SecretSource",
    "SecretVolume",
    "UnreachableStrategy",
    "UpgradeStrategy",
    "VolumeMount",
    "confided",
    "is_below",
    "parent",
    "plain_env",
    "resolved",
    "secret_env",
    "secret_files",
]
