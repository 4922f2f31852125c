"""The tasks that are not seen to their end: `<work>/tasks.log`, a line for each that begins, is named, or is seen.

    {"sandbox": "/agent/sandboxes/t1", "pid": 0}       from now on it may run
    {"sandbox": "/agent/sandboxes/t1", "pid": 4711}    it is this process
    {"sandbox": "/agent/sandboxes/t1", "pid": null}    it was seen to its end

It lets the next launcher find what this one left, before any executor asks for it; it need not survive the machine.
One file, because a file system has more to do for a name made and deleted with every task: to make a file, ext4 looks
at all that were deleted in the last minutes. (linux: fs/ext4/ialloc.c, recently_deleted)
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import suppress

bytes_max = 1024 * 1024
"""A journal that is longer, and four times what it was when it was new, is written anew."""
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Journal:
    """The tasks of one work directory that are not seen to their end."""

    def __init__(self, work: str) -> None:
        """Raises OSError."""
        self._path = f"{work}/tasks.log"
        self._pids = unseen(work)
        self._file, self._size, self._size_max = -1, 0, bytes_max
        with suppress(OSError):  # a full disk
            self._write_anew()
        if self._file < 0:
            self._take(os.open(self._path, _APPEND, 0o600))
            _write(self._file, b"\n")  # the last line may be one that was written in part

    def add(self, pid: int, sandbox: str) -> None:
        """Remember which process a task is; 0: none yet. Raises OSError."""
        if not self.has(pid, sandbox):
            self._append(_line(sandbox, pid))
            self._pids[sandbox] = pid

    def has(self, pid: int, sandbox: str) -> bool:
        """Whether a task is remembered as a process."""
        return self._pids.get(sandbox) == pid

    def remove(self, sandbox: str) -> None:
        """Forget a task."""
        if self._pids.pop(sandbox, None) is not None:
            with suppress(OSError):  # a full disk; the next launcher finds it seen to its end
                self._append(_line(sandbox, None))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for sandbox, pid in sorted(self._pids.items()):
            yield pid, sandbox

    def _append(self, line: bytes) -> None:
        if self._size > self._size_max:
            with suppress(OSError):
                self._write_anew()
        if _write(self._file, line):
            self._size += len(line)
        else:
            os.ftruncate(self._file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)

    def _write_anew(self) -> None:
        fresh = os.open(f"{self._path}.new", _APPEND | os.O_TRUNC, 0o600)
        if not _write(fresh, b"".join(_line(sandbox, pid) for sandbox, pid in self._pids.items())):
            os.close(fresh)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        os.rename(f"{self._path}.new", self._path)
        self._take(fresh)

    def _take(self, file: int) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size = file, os.fstat(file).st_size
        self._size_max = max(bytes_max, 4 * self._size)


def unseen(work: str) -> dict[str, int]:
    """The tasks that no launcher of a work directory has seen to their end: sandbox and pid."""
    pids: dict[str, int] = {}
    with suppress(FileNotFoundError), open(f"{work}/tasks.log", "rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError):  # written in part
                told = json.loads(line)
                pids[told["sandbox"]] = -1 if told["pid"] is None else int(told["pid"])
    return {sandbox: pid for sandbox, pid in pids.items() if pid >= 0}


def _line(sandbox: str, pid: int | None) -> bytes:
    return json.dumps({"sandbox": sandbox, "pid": pid}).encode() + b"\n"


def _write(file: int, content: bytes) -> bool:
    """Whether all of it was written."""
    try:
        return os.write(file, content) == len(content)
    except OSError:
        return False
