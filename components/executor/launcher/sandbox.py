"""What a task's sandbox tells about it: `.busbar`, a line for each thing that happened to it.

    {"task": "t1", "boot": ...}         it may be executed from now on
    {"pid": 4711, "start": 93742}       it is this process; in the first line, if it was known by then
    {"stopped": true}                   it is ended because everything is
    {"status": 256}                     its main process ended with this raw wait status
    {"failed": "..."}                   its command was never executed, and why

Rule of this room: what is said here is said before it is acted upon; a line is there whole or not at all. It outlives
whoever wrote it, and is not forced onto the disk: a machine that stops without warning may take it along. So in another
run of the machine (`boot`) no executor asks for what one before may have executed (`ExecutorState`), and pids mean
nothing.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
RECORD = ".busbar"
record_bytes_max = 65536


def boot_id() -> str:
    """Which run of the machine this is; pids of another one mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


class Launch:
    """Which process a task is: pid, start time in ticks since boot, boot. Pid 0: it was not written down yet."""

    __slots__ = ("boot", "pid", "start", "task")

    def __init__(self, task: str, pid: int, start: int, boot: str) -> None:
        self.task, self.pid, self.start, self.boot = task, pid, start, boot


class Told:
    """What the lines say together."""

    __slots__ = ("failure", "launch", "status", "stopped")

    def __init__(self, fields: dict[str, object]) -> None:
        """Raises ValueError, KeyError, TypeError."""
        self.stopped = fields.get("stopped") is True
        failure, status = fields.get("failed"), fields.get("status")
        self.failure = None if failure is None else str(failure)
        self.status = None if status is None else _whole(status)
        self.launch: Launch | None = None
        """None if nothing was to be executed."""
        if self.failure is None:
            pid, start = _whole(fields.get("pid", 0)), _whole(fields.get("start", 0))
            self.launch = Launch(str(fields["task"]), pid, start, str(fields["boot"]))


class Sandbox:
    """A task's directory."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def claim(self) -> int:
        """The new, empty record, in a sandbox that is created if it is missing. Raises OSError: FileExistsError if the
        task was launched before.
        """
        flags = _APPEND | os.O_CREAT | os.O_EXCL
        try:
            os.mkdir(self.path, 0o755)
        except FileNotFoundError:
            os.makedirs(self.path, mode=0o755)
        except FileExistsError:
            pass  # if it is anything but a directory, the next call says so
        return os.open(f"{self.path}/{RECORD}", flags, 0o644)

    def unclaim(self) -> None:
        """Remove a record that says nothing."""
        os.unlink(f"{self.path}/{RECORD}")

    def record(self, claim: int, launch: Launch) -> None:
        """Write that the task may be executed, and close the record if its process is known. Raises OSError."""
        fields: dict[str, object] = {"task": launch.task, "boot": launch.boot}
        if launch.pid:
            fields |= {"pid": launch.pid, "start": launch.start}
        try:
            _write(claim, fields)
        finally:
            if launch.pid:
                os.close(claim)

    def complete(self, claim: int, launch: Launch) -> None:
        """Write which process the task is, and close the record. Raises OSError."""
        try:
            _write(claim, {"pid": launch.pid, "start": launch.start})
        finally:
            os.close(claim)

    def end(self, status: int) -> None:
        """Write the raw wait status of the task's main process. Raises OSError."""
        self._append({"status": status})

    def stop(self) -> None:
        """Write that the task is ended because everything is: nobody wanted it to, nor did it fail. Raises OSError."""
        self._append({"stopped": True})

    def fail(self, message: str) -> None:
        """Write why the command was never executed. Raises OSError."""
        self._append({"failed": message})

    def told(self) -> Told | None:
        """What the record says; None if nothing was to be executed. Raises OSError."""
        try:
            file = _open_own(f"{self.path}/{RECORD}", _READ)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            lines = (_of_0_5(file) if _is_directory(file) else os.read(file, record_bytes_max)).split(b"\n")[:-1]
        finally:
            os.close(file)
        if not lines:
            return None
        try:
            fields: dict[str, object] = {}
            for line in lines:
                fields |= json.loads(line)
            return Told(fields)
        except (ValueError, KeyError, TypeError):
            raise OSError(f"{self.path}/{RECORD} was tampered with, or damaged") from None

    def _append(self, fields: dict[str, object]) -> None:
        try:
            file = _open_own(f"{self.path}/{RECORD}", _APPEND)
        except IsADirectoryError:  # of a launcher of 0.5.0
            directory = _open_own(f"{self.path}/{RECORD}", _READ | os.O_DIRECTORY)
            try:
                file = _open_own("launch", _APPEND, directory)
            finally:
                os.close(directory)
        try:
            _write(file, fields)
        finally:
            os.close(file)


def _open_own(path: str, flags: int, directory: int | None = None) -> int:
    """A record. A task's user owns the sandbox and may swap what is in it, but not for what is ours: only by a second
    name of a file of ours that is no record, and nothing is written to a file that has two. Raises OSError.
    """
    file = os.open(path, flags, dir_fd=directory)
    about = os.fstat(file)
    kind, second = stat.S_IFMT(about.st_mode), flags & os.O_WRONLY and about.st_nlink != 1
    if kind not in (stat.S_IFREG, stat.S_IFDIR) or about.st_uid != os.geteuid() or second:
        os.close(file)
        raise PermissionError(f"{path} was tampered with: it is no file of ours")
    return file


def _is_directory(file: int) -> bool:
    return stat.S_ISDIR(os.fstat(file).st_mode)


def _of_0_5(directory: int) -> bytes:
    """The lines that a launcher of 0.5.0 would have written: it made a directory, a file in it for each thing."""
    found = {}
    for name in ("launch", "stopped", "exit", "failed"):
        with suppress(FileNotFoundError):
            file = os.open(name, _READ, dir_fd=directory)
            found[name] = os.read(file, record_bytes_max)
            os.close(file)
    lines = [found.pop("launch", b"")]
    if "failed" in found:
        lines.append(json.dumps({"failed": found["failed"].decode("utf-8", "replace")}).encode() + b"\n")
    if "stopped" in found:
        lines.append(b'{"stopped": true}\n')
    if found.get("exit", b"").strip().isdigit():
        lines.append(b'{"status": %d}\n' % int(found["exit"]))
    return b"".join(lines)


def _write(file: int, fields: dict[str, object]) -> None:
    """One line, whole or not at all. Raises OSError."""
    line = json.dumps(fields).encode() + b"\n"
    written = os.write(file, line)
    if written != len(line):
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _whole(number: object) -> int:
    if isinstance(number, int):
        return number
    raise TypeError(number)
