"""Processes as /proc shows them, and signals that reach a whole tree of them.

Rule of this room: a pid is only believed together with its start time; a signal goes through a pidfd of that process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress

_HAS_CHILDREN = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
"""Linux with CONFIG_PROC_CHILDREN: the usual case."""


class Process:
    """One process that is not a zombie."""

    __slots__ = ("group", "parent", "pid", "session", "start")

    def __init__(self, pid: int, parent: int, group: int, session: int, start: int) -> None:
        self.pid, self.parent, self.group, self.session, self.start = pid, parent, group, session, start

    @property
    def key(self) -> tuple[int, int]:
        """What no other process of this boot has."""
        return (self.pid, self.start)


def look(pid: int, *, zombies: bool = False) -> Process | None:
    """A process by its pid; none if it is gone or, unless wanted, a zombie. (proc(5): /proc/pid/stat)"""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        text = os.read(file, 4096)  # more than it ever is
    except ProcessLookupError:
        return None
    finally:
        os.close(file)
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1 and not zombies:
        return None  # with more threads it is alive: only its first one ended
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def everybody() -> Iterator[Process]:
    """All processes of this machine that this process can see."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = look(int(name))
            if process is not None:
                yield process


def children(pid: int) -> list[int]:
    """The pids of a process's children, zombies too."""
    return _children(pid, _threads(pid)) if _HAS_CHILDREN else _children_told(pid)


def orphans(pid: int) -> list[int]:
    """The pids of its children among which are all that were left to a process: they are its first thread's, as long
    as that lives. (linux: kernel/exit.c, find_new_reaper)
    """
    return _children(pid, [str(pid)]) if _HAS_CHILDREN else _children_told(pid)


def _children_told(pid: int) -> list[int]:
    return [process.pid for process in everybody() if process.parent == pid]


def _children(pid: int, threads: Iterable[str]) -> list[int]:
    found: list[int] = []
    for thread in threads:
        # one that ended while we looked has left its children to another parent, and they are found there
        with suppress(FileNotFoundError, ProcessLookupError):
            found.extend(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    return found


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return []


def with_descendants(roots: Iterable[Process]) -> list[Process]:
    """The roots and all below them, each once, parents first."""
    found: dict[int, Process] = {}
    waiting = list(roots)
    while waiting:
        process = waiting.pop(0)
        if process.pid not in found:
            found[process.pid] = process
            waiting += filter(None, map(look, children(process.pid)))
    return list(found.values())


def given(pid: int, name: str) -> str | None:
    """What a variable was when the process executed its program; none if unset or not ours to read."""
    try:
        environment = _read(f"/proc/{pid}/environ")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    head = os.fsencode(f"{name}=")
    return next((os.fsdecode(line[len(head) :]) for line in environment.split(b"\0") if line.startswith(head)), None)


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(file, 65536), b""))
    finally:
        os.close(file)


def send(process: Process, number: int) -> None:
    """Send a signal to exactly this process; nothing if it is gone, or another user's (a set-user-id program's)."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        now = look(process.pid)
        if now is not None and now.start == process.start:
            signal.pidfd_send_signal(fd, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(fd)
