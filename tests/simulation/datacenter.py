"""A whole datacenter on the memory bus, virtual time and one seed: master, three agents, marathon, metronome, clients.

Every component may die at any await and is rebuilt from its log; appends get lost, answered late or land late; then the
faults stop, and everything that was asked for must come true.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from bus import codec
from bus.codec import encode
from bus.documents import AppSpec, JobRunSpec, JobSpec, Restart, Schedule
from bus.events import Event, Fact, KillRequested, RequestRefused
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import AgentId, AppId, JobId, RequestId, Resources, TaskId, TaskState, TraceId
from bus.port import Bus, Message
from bus.services import (
    AppRemoved,
    AppRequested,
    AppSpecified,
    JobRequested,
    RemovalRequested,
    RestartRequested,
    RunRequested,
    ScaleRequested,
)
from bus.subjects import Author, Kind
from components import agent, executor, marathon, master, metronome
from components.agent import AgentConfig
from components.component import Component
from components.executor import ExecutorConfig
from components.marathon import MarathonConfig
from components.master import MasterConfig
from components.master.hands import MasterHands
from components.metronome import MetronomeConfig
from tests.simulation.clock import run_virtually, virtual_now
from tests.simulation.ledger import Ledger
from tests.simulation.process import keep_alive
from tests.simulation.weather import Sky
from tests.simulation.world import Machine, MachineHands

AGENTS = ("a1", "a2", "a3")
MARATHON, METRONOME = "marathon", "metronome"
CLIENT = Author(Kind.CLIENT, "u-sim")
storm_s = 300.0
settle_s = 3600.0


@dataclass
class Outcome:
    """What a run of the simulation did."""

    events: int
    crashes: int
    losses: int
    tasks: int
    answers: int
    refusals: int
    seen: dict[str, int] = field(default_factory=dict)


class Datacenter:
    """One seed's datacenter."""

    def __init__(self, seed: int, sky: Sky | None = None) -> None:
        self.random = Random(seed)
        self.sky = sky or Sky(self.random)
        self.server = MemoryServer("dc", virtual_now)
        self.ledger = Ledger(self.server)
        self.machines = {name: Machine(AgentId(name), self.random, self.ledger) for name in AGENTS}
        self.apps: dict[str, AppSpec] = {}
        self.jobs: dict[str, JobSpec] = {}
        self.asked: dict[str, tuple[str, Fact]] = {}

    # ---- processes ----------------------------------------------------------------------------------------------

    def processes(self) -> dict[str, object]:
        """Who lives here: a name, and how the component is built for a connection."""
        found: dict[str, object] = {
            "main": self._master,
            MARATHON: lambda bus: marathon.component(MarathonConfig()),
            METRONOME: lambda bus: metronome.component(MetronomeConfig()),
        }
        for name in AGENTS:
            found[name] = lambda bus, name=name: self._agent(name)
            found[f"{name}-cmd"] = lambda bus, name=name: self._executor(name)
        return found

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

    def _pause_s(self) -> float:
        """How long a dead process stays dead: at times longer than it takes to be missed."""
        long = self.sky.storm and self.random.random() < 0.1
        return 120 * self.random.random() if long else self.random.random()

    # ---- the run ------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Storm, calm, and the audit."""
        running = [
            asyncio.create_task(keep_alive(self.server, build, self.sky.weather(name), pause_s=self._pause_s))  # type: ignore[arg-type]
            for name, build in self.processes().items()
        ]
        try:
            await self._until(running, asyncio.create_task(self._clients()))
            self._calm()
            await self._until(running, asyncio.create_task(self._settled()))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return self._outcome()

    async def _until(self, running: list[asyncio.Task[None]], done: asyncio.Task[None]) -> None:
        while not done.done():
            await asyncio.wait([*running, done], return_when=asyncio.FIRST_COMPLETED, timeout=1)
            self.ledger.audit()
            for task in running:
                if task.done():
                    done.cancel()
                    task.result()
        done.result()

    def _calm(self) -> None:
        self.sky.storm = False
        for machine in self.machines.values():
            machine.calm = True

    def _outcome(self) -> Outcome:
        given = [facts[0] for facts in self.ledger.answers.values()]
        return Outcome(
            events=self.ledger.read,
            crashes=self.sky.crashes,
            losses=self.sky.losses,
            tasks=len(self.ledger.launched),
            answers=len(given),
            refusals=sum(isinstance(fact, RequestRefused) for fact in given),
            seen=dict(self.ledger.seen),
        )

    # ---- what people ask ----------------------------------------------------------------------------------------

    async def _clients(self) -> None:
        bus = MemoryBus(self.server)
        until = asyncio.get_running_loop().time() + storm_s
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(self.random.expovariate(1 / 8))  # virtual
            to, fact = self._wish()
            await self._ask(bus, f"r{len(self.asked)}", to, fact)
            if self.asked and self.random.random() < 0.2:
                again = self.random.choice(sorted(self.asked))
                await self._ask(bus, again, *self.asked[again])
        await bus.close()

    async def _ask(self, bus: MemoryBus, request: str, to: str, fact: Fact) -> None:
        self.asked[request] = (to, fact)
        event = Event(
            by=CLIENT,
            to=to,
            fact=fact,
            at=virtual_now(),
            actor="sim",
            request=RequestId(request),
            trace=TraceId(f"t-{request}"),
        )
        body = encode(event)
        # a repetition after the bus's own window, so that the scheduler has to recognise it
        unique = f"{request}@{virtual_now()}"
        await bus.append([Message(codec.subject("dc", event), body, unique)], None)

    def _wish(self) -> tuple[str, Fact]:
        kinds = [self._app, self._app, self._change, self._kill, self._job, self._run, self._run]
        return self.random.choice(kinds)()

    def _app(self) -> tuple[str, Fact]:
        name = f"/app-{self.random.randrange(4)}"
        spec = AppSpec(
            id=AppId(name),
            cmd="serve",
            cpus=self.random.choice([0.5, 1.0, 2.0, 99.0 if self.random.random() < 0.1 else 1.0]),
            mem=self.random.choice([64, 512, 1024]),
            instances=self.random.randrange(1, 4),
            env={"V": str(self.random.randrange(3))},
        )
        return MARATHON, AppRequested(app=spec, update=self.random.random() < 0.7)

    def _change(self) -> tuple[str, Fact]:
        name = AppId(f"/app-{self.random.randrange(4)}")
        change = self.random.randrange(5)
        if change == 0:
            return MARATHON, RemovalRequested(app=name)
        if change == 1:
            return MARATHON, RestartRequested(app=name)
        return MARATHON, ScaleRequested(app=name, instances=self.random.randrange(5))

    def _kill(self) -> tuple[str, Fact]:
        tasks = sorted(self.ledger.launched) or [TaskId("nobody")]
        task = self.random.choice(tasks)
        info = self.ledger.launched.get(task)
        return (METRONOME if info and info.job else MARATHON), KillRequested(task=task)

    def _job(self) -> tuple[str, Fact]:
        schedules = (Schedule(cron="* * * * *"),) if self.random.random() < 0.5 else ()
        spec = JobSpec(
            id=JobId(f"job-{self.random.randrange(3)}"),
            run=JobRunSpec(
                cpus=0.5,
                mem=64,
                disk=0,
                cmd="compute",
                restart=Restart(policy=self.random.choice(["NEVER", "ON_FAILURE"]), active_deadline_seconds=120),
            ),
            schedules=schedules,
        )
        return METRONOME, JobRequested(job=spec, update=self.random.random() < 0.7)

    def _run(self) -> tuple[str, Fact]:
        return METRONOME, RunRequested(job=JobId(f"job-{self.random.randrange(3)}"))

    # ---- what must come true ------------------------------------------------------------------------------------

    async def _settled(self) -> None:
        """Stop the clocks, then wait until everything asked for is as asked; the error says what is not."""
        bus = MemoryBus(self.server)
        for k in range(3):
            await self._ask(bus, f"end-{k}", METRONOME, RemovalRequested(job=JobId(f"job-{k}"), stop_runs=True))
        missing = "nothing was looked at"
        with suppress(TimeoutError):
            async with asyncio.timeout(settle_s):
                while missing:
                    await asyncio.sleep(5)  # virtual
                    self.ledger.audit()
                    missing = self._missing()
                return
        raise AssertionError(f"still after {settle_s:g} s without faults: {missing}")

    def _missing(self) -> str:
        unanswered = sorted(request for request in self.asked if request not in self.ledger.answers)
        if unanswered:
            return f"no answer to {unanswered}"
        going = sorted(run for run, state in self.ledger.runs.items() if state not in ("SUCCESS", "FAILED"))
        if going:
            return f"runs {going} go on"
        return self._missing_instances()

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
        answered: set[RequestId] = set()
        for record in self.server.records("dc.framework.marathon.app.*.*"):
            event = codec.decode(record.subject, record.body, record.position)
            if event.request is None or event.request in answered:
                continue  # the same answer said again changes nothing
            answered.add(event.request)
            match event.fact:
                case AppSpecified(app=app):
                    specs[app.id] = app
                case AppRemoved(app=removed):
                    specs.pop(removed, None)
        return {app: spec.instances for app, spec in specs.items() if spec.cpus <= 12}


def simulate(seed: int) -> Outcome:
    """One datacenter's life. Raises what went wrong; the seed brings it about again."""
    outcome: Outcome = run_virtually(Datacenter(seed).run())
    return outcome
