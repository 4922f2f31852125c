"""Which processes a task is: its main process, what descends from it, and what tried to get away.

A child that calls setsid escapes its group, one forked twice escapes its parent: it is left to the launcher, which is
the subreaper. Rule of this room: an orphan belongs to the task whose sandbox its environment names, else to the one
whose session or group it is in; an orphan that nobody living can have started belongs to whoever just ended.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from components.executor.launcher import tree
from components.executor.launcher.birth import Newborn
from components.executor.launcher.sandbox import Launch, Sandbox
from components.executor.launcher.spawning import Spawning
from components.executor.launcher.tree import Process

LAUNCHING, RUNNING, SWEEPING = "launching", "running", "sweeping"
strike_rounds_max = 50
"""Looks at a tree that keeps growing while it is being stopped."""


class Task:
    """One task: its main process, and how far it is."""

    __slots__ = (
        "adopted",
        "claim",
        "id",
        "kill_at",
        "newborn",
        "phase",
        "pid",
        "pidfd",
        "sandbox",
        "start",
        "status",
        "stopped",
        "until",
    )

    def __init__(self, launch: Launch, sandbox: Sandbox, newborn: Newborn | Spawning | None) -> None:
        self.id, self.pid, self.start, self.sandbox = launch.task, launch.pid, launch.start, sandbox
        self.claim: int | None = None
        """The record in its sandbox while the process is to be written into it; pid is 0 until then."""
        self.newborn, self.adopted = newborn, newborn is None
        self.phase = RUNNING if self.adopted else LAUNCHING
        self.kill_at: float | None = None
        self.pidfd: int | None = None
        self.status: int | None = None
        self.stopped = False
        """It is ended because everything is."""
        self.until = 0.0


class Family:
    """The processes of the tasks of one launcher."""

    def __init__(self, tasks: dict[str, Task]) -> None:
        self.tasks = tasks

    def processes(self, task: Task) -> list[Process]:
        """Every process of a task that is not a zombie, parents first."""
        main = tree.look(task.pid)
        roots = [main] if main is not None and main.start == task.start else []
        return tree.with_descendants(roots + (self._marked(task) if task.adopted else self._orphans(task)))

    def begun(self, sandbox: Sandbox) -> Process | None:
        """The oldest process that was given a sandbox, if there is any."""
        marked = [process for process in tree.everybody() if _named(process) == sandbox.path]
        return min(marked, key=lambda process: (process.start, process.pid), default=None)

    def terminate(self, task: Task) -> None:
        """SIGTERM, once each, to the process group and to every process outside it."""
        processes = self.processes(task)
        if any(process.pid == process.group == task.pid for process in processes):
            with suppress(ProcessLookupError, PermissionError):  # gone meanwhile, or all of another user
                os.killpg(task.pid, signal.SIGTERM)
            processes = [process for process in processes if process.group != task.pid]
        for process in processes:
            tree.send(process, signal.SIGTERM)

    def strike(self, task: Task) -> bool:
        """SIGKILL to the whole tree, stopped first so that it cannot grow meanwhile. False if there was nobody."""
        stopped: dict[tuple[int, int], Process] = {}
        for _ in range(strike_rounds_max):
            fresh = [process for process in self.processes(task) if process.key not in stopped]
            if not fresh:
                break
            for process in fresh:
                tree.send(process, signal.SIGSTOP)
                stopped[process.key] = process
        for process in stopped.values():
            tree.send(process, signal.SIGKILL)
        return bool(stopped)

    def _marked(self, task: Task) -> list[Process]:
        """An adopted task's processes may be anybody's children: look at all of the machine."""
        return [p for p in tree.everybody() if p.start >= task.start and _is_marked(p, task)]

    def _orphans(self, task: Task) -> list[Process]:
        """The children of this launcher that it did not fork and that belong to the task."""
        mains = {each.pid for each in self.tasks.values()}
        strays = set(tree.orphans(os.getpid())) - mains
        orphans = [orphan for orphan in map(tree.look, sorted(strays)) if orphan is not None]
        return [orphan for orphan in orphans if self._owner(orphan, task) is task]

    def _owner(self, orphan: Process, ended: Task) -> Task | None:
        named = _named(orphan)
        for task in self.tasks.values():
            if task.sandbox.path == named if named is not None else task.pid in (orphan.session, orphan.group):
                return task
        living = (task.start for task in self.tasks.values() if task.phase != SWEEPING and task.pid)
        return ended if ended.phase == SWEEPING and all(start > orphan.start for start in living) else None


def _is_marked(process: Process, task: Task) -> bool:
    named = _named(process)
    return task.sandbox.path == named if named is not None else task.pid in (process.session, process.group)


def _named(process: Process) -> str | None:
    return tree.given(process.pid, "MESOS_SANDBOX")
