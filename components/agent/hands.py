"""What an agent does in the world: it looks what the machine has, keeps an executor, reads and deletes sandboxes.

Rule of this room: tasks are the executor's. The agent's process can end at any moment and none of them notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from bus import logs
from bus.events import (
    ArtifactsAwaited,
    Event,
    RegistrationNoted,
    SandboxCollected,
    TaskDelivered,
    TaskGathered,
    TaskReported,
)
from bus.nouns import TERMINAL, TaskId, TaskInfo
from bus.port import Bus
from bus.queries import LogPiece, LogQuestion, QueryRefused
from bus.secrets import SecretsAwaited
from components.agent.artifacts import Artifacts
from components.agent.config import AgentConfig
from components.agent.decide import ResourcesDetected
from components.agent.fetching import Fetching
from components.agent.machine import detect_resources
from components.agent.processes import WarmExecutor
from components.agent.sandbox import Sandboxes
from components.agent.state import AgentState, collected_max
from components.component import Ask, See
from components.places import group_name
from components.sealing import AgentKey

log = logs.get_logger()

LOGS = ("stdout", "stderr")


class AgentHands:
    """The hands of one agent in one term."""

    def __init__(self, config: AgentConfig, bus: Bus, key: AgentKey | None = None) -> None:
        self.config = config
        self.fetching = Fetching(config, bus, key)
        self.executor, self.sandboxes = WarmExecutor(config, bus), Sandboxes(config.work)
        self.artifacts = Artifacts(config, self.sandboxes)
        self.asks: Mapping[str, Ask] = {"log": self.read_log}
        self._ended: dict[TaskId, bool] = {}
        """The tasks whose sandboxes are kept, and whether they ended."""
        self._collected: dict[TaskId, None] = {}
        """As in the state: the latest, oldest first."""
        self._doomed: list[TaskId] = []
        """Whose sandboxes are to be deleted."""
        self._groups: dict[TaskId, str] = {}
        """Of the tasks whose sandboxes are kept, the directories that their groups share."""
        self._doomed_groups: list[str] = []
        self._dooming = asyncio.Event()

    async def run(self, state: AgentState, see: See) -> None:
        """Do what an agent does until cancelled."""
        self._recall(state)
        self.sandboxes.prepare()
        kept = set(self._groups.values())
        self._doomed_groups = [name for name in self.sandboxes.groups() if name not in kept]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.executor.keep())
                group.create_task(self._sweep())
                group.create_task(self.fetching.run(see))
                group.create_task(self.artifacts.run(see))
                if self.config.resources is None:
                    await see(ResourcesDetected(resources=detect_resources(self.config.work)))
        finally:
            self.sandboxes.stopped = True

    def _recall(self, state: AgentState) -> None:
        self.fetching.recall(state)
        self.artifacts.recall(state)
        self._ended = {**dict.fromkeys(state.tasks, False), **dict.fromkeys(state.ended, True)}
        for task in (*state.tasks.values(), *state.ended.values()):
            self._note_group(task.info)
        self._collected = dict.fromkeys(state.collected)
        self._doomed = list(state.collected)  # the last process may have died before it deleted them
        self._dooming.set()

    def act(self, event: Event) -> None:
        """Follow what is in the log."""
        self.fetching.act(event)
        self.artifacts.act(event)
        match event.fact:
            case (
                TaskDelivered(task=info)
                | ArtifactsAwaited(task=info)
                | SecretsAwaited(task=info)
                | TaskGathered(task=info)
            ):
                self._ended[info.task] = False
                self._note_group(info)
            case TaskReported(status=status) if status.state in TERMINAL and status.task in self._ended:
                self._ended[status.task] = True
            case SandboxCollected(task=task):
                self._collect(task)
            case RegistrationNoted(reason=None):
                log.info("the master admitted this agent", agent=self.config.id)
            case RegistrationNoted(reason=reason, message=message):
                log.error("the master refused this agent", agent=self.config.id, reason=reason, why=message)

    def _note_group(self, info: TaskInfo) -> None:
        if info.group is not None:
            self._groups[info.task] = group_name(info.group.id)

    def _collect(self, task: TaskId) -> None:
        self._ended.pop(task, None)
        group = self._groups.pop(task, None)
        if group is not None and group not in self._groups.values():
            self._doomed_groups.append(group)
        if len(self._collected) >= collected_max:
            del self._collected[next(iter(self._collected))]
        self._collected[task] = None
        self._doomed.append(task)
        self._dooming.set()

    async def _sweep(self) -> None:
        while True:
            await self._dooming.wait()
            self._dooming.clear()
            doomed, self._doomed = self._doomed, []
            groups, self._doomed_groups = self._doomed_groups, []
            await asyncio.to_thread(self.sandboxes.delete, doomed, groups)

    async def read_log(self, question: bytes) -> LogPiece:
        """Answer the query `log`. Raises QueryRefused, msgspec.DecodeError."""
        asked = msgspec.msgpack.decode(question, type=LogQuestion)
        if asked.file not in LOGS:
            raise QueryRefused(f"{asked.file!r}: expected {' or '.join(LOGS)}")
        if asked.limit < 0:
            raise QueryRefused(f"limit {asked.limit}: expected 0 or more")
        ended = self._is_ended(asked.task)  # looked up before reading: with `ended`, nothing comes after what is read
        piece = await asyncio.to_thread(self.sandboxes.read, asked.task, asked.file, asked.offset, asked.limit)
        if piece is not None:
            return LogPiece(data=piece.data, offset=piece.offset, size=piece.size, ended=ended)
        if self._is_ended(asked.task):
            raise QueryRefused(f"task {asked.task} left no {asked.file}: it was never executed")
        return LogPiece(data=b"", offset=0, size=0, ended=False)

    def _is_ended(self, task: TaskId) -> bool:
        if task in self._ended:
            return self._ended[task]
        if task in self._collected:
            raise QueryRefused(f"the sandbox of task {task} was collected")
        raise QueryRefused(f"agent {self.config.id} has no such task: {task}")
