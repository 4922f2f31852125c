"""The secrets a task was given: values in memory that its agent left for it, and where the task finds them.

    {"env": {VARIABLE: file}, "files": {path in the sandbox: file}, "owned": directory of the files}

Rule of this room: read at the last moment, by the child alone: the launcher itself never holds a value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
value_bytes_max = 128 * 1024
"""More than any secret has."""


class Secrets:
    """What one task is given."""

    __slots__ = ("env", "files", "owned")

    def __init__(self, env: Mapping[str, str], files: Mapping[str, str], owned: str | None) -> None:
        self.env, self.files, self.owned = env, files, owned

    def __bool__(self) -> bool:
        return bool(self.env or self.files)

    @property
    def directories(self) -> list[str]:
        """Where the task itself looks, later on."""
        return [self.owned] if self.owned is not None and self.files else []

    def environment(self) -> dict[str, str]:
        """The variables with their values. Raises OSError."""
        return {variable: os.fsdecode(_read(path)) for variable, path in self.env.items()}

    def hand_over(self, own: Callable[[str], None]) -> None:
        """Make the files the task's user's. Raises OSError."""
        if self.owned is not None:
            own(self.owned)
            for path in self.files.values():
                own(path)

    def place(self, sandbox: str) -> None:
        """Show the files in the sandbox, as the task's user. Raises OSError."""
        for path, target in self.files.items():
            directory = os.path.dirname(path)
            if directory:
                os.makedirs(f"{sandbox}/{directory}", exist_ok=True)
            os.stat(target)  # a link that leads nowhere would be found by the task only
            os.symlink(target, f"{sandbox}/{path}")


def secrets_in(order: object) -> Secrets:
    """The secrets an order names; none if it names none."""
    match order:
        case {"env": dict(env), "files": dict(files), "owned": str(owned)}:
            return Secrets(env, files, owned)
    return Secrets({}, {}, None)


def _read(path: str) -> bytes:
    file = os.open(path, _FILE)
    try:
        return os.read(file, value_bytes_max)
    finally:
        os.close(file)
