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
from typing import Any, NamedTuple

from bus.documents import AppSpec
from bus.events import RequestRefused
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import AgentId, JobId, Resources, TaskId, TaskState
from bus.port import Bus, NoAnswer, NobodyThere
from bus.queries import pack
from bus.services import AppRemoved, AppSpecified, RemovalRequested
from bus.subjects import Author, Kind, ping
from components import agent, executor, marathon, master, metronome
from components.agent import AgentConfig
from components.component import Component, State, state_hash
from components.executor import ExecutorConfig
from components.marathon import MarathonConfig
from components.master import MasterConfig
from components.master.hands import MasterHands
from components.metronome import MetronomeConfig
from tests.simulation.clock import run_virtually, virtual_now
from tests.simulation.intruder import Intruder
from tests.simulation.ledger import Ledger
from tests.simulation.mirror import Lived, refolded
from tests.simulation.people import MARATHON, METRONOME, People
from tests.simulation.process import keep_alive
from tests.simulation.weather import Sky
from tests.simulation.world import Machine, MachineHands

MASTER = Author(Kind.MASTER, "main")
FRAMEWORKS = (Author(Kind.FRAMEWORK, MARATHON), Author(Kind.FRAMEWORK, METRONOME))
AGENTS = ("a1", "a2", "a3")
NODES = {"n1": ("main", MARATHON), "n2": ("main", MARATHON, METRONOME), "n3": ("main", METRONOME)}
"""Of a datacenter with three masters: which singletons have an instance where."""
storm_s = 300.0
storm_of_three_s = 120.0
dead_s = 120.0
dead_of_three_s = 30.0
"""How long a dead process stays dead at most."""
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


class Plant:
    """What a planted bug puts between a component, its bus and the loop: nothing."""

    def bus(self, who: str, bus: Bus) -> Bus:
        """The connection of a process."""
        return bus

    def component(self, who: str, component: Component[Any]) -> Component[Any]:
        """The component of a process."""
        return component


class Seat(NamedTuple):
    """A process that lives here: its name, its host, and how its component is built for a connection."""

    who: str
    node: str
    build: Callable[[Bus], Component[Any]]


