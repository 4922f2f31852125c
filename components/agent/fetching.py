"""How a task's secrets come to this machine: asked of the leading master one by one, opened here, put on the shelf.

    secret.awaited ─► ask the master ─► open with the agent's key ─► shelf ─► secrets.arrived ─► task.delivered
                                                                         └─► secrets.withheld ─► the task has failed

Rule of this room: a value is in a local variable or on the shelf, nowhere else; every wait is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from bus.events import Event, TaskReported
from bus.nouns import MASTER, TERMINAL, TaskId, TaskInfo
from bus.port import Bus, NoAnswer, NobodyThere
from bus.queries import QueryRefused, pack, unpack
from bus.secrets import NotOpened, SecretAnswer, SecretQuestion, SecretsAwaited, names_of
from bus.subjects import Author, Kind, ask
from components.agent.config import AgentConfig
from components.agent.decide import SecretsArrived, SecretsWithheld
from components.agent.shelf import Shelf, ShelfRefused
from components.agent.state import AgentState
from components.component import See
from components.places import sandbox_name
from components.sealing import AgentKey

again_s = 0.5
"""Between two questions about the same secret."""
answer_s = 5.0
at_once_max = 32
"""Tasks whose secrets are asked for at the same time."""
_MASTER = Author(Kind.MASTER, MASTER)


class Withheld(Exception):
    """A secret cannot be had; the text names it and says why."""


class Fetching:
    """The secrets of one agent's tasks, from the task that awaits them to the one that ended."""

    def __init__(self, config: AgentConfig, bus: Bus, key: AgentKey | None) -> None:
        self.config, self.bus, self.key = config, bus, key
        self.shelf = Shelf(config.work)
        self._awaited: dict[TaskId, TaskInfo] = {}
        """Whose are not begun to be fetched."""
        self._fetched: dict[TaskId, asyncio.Task[None]] = {}
        self._new = asyncio.Event()
        self._turns = asyncio.Semaphore(at_once_max)

    def recall(self, state: AgentState) -> None:
        """Go on where the agent's last process stopped; what it kept for ended tasks is removed."""
        with suppress(ShelfRefused, OSError):  # a task that needs it says why it is not there
            self.shelf.prepare()
        self.shelf.sweep(keep={sandbox_name(task) for task in state.tasks if not _awaited(state, task)})
        for task, awaiting in state.awaiting.items():
            if _awaited(state, task):
                self._want(awaiting.info)

    def act(self, event: Event) -> None:
        """Follow what is in the log."""
        match event.fact:
            case SecretsAwaited(task=info):
                self._want(info)
            case TaskReported(status=status) if status.state in TERMINAL:
                self._drop(status.task)

    def _want(self, info: TaskInfo) -> None:
        self._awaited[info.task] = info
        self._new.set()

    def _drop(self, task: TaskId) -> None:
        self._awaited.pop(task, None)
        fetching = self._fetched.pop(task, None)
        if fetching is not None:
            fetching.cancel()
        self.shelf.take(sandbox_name(task))

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
                self._put(info, await self._values(info))
        except Withheld as withheld:
            await see(SecretsWithheld(task=info.task, message=str(withheld)))
        else:
            await see(SecretsArrived(task=info.task))
        self._fetched.pop(info.task, None)

    def _put(self, info: TaskInfo, values: Mapping[str, bytes]) -> None:
        """Put the values of all of a task's secrets on the shelf. Raises Withheld."""
        env, files = (
            {name: values[name] for name in referred.values()}
            for referred in (info.command.secret_env, info.command.secret_files)
        )
        for name, value in env.items():
            if b"\0" in value:
                raise Withheld(f"secret {name} holds a NUL character, as no variable can: refer to it as a file")
        try:
            self.shelf.put(sandbox_name(info.task), env, files)
        except ShelfRefused as refused:
            raise Withheld(f"{_named(info)} cannot be delivered here: {refused}") from None
        except OSError as error:
            raise Withheld(f"{_named(info)} cannot be put into {self.shelf.path}: {error.strerror}") from None

    async def _values(self, info: TaskInfo) -> dict[str, bytes]:
        until_s = asyncio.get_running_loop().time() + self.config.fetch_s
        return {name: await self._value(info.task, name, until_s) for name in names_of(info)}

    async def _value(self, task: TaskId, name: str, until_s: float) -> bytes:
        """Ask until there is an answer that holds, or no time left. Raises Withheld."""
        if self.key is None:
            raise Withheld(f"secret {name} cannot be opened here: {self.config.id} has no key")
        while True:
            try:
                return self.key.open(task, name, await self._ask(task, name))
            except (NobodyThere, NoAnswer):
                why = "the master does not answer"
            except QueryRefused as refused:
                why = str(refused)
            except (NotOpened, msgspec.DecodeError):  # as when this agent has just registered with another key
                why = "what the master answers cannot be opened"
            if asyncio.get_running_loop().time() >= until_s:
                raise Withheld(f"secret {name} was not to be had within {self.config.fetch_s:g} s: {why}")
            await asyncio.sleep(again_s)

    async def _ask(self, task: TaskId, name: str) -> str:
        question = SecretQuestion(task=task, agent=self.config.id, name=name)
        answer = await self.bus.query(
            ask(self.bus.cluster, _MASTER, "secrets"), pack(question), timeout_s=min(answer_s, self.config.fetch_s)
        )
        told = unpack(answer, SecretAnswer)
        if told.withheld:
            raise Withheld(f"secret {name} is withheld by the master: {told.withheld}")
        return told.sealed


def _awaited(state: AgentState, task: TaskId) -> bool:
    """Whether a task's secrets are still to be fetched."""
    return task in state.awaiting and not state.awaiting[task].ready and not state.awaiting[task].fetching


def _named(info: TaskInfo) -> str:
    names = names_of(info)
    return f"secret {names[0]}" if len(names) == 1 else f"secrets {', '.join(names)}"
