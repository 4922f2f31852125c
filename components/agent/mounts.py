"""What is mounted where, as this process sees it. (proc_pid_mountinfo(5))"""

from __future__ import annotations

import errno
import os
import re
import select
import shlex
from contextlib import closing

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


class Mounts:
    """What is mounted, whenever it is asked for: read again when the kernel says that it changed. For one thread.

    (proc_pid_mounts(5): poll)
    """

    def __init__(self) -> None:
        self._file = open("/proc/self/mountinfo", "rb", buffering=0)  # noqa: SIM115  (closed by `close`)
        self._changed = select.poll()
        self._changed.register(self._file, select.POLLPRI)
        self._points = self._read()

    def close(self) -> None:
        """Ask no more."""
        self._file.close()

    def check_none_in(self, directory: str) -> None:
        """Raise OSError, which says what to do, if anything is mounted on a directory or below it."""
        if self._changed.poll(0):
            self._points = self._read()
        points = points_in(directory, self._points)
        if points:
            raise OSError(errno.EBUSY, f"what is mounted in it is not ours to delete: umount {shlex.join(points)}")

    def _read(self) -> list[str]:
        self._file.seek(0)
        return mount_points(self._file.read())


def check_unmounted(directory: str) -> None:
    """Raise OSError, which says what to do, if anything is mounted on a directory or below it."""
    with closing(Mounts()) as mounts:
        mounts.check_none_in(directory)
