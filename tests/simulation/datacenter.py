"""A whole datacenter on the memory bus, virtual time and one seed: masters, three agents, marathon, metronome, clients.

Every component may die at any await and is rebuilt from its log; appends get lost, answered late, land late or twice;
with three masters processes are stopped, killed and cut off, the bus loses its quorum, clocks jump, and somebody
speaks under the names of others. Then the faults stop, and everything that was asked for must come true.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from bus.events import RequestRefused
from bus.memory import MemoryBus
from bus.nouns import AgentId, JobId
from bus.port import Bus
from bus.queries import DIVERGED
from bus.services import ContinueRequested, RemovalRequested
from bus.subjects import ping
from components.component import Component, State, state_hash
from tests.simulation.clock import virtual_now
from tests.simulation.intruder import Intruder
from tests.simulation.ledger import Ledger
from tests.simulation.line import who_serves
from tests.simulation.mirror import Lived, refolded
from tests.simulation.people import MARATHON, METRONOME, People
from tests.simulation.planted import Plant
from tests.simulation.process import Ended, keep_alive
from tests.simulation.seats import AGENTS, SINGLETONS, Seat, seats
from tests.simulation.settled import Claims
from tests.simulation.store import Disk
from tests.simulation.weather import Sky
from tests.simulation.world import Machine

storm_s = 300.0
storm_of_three_s = 120.0
dead_s = 120.0
dead_of_three_s = 30.0
"""How long a dead process stays dead at most."""
yield_s = 10.0
"""Who does not lead any more and can see it ends within this."""
leaders_s = 60.0
"""Once faults stop, each singleton has one leader within this, and everybody knows it."""
settle_s = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the simulation did."""

    events: int
    tasks: int
    answers: int
    refusals: int
    compared: int
    settled_s: float
    faults: Counter[str]
    ends: Counter[str]
    """How processes ended."""
    seen: Counter[str] = field(default_factory=Counter)
    rollouts: Counter[str] = field(default_factory=Counter)
    """What deployments did, and how they ended."""


