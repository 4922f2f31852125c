"""Where documents refer to secrets: by name, never by value.

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bus.documents.base import EnvSecret, SecretSource, SecretVolume
from bus.documents.pod import PodContainer, PodSpec


class Confiding(Protocol):
    """What may refer to secrets, once its document was checked: an app, a run of a job, a container of a pod."""

    @property
    def env(self) -> Mapping[str, str | EnvSecret]:
        """Its variables, and the keys of secrets."""

    @property
    def secrets(self) -> Mapping[str, SecretSource]:
        """The secrets it declares, by key."""

    @property
    def secret_volumes(self) -> tuple[SecretVolume, ...]:
        """Its files that hold secrets."""


class Confided(NamedTuple):
    """A container with what its pod says for all."""

    env: Mapping[str, str | EnvSecret]
    secrets: Mapping[str, SecretSource]
    secret_volumes: tuple[SecretVolume, ...]


def confided(pod: PodSpec, container: PodContainer) -> Confided:
    """What a container of a pod refers to: its own variables win over the pod's."""
    keys = {volume.name: volume.secret for volume in pod.volumes if volume.secret is not None}
    files = tuple(
        SecretVolume(container_path=mount.mount_path, secret=keys[mount.name])
        for mount in container.volume_mounts
        if mount.name in keys
    )
    return Confided(pod.environment | container.environment, pod.secrets, files)


def plain_env(spec: Confiding) -> dict[str, str]:
    """The variables whose values are written in the document."""
    return {variable: value for variable, value in spec.env.items() if isinstance(value, str)}


def secret_env(spec: Confiding) -> dict[str, str]:
    """The variables that hold a secret, and its name."""
    held = {variable: value.secret for variable, value in spec.env.items() if isinstance(value, EnvSecret)}
    return {variable: spec.secrets[key].source for variable, key in held.items()}


def secret_files(spec: Confiding) -> dict[str, str]:
    """The paths in the sandbox at which a secret can be read, and its name."""
    return {volume.container_path: spec.secrets[volume.secret].source for volume in spec.secret_volumes}
