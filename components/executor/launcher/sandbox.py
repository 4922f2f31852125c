"""What a task's sandbox tells about it: `.busbar/launch`, then `.busbar/exit` or `.busbar/failed`; and
`.busbar/stopped` in front of them if it is ended because everything is.

Rule of this room: the first line of `launch` is complete and on the disk before the command is executed, so a sandbox
without one has executed nothing. A process that is not there by then follows in a second line, which need not survive
the machine: after it, pids mean nothing. `exit` and `failed` appear whole or not at all.
"""

from __future__ import annotations

import json
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def boot_id() -> str:
    """Which run of the machine this is; pids of another one mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


class Launch:
    """Which process a task is: pid, start time in ticks since boot, boot. Pid 0: it was not written down yet."""

    __slots__ = ("boot", "pid", "start", "task")

    def __init__(self, task: str, pid: int, start: int, boot: str) -> None:
        self.task, self.pid, self.start, self.boot = task, pid, start, boot


class Sandbox:
    """A task's directory."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def prepare(self) -> None:
        """Create what is missing. Raises OSError."""
        os.makedirs(self.path, mode=0o755, exist_ok=True)
        try:
            os.mkdir(f"{self.path}/.busbar", 0o755)
        except FileExistsError:
            os.close(self._directory())  # if it is anything but a directory, that is the error to raise

    def claim(self) -> int:
        """The new, empty `launch` file. Raises FileExistsError if the task was launched before."""
        directory = self._directory()
        try:
            return os.open("launch", _CREATE | os.O_EXCL, 0o644, dir_fd=directory)
        finally:
            os.close(directory)

    def unclaim(self) -> None:
        """Remove a `launch` file that is incomplete."""
        os.unlink(f"{self.path}/.busbar/launch")

    def record(self, claim: int, launch: Launch) -> None:
        """Write the first line of the `launch` file, and close that if no second is to follow. Raises OSError."""
        fields: dict[str, object] = {"task": launch.task, "boot": launch.boot}
        if launch.pid:
            fields |= {"pid": launch.pid, "start": launch.start}
        try:
            _write(claim, json.dumps(fields) + "\n")
            os.fsync(claim)
        finally:
            if launch.pid:
                os.close(claim)

    def settle(self) -> None:
        """See that it is on the disk that there is a `launch` file. Raises OSError."""
        directory = self._directory()
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def complete(self, claim: int, launch: Launch) -> None:
        """Write the second line of the `launch` file and close it. Raises OSError."""
        try:
            _write(claim, json.dumps({"pid": launch.pid, "start": launch.start}) + "\n")
        finally:
            os.close(claim)

    def launch(self) -> Launch | None:
        """The `launch` file, if there is a complete line of it. Raises OSError."""
        lines = (self._read("launch") or "").split("\n")[:-1]
        if not lines:
            return None
        try:
            fields = json.loads(lines[0]) | (json.loads(lines[1]) if len(lines) > 1 else {})
            pid, start = int(fields.get("pid", 0)), int(fields.get("start", 0))
            return Launch(str(fields["task"]), pid, start, str(fields["boot"]))
        except (ValueError, KeyError, TypeError):
            raise OSError(f"{self.path}/.busbar/launch was tampered with") from None

    def end(self, status: int) -> None:
        """Write the raw wait status of the task's main process. Raises OSError."""
        self._replace("exit", f"{status}\n")

    def stop(self) -> None:
        """Write that the task is ended because everything is: nobody wanted it to, nor did it fail. Raises OSError."""
        self._replace("stopped", "")

    def fail(self, message: str) -> None:
        """Write why the command was never executed. Raises OSError."""
        self._replace("failed", message)

    @property
    def status(self) -> int | None:
        """The raw wait status of the task's main process, if it was recorded."""
        text = self._read("exit")
        return int(text) if text and text.strip().isdigit() else None

    @property
    def stopped(self) -> bool:
        """Whether the task was ended because everything was. Raises OSError."""
        return self._read("stopped") is not None

    @property
    def failure(self) -> str | None:
        """Why the command was never executed, if that is so."""
        return self._read("failed")

    def _directory(self) -> int:
        """Our directory in the sandbox. A task's user owns the sandbox and may swap what is in it, but not for ours."""
        directory = os.open(f"{self.path}/.busbar", _DIRECTORY)
        if os.fstat(directory).st_uid != os.geteuid():
            os.close(directory)
            raise PermissionError(f"{self.path}/.busbar was tampered with: it is another user's")
        return directory

    def _read(self, name: str) -> str | None:
        try:
            directory = self._directory()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
        except FileNotFoundError:
            return None
        finally:
            os.close(directory)
        with open(file, encoding="utf-8", errors="replace") as text:
            return text.read(65536)

    def _replace(self, name: str, text: str) -> None:
        directory = self._directory()
        try:
            file = os.open(f"{name}.new", _CREATE | os.O_TRUNC, 0o644, dir_fd=directory)
            try:
                _write(file, text)
                os.fsync(file)
            finally:
                os.close(file)
            os.rename(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.close(directory)


def _write(file: int, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(file, data) :]