class Datacenter:
    """One seed's datacenter, with one node or three, with or without stores."""

    ended: tuple[type[Exception], ...] = Ended
    """How processes may end and be started again."""

    def __init__(
        self,
        seed: int,
        sky: Sky | None = None,
        *,
        three: bool = False,
        stores: bool = False,
        plant: Plant | None = None,
    ) -> None:
        self.random, self.three, self.plant = Random(seed), three, plant or Plant()
        self.sky = sky or (Sky.drawn(self.random) if three else Sky(self.random))
        self.server = self.plant.server("dc", virtual_now)
        self.ledger = Ledger(self.server)
        self.mirror = self.ledger.mirror
        self.machines = {name: Machine(AgentId(name), self.random, self.ledger) for name in AGENTS}
        self.people = People(self.server, self.ledger, self.random, self.sky.weather("u-sim"))
        self.intruder = Intruder(self.server, self.ledger, self.random)
        self.claims = Claims(self.server, self.ledger, self.machines)
        self.seats = seats(self.machines, three=three)
        self.disks = {seat.who: Disk() for seat in self.seats} if stores else {}
        self.lived: dict[str, Lived] = {}
        self.ends: Counter[str] = Counter()
        self.settled_s = 0.0
        self.outdated_s: dict[MemoryBus, float] = {}
        """Since when each instance could know that it does not lead any more, by its connection."""

    # ---- processes ----------------------------------------------------------------------------------------------

    def _built(self, seat: Seat, bus: Bus) -> Component[Any]:
        """A seat's component, whose state is looked at from outside."""
        component = self.plant.component(seat.build(bus))

        def start() -> State:
            state: State = component.start()
            self.lived[seat.who] = Lived(seat.who, component.author, state)
            return state

        return replace(component, start=start)

    def _plain(self, seat: Seat) -> Component[Any]:
        """A seat's component for somebody who only reads."""
        return self.plant.component(seat.build(MemoryBus(self.server)))

    def _process(self, seat: Seat) -> Coroutine[Any, Any, None]:
        return keep_alive(
            self.server,
            lambda bus: self._built(seat, bus),
            self.sky.weather(seat.who),
            pause_s=self._pause_s,
            node=seat.node,
            chance=self.random.random,
            ends=self.ends,
            planted=self.plant.bus,
            disk=self.disks.get(seat.who),
            ended=self.ended,
        )

    def _pause_s(self) -> float:
        """How long a dead process stays dead: at times longer than it takes to be missed."""
        long = self.sky.storm and self.random.random() < 0.1
        return (dead_of_three_s if self.three else dead_s) * self.random.random() if long else self.random.random()

    def _together(self) -> list[list[str]]:
        """Whom a fault befalls at once: a host, or one process."""
        hosts: dict[str, list[str]] = {}
        for seat in self.seats:
            hosts.setdefault(seat.node, []).append(seat.who)
        return [*hosts.values(), *([seat.who] for seat in self.seats), ["u-sim"]]

    # ---- the run ------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Storm, calm, and the audit."""
        for seat in self.seats:
            self.mirror.reflect(self._plain(seat))
        running = [asyncio.create_task(self._process(seat)) for seat in self.seats]
        if self.three:
            running.append(asyncio.create_task(self.sky.brew(self._together())))
        if self.sky.intruders_s:
            running.append(asyncio.create_task(self.intruder.live(self.sky.intruders_s)))
        try:
            await self._until(running, asyncio.create_task(self._storm()))
            self._calm()
            await self._until(running, asyncio.create_task(self._end()))
        finally:
            self.sky.calm()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return self._outcome()

    async def _until(self, running: list[asyncio.Task[None]], done: asyncio.Task[None]) -> None:
        while not done.done():
            await asyncio.wait([*running, done], return_when=asyncio.FIRST_COMPLETED, timeout=1)
            self._audit()
            for task in running:
                if task.done():
                    done.cancel()
                    task.result()
        done.result()

    async def _storm(self) -> None:
        if self.three:
            await self.people.live(storm_of_three_s, every_s=4)
        else:
            await self.people.live(storm_s, every_s=8)

    def _calm(self) -> None:
        self.sky.calm()
        self.intruder.silent = True
        for machine in self.machines.values():
            machine.calm = True

    def _outcome(self) -> Outcome:
        given = [facts[0] for facts in self.ledger.answers.values() if facts]
        return Outcome(
            events=self.ledger.read,
            tasks=len(self.ledger.launched),
            answers=len(given),
            refusals=sum(isinstance(fact, RequestRefused) for fact in given),
            compared=self.mirror.compared,
            settled_s=self.settled_s,
            faults=self.sky.counts + Counter({"foreign messages": self.intruder.said}),
            ends=self.ends,
            seen=Counter(self.ledger.seen),
            rollouts=self.ledger.rollouts.counts,
        )

    # ---- what must always be true -------------------------------------------------------------------------------

    def _audit(self) -> None:
        self.ledger.audit()
        self.mirror.compare(self.lived.values())
        self._nobody_leads_on()

    def _nobody_leads_on(self) -> None:
        """Who can see that another instance leads answers no more, after a while."""
        now_s, outdated_s = asyncio.get_running_loop().time(), dict[MemoryBus, float]()
        for author in SINGLETONS:
            epoch = self.ledger.epoch(author)
            for served in self.server.servers_of(ping(self.server.cluster, author)):
                who = who_serves(served.bus)
                if self.sky.exposed[who].sees() and self.lived[who].state.epoch < epoch:
                    since_s = outdated_s[served.bus] = self.outdated_s.get(served.bus, now_s)
                    assert now_s - since_s < yield_s, f"{who} leads on, in term {epoch} of another one"
        self.outdated_s = outdated_s

    # ---- what must come true ------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Stop the clocks, then wait until everything asked for is as asked; the error says what is not."""
        await self._within(leaders_s if self.three else leaders_s + dead_s, self.claims.led)
        for k in (3, 0, 1, 2):  # the one that depends on others first
            await self.people.ask(f"end-{k}", METRONOME, RemovalRequested(job=JobId(f"job-{k}"), stop_runs=True))
        self.settled_s = await self._within(settle_s, self._as_asked)
        assert DIVERGED not in await self.claims.standings(), "somebody refuses a stream that is whole"
        self._audit_whole()

    async def _as_asked(self) -> str:
        """What is missing; nobody finds canaries bad."""
        for name, going in list(self.ledger.rollouts.going.items()):
            if going.paused:
                request = f"good-{name}-{len(self.people.asked)}"
                await self.people.ask(request, MARATHON, ContinueRequested(deployment=name))
        return await self.claims.as_asked()

    async def _within(self, bound_s: float, missing: Callable[[], Coroutine[Any, Any, str]]) -> float:
        """How long it took until nothing was missing."""
        loop = asyncio.get_running_loop()
        begun, what = loop.time(), "nothing was looked at"
        while loop.time() < begun + bound_s:
            await asyncio.sleep(1)  # virtual
            self._audit()
            what = await missing()
            if not what:
                return loop.time() - begun
        raise AssertionError(f"still after {bound_s:g} s without faults: {what}")

    def _audit_whole(self) -> None:
        """Nothing acknowledged is lost, and what lives is what its log says."""
        self.people.check()
        for seat in self.seats:
            there = self.lived[seat.who]
            mind = refolded(self.server, self._plain(seat))
            if (there.state.epoch, there.state.n) == (mind.state.epoch, mind.state.n):
                assert state_hash(there.state) == state_hash(mind.state), f"{seat.who} and its log differ"
