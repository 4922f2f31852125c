"""A datacenter whose stream is damaged after a storm: the damage is found before anything is decided on it.

Everybody's store has everything by then. The stream is damaged, some processes die, everybody finds the server started
again, and people go on asking. From then on nobody says anything that does not extend what was said before, and of a
stream that lost something no master leads.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from bus.port import StreamDiverged
from bus.queries import DIVERGED
from bus.subjects import everything, own_log, ping
from eventstore.errors import StoreDiverged, StoreGap
from tests.simulation.damage import CHANGED, Damage
from tests.simulation.datacenter import Datacenter
from tests.simulation.process import Ended
from tests.simulation.seats import MASTER, NODES

singletons = sum(map(len, NODES.values()))
storm_s = 40.0
aftermath_s = 60.0
burst_s = 3.0
found_s = 20.0
"""After the damage, within this, no master leads that could know of it."""


class DamagedDatacenter(Datacenter):
    """Three masters and stores; the run ends after the damage is found."""

    ended = (*Ended, StreamDiverged, StoreDiverged, StoreGap)

    def __init__(self, seed: int, **given: Any) -> None:
        super().__init__(seed, three=True, stores=True, **given)
        self.sky = replace(self.sky, intruders_s=0.0)
        self.damage = Damage(self.server, self.random)
        self.standings: Counter[str] = Counter()

    async def _storm(self) -> None:
        await self.people.live(storm_s, every_s=3)

    async def _end(self) -> None:
        await self._within(60, self._stored)
        self.people.check()
        self._strike()
        loop = asyncio.get_running_loop()
        struck_s = loop.time()
        asking = asyncio.create_task(self._ask_on())
        while loop.time() < struck_s + aftermath_s:
            await asyncio.sleep(1)  # virtual
            if loop.time() > struck_s + found_s:
                self._check_leaders()
        await asking
        self.standings = await self.claims.standings()
        self._check_standings()

    async def _stored(self) -> str:
        """Who has not yet stored what was said, or does not live."""
        if missing := await self.claims.led():
            return missing
        standings = await self.claims.standings()
        if standings.total() != singletons or DIVERGED in standings:
            return f"{standings}"
        for seat in self.seats:
            author = self.lived[seat.who].author
            log = everything("dc") if author == MASTER else own_log("dc", author)
            if self.disks[seat.who].last < self.server.newest(log):
                return f"{seat.who} has stored {self.disks[seat.who].last}"
        return ""

    def _strike(self) -> None:
        self.ledger.audit()
        self.damage.strike()
        self.sky.counts[self.damage.kind] += 1
        self.ledger.gone = {record.body for record in self.damage.gone}
        self.ledger.read = len(self.server.records())
        for seat in self.seats:
            if self.random.random() < self.random.choice([0.1, 0.5]):
                self.sky.exposed[seat.who].kill()
        self.server.restart()

    async def _ask_on(self) -> None:
        """At times so much at once that the stream grows again before those who knew its end are back."""
        await self.people.live(burst_s, every_s=self.random.choice([0.1, 3]))
        await self.people.live(aftermath_s - burst_s, every_s=3)

    @property
    def _lost(self) -> bool:
        return self.damage.kind != CHANGED

    def _check_leaders(self) -> None:
        leading = self.server.servers_of(ping("dc", MASTER))
        assert not (leading and self._lost), f"a master leads on a damaged stream: {self.damage.what}"

    def _check_standings(self) -> None:
        assert not self._lost or self.standings[DIVERGED] >= 3, f"{self.standings} after {self.damage.what}"
