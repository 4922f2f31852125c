"""One symbolic link for each task that is not seen to its end, `<work>/tasks/<pid>` → sandbox.

It lets the next launcher find what this one left, before any executor asks for it. `new-<number>` is one whose process
is about to be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_NEW = "new-"


class Links:
    """The links of one work directory."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._made = 0
        os.makedirs(path, mode=0o700, exist_ok=True)

    def new(self, sandbox: str) -> str:
        """Remember a task that is about to be: the link's name. Raises OSError."""
        self._made += 1
        return self.add(f"{_NEW}{self._made}", sandbox)

    def name(self, name: str, pid: int) -> str:
        """Have a link remember which process its task is: its new name. Raises OSError."""
        os.rename(f"{self.path}/{name}", f"{self.path}/{pid}")
        return str(pid)

    def add(self, name: str, sandbox: str) -> str:
        """Remember a task: the link's name. Raises OSError."""
        link = f"{self.path}/{name}"
        try:
            os.symlink(sandbox, link)
        except FileExistsError:
            if not self.has(name, sandbox):
                os.unlink(link)  # of a task that had this pid and ended while no launcher was there
                os.symlink(sandbox, link)
        return name

    def has(self, name: str, sandbox: str) -> bool:
        """Whether a task is remembered."""
        try:
            return os.readlink(f"{self.path}/{name}") == sandbox
        except OSError:
            return False

    def remove(self, name: str, sandbox: str) -> None:
        """Forget a task."""
        if self.has(name, sandbox):
            os.unlink(f"{self.path}/{name}")

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name in sorted(os.listdir(self.path)):
            yield name, os.readlink(f"{self.path}/{name}")


def is_new(name: str) -> bool:
    """Whether a link is of a task that was about to be."""
    return name.startswith(_NEW)
