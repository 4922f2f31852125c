"""A scheduler that takes every offer and launches many tasks at once, and knows how long each took to run.

Rule of this room: it speaks as a real framework does, under its own identity; it wants offers only while it has
something to launch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from bus import codec
from bus.events import (
    Fact,
    FrameworkRegistered,
    FrameworkRevived,
    LeaderElected,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    TaskUpdated,
)
from bus.jetstream import JetStreamBus
from bus.nouns import AgentId, FrameworkId, Offer, Position, TaskId, TaskState
from bus.queries import pack
from bus.subjects import Author, Kind, inbox, ping
from ops.bench.crowd import task_on
from ops.bench.speaking import Speaker

refuse_s = 600.0
"""What is left over of an offer is not wanted; reviving voids that."""
patience_s = 300.0


class Scheduler:
    """One framework on one connection."""

    def __init__(self, bus: JetStreamBus) -> None:
        self.bus, self.id = bus, FrameworkId(bus.me)
        self._speaker = Speaker(bus, Author(Kind.FRAMEWORK, self.id), LeaderElected)
        self._round = self._each = 0
        self._unserved = 0
        """Agents on which nothing is launched yet in this round."""
        self._served: set[AgentId] = set()
        self._asked: dict[TaskId, float] = {}
        self._took_ms: list[float] = []
        self._wanted = TaskState.RUNNING
        self._count = 0
        """Tasks that are waited for, until each is in that state."""
        self._reached: set[TaskId] = set()
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def on(cls, bus: JetStreamBus) -> AsyncIterator[Scheduler]:
        """A scheduler as long as the block lasts."""
        found = cls(bus)
        await bus.serve(ping(bus.cluster, Author(Kind.FRAMEWORK, found.id)), _pong)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in (found._hear(), found._speaker.write())]
            yield found
            for task in tasks:
                task.cancel()

    async def launch(self, agents: int, each: int) -> tuple[float, list[float]]:
        """Launch so many tasks on each of so many agents: seconds until all run, milliseconds of each."""
        self._round, self._each, self._unserved = self._round + 1, each, agents
        self._served, self._asked, self._took_ms = set(), {}, []
        self._await(TaskState.RUNNING, agents * each)
        first = self._round == 1
        self._say(FrameworkRegistered(name=self.id) if first else FrameworkRevived(framework=self.id))
        ended = await self._all()
        self._await(TaskState.FINISHED, agents * each)
        return ended - min(self._asked.values()), self._took_ms

    async def finished(self) -> None:
        """Wait until every task is FINISHED."""
        await self._all()

    def _await(self, state: TaskState, count: int) -> None:
        self._wanted, self._count, self._reached = state, count, set()
        self._changed.clear()

    async def _all(self) -> float:
        async with asyncio.timeout(patience_s):
            await self._changed.wait()
        return time.perf_counter()

    def _say(self, fact: Fact, cause: Position | None = None) -> None:
        self._speaker.say(fact, cause=cause)

    async def _hear(self) -> None:
        async with aclosing(self.bus.follow(inbox(self.bus.cluster, self.id), after=Position(0))) as groups:
            async for records in groups:
                for record in records:
                    event = codec.decode(record.subject, record.body, record.position)
                    match event.fact:
                        case OfferMade(offers=offers):
                            self._answer(offers, event.position)
                        case TaskUpdated() as fact:
                            self._updated(fact)

    def _answer(self, offers: tuple[Offer, ...], cause: Position) -> None:
        unwanted = []
        for offer in offers:
            if self._unserved and offer.agent not in self._served:
                self._accept(offer, cause)
            else:
                unwanted.append(offer)
        if unwanted:
            self._say(OfferDeclined(offers=tuple(offer.offer for offer in unwanted), refuse_s=refuse_s), cause)

    def _accept(self, offer: Offer, cause: Position) -> None:
        self._served.add(offer.agent)
        self._unserved -= 1
        launch = tuple(
            task_on(offer, self.id, f"t{self._round}-{offer.agent}-{number}") for number in range(self._each)
        )
        self._asked |= dict.fromkeys((info.task for info in launch), time.perf_counter())
        last = not self._unserved
        self._say(OfferAccepted(offers=(offer.offer,), launch=launch, refuse_s=refuse_s, suppressed=last), cause)

    def _updated(self, fact: TaskUpdated) -> None:
        task = fact.status.task
        assert fact.status.state is self._wanted, f"{fact}, while {self._wanted} is waited for"
        assert task not in self._reached, f"{fact}, a second time"
        if fact.status.state is TaskState.RUNNING:
            self._took_ms.append(1000 * (time.perf_counter() - self._asked[task]))
        self._reached.add(task)
        if len(self._reached) == self._count:
            self._changed.set()


async def _pong(_question: bytes) -> bytes:
    return pack(1)
