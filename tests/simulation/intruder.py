"""Somebody who speaks under the names of others: replays, garbage, forged numbers.

None of it extends an author's chain, so every reader of the log has to pass it over, and its owner to move its fence.
Whoever is addressed cannot see the chain: what is said to it is only what was really said before. (That nobody says
anything else in another's name is a matter of permissions)
"""

from __future__ import annotations

import asyncio
from random import Random

import msgspec

from bus import codec
from bus.events import LeaderElected
from bus.memory import MemoryServer
from bus.nouns import NOBODY, Position
from bus.port import Record
from bus.subjects import Kind, parse_subject
from tests.simulation.ledger import Ledger

chained_each = 5


class Intruder:
    """Puts foreign messages on logs, and tells the ledger which they are."""

    def __init__(self, server: MemoryServer, ledger: Ledger, random: Random) -> None:
        self.server, self.ledger, self.random = server, ledger, random
        self.said = 0
        self.silent = False

    async def live(self, every_s: float) -> None:
        """Speak now and then, for ever, unless told to be silent."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / every_s))  # virtual
            owned = [r for r in self.server.records()[-300:] if parse_subject(r.subject).author.kind is not Kind.CLIENT]
            if owned and not self.silent:
                self._speak(self.random.choice(owned))

    def _speak(self, record: Record) -> None:
        subject, body = self.random.choice([self._replay, self._garbage, self._forged, self._usurped])(record)
        self._put(subject, body)
        if self.said % chained_each == 0:
            self._chain(record)

    def _put(self, subject: str, body: bytes) -> None:
        self.ledger.foreign.add(Position(self.server.last + 1))
        self.server.inject(subject, body)
        self.said += 1

    def _chain(self, record: Record) -> None:
        """Far beyond the end of a log, events that extend each other, as behind a hole."""
        try:
            event = codec.decode(record.subject, record.body, 0)
        except (codec.Foreign, codec.Unreadable):
            return
        prev = codec.link(record.body)
        for n in range(3):
            forged = msgspec.structs.replace(event, to=NOBODY, n=event.n + 100_000 + n, prev=prev)
            body = codec.encode(forged)
            self._put(codec.subject(self.server.cluster, forged), body)
            prev = codec.link(body)

    def _replay(self, record: Record) -> tuple[str, bytes]:
        return record.subject, record.body

    def _garbage(self, record: Record) -> tuple[str, bytes]:
        cut = record.body[: self.random.randrange(max(1, len(record.body)))]
        return record.subject, self.random.choice([b"", b"\xc1", self.random.randbytes(40), cut])

    def _forged(self, record: Record) -> tuple[str, bytes]:
        """Another number, and a hash that nobody knows."""
        try:
            event = codec.decode(record.subject, record.body, 0)
        except (codec.Foreign, codec.Unreadable):
            return self._garbage(record)
        n = self.ledger.chains.get(event.by, (0,))[0] + self.random.randrange(-1, 5)
        forged = msgspec.structs.replace(event, to=NOBODY, n=max(1, n), prev=self.random.randbytes(32))
        return codec.subject(self.server.cluster, forged), codec.encode(forged)

    def _usurped(self, record: Record) -> tuple[str, bytes]:
        """A term that nobody began."""
        try:
            event = codec.decode(record.subject, record.body, 0)
        except (codec.Foreign, codec.Unreadable):
            return self._garbage(record)
        n, _, epoch = self.ledger.chains.get(event.by, (0, b"", 0))
        term = LeaderElected(epoch=epoch + 1, node="n9", instance="nobody")
        forged = msgspec.structs.replace(
            event, fact=term, to=NOBODY, n=n + 1, epoch=epoch + 1, last=True, prev=self.random.randbytes(32)
        )
        return codec.subject(self.server.cluster, forged), codec.encode(forged)
