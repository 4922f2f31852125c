"""Follows the whole stream over the real bus, remembers when each event was seen, and springs traps on the way.

Rule of this room: a trap is sprung in the moment its event is seen, before anything else is looked at; waiting is for
an event that has come or comes, with a bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import NamedTuple

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.events import Event, LeaderElected
from bus.jetstream import JetStreamBus
from bus.nouns import Position
from bus.port import NoAnswer, Record
from bus.subjects import Author, everything

again_s = 0.1


class Told(NamedTuple):
    """An event, and when the observer saw it, by the clock of the machine since its start."""

    event: Event
    seen_at: float


class Trap:
    """Something to do at the first event of a kind, once."""

    def __init__(self, fits: Callable[[Event], bool], act: Callable[[Event], None]) -> None:
        self._fits, self._act = fits, act
        self.sprung: asyncio.Future[Told] = asyncio.get_running_loop().create_future()

    def look(self, told: Told) -> None:
        """Spring, if this is the event."""
        if not self.sprung.done() and self._fits(told.event):
            self._act(told.event)
            self.sprung.set_result(told)


class Waited(AssertionError):
    """What should have come did not come in time."""


class Observer:
    """One reader of a cluster's stream."""

    def __init__(self, bus: JetStreamBus) -> None:
        self.bus = bus
        self.records: list[Record] = []
        self.told: list[Told] = []
        self.leaders: dict[Author, LeaderElected] = {}
        """Whose term it is, by the log."""
        self.trap: Trap | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Follow, for ever."""
        async with aclosing(self.bus.follow(everything(self.bus.cluster), after=Position(0))) as groups:
            async for records in groups:
                for record in records:
                    self._take(record)
                self._news.set()

    def _take(self, record: Record) -> None:
        self.records.append(record)
        with suppress(Foreign, Unreadable):
            told = Told(codec.decode(record.subject, record.body, record.position), time.monotonic())
            if isinstance(told.event.fact, LeaderElected):
                self.leaders[told.event.by] = told.event.fact
            if self.trap is not None:
                self.trap.look(told)
            self.told.append(told)

    @property
    def mark(self) -> int:
        """Here: for looking only at what comes after."""
        return len(self.told)

    def since(self, mark: int) -> list[Told]:
        """What was seen since a mark."""
        return self.told[mark:]

    async def first(self, what: str, fits: Callable[[Event], bool], *, mark: int, within_s: float) -> Told:
        """The first such event after a mark. Raises Waited."""
        looked = mark
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._news.clear()
                    for told in self.told[looked:]:
                        looked += 1
                        if fits(told.event):
                            return told
                    await self._news.wait()
        except TimeoutError:
            raise Waited(f"{what}: not within {within_s:g} s; {looked - mark} events came") from None

    async def until(self, what: str, true: Callable[[], bool], *, within_s: float) -> None:
        """Wait until something holds of what was seen. Raises Waited."""
        try:
            async with asyncio.timeout(within_s):
                while not true():
                    self._news.clear()
                    if not true():
                        await self._news.wait()
        except TimeoutError:
            raise Waited(f"{what}: not within {within_s:g} s; the last event is {len(self.records)}") from None

    async def to_head(self, *, within_s: float = 30.0) -> Position:
        """See everything that is in the stream now; the position of the last of it."""
        async with asyncio.timeout(within_s):
            end = await self._head()
        await self.until(f"position {end}", lambda: len(self.records) >= end, within_s=within_s)
        return end

    async def _head(self) -> Position:
        """The newest position, once a leader of the stream says it."""
        while True:
            with suppress(NoAnswer):
                newest = await self.bus.last(everything(self.bus.cluster))
                return newest.position if newest else Position(0)
            await asyncio.sleep(again_s)
