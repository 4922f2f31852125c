"""Looks after running tasks: how each check is done, and when.

Rule of this room: here is looked, and nothing is counted: what a failure means, the mind says. A look that could not be
made at all says nothing about the task. (Mesos: `src/checks/checker_process.cpp`)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from bus.nouns import Check, Probe, TaskId
from components.component import See
from components.executor.sights import HealthSeen
from components.probing import ProbeFailed, connect, get

log = structlog.get_logger()

looks_max = 256
"""Over the network, at the same time. (Marathon: as many of its own)"""
pause_min_s = 0.01
HERE, HERE6 = "127.0.0.1", "::1"

Execute = Callable[[TaskId, Check], Awaitable[str | None]]
"""Executes a check's command: None if it exits with 0, else what happened. Raises LookImpossible."""


class LookImpossible(Exception):
    """Nothing can be said about the task now."""


class Checking:
    """The checks of one executor's tasks, while it is entered."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._see: See | None = None
        self._room = asyncio.Semaphore(looks_max)
        self._looking: dict[TaskId, asyncio.Task[None]] = {}

    def open(self, see: See) -> None:
        """From now on there is somebody to tell."""
        self._see = see

    def close(self) -> None:
        """Look after nobody any more."""
        for task in list(self._looking):
            self.end(task)

    def begin(self, task: TaskId, check: Check, running_s: float) -> None:
        """Look after a task that has been running for so long; nothing if it is looked after."""
        if self._see is not None and task not in self._looking:
            wait_s = max(0.0, check.delay_s - max(0.0, running_s))
            looking = self._looking[task] = asyncio.create_task(self._look_after(task, check, wait_s, self._see))
            looking.add_done_callback(_complain)

    def end(self, task: TaskId) -> None:
        """Look after a task no more."""
        looking = self._looking.pop(task, None)
        if looking is not None:
            looking.cancel()

    async def _look_after(self, task: TaskId, check: Check, wait_s: float, see: See) -> None:
        await asyncio.sleep(wait_s)
        while True:
            try:
                wrong = await self._look(task, check)
            except LookImpossible:
                pass
            else:
                await see(HealthSeen(task=task, healthy=wrong is None, message=wrong or ""))
            await asyncio.sleep(max(pause_min_s, check.interval_s))

    async def _look(self, task: TaskId, check: Check) -> str | None:
        """What is wrong with a task, if anything is."""
        if check.probe is Probe.COMMAND:
            return await self._execute(task, check)
        try:
            async with self._room, asyncio.timeout(check.timeout_s or None):
                return await _over_the_network(check)
        except TimeoutError:
            return f"no answer within {check.timeout_s:g} s"
        except ProbeFailed as error:
            return str(error)


async def _over_the_network(check: Check) -> str | None:
    host = HERE6 if check.ipv6 else HERE
    if check.probe is Probe.TCP:
        await connect(host, check.port)
        return None
    at = f"[{host}]" if check.ipv6 else host
    url = f"{check.probe.lower()}://{at}:{check.port}{check.path}"
    status = (await get(url, follow=True)).status
    return None if 200 <= status < 400 else f"HTTP {status} from {url}"


def _complain(looking: asyncio.Task[None]) -> None:
    if not looking.cancelled() and looking.exception() is not None:
        log.error("a check ended, and the task is looked after no more", exc_info=looking.exception())
