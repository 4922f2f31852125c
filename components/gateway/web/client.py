"""The gateway's end of the bus: what people ask becomes events, lists become queries.

    anybody there? ─► say where I go ─► publish the request ─► the event that bears its id

Rule of this room: nothing is published for a scheduler that nobody leads; the inbox is read from before the first
request on; a request whose outcome is not known is said again under the same id, and done once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import TypeVar
from uuid import uuid4

import msgspec

from bus import codec, logs, queries
from bus.codec import Foreign, Unreadable
from bus.events import Event, EventUnreadable, Fact, RequestRefused
from bus.nouns import FrameworkId, Now, Position, RequestId, TraceId
from bus.port import (
    Bus,
    BusClosed,
    Message,
    NoAnswer,
    NobodyThere,
    NotPermitted,
    OutcomeUnknown,
    StreamDiverged,
    StreamFull,
    StreamTrimmed,
)
from bus.queries import QueryRefused
from bus.services import SchedulerLocated
from bus.subjects import Author, Kind, ask, inbox, ping

R = TypeVar("R")
log = logs.get_logger()

MARATHON = Author(Kind.FRAMEWORK, "marathon")
METRONOME = Author(Kind.FRAMEWORK, "metronome")
query_s = 5.0
ping_s = 1.0
again_s = 0.25
"""Between two tries to publish the same request, or to find who leads."""
elected_s = 3.0
"""How long a scheduler may be without a leader before nobody is there. (a standby takes over within a second)"""


class Away(Exception):
    """Who should answer does not: ask again later. Nothing was done, unless the text says that it may be."""


class Turned(Exception):
    """A request was refused by the one who was asked."""

    def __init__(self, fact: RequestRefused) -> None:
        super().__init__(fact.message)
        self.fact = fact


class Client:
    """One gateway's conversation with the schedulers, of all its people at once."""

    def __init__(self, bus: Bus, me: Author, clock: Callable[[], Now], *, answer_s: float = 8.0) -> None:
        self.bus, self.me, self.clock, self.answer_s = bus, me, clock, answer_s
        self._waiting: dict[RequestId, asyncio.Future[Event]] = {}
        self._hears = asyncio.Event()
        self.position = Position(0)
        """Of the last event that was said to this gateway."""

    # ---- hearing ------------------------------------------------------------------------------------------------

    async def hear(self) -> None:
        """Hand every answer to the one who waits for it, until cancelled. Raises BusClosed, StreamDiverged."""
        mine = inbox(self.bus.cluster, self.me.id)
        after = await self._newest(mine)
        while True:
            try:
                async with aclosing(self.bus.follow(mine, after=after)) as groups:
                    self._hears.set()
                    async for records in groups:
                        for record in records:
                            self._told(record.subject, record.body, record.position)
            except StreamTrimmed as trimmed:
                after = Position(trimmed.first - 1)

    async def _newest(self, mine: str) -> Position:
        while True:
            try:
                newest = await self.bus.last(mine)
                return newest.position if newest else Position(0)
            except NoAnswer:
                await asyncio.sleep(again_s)

    def _told(self, subject: str, body: bytes, position: Position) -> None:
        self.position = position
        try:
            event = codec.decode(subject, body, position)
        except Foreign:
            return
        except Unreadable as unreadable:
            event = unreadable.event
        waiting = self._waiting.get(event.request) if event.request is not None else None
        if waiting is not None and not waiting.done():
            waiting.set_result(event)

    # ---- asking for a change --------------------------------------------------------------------------------------

    async def request(self, to: Author, fact: Fact, actor: str) -> Event:
        """What a scheduler answered. Raises Turned if it refuses, Away if nobody leads it or it does not answer."""
        deadline = time.monotonic() + self.answer_s
        await self._led(to)
        trace, request = TraceId(uuid4().hex), RequestId(uuid4().hex)
        answered: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[request] = answered
        try:
            async with asyncio.timeout(self.answer_s):
                await self._hears.wait()
                located = SchedulerLocated(framework=FrameworkId(to.id), through=str(to))
                await self._say(to, located, actor, trace, RequestId(uuid4().hex), deadline)
                await self._say(to, fact, actor, trace, request, deadline)
                event = await answered
        except TimeoutError:
            raise Away(f"{to.id} has not answered within {self.answer_s:g} s; it may still do what was asked") from None
        finally:
            del self._waiting[request]
        return _accepted(event)

    async def _led(self, to: Author) -> None:
        """Wait a moment for a leader. Raises Away."""
        deadline = time.monotonic() + min(elected_s, self.answer_s)
        while True:
            try:
                await self.bus.query(ping(self.bus.cluster, to), b"", timeout_s=ping_s)
                return
            except (NobodyThere, NoAnswer):
                if time.monotonic() >= deadline:
                    raise Away(f"no {to.id} leads at the moment: nothing was done") from None
            await asyncio.sleep(again_s)

    async def _say(
        self, to: Author, fact: Fact, actor: str, trace: TraceId, request: RequestId, deadline: float
    ) -> None:
        event = Event(by=self.me, to=to.id, fact=fact, at=self.clock(), actor=actor, trace=trace, request=request)
        message = Message(codec.subject(self.bus.cluster, event), codec.encode(event), request)
        while True:
            try:
                await self.bus.append([message], None)
                return
            except OutcomeUnknown as unknown:
                if time.monotonic() >= deadline:
                    raise Away(f"the bus does not answer: {unknown}; what was asked may still be done") from None
            except StreamFull as full:
                raise Away(f"the bus stores nothing more: {full}; nothing was done") from None
            await asyncio.sleep(again_s)

    # ---- asking what is -------------------------------------------------------------------------------------------

    async def ask(
        self, of: Author, query: str, shape: type[R], question: object = None, *, patience_s: float = elected_s
    ) -> R:
        """The answer of a component to a query. Raises Away, QueryRefused."""
        deadline = time.monotonic() + min(patience_s, self.answer_s)
        while True:
            try:
                subject = ask(self.bus.cluster, of, query)
                return queries.unpack(await self.bus.query(subject, queries.pack(question), timeout_s=query_s), shape)
            except (NobodyThere, NoAnswer):
                if time.monotonic() >= deadline:
                    raise Away(f"no {of.id} leads at the moment") from None
            except msgspec.ValidationError as error:
                raise Away(f"{of.id} is of another release: {error}") from None
            await asyncio.sleep(again_s)

    async def leads(self, of: Author) -> bool:
        """Whether somebody leads a scheduler at this moment."""
        try:
            await self.bus.query(ping(self.bus.cluster, of), b"", timeout_s=ping_s)
        except (NobodyThere, NoAnswer):
            return False
        return True


def _accepted(event: Event) -> Event:
    match event.fact:
        case RequestRefused() as refused:
            raise Turned(refused)
        case EventUnreadable(message=message):
            raise Away(f"{event.by.id} is of another release: {message}")
        case _:
            return event


__all__ = [
    "MARATHON",
    "METRONOME",
    "Away",
    "BusClosed",
    "Client",
    "NotPermitted",
    "QueryRefused",
    "StreamDiverged",
    "Turned",
]
