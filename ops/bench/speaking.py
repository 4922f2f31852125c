"""Somebody who owns a log on a real bus and has no mind: what it says is packed, fenced and chained as others' is.

Rule of this room: decisions of one event, appended as the runtime would (`components.outbox`).
"""

from __future__ import annotations

from bus.append import append_surely
from bus.events import Fact, Term
from bus.nouns import MASTER, NOBODY, Position
from bus.port import Bus, Fence
from bus.subjects import Author, own_log
from components.outbox import Outbox
from components.runtime import system_clock
from ops.bench.history import Voice


class Speaker:
    """One author on one connection, which it may share with others."""

    def __init__(self, bus: Bus, author: Author, term: type[Term]) -> None:
        self.bus, self.voice = bus, Voice(author, term)
        self._fence = Fence(own_log(bus.cluster, author), Position(0))
        self._outbox = Outbox()
        self.say(term(epoch=1, node="bench", instance="i1"), NOBODY)

    def say(self, fact: Fact, to: str = MASTER, cause: Position | None = None) -> None:
        """Say a fact as soon as what was said before is in the log."""
        self._outbox.put(self.voice.decide(fact, to, system_clock(), cause))

    async def write(self) -> None:
        """Append what is said, for ever. Raises Fenced, OutcomeUnknown."""
        while True:
            decided = await self._outbox.take()
            position = await append_surely(self.bus, decided.messages, self._fence)
            self._fence = self._fence._replace(last=position)
            self._outbox.sent(decided)
