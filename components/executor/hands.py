"""What an executor does in the world: it attaches to its launcher, and tells it to launch and to kill.

Rule of this room: what is wanted is known here as it is in the log, so a broken connection is only a pause: the next
one is told everything again, and a launcher takes a thing told twice as told once. It forgets nothing while the machine
runs; so what may have been executed before the machine stopped is asked for, never launched.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from bus import logs
from bus.events import Event, TaskDelivered, TaskReported
from bus.nouns import TERMINAL, Check, Command, Now, TaskId, TaskState, second
from bus.secrets import names_of
from components.component import Ask, See
from components.executor.attach import LauncherLost, Link, LinkBroken, attached
from components.executor.checking import Checking, Executed, LookImpossible
from components.executor.config import ExecutorConfig
from components.executor.decide import told_by_wait
from components.executor.sights import LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState
from components.places import ENV, FILES, file_name, secrets_for, shared_by

log = logs.get_logger()

steady_s = 5.0
"""A connection that held this long was a good one."""
broken_max = 10
"""Connections in a row that broke at once before this process gives up."""
broken_pause_s = 0.1

Message = Mapping[str, object]


@dataclass(slots=True, kw_only=True)
class _Wanted:
    """A task the launcher must know of: until it says how that ended, or the log does."""

    delivered: TaskDelivered
    started: bool
    """It may have been executed: it is not launched, but asked for."""
    kill_at: Now | None
    gone: bool = False
    """It is of another run of the machine: nothing of it is left, and only what is written down tells how it ended."""


class ExecutorHands:
    """The hands of one executor process."""

    def __init__(self, config: ExecutorConfig, clock: Callable[[], Now] | None = None) -> None:
        self.asks: Mapping[str, Ask] = {}
        self._config = config
        self._clock = clock or (lambda: Now(time.time_ns() // 1000))
        self._wanted: dict[TaskId, _Wanted] = {}
        self._link: Link | None = None
        self._checking = Checking(self._execute)
        self._numbers = count(1)
        self._looks: dict[int, asyncio.Future[Executed]] = {}
        """Commands of checks that are being executed, by number."""

    async def run(self, state: ExecutorState, see: See) -> None:
        """Keep attached to the launcher, and see what it says, until cancelled. Raises LauncherLost."""
        epoch, now = state.epoch, max(self._clock(), state.at)
        self._checking.open(see)
        for name, task in state.tasks.items():
            started = task.status.state is not TaskState.STARTING or task.boot != state.boot
            kill_at = self._here(task.kill_at, now) if task.kill_at is not None else None
            gone = task.boot not in ("", state.boot)
            self._wanted[name] = _Wanted(delivered=task.delivered, started=started, kill_at=kill_at, gone=gone)
            if task.status.state is TaskState.RUNNING and task.running_since is not None:
                self._look_after(name, (now - task.running_since) / second)
        try:
            await self._stay_attached(epoch, see)
        finally:
            self._checking.close()

    async def _stay_attached(self, epoch: int, see: See) -> None:
        broken = 0
        while broken < broken_max:
            began = time.monotonic()
            try:
                async with attached(self._config, epoch) as (link, running):
                    self._catch_up(link, running)
                    await self._listen(link, see)
            except LinkBroken as error:
                self._link = None
                self._answer_none()
                broken = broken + 1 if time.monotonic() - began < steady_s else 0
                log.warning("launcher gone, attaching again", by=str(self._config.author), why=str(error))
                await asyncio.sleep(broken * broken_pause_s)
        raise LauncherLost(f"{broken_max} connections to the launcher in {self._config.work} broke at once")

    def act(self, event: Event) -> None:
        """Launch what is said to be starting, kill what is said to be being killed."""
        if not isinstance(event.fact, TaskReported):
            return
        name, state = event.fact.status.task, event.fact.status.state
        if event.fact.delivered is not None and state not in TERMINAL:
            self._wanted[name] = _Wanted(delivered=event.fact.delivered, started=False, kill_at=None)
            self._tell(name)
        elif state in TERMINAL:
            self._checking.end(name)
            self._wanted.pop(name, None)
        elif state is TaskState.RUNNING:
            self._look_after(name, 0.0)
        elif event.fact.kill_at is not None and name in self._wanted:
            self._checking.end(name)
            self._wanted[name].kill_at = self._here(event.fact.kill_at, event.at)
            self._tell(name)

    def _here(self, at: Now, now: Now) -> Now:
        """A moment on the log, by this host's clock: the log may be ahead of it."""
        return Now(self._clock() + at - now)

    # ---- checks

    def _look_after(self, name: TaskId, running_s: float) -> None:
        if name in self._wanted:
            self._checking.begin(self._wanted[name].delivered.task, running_s)

    async def _execute(self, name: TaskId, check: Check, purpose: str) -> Executed:
        """Have the launcher execute a check's command. Raises LookImpossible while there is no launcher."""
        if self._link is None or name not in self._wanted or check.command is None:
            raise LookImpossible(name)
        number, delivered = next(self._numbers), self._wanted[name].delivered
        look: asyncio.Future[Executed] = asyncio.get_running_loop().create_future()
        self._looks[number] = look
        where = {"task": name, "sandbox": delivered.sandbox, "hide": self._hide}
        how = {"check": number, "purpose": purpose, "timeout_s": check.timeout_s}
        self._link.say({"do": "check", **where, **how, **order(delivered, check.command)})
        try:
            return await look
        finally:
            self._looks.pop(number, None)

    def _answer_none(self) -> None:
        """Who waits for a launcher that is gone waits in vain."""
        for number, look in self._looks.items():
            if not look.done():
                look.set_exception(LookImpossible(number))

    def _checked(self, number: int, status: int | None, message: str) -> None:
        look = self._looks.get(number)
        if look is not None and not look.done():
            code, _, words = (None, None, message) if status is None else told_by_wait(status)
            look.set_result(Executed(code, words))

    @property
    def _hide(self) -> tuple[str, ...] | None:
        return None if self._config.unconfined else self._config.hide

    # ---- the launcher

    def _catch_up(self, link: Link, running: Mapping[TaskId, str]) -> None:
        """Make the launcher know what is wanted, and end what nobody wants."""
        self._link = link
        for name in sorted(running.keys() - self._wanted.keys()):
            log.warning("the launcher runs a task that is not in the log", task=name)
            link.say({"do": "kill", "task": name, "sandbox": running[name], "grace_s": 0})
        for name in self._wanted:
            self._tell(name)

    def _tell(self, name: TaskId) -> None:
        if self._link is None:
            return  # everything wanted is told on attaching
        wanted = self._wanted[name]
        where = {"task": name, "sandbox": wanted.delivered.sandbox}
        if wanted.gone:
            self._link.say({"do": "watch", **where})
        elif wanted.kill_at is not None:
            grace_s = max(0, wanted.kill_at - self._clock()) / second
            self._link.say({"do": "kill", "grace_s": grace_s, **where})
        elif wanted.started:
            self._link.say({"do": "watch", **where})
        else:
            self._link.say({"do": "launch", **where, **order(wanted.delivered), "hide": self._hide})

    async def _listen(self, link: Link, see: See) -> None:
        while True:
            try:
                async with asyncio.timeout(self._config.launcher_silent_s):
                    message = await link.hear()
            except TimeoutError:
                message = await self._ask_whether_alive(link)
            await self._see(message, see)

    async def _ask_whether_alive(self, link: Link) -> Message:
        link.say({"do": "ping"})
        try:
            async with asyncio.timeout(self._config.launcher_silent_s):
                return await link.hear()
        except TimeoutError:
            raise LauncherLost(f"the launcher in {self._config.work} does not answer") from None

    async def _see(self, message: Message, see: See) -> None:
        match message:
            case {"say": "started", "task": str(task), "pid": int(pid)}:
                if task in self._wanted:
                    self._wanted[TaskId(task)].started = True
                await see(TaskStarted(task=TaskId(task), pid=pid))
            case {"say": "failed", "task": str(task), "message": str(text)}:
                self._wanted.pop(TaskId(task), None)
                await see(LaunchFailed(task=TaskId(task), message=text))
            case {"say": "ended", "task": str(task), "status": int() | None as status}:
                self._wanted.pop(TaskId(task), None)
                stopped = message.get("stopped") is True
                await see(TaskEnded(task=TaskId(task), wait_status=status, stopped=stopped))
            case {"say": "checked", "check": int(number), "status": int() | None as status, "message": str(text)}:
                self._checked(number, status, text)
            case {"say": "refused", "message": str(text)} if text.endswith(": check"):
                log.error("the launcher is of a release that executes no checks", by=str(self._config.author))
                self._answer_none()
            case {"say": "pong"}:
                pass
            case _:
                raise LinkBroken(f"the launcher says {message}")


