"""A client that stays: one connection, requests published on it, news heard on it as they come.

Rule of this room: a wait has a bound, and what was awaited is named when it is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from bus import codec, queries
from bus.events import Event, Fact, RequestRefused
from bus.nouns import FrameworkId, Position, RequestId, TaskId, TraceId
from bus.port import Bus, Message, Record
from bus.queries import Trace
from bus.services import SchedulerLocated
from bus.subjects import Author, Kind, ask, inbox
from cli.session import MARATHON, METRONOME, THE_MASTER, wall_clock

patience_s = 60.0
query_s = 10.0


class Client:
    """One client of one cluster."""

    def __init__(self, bus: Bus, following: AsyncGenerator[Sequence[Record], None]) -> None:
        self.bus, self.me, self._following = bus, Author(Kind.CLIENT, bus.me), following
        self._heard: list[Event] = []

    async def say(self, to: Author, fact: Fact) -> TraceId:
        """Publish a request; its trace."""
        trace = TraceId(uuid4().hex)
        event = Event(by=self.me, to=to.id, fact=fact, at=wall_clock(), trace=trace, request=RequestId(uuid4().hex))
        message = Message(codec.subject(self.bus.cluster, event), codec.encode(event), event.request)
        await self.bus.append([message], None)
        return trace

    async def hear(self, what: str, wanted: Callable[[Event], bool]) -> tuple[Event, float]:
        """The next event that is wanted, and when it was heard; earlier ones are passed over."""
        async with asyncio.timeout(patience_s):
            while True:
                while self._heard:
                    event = self._heard.pop(0)
                    assert not isinstance(event.fact, RequestRefused), f"{what}: {event.fact}"
                    if wanted(event):
                        return event, time.perf_counter()
                records = await anext(self._following)
                self._heard = [codec.decode(each.subject, each.body, each.position) for each in records]

    async def news(self) -> AsyncIterator[Event]:
        """Everything said to me, as it comes."""
        async for records in self._following:
            for record in records:
                yield codec.decode(record.subject, record.body, record.position)

    async def trace(self, task: TaskId) -> Trace:
        """The twelve steps of a task."""
        subject = ask(self.bus.cluster, THE_MASTER, "trace")
        answer = await self.bus.query(subject, queries.pack(task), timeout_s=query_s)
        return queries.unpack(answer, Trace)


@asynccontextmanager
async def client(bus: Bus) -> AsyncIterator[Client]:
    """A client on a connection; the schedulers are located, and what they say to it from now on is heard."""
    mine = inbox(bus.cluster, bus.me)
    newest = await bus.last(mine)
    following = bus.follow(mine, after=newest.position if newest else Position(0))
    found = Client(bus, following)
    for scheduler in (MARATHON, METRONOME):
        await found.say(scheduler, SchedulerLocated(framework=FrameworkId(scheduler.id), through=str(THE_MASTER)))
    try:
        yield found
    finally:
        await following.aclose()
