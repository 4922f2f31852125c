"""How the files a task wants come into its sandbox: a fetcher for each task, which is a process of its own.

    artifacts.awaited ─► an empty sandbox ─► fetcher ─► artifacts.fetched ─► its secrets, or task.delivered
                                                └─► artifacts.missed ─► the task has failed

Rule of this room: a task is handed on with all of its files or not at all. What was begun is begun again from nothing,
and a fetcher outlives neither its task nor the agent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import msgspec

from bus.events import ArtifactsAwaited, Event, TaskReported
from bus.nouns import TERMINAL, TaskId, TaskInfo
from components.agent.config import AgentConfig
from components.agent.decide import ArtifactsFetched, ArtifactsMissed
from components.agent.sandbox import Sandboxes
from components.agent.state import AgentState
from components.component import See
from components.fetcher.order import Limits, Order, Verdict

at_once_max = 8
"""Tasks whose files are fetched at the same time."""
verdict_bytes_max = 64 * 1024
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_GIVEN = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", *_PROXIES, *map(str.upper, _PROXIES))
"""Of the agent's environment, what a fetcher may know."""


class Missed(Exception):
    """A file cannot be had; the text says which and why."""


class Artifacts:
    """The files of one agent's tasks, from the task that awaits them to the one that ended."""

    def __init__(self, config: AgentConfig, sandboxes: Sandboxes) -> None:
        self.config, self.sandboxes = config, sandboxes
        self._awaited: dict[TaskId, TaskInfo] = {}
        """Whose are not begun to be fetched."""
        self._fetched: dict[TaskId, asyncio.Task[None]] = {}
        self._new = asyncio.Event()
        self._turns = asyncio.Semaphore(at_once_max)

    def recall(self, state: AgentState) -> None:
        """Begin again what the agent's last process began."""
        for awaiting in state.awaiting.values():
            if awaiting.fetching:
                self._want(awaiting.info)

    def act(self, event: Event) -> None:
        """Follow what is in the log."""
        match event.fact:
            case ArtifactsAwaited(task=info):
                self._want(info)
            case TaskReported(status=status) if status.state in TERMINAL:
                self._awaited.pop(status.task, None)
                fetching = self._fetched.pop(status.task, None)
                if fetching is not None:
                    fetching.cancel()

    def _want(self, info: TaskInfo) -> None:
        self._awaited[info.task] = info
        self._new.set()

    async def run(self, see: See) -> None:
        """Fetch what is awaited, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._new.wait()
                self._new.clear()
                for task, info in self._awaited.items():
                    self._fetched[task] = group.create_task(self._fetch(info, see))
                self._awaited = {}

    async def _fetch(self, info: TaskInfo, see: See) -> None:
        try:
            async with self._turns:
                await self._bring(info)
        except Missed as missed:
            await see(ArtifactsMissed(task=info.task, message=str(missed)))
        else:
            await see(ArtifactsFetched(task=info.task))
        self._fetched.pop(info.task, None)

    async def _bring(self, info: TaskInfo) -> None:
        """Have a fetcher fetch everything. Raises Missed."""
        try:
            sandbox = await asyncio.to_thread(self.sandboxes.fresh, info.task, info.command.user)
            verdict = await self._run(msgspec.json.encode(self._order(info, sandbox)))
        except (OSError, msgspec.DecodeError) as error:
            raise Missed(f"the files of the task cannot be fetched: {error}") from None
        if verdict.why is not None:
            raise Missed(verdict.why)

    def _order(self, info: TaskInfo, sandbox: str) -> Order:
        return Order(
            sandbox=sandbox,
            fetch=info.command.fetch,
            agent=os.getpid(),
            user=info.command.user,
            directories=self.config.fetch_from,
            limits=Limits(
                bytes_max=self.config.artifacts_bytes_max, entries_max=int(self.config.artifacts_entries_max)
            ),
        )

    async def _run(self, order: bytes) -> Verdict:
        fetcher = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "components.fetcher"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _GIVEN if name in os.environ},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self.config.artifacts_s):
                said, _ = await fetcher.communicate(order)
        except TimeoutError:
            raise Missed(f"not everything was fetched within {self.config.artifacts_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(fetcher.pid, signal.SIGKILL)
            await fetcher.wait()
        if fetcher.returncode != 0:
            _fell(fetcher.returncode)
        return msgspec.json.decode(said[:verdict_bytes_max], type=Verdict)


def _fell(code: int | None) -> NoReturn:
    how = f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exited with {code}"
    raise Missed(f"the fetcher {how}")
