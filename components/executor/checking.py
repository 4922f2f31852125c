"""Looks after running tasks: how each check is done, and when.

Rule of this room: here is looked, and nothing is counted: what a failure means, the mind says. A look that could not be
made at all says nothing about the task. (Mesos: `src/checks/checker_process.cpp`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from bus import logs
from bus.nouns import Check, Probe, TaskId, TaskInfo
from components.component import See, Sight
from components.executor.sights import CheckFound, HealthSeen
from components.probing import ProbeFailed, connect, get

log = logs.get_logger()

looks_max = 256
"""Over the network, at the same time. (Marathon: as many of its own)"""
pause_min_s = 0.01
HERE, HERE6 = "127.0.0.1", "::1"


class Executed(NamedTuple):
    """How a check's command ended."""

    code: int | None
    """None: not by itself, or not in time, or it was never executed."""
    message: str
    """What happened."""


Execute = Callable[[TaskId, Check, str], Awaitable[Executed]]
"""Executes a check's command, one of each purpose at a time for each task. Raises LookImpossible."""
HEALTH, GENERAL = "health", "check"


class LookImpossible(Exception):
    """Nothing can be said about the task now."""


class Checking:
    """The checks of one executor's tasks, while it is entered."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._see: See | None = None
        self._room = asyncio.Semaphore(looks_max)
        self._looking: dict[TaskId, list[asyncio.Task[None]]] = {}

    def open(self, see: See) -> None:
        """From now on there is somebody to tell."""
        self._see = see

    def close(self) -> None:
        """Look after nobody any more."""
        for task in list(self._looking):
            self.end(task)

    def begin(self, info: TaskInfo, running_s: float) -> None:
        """Look after a task that has been running for so long; nothing if it is looked after."""
        if self._see is None or info.task in self._looking or not (info.health or info.check):
            return
        self._looking[info.task] = []
        for check, look in ((info.health, self._look_healthy), (info.check, self._look_only)):
            if check is not None:
                wait_s = max(0.0, check.delay_s - max(0.0, running_s))
                looking = asyncio.create_task(_look_after(info.task, check, look, wait_s, self._see))
                looking.add_done_callback(_complain)
                self._looking[info.task].append(looking)

    def end(self, task: TaskId) -> None:
        """Look after a task no more."""
        for looking in self._looking.pop(task, ()):
            looking.cancel()

    async def _look_healthy(self, task: TaskId, check: Check) -> HealthSeen:
        found, wrong = await self._look(task, check, HEALTH)
        if check.probe is Probe.COMMAND:
            healthy = found == 0
        elif check.probe is Probe.TCP:
            healthy = found == 1
        else:
            healthy = found is not None and 200 <= found < 400
            wrong = wrong or f"HTTP {found} from {_address(check)}"
        return HealthSeen(task=task, healthy=healthy, message="" if healthy else wrong)

    async def _look_only(self, task: TaskId, check: Check) -> CheckFound:
        found, wrong = await self._look(task, check, GENERAL)
        return CheckFound(task=task, found=found, message=wrong if found is None else "")

    async def _look(self, task: TaskId, check: Check, purpose: str) -> tuple[int | None, str]:
        """What a look found, as `TaskStatus.checked`; and what was wrong."""
        if check.probe is Probe.COMMAND:
            return await self._execute(task, check, purpose)
        try:
            async with self._room, asyncio.timeout(check.timeout_s or None):
                return await _over_the_network(check), ""
        except TimeoutError:
            return None, f"no answer within {check.timeout_s:g} s"
        except ProbeFailed as error:
            return 0 if check.probe is Probe.TCP else None, str(error)


Look = Callable[[TaskId, Check], Awaitable[Sight]]


async def _look_after(task: TaskId, check: Check, look: Look, wait_s: float, see: See) -> None:
    await asyncio.sleep(wait_s)
    while True:
        try:
            seen = await look(task, check)
        except LookImpossible:
            pass
        else:
            await see(seen)
        await asyncio.sleep(max(pause_min_s, check.interval_s))


async def _over_the_network(check: Check) -> int:
    if check.probe is Probe.TCP:
        await connect(HERE6 if check.ipv6 else HERE, check.port)
        return 1
    return (await get(_address(check), follow=True)).status


def _address(check: Check) -> str:
    at = f"[{HERE6}]" if check.ipv6 else HERE
    return f"{check.probe.lower()}://{at}:{check.port}{check.path}"


def _complain(looking: asyncio.Task[None]) -> None:
    if not looking.cancelled() and looking.exception() is not None:
        log.error("a check ended, and the task is looked after no more", error=looking.exception())
