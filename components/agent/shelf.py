"""The values of secrets that the tasks of this machine were given: files in memory, gone with their task.

Rule of this room: nothing of it is ever on a disk, and nobody but the agent, and each task for its own, can read it.
The names of directories can be passed through but not listed, because a task may be another user's.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Mapping

from bus import logs
from components.places import ENV, FILES, SHARED_MEMORY, file_name, secrets_of

log = logs.get_logger()

IN_MEMORY = ("tmpfs", "ramfs")
_PASS, _OWN = 0o711, 0o700


class ShelfRefused(Exception):
    """There is no place on this machine where a value may lie; the text says why."""


class Shelf:
    """All values one agent keeps for its tasks."""

    def __init__(self, work: str) -> None:
        self.path = secrets_of(work)

    def put(self, name: str, env: Mapping[str, bytes], files: Mapping[str, bytes]) -> None:
        """Keep values, by the names of their secrets, for the task whose sandbox has this name.

        Raises ShelfRefused, OSError.
        """
        self.prepare()
        self.take(name)  # of an agent that died before it had all
        _make(f"{self.path}/{name}", _PASS)
        for kind, values in ((ENV, env), (FILES, files)):
            _make(f"{self.path}/{name}/{kind}", _OWN)
            for secret, value in values.items():
                _write(f"{self.path}/{name}/{kind}/{file_name(secret)}", value)

    def take(self, name: str) -> None:
        """Remove what a task was given; nothing if there is nothing."""
        _remove(f"{self.path}/{name}")

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what was left by all tasks but these."""
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        for name in names:
            if name not in keep:
                self.take(name)

    def prepare(self) -> None:
        """Make the place; it must be there before the first task is, so that it is hidden from it.

        Raises ShelfRefused, OSError.
        """
        kind = file_system(SHARED_MEMORY)
        if kind not in IN_MEMORY:
            raise ShelfRefused(f"{SHARED_MEMORY} is {kind or 'not there'}, not tmpfs: a secret must not reach a disk")
        try:
            _make(self.path, _PASS)
        except FileExistsError:
            found = os.lstat(self.path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o066:
                raise ShelfRefused(f"{self.path} is not a directory of the agent's alone: remove it") from None


def wipe(work: str) -> None:
    """Remove everything that the tasks of an agent were given, once none of them is left."""
    path = secrets_of(work)
    Shelf(work).sweep(keep=())
    if os.path.isdir(path) and not os.path.islink(path):
        _remove(path)


def file_system(path: str) -> str:
    """What kind of file system a directory is the root of, or lies in; nothing if it is not there. (proc(5): mounts)"""
    if not os.path.isdir(path):
        return ""
    found = ("", "")
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, place, kind, *_ = line.split(" ")
            if place == path or place == "/" or path.startswith(f"{place}/"):
                found = max(found, (place, kind), key=lambda each: len(each[0]))
    return found[1]


def _make(path: str, mode: int) -> None:
    os.mkdir(path, mode)
    os.chmod(path, mode)  # whatever the umask is


def _write(path: str, value: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    try:
        while value:
            value = value[os.write(file, value) :]
    finally:
        os.close(file)


def _remove(path: str) -> None:
    if not os.path.lexists(path):
        return  # as of most tasks
    try:
        for kind in (ENV, FILES):
            if os.path.isdir(f"{path}/{kind}") and not os.path.islink(f"{path}/{kind}"):
                os.chmod(f"{path}/{kind}", _OWN)  # whatever the task made of it
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        log.error("secrets of a task cannot be removed", path=path, why=error.strerror)
