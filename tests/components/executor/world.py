"""An executor's mind and hands together on real processes, with an agent played by the test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from bus.events import Event, Fact, TaskReported
from bus.nouns import TERMINAL, Command, Now, TaskId, TaskState, TaskStatus
from components.component import Sight
from components.executor import component
from components.executor.hands import ExecutorHands
from components.executor.state import ExecutorState
from tests.components.driver import Stage
from tests.components.executor.nouns import AGENT, delivered, killed
from tests.components.executor.place import Place, alive, belonging, patience_s, wait_until


class World:
    """What the runtime does, without bus: hear, decide, fold, and after that the hands act."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.stage: Stage[ExecutorState] = Stage(component(place.config))
        self.sights: list[Sight] = []
        self.changed = asyncio.Condition()
        self.log_ahead_us = 0
        """Of the host's clock, which was wrong once."""

    async def begin(self) -> None:
        """A new process of the executor: rebuilt from its log."""
        self.stage.restart() if self.stage.log else self.stage.begin()
        self.hands = ExecutorHands(self.place.config, clock=lambda: Now(self.stage.now - self.log_ahead_us))
        self.running = asyncio.create_task(self.hands.run(self.stage.state, self.see))
        await asyncio.sleep(0)

    async def die(self) -> None:
        """The process of the executor ends; nothing else does."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def restart_machine(self, boot: str) -> None:
        """It stops without warning, and comes up again: what was not on the disk is gone, and every process."""
        await self.die()
        doomed = [self.place.launcher_pid, *belonging(self.place.root)]
        for pid in doomed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: not any(map(alive, doomed)))
        for record in (self.place.work / "tasks.log", *self.place.root.glob("sandboxes/*/.busbar")):
            record.unlink()
        await self.begin_on(boot)

    async def begin_on(self, boot: str) -> None:
        """A new process of the executor, in a run of the machine."""
        self.stage.component = component(replace(self.place.config, boot=boot))
        await self.begin()

    async def see(self, sight: Sight) -> None:
        self.sights.append(sight)
        await self._follow(self.stage.see(sight))

    async def hear(self, fact: Fact) -> None:
        await self._follow(self.stage.hear(AGENT, fact))

    async def advance(self, seconds: float) -> None:
        await self._follow(self.stage.advance(seconds))

    async def launch(self, name: str, shell: str, **given: float) -> None:
        sandbox = str(self.place.sandbox(name))
        await self.hear(delivered(name, command=Command(shell=shell), sandbox=sandbox, **given))  # type: ignore[arg-type]

    async def kill(self, name: str, grace_s: float | None = None) -> None:
        await self.hear(killed(name, grace_s))

    async def _follow(self, events: Iterable[Event]) -> None:
        for event in events:
            self.hands.act(event)
        async with self.changed:
            self.changed.notify_all()

    def story(self, name: str) -> list[TaskState]:
        """The states the agent was told, in order."""
        told = [e.fact.status for e in self.stage.log if isinstance(e.fact, TaskReported) and e.to == AGENT.id]
        return [status.state for status in told if status.task == name]

    def status(self, name: str) -> TaskStatus | None:
        state, task = self.stage.state, TaskId(name)
        return state.tasks[task].status if task in state.tasks else state.ended.get(task)

    async def wait_state(self, name: str, *states: TaskState) -> TaskStatus:
        """The status of a task once it has one of some states, by default an end; fails if the hands fail."""
        wanted: Sequence[TaskState] = states or tuple(TERMINAL)
        async with asyncio.timeout(patience_s), self.changed:
            await self.changed.wait_for(lambda: self._is(name, wanted) or self.running.done())
        if self.running.done():
            self.running.result()
        status = self.status(name)
        assert status is not None
        return status

    def _is(self, name: str, states: Sequence[TaskState]) -> bool:
        status = self.status(name)
        return status is not None and status.state in states
