"""Decisions between the mind that made them and the stream.

Rule of this room: whole decisions, in order, no more of them than a bound.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from bus.events import Event
from bus.port import Message, batch_bytes_max, batch_events_max
from components.mind import Decided

events_waiting_max = 4000
"""Decided events that wait for the bus; the mind pauses above."""
events_one_by_one_max = 8
"""Up to so many waiting events a decision of a single one travels alone. (nats-server stages an atomic batch in a
directory of its own, which takes it about as long as storing this many single messages)"""
gather_s, gather_events = 0.08, 64
"""From the beginning of an append of more than that to the next one, unless so many wait before. (CPU time of
nats-server and author for an event: 0.4 ms alone, 1.5 in a batch of 2, 0.3 of 10, 0.05 of 100, 0.02 of 500; and it
stores one append after another: who has much to say says it in few, and leaves time to others)"""


class Outbox:
    """Decisions on their way into the stream, in order."""

    def __init__(self) -> None:
        self._decided: deque[Decided] = deque()
        self._events = 0
        self._filled, self._changed = asyncio.Event(), asyncio.Event()
        self._enough = asyncio.Event()
        self.sent_n = 0
        """Number of the last event whose append is acknowledged."""
        self._gathered_at = -gather_s
        """When the last append of many began, by the event loop's clock."""

    def put(self, decided: Decided) -> None:
        """A decision is to be published."""
        self._decided.append(decided)
        self._events += len(decided.events)
        self._filled.set()
        if self._events >= gather_events:
            self._enough.set()

    async def take(self) -> Decided:
        """As many whole decisions as one append may hold; they stay counted until `sent`."""
        await self._filled.wait()
        await self._gather()
        if self._events <= events_one_by_one_max and len(self._decided[0].events) == 1:
            return self._take_one()
        events: list[Event] = []
        messages: list[Message] = []
        size = 0
        while self._decided:
            head = self._decided[0]
            size += sum(len(message.body) for message in head.messages)
            if events and (len(events) + len(head.events) > batch_events_max or size > batch_bytes_max):
                break
            events.extend(head.events)
            messages.extend(head.messages)
            self._decided.popleft()
        if not self._decided:
            self._filled.clear()
        if len(events) > events_one_by_one_max:
            self._gathered_at = asyncio.get_running_loop().time()
        return Decided(events, messages)

    async def _gather(self) -> None:
        """Wait for more, if the last append was one of many just now and there are not many yet."""
        left_s = self._gathered_at + gather_s - asyncio.get_running_loop().time()
        if left_s > 0 and self._events < gather_events:
            self._enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._enough.wait()

    def _take_one(self) -> Decided:
        decided = self._decided.popleft()
        if not self._decided:
            self._filled.clear()
        return decided

    def sent(self, decided: Decided) -> None:
        """The events of a `take` are in the stream."""
        self._events -= len(decided.events)
        self.sent_n = decided.events[-1].n
        self._changed.set()

    async def room(self) -> None:
        """Wait until few enough events wait."""
        while self._events > events_waiting_max:
            await self._next_change()

    async def wait_sent(self, n: int) -> None:
        """Wait until event `n` is in the stream."""
        while self.sent_n < n:
            await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