def order(delivered: TaskDelivered, check: Command | None = None) -> dict[str, object]:
    """What a delivered task executes, with the whole of its environment. (Mesos: `slave.cpp`, `executor.cpp`)

    Or what a check of it does: with the task's environment and on top of it its own, as the task's user.
    """
    info, command = delivered.task, delivered.task.command
    mesos = {
        "MESOS_TASK_ID": info.task,
        "MESOS_SANDBOX": delivered.sandbox,
        "MESOS_DIRECTORY": delivered.sandbox,
        "MESOS_FRAMEWORK_ID": info.framework,
        "MESOS_EXECUTOR_ID": delivered.executor,
        "MESOS_SLAVE_ID": info.agent,
        "MESOS_AGENT_ID": info.agent,
    }
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    what = check or command
    argv = ["/bin/sh", "-c", what.shell] if what.shell is not None else list(what.argv)
    told: dict[str, object] = {
        "argv": argv,
        "env": {"PATH": path, **command.env, **what.env, **mesos},
        "user": command.user,
    }
    if info.volumes:
        told["volumes"] = _volumes(delivered)
    return told | ({"secrets": _secrets(delivered, mesos)} if names_of(info) else {})


def _volumes(delivered: TaskDelivered) -> list[dict[str, object]]:
    """Where what a task shares with its group lies, and where it finds it."""
    group = delivered.task.group
    assert group is not None, f"{delivered.task.task} shares volumes, and is in no group"
    shared = shared_by(delivered.sandbox, group.id)
    return [
        {"from": f"{shared}/{volume.name}", "at": volume.path, "read_only": volume.read_only}
        for volume in delivered.task.volumes
    ]


def _secrets(delivered: TaskDelivered, mesos: Mapping[str, str]) -> dict[str, object]:
    """Where the values lie that the agent left for the task; what Mesos' variables hold is no task's to say."""
    command, at = delivered.task.command, secrets_for(delivered.sandbox)
    return {
        "env": {
            variable: f"{at}/{ENV}/{file_name(name)}"
            for variable, name in command.secret_env.items()
            if variable not in mesos
        },
        "files": {path: f"{at}/{FILES}/{file_name(name)}" for path, name in command.secret_files.items()},
        "owned": f"{at}/{FILES}",
    }
