"""One symbolic link for each task that is not seen to its end, `<work>/tasks/<pid>` → sandbox.

It lets the next launcher find what this one left, before any executor asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator


class Links:
    """The links of one work directory."""

    def __init__(self, path: str) -> None:
        self.path = path
        os.makedirs(path, mode=0o700, exist_ok=True)

    def add(self, pid: int, sandbox: str) -> None:
        """Remember a task. Raises OSError."""
        if self.has(pid, sandbox):
            return
        link = f"{self.path}/{pid}"
        if os.path.lexists(link):
            os.unlink(link)  # of a task that had this pid and ended while no launcher was there
        os.symlink(sandbox, link)

    def has(self, pid: int, sandbox: str) -> bool:
        """Whether a task is remembered."""
        link = f"{self.path}/{pid}"
        return os.path.islink(link) and os.readlink(link) == sandbox

    def remove(self, pid: int, sandbox: str) -> None:
        """Forget a task."""
        if self.has(pid, sandbox):
            os.unlink(f"{self.path}/{pid}")

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for name in sorted(os.listdir(self.path)):
            yield int(name), os.readlink(f"{self.path}/{name}")
