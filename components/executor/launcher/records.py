"""The wait statuses of ended tasks on their way to the disk, and the operator's log.

Rule of this room: a status is never given up for a full disk; it is kept and written again and again.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from components.executor.launcher.loop import Loop
from components.executor.launcher.sandbox import Sandbox

write_again_s = 5.0
unwritten_max = 1000


def log(text: str) -> None:
    """A line for the operator. What the disk does not take is lost: a launcher that ends for it loses statuses."""
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n"
    with suppress(OSError):
        os.write(2, line.encode("utf-8", "backslashreplace"))


class Unwritten:
    """A status that is not on the disk yet."""

    __slots__ = ("sandbox", "status", "stopped")

    def __init__(self, sandbox: Sandbox, status: int, *, stopped: bool) -> None:
        self.sandbox, self.status, self.stopped = sandbox, status, stopped


class Records:
    """Writes statuses into sandboxes, and knows those it could not write."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.unwritten: dict[str, Unwritten] = {}
        """Oldest first."""

    def write(self, task: str, sandbox: Sandbox, status: int, *, stopped: bool) -> None:
        """Record a status, now or as soon as the disk takes it."""
        try:
            sandbox.end(status)
        except OSError as error:
            log(f"{task}: wait status {status} cannot be recorded: {error}")
            if not isinstance(error, FileNotFoundError):  # else the sandbox was deleted: nobody will ask for it
                self._keep(task, Unwritten(sandbox, status, stopped=stopped))

    def _keep(self, task: str, unwritten: Unwritten) -> None:
        self.unwritten[task] = unwritten
        if len(self.unwritten) > unwritten_max:
            del self.unwritten[next(iter(self.unwritten))]
        self._loop.alarm("unwritten", time.monotonic() + write_again_s, self._write_again)

    def _write_again(self) -> None:
        waiting, self.unwritten = self.unwritten, {}
        for task, unwritten in waiting.items():
            self.write(task, unwritten.sandbox, unwritten.status, stopped=unwritten.stopped)
