"""The directories that the tasks of a group share, and where one task finds them.

    [{"from": directory, "at": path in the sandbox, or absolute, "read_only": true or false}, ...]

Confined, a directory is mounted there, for this task alone, and what it may only read it can only read. Unconfined, a
link leads to it, and nothing keeps it from being written.

Rule of this room: every directory is there before anybody is forked; its rights are for tasks of different users.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence


class NotShared(OSError):
    """A volume cannot be where a task is to find it."""


class Volume:
    """A shared directory, and where a task finds it."""

    __slots__ = ("at", "read_only", "source")

    def __init__(self, source: str, at: str, *, read_only: bool) -> None:
        self.source, self.at, self.read_only = source, at, read_only

    @property
    def absolute(self) -> bool:
        return self.at.startswith("/")

    def target(self, sandbox: str) -> str:
        """The directory of the task's that the volume lies on, created if it is in the sandbox. Raises NotShared."""
        if self.absolute:
            if not os.path.isdir(self.at):
                raise NotShared(f"volume at {self.at}: there is no such directory here; a relative path is created")
            return self.at
        target = f"{sandbox}/{self.at}"
        os.makedirs(target, exist_ok=True)
        if not f"{os.path.realpath(target)}/".startswith(f"{os.path.realpath(sandbox)}/"):
            raise NotShared(f"volume at {self.at}: that leads out of the sandbox")
        return target


def volumes_in(order: object) -> list[Volume]:
    """The volumes an order names, outer paths first; none if it names none."""
    found = []
    for one in order if isinstance(order, list) else ():
        match one:
            case {"from": str(source), "at": str(at), "read_only": bool(read_only)}:
                found.append(Volume(source, at, read_only=read_only))
    return sorted(found, key=lambda volume: volume.at)


def prepare(volumes: Sequence[Volume]) -> None:
    """Create the directories that are not there: every user's to use, who can come to them. Raises OSError."""
    for volume in volumes:
        os.makedirs(volume.source, exist_ok=True)
        if not stat.S_ISDIR(os.lstat(volume.source).st_mode):
            raise NotShared(f"{volume.source} is not a directory")
        os.chmod(volume.source, 0o777)


def still_there(sandbox: str, volumes: Sequence[Volume]) -> None:
    """See that a task left the places of its volumes as they were made for it. Raises NotShared."""
    for volume in volumes:
        target = f"{sandbox}/{volume.at}"
        if not volume.absolute and os.path.realpath(target) != f"{os.path.realpath(sandbox)}/{volume.at}":
            raise NotShared(f"volume at {volume.at}: the task put something else there")


def link(sandbox: str, volumes: Sequence[Volume]) -> None:
    """Let links lead to the directories, where a task is not confined. Raises OSError."""
    for volume in volumes:
        if volume.absolute:
            raise NotShared(f"volume at {volume.at}: only a confined task can have it outside of its sandbox")
        path = f"{sandbox}/{volume.at}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.islink(path):
            os.symlink(volume.source, path)
