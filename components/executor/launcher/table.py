"""The tasks a launcher answers for, from fork to the last of their processes.

    launching ─► running ─► sweeping ─► told and forgotten

Rule of this room: it is written down before anybody is told. A task is told `ended` when its status is recorded and no
process of it is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from components.executor.launcher import birth, pidfd, tree
from components.executor.launcher.birth import Newborn, Order
from components.executor.launcher.family import LAUNCHING, RUNNING, SWEEPING, Family, Task
from components.executor.launcher.journal import Journal
from components.executor.launcher.loop import Loop
from components.executor.launcher.records import Records, log
from components.executor.launcher.sandbox import Launch, Sandbox, Told, boot_id
from components.executor.launcher.spawning import Spawning

launch_timeout_s = 10.0
"""How long a child may take from fork to its command."""
sweep_timeout_s = 5.0
"""How long an ended task's leftovers are pursued before it is told as ended all the same."""
reap_timeout_s = 10.0
"""How long somebody else may take to reap an adopted task's main process."""
retry_s = 0.02
strike_again_s = 1.0

Message = dict[str, object]


class Table:
    """All tasks that are not told as ended yet."""

    def __init__(self, loop: Loop, journal: Journal, tell: Callable[[Message], None]) -> None:
        self.loop, self.journal, self.tell = loop, journal, tell
        self.boot = boot_id()
        self.tasks: dict[str, Task] = {}
        self.family = Family(self.tasks)
        self.records = Records(loop)
        self.on_reaped: Callable[[int, int], None] = lambda _pid, _status: None
        """Told of every child that was reaped, with its wait status."""

    # ---- what is asked of it

    def launch(self, order: Order) -> None:
        """Start a task, unless it was started before: then answer for what became of it."""
        sandbox = Sandbox(order.sandbox)
        if self._known(order.task):
            return
        try:
            claim = self._claim(order.task, sandbox)
        except OSError as error:
            self._tell_failed(order.task, str(error))
        else:
            if claim is not None:
                self._begin(order, sandbox, claim)

    def watch(self, task: str, path: str) -> None:
        """Answer for a task that was started before."""
        if not self._known(task) and not self._adopt(task, Sandbox(path)):
            self._tell_ended(task, None, stopped=False)

    def kill(self, task: str, path: str, grace_s: float) -> None:
        """SIGTERM to the whole task, SIGKILL after the grace; said again it can only shorten the grace."""
        if task not in self.tasks and not self._known(task) and not self._adopt(task, Sandbox(path)):
            self._bury(task, Sandbox(path))
        if task in self.tasks:
            self._kill(self.tasks[task], grace_s)

    def stop(self, grace_s: float) -> None:
        """Kill every task that nobody is killing yet, and see to it that whoever asks later is told why it ended."""
        for task in list(self.tasks.values()):
            if task.phase != SWEEPING and task.kill_at is None:
                task.stopped = True
                try:
                    task.sandbox.stop()
                except OSError as error:
                    log(f"{task.id}: {error}")
            self._kill(task, grace_s)

    def adopt_all(self) -> None:
        """Answer for what a launcher before this one started and did not see to the end."""
        for pid, path in list(self.journal):
            try:
                told = Sandbox(path).told()
            except OSError as error:
                log(f"not adopted: {error}")
                told = None
            launch = None if told is None else told.launch
            if launch is not None and pid in (0, launch.pid):
                self._adopt(launch.task, Sandbox(path))
            if launch is None or launch.task not in self.tasks:
                self.journal.remove(path)

    def reap(self) -> None:
        """Collect every child that ended: main processes, and orphans that were left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for task in [task for task in self.tasks.values() if task.pid == pid and not task.adopted]:
                self._end(task, status)
            self.on_reaped(pid, status)

    # ---- beginnings

    def _claim(self, task: str, sandbox: Sandbox) -> int | None:
        """The right to execute a task, once; none if it was launched before, which is answered for."""
        try:
            return sandbox.claim()
        except FileExistsError:
            if self._adopt(task, sandbox):
                return None
            sandbox.unclaim()  # whoever claimed it died before anything was executed
            return sandbox.claim()

    def _begin(self, order: Order, sandbox: Sandbox, claim: int) -> None:
        try:
            newborn = birth.bear(order)
        except (OSError, LookupError, ValueError) as error:
            os.close(claim)
            self._fail(order.task, sandbox, str(error))
            return
        launch = self._launched(order.task, newborn.pid)
        try:
            sandbox.record(claim, launch)
            self.journal.add(launch.pid, sandbox.path)
        except OSError as error:
            newborn.abandon()
            if not launch.pid:
                os.close(claim)
            self._tell_failed(order.task, str(error))
            return
        task = self.tasks[order.task] = Task(launch, sandbox, newborn)
        task.claim = None if launch.pid else claim
        self.loop.watch(newborn.error, lambda _mask: self._born(task))
        self.loop.alarm((task.id, "launch"), time.monotonic() + launch_timeout_s, lambda: self._late(task))
        newborn.go()

    def _launched(self, task: str, pid: int) -> Launch:
        child = tree.look(pid, zombies=True) if pid else None
        assert child is not None or not pid, "an unreaped child is in /proc"
        return Launch(task, pid, child.start if child else 0, self.boot)

    def _born(self, task: Task) -> None:
        """The child executed its command, or says why not."""
        newborn = self._newborn(task)
        message = newborn.outcome()
        if message is None:
            self._note(task, newborn.pid)
            task.phase = RUNNING
            self.tell({"say": "started", "task": task.id, "pid": task.pid})
        else:
            self._forget(task)
            self._fail(task.id, task.sandbox, message)

    def _note(self, task: Task, pid: int) -> None:
        """Write down which process a task is, if that was not known before."""
        if task.claim is None:
            return
        launch, claim = self._launched(task.id, pid), task.claim
        task.pid, task.start, task.claim = launch.pid, launch.start, None
        if task.kill_at is not None:
            kill_at, task.kill_at = task.kill_at, None
            self._kill(task, kill_at - time.monotonic())
        try:
            task.sandbox.complete(claim, launch)
            self.journal.add(pid, task.sandbox.path)
        except OSError as error:
            log(f"{task.id}: {error}")  # the next launcher will have to look for it

    def _newborn(self, task: Task) -> Newborn | Spawning:
        assert task.newborn is not None, f"{task.id} was born before"
        self.loop.unwatch(task.newborn.error)
        self.loop.cancel((task.id, "launch"))
        newborn, task.newborn = task.newborn, None
        return newborn

    def _late(self, task: Task) -> None:
        self.family.strike(task)
        self._newborn(task).disown()
        self._forget(task)
        self._fail(task.id, task.sandbox, f"the command was not executed within {launch_timeout_s:g} s")

    def _known(self, task: str) -> bool:
        """Whether we answer for a task already; then what can be said of it is said again."""
        unwritten = self.records.unwritten.get(task)
        if task not in self.tasks and unwritten is not None:
            self._tell_ended(task, unwritten.status, stopped=unwritten.stopped)
        elif task not in self.tasks:
            return False
        elif self.tasks[task].phase == RUNNING:
            self.tell({"say": "started", "task": task, "pid": self.tasks[task].pid})
        return True

    def _adopt(self, task: str, sandbox: Sandbox) -> bool:
        """Answer for what became of a task launched before us; false if nothing was ever executed."""
        try:
            told = sandbox.told()
        except OSError as error:
            self._tell_failed(task, str(error))
            return True
        if told is None:
            return False
        launch, status = told.launch, told.status
        if launch is None:
            self._tell_failed(task, told.failure or "")
        elif launch.task != task:
            self._tell_failed(task, f"{sandbox.path} is the sandbox of {launch.task}")
        elif launch.boot != self.boot or (status is not None and not self.journal.has(launch.pid, sandbox.path)):
            self._tell_ended(task, status, stopped=told.stopped)
        elif self._is_known(launch, sandbox):
            self._take_over(launch, sandbox, told)
        else:
            self._tell_ended(task, None, stopped=told.stopped)
        return True

    def _is_known(self, launch: Launch, sandbox: Sandbox) -> bool:
        """Whether it can be told which process a task is; if its launcher died while it began, by looking for it.

        Nobody is about to execute any more: until then it has the lock of the work directory open, as its launcher had.
        """
        if not launch.pid and (found := self.family.begun(sandbox)) is not None:
            launch.pid, launch.start = found.key
        return bool(launch.pid)

    def _take_over(self, launch: Launch, sandbox: Sandbox, told: Told) -> None:
        task = self.tasks[launch.task] = Task(launch, sandbox, None)
        task.stopped = told.stopped
        task.pidfd = self._open(launch) if told.status is None else None
        if task.pidfd is None:
            self._sweep_from_now(task, told.status)
            return
        self.journal.add(launch.pid, sandbox.path)
        self.loop.watch(task.pidfd, lambda _mask: self._gone(task))
        self.tell({"say": "started", "task": task.id, "pid": task.pid})

    def _open(self, launch: Launch) -> int | None:
        """A pidfd of exactly the process that was launched, if it is not reaped yet."""
        if not _is_there(launch):
            return None
        try:
            fd = os.pidfd_open(launch.pid)
        except ProcessLookupError:
            return None
        if _is_there(launch):
            return fd
        os.close(fd)
        return None

    def _bury(self, task: str, sandbox: Sandbox) -> None:
        """See to it that a task that never began never will."""
        try:
            os.close(sandbox.claim())
        except OSError as error:
            log(f"{task}: {error}")
        self._fail(task, sandbox, "killed before it was launched")

    def _fail(self, task: str, sandbox: Sandbox, message: str) -> None:
        try:
            sandbox.fail(message)
        except OSError as error:
            log(f"{task}: {message}; which cannot be recorded: {error}")
        self._tell_failed(task, message)

    # ---- ends

    def _kill(self, task: Task, grace_s: float) -> None:
        at = time.monotonic() + max(0.0, grace_s)
        if task.phase == SWEEPING or (task.kill_at is not None and task.kill_at <= at):
            return
        if task.pid and task.kill_at is None and grace_s > 0:
            self.family.terminate(task)
        task.kill_at = at
        self.loop.alarm((task.id, "kill"), at, lambda: self._strike(task))

    def _strike(self, task: Task) -> None:
        """SIGKILL, again and again until the main process is gone; the rest is swept then."""
        self.family.strike(task)
        self.loop.alarm((task.id, "kill"), time.monotonic() + strike_again_s, lambda: self._strike(task))

    def _gone(self, task: Task) -> None:
        """An adopted main process ended; its status is to be had once its parent has reaped it."""
        assert task.pidfd is not None, f"{task.id} is not adopted"
        self.loop.unwatch(task.pidfd)
        task.until = task.until or time.monotonic() + reap_timeout_s
        there, status = _is_there(task), pidfd.wait_status(task.pidfd)
        if status is None and there and time.monotonic() < task.until:
            self.loop.alarm((task.id, "reap"), time.monotonic() + retry_s, lambda: self._gone(task))
        else:
            self._end(task, status)

    def _end(self, task: Task, status: int | None) -> None:
        """The main process ended: record how, then see that nothing of the task stays."""
        if task.phase == LAUNCHING:
            self._born(task)
        if self.tasks.get(task.id) is not task:
            return  # it ended because its command was never executed
        if status is not None:
            self.records.write(task.id, task.sandbox, status, stopped=task.stopped)
        self._sweep_from_now(task, status)

    def _sweep_from_now(self, task: Task, status: int | None) -> None:
        task.phase, task.status, task.until = SWEEPING, status, time.monotonic() + sweep_timeout_s
        self.loop.cancel((task.id, "kill"))
        self._sweep(task)

    def _sweep(self, task: Task) -> None:
        left = self.family.strike(task)
        if left and time.monotonic() < task.until:
            self.loop.alarm((task.id, "sweep"), time.monotonic() + retry_s, lambda: self._sweep(task))
            return
        if left:
            log(f"{task.id}: left behind {[process.pid for process in self.family.processes(task)]}")
        self._forget(task)
        self._tell_ended(task.id, task.status, stopped=task.stopped)

    def _forget(self, task: Task) -> None:
        for key in ("kill", "launch", "sweep", "reap"):
            self.loop.cancel((task.id, key))
        if task.pidfd is not None:
            self.loop.unwatch(task.pidfd)
            os.close(task.pidfd)
        if task.claim is not None:
            os.close(task.claim)
        self.journal.remove(task.sandbox.path)
        del self.tasks[task.id]

    def _tell_failed(self, task: str, message: str) -> None:
        self.tell({"say": "failed", "task": task, "message": message})

    def _tell_ended(self, task: str, status: int | None, *, stopped: bool) -> None:
        self.tell({"say": "ended", "task": task, "status": status, "stopped": stopped})


def _is_there(one: Launch | Task) -> bool:
    """Whether a process is there, if only as a zombie; not another one of the same pid."""
    process = tree.look(one.pid, zombies=True)
    return process is not None and process.start == one.start
