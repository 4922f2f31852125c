"""The sandbox as a fetcher writes it: new plain files and directories, whatever their names say.

Rule of this room: every step is taken from the directory before it and follows no link; what is there stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bus.secrets import path_invalid
from components.fetcher.order import Limits, NotFetched

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Place:
    """One sandbox, and how much is in it."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.limits = limits
        self.bytes = self.entries = self.looked = 0
        self._root = os.open(path, _DIRECTORY)

    @contextmanager
    def new(self, path: str, mode: int = 0o644) -> Iterator[int]:
        """A new file to be written; the directories it lies in are made. Raises NotFetched, OSError."""
        *above, name = _parts(path)
        directory = self._walk(above)
        try:
            self._enter()
            try:
                file = os.open(name, _NEW, mode, dir_fd=directory)
            except FileExistsError:
                raise NotFetched(f"{path[:200]!r} is there already") from None
            try:
                os.fchmod(file, mode)  # whatever the umask is
                yield file
            finally:
                os.close(file)
        finally:
            os.close(directory)

    def directory(self, path: str) -> None:
        """A directory; one that is there is fine."""
        os.close(self._walk(_parts(path)))

    def read(self, path: str) -> int:
        """A file that was fetched, to be read."""
        *above, name = _parts(path)
        directory = self._walk(above)
        try:
            return os.open(name, _READ, dir_fd=directory)
        finally:
            os.close(directory)

    def write(self, file: int, data: bytes) -> None:
        """Append to a new file. Raises NotFetched if it is too much, OSError."""
        self.bytes += len(data)
        if self.bytes > self.limits.bytes_max:
            raise NotFetched(f"more than {self.limits.bytes_max} bytes with all that was fetched for the task")
        while data:
            data = data[os.write(file, data) :]

    def look(self) -> None:
        """One more entry of an archive was looked at, whatever becomes of it. Raises NotFetched if it is too many."""
        self.looked += 1
        if self.looked > self.limits.entries_max:
            raise NotFetched(f"an archive of more than {self.limits.entries_max} entries")

    def _walk(self, parts: list[str]) -> int:
        here = os.dup(self._root)
        try:
            for part in parts:
                here = self._step(here, part)
        except BaseException:
            os.close(here)
            raise
        return here

    def _step(self, here: int, part: str) -> int:
        """Into a directory, which is made if it is not there; the one before it is closed."""
        try:
            there = os.open(part, _DIRECTORY, dir_fd=here)
        except FileNotFoundError:
            self._enter()
            os.mkdir(part, 0o755, dir_fd=here)
            there = os.open(part, _DIRECTORY, dir_fd=here)
        except NotADirectoryError:
            raise NotFetched(f"{part[:200]!r} is there already, and is no directory") from None
        os.close(here)
        return there

    def _enter(self) -> None:
        self.entries += 1
        if self.entries > self.limits.entries_max:
            raise NotFetched(f"more than {self.limits.entries_max} files and directories")


def _parts(path: str) -> list[str]:
    wrong = path_invalid(path)
    if wrong is not None:
        raise NotFetched(f"{path[:200]!r}: {wrong}")
    return path.split("/")
