"""What is mounted where, as this process sees it. (proc_pid_mountinfo(5))"""

from __future__ import annotations

import errno
import os
import re
import shlex

_ESCAPED = re.compile(rb"\\([0-7]{3})")
_MOUNT_POINT = 4
"""Which field of a line it is."""


def mount_points(text: bytes) -> list[str]:
    """The mount points in the text of a `mountinfo`, in the order they were mounted."""
    fields = (line.split(b" ")[_MOUNT_POINT] for line in text.splitlines())
    return [os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field)) for field in fields]


def points_in(directory: str, points: list[str]) -> list[str]:
    """Those that are a directory or lie below it, the deepest first: so they can be unmounted one after another."""
    found = {point for point in points if point == directory or point.startswith(f"{directory}/")}
    return sorted(found, key=lambda point: (-point.count("/"), point))


def check_unmounted(directory: str) -> None:
    """Raise OSError, which says what to do, if anything is mounted on a directory or below it."""
    with open("/proc/self/mountinfo", "rb") as file:
        points = points_in(directory, mount_points(file.read()))
    if points:
        raise OSError(errno.EBUSY, f"what is mounted in it is not ours to delete: umount {shlex.join(points)}")
