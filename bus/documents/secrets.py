"""Where apps and jobs refer to secrets: by name, never by value.

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

from bus.documents.app import AppSpec
from bus.documents.base import EnvSecret
from bus.documents.job import JobRunSpec

Confiding = AppSpec | JobRunSpec
"""What may refer to secrets, once its document was checked."""


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
