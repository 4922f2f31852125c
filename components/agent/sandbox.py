"""The sandboxes on this machine's disk: what tasks wrote is read, what is collected is deleted.

Rule of this room: a sandbox belongs to its task, which may have put anything there. Nothing is followed out of it, no
mount is crossed, and only a plain file that is nobody else's is read.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterable
from contextlib import closing, suppress
from secrets import token_hex
from typing import NamedTuple

from bus import logs
from bus.nouns import TaskId
from bus.queries import QueryRefused
from components.agent.mounts import Mounts, check_unmounted
from components.places import GROUP, sandbox_name

log = logs.get_logger()

piece_bytes_max = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Not waiting for a writer if it is a FIFO, not taking a terminal."""
_FOLLOWS_OUT = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)


class Piece(NamedTuple):
    """Bytes of a file from `offset` on, and how large it is."""

    data: bytes
    offset: int
    size: int


class Sandboxes:
    """All sandboxes of one agent, `<work>/sandboxes`, and `<work>/trash`, where they go to be deleted."""

    def __init__(self, work: str) -> None:
        self.all, self.trash = f"{work}/sandboxes", f"{work}/trash"
        self.stopped = False
        """Set from another thread: delete no more."""
        self._kept: list[str] = []
        """What could not be deleted so far."""

    def prepare(self) -> None:
        """Create both directories. Tasks of other users must be able to pass through the first."""
        os.makedirs(self.all, mode=0o755, exist_ok=True)
        os.makedirs(self.trash, mode=0o700, exist_ok=True)

    def read(self, task: TaskId, file: str, offset: int, limit: int) -> Piece | None:
        """A piece of a task's file; None if it is not there. A negative offset counts from the end.

        Raises QueryRefused if it is anything but a plain file of its own.
        """
        try:
            found = self._open(task, file)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _FOLLOWS_OUT:
                raise _not_plain(task, file) from None
            raise QueryRefused(f"{file} of {task}: {error.strerror}") from None
        try:
            return _piece(task, file, found, offset, limit)
        finally:
            os.close(found)

    def _open(self, task: TaskId, file: str) -> int:
        sandbox = os.open(f"{self.all}/{sandbox_name(task)}", _DIRECTORY)
        try:
            return os.open(file, _FILE, dir_fd=sandbox)
        finally:
            os.close(sandbox)

    def fresh(self, task: TaskId, user: str | None) -> str:
        """An empty sandbox of a task that was never handed on, of its user if this is root's to give. Raises OSError.

        What an earlier process of the agent began to fetch goes to the trash.
        """
        name = sandbox_name(task)
        sandboxes, trash = os.open(self.all, _DIRECTORY), os.open(self.trash, _DIRECTORY)
        try:
            check_unmounted(f"{os.path.realpath(self.all)}/{name}")
            with suppress(FileNotFoundError):
                _move(sandboxes, name, trash)
            os.mkdir(name, 0o755, dir_fd=sandboxes)
            if user is not None and os.geteuid() == 0:
                entry = _entry(user)
                os.chown(name, entry.pw_uid, entry.pw_gid, dir_fd=sandboxes, follow_symlinks=False)
        finally:
            os.close(sandboxes)
            os.close(trash)
        return f"{self.all}/{name}"

    def groups(self) -> list[str]:
        """The names of the directories that groups of tasks share."""
        return sorted(name for name in os.listdir(self.all) if name.startswith(GROUP))

    def delete(self, tasks: Iterable[TaskId], groups: Iterable[str] = ()) -> None:
        """Delete the sandboxes of tasks, directories of groups, and what an earlier process left in the trash.

        Deleted again it is as before; what cannot be deleted is logged, and tried again with the next. That is also
        what has something mounted in it: it stays as it is until that is unmounted.
        """
        names, self._kept = dict.fromkeys([*self._kept, *map(sandbox_name, tasks), *groups]), []
        sandboxes, trash = os.open(self.all, _DIRECTORY), os.open(self.trash, _DIRECTORY)
        try:
            with closing(Mounts()) as mounts:
                real = os.path.realpath(self.all)
                for name in names:
                    self._discard(sandboxes, trash, name, mounts, real)
                self._empty(trash, mounts)
        finally:
            os.close(sandboxes)
            os.close(trash)

    def _discard(self, sandboxes: int, trash: int, name: str, mounts: Mounts, real: str) -> None:
        try:
            mounts.check_none_in(f"{real}/{name}")
            _move(sandboxes, name, trash)
        except FileNotFoundError:
            return  # it was never launched, or is in the trash already
        except OSError as error:
            self._kept.append(name)
            _log_kept(f"{self.all}/{name}", error)

    def _empty(self, trash: int, mounts: Mounts) -> None:
        real = os.path.realpath(self.trash)
        waiting = [name for name in os.listdir(trash) if self._is_unmounted(name, mounts, real)]
        while waiting and not self.stopped:
            name = waiting.pop()
            try:
                waiting += _flatten(trash, name)
            except OSError as error:
                _log_kept(f"{self.trash}/{name}", error)

    def _is_unmounted(self, name: str, mounts: Mounts, real: str) -> bool:
        """Whether nothing is mounted in an entry of the trash, nor in what comes of it."""
        try:
            mounts.check_none_in(f"{real}/{name}")
        except OSError as error:
            _log_kept(f"{self.trash}/{name}", error)
            return False
        return True


def _entry(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise FileNotFoundError(errno.ENOENT, "user does not exist on this host", user) from None


def _log_kept(path: str, error: OSError) -> None:
    log.error("sandbox cannot be deleted", path=path, why=str(error))


def _not_plain(task: TaskId, file: str) -> QueryRefused:
    return QueryRefused(f"{file} of {task} is not a plain file of its own: it is not read")


def _piece(task: TaskId, file: str, found: int, offset: int, limit: int) -> Piece:
    status = os.fstat(found)
    # A second name may be the task's way to a file that it cannot read but the agent can.
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _not_plain(task, file)
    size = status.st_size
    begin = max(0, size + offset) if offset < 0 else min(offset, size)
    return Piece(os.pread(found, min(limit, piece_bytes_max, size - begin), begin), begin, size)


def _flatten(trash: int, name: str) -> list[str]:
    """Delete one entry of the trash; its directories become entries of the trash, and are returned.

    So no path grows long and nothing recurses, however deep a task has nested.
    """
    try:
        os.unlink(name, dir_fd=trash)
        return []
    except IsADirectoryError:
        pass
    directory = os.open(name, _DIRECTORY, dir_fd=trash)
    try:
        with os.scandir(directory) as entries:
            inside = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for entry, is_directory in inside:
            if not is_directory:
                os.unlink(entry, dir_fd=directory)
        moved = [_move(directory, entry, trash) for entry, is_directory in inside if is_directory]
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=trash)
    return moved


def _move(source: int, name: str, trash: int) -> str:
    """Move a directory into the trash under a new name."""
    _unlock(source, name)
    fresh = token_hex(16)
    os.rename(name, fresh, src_dir_fd=source, dst_dir_fd=trash)
    return fresh


def _unlock(parent: int, name: str) -> None:
    """Make a directory readable and writable to its owner, whatever the task made of it; a link is not followed."""
    place = os.open(name, _PLACE, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{place}", 0o700)
    finally:
        os.close(place)