class Datacenter:
    """One seed's datacenter, with one node or three."""

    def __init__(self, seed: int, sky: Sky | None = None, *, three: bool = False, plant: Plant | None = None) -> None:
        self.random, self.three, self.plant = Random(seed), three, plant or Plant()
        self.sky = sky or (Sky.drawn(self.random) if three else Sky(self.random))
        self.server = MemoryServer("dc", virtual_now)
        self.ledger = Ledger(self.server)
        self.mirror = self.ledger.mirror
        self.machines = {name: Machine(AgentId(name), self.random, self.ledger) for name in AGENTS}
        self.people = People(self.server, self.ledger, self.random, self.sky.weather("u-sim"))
        self.intruder = Intruder(self.server, self.ledger, self.random)
        self.seats = self._seats()
        self.lived: dict[str, Lived] = {}
        self.ends: Counter[str] = Counter()
        self.settled_s = 0.0

    # ---- processes ----------------------------------------------------------------------------------------------

    def _seats(self) -> list[Seat]:
        """Who lives here."""
        builds = {
            "main": self._master,
            MARATHON: lambda bus: marathon.component(MarathonConfig()),
            METRONOME: lambda bus: metronome.component(MetronomeConfig()),
        }
        if self.three:
            seats = [Seat(f"{name}@{node}", node, builds[name]) for node, names in NODES.items() for name in names]
        else:
            seats = [Seat(name, "n1", build) for name, build in builds.items()]
        for name in AGENTS:
            seats.append(Seat(name, name, lambda bus, name=name: self._agent(name)))
            seats.append(Seat(f"{name}-cmd", name, lambda bus, name=name: self._executor(name)))
        return seats

    def _master(self, bus: Bus) -> Component[master.MasterState]:
        config = MasterConfig()
        return master.component(config, hands=lambda: MasterHands(config, bus, None))

    def _agent(self, name: str) -> Component[agent.AgentState]:
        config = AgentConfig(
            id=AgentId(name),
            hostname=name,
            work=f"/{name}",
            executor_argv=("true",),
            resources=Resources(cpu_milli=12_000, mem_mb=12_000, disk_mb=4096, ports=((31000, 31011),)),
            sandbox_gc_s=600,
        )
        return agent.component(config)

    def _executor(self, name: str) -> Component[executor.ExecutorState]:
        config = ExecutorConfig(agent=AgentId(name), work=f"/{name}")
        return executor.component(config, hands=lambda: MachineHands(self.machines[name]))

    def _built(self, seat: Seat, bus: Bus) -> Component[Any]:
        """A seat's component, whose state is looked at from outside."""
        component = self.plant.component(seat.who, seat.build(bus))

        def start() -> State:
            state = component.start()
            self.lived[seat.who] = Lived(seat.who, component.author, state)
            return state

        return replace(component, start=start)

    def _process(self, seat: Seat) -> Coroutine[Any, Any, None]:
        return keep_alive(
            self.server,
            lambda bus: self._built(seat, bus),
            self.sky.weather(seat.who),
            pause_s=self._pause_s,
            node=seat.node,
            chance=self.random.random,
            ends=self.ends,
            planted=lambda bus: self.plant.bus(seat.who, bus),
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
            self.mirror.reflect(seat.build(MemoryBus(self.server)))
        running = [asyncio.create_task(self._process(seat)) for seat in self.seats]
        if self.three:
            running.append(asyncio.create_task(self.sky.brew(self._together())))
            if self.sky.intruders_s:
                running.append(asyncio.create_task(self.intruder.live(self.sky.intruders_s)))
        try:
            await self._until(running, asyncio.create_task(self._storm()))
            self._calm()
            await self._until(running, asyncio.create_task(self._settled()))
            self._audit_whole()
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

    def _audit(self) -> None:
        self.ledger.audit()
        self.mirror.compare(self.lived.values())

    async def _storm(self) -> None:
        if self.three:
            await self.people.live(storm_of_three_s, every_s=4)
        else:
            await self.people.live(storm_s, every_s=8)

    def _calm(self) -> None:
        self.sky.calm()
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
        )

    # ---- what must come true ------------------------------------------------------------------------------------

    async def _settled(self) -> None:
        """Stop the clocks, then wait until everything asked for is as asked; the error says what is not."""
        await self._within(leaders_s if self.three else leaders_s + dead_s, self._leaderless)
        for k in range(3):
            await self.people.ask(f"end-{k}", METRONOME, RemovalRequested(job=JobId(f"job-{k}"), stop_runs=True))
        self.settled_s = await self._within(settle_s, self._missing)

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

    async def _leaderless(self) -> str:
        """Which singleton has not exactly one instance that says it leads, in the newest term."""
        bus = MemoryBus(self.server)
        for author in (MASTER, *FRAMEWORKS):
            where, epoch = ping(self.server.cluster, author), self.ledger.chains.get(author, (0, b"", 0))[2]
            there = len(self.server.servers_of(where))
            if there != 1:
                return f"{author} has {there} leaders"
            try:
                answer = await bus.query(where, b"", timeout_s=1)
            except (NobodyThere, NoAnswer) as error:
                return f"{author}: {error}"
            if answer != pack(epoch):
                return f"who leads {author} is not of term {epoch}"
        await bus.close()
        return ""

    async def _missing(self) -> str:
        if unanswered := self.ledger.unanswered():
            return f"no answer to {unanswered}"
        going = sorted(run for run, state in self.ledger.runs.items() if state not in ("SUCCESS", "FAILED"))
        if going:
            return f"runs {going} go on"
        return self._missing_instances() or await self._leaderless()

    def _missing_instances(self) -> str:
        wanted = self._wanted()
        alive: dict[str, list[TaskId]] = {}
        for machine in self.machines.values():
            for task, process in sorted(machine.processes.items()):
                if process.alive:
                    alive.setdefault(process.info.app or "", []).append(task)
        for app in sorted({*wanted, *alive}):
            tasks = alive.get(app, [])
            if len(tasks) != wanted.get(app, 0):
                return f"{app} has {tasks}, wanted are {wanted.get(app, 0)}"
            if wrong := [t for t in tasks if self.ledger.states.get(t) is not TaskState.RUNNING]:
                return f"{wrong} run, the master says {[self.ledger.states.get(t) for t in wrong]}"
        return ""

    def _wanted(self) -> dict[str, int]:
        """Instances of each app as last answered; those no node can hold are not expected."""
        specs: dict[str, AppSpec] = {}
        for fact in self.ledger.specified:
            match fact:
                case AppSpecified(app=app):
                    specs[app.id] = app
                case AppRemoved(app=removed):
                    specs.pop(removed, None)
        return {app: spec.instances for app, spec in specs.items() if spec.cpus <= 12}

    def _audit_whole(self) -> None:
        """Nothing acknowledged is lost, and what lives is what its log says."""
        self.people.check()
        for seat in self.seats:
            there = self.lived[seat.who]
            mind = refolded(self.server, seat.build(MemoryBus(self.server)))
            if (there.state.epoch, there.state.n) == (mind.state.epoch, mind.state.n):
                assert state_hash(there.state) == state_hash(mind.state), f"{seat.who} and its log differ"


def simulate(seed: int, *, three: bool = False) -> Outcome:
    """One datacenter's life. Raises what went wrong; the seed brings it about again."""
    outcome: Outcome = run_virtually(Datacenter(seed, three=three).run())
    return outcome
