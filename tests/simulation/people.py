"""The people of a simulated datacenter: what they wish for, and how they ask until they are heard.

A client publishes the same bytes under the same id until the bus says that it has them; then it is owed one answer.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from bus import codec
from bus.codec import encode
from bus.documents import (
    AppSpec,
    Dependency,
    Endpoint,
    GroupSpec,
    JobRunSpec,
    JobSpec,
    PodCommand,
    PodContainer,
    PodSpec,
    Restart,
    Rollout,
    Schedule,
    UpgradeStrategy,
)
from bus.documents.pod import Amounts, Exec, Scaling
from bus.events import Event, Fact, KillRequested
from bus.nouns import AppId, JobId, Position, RequestId, TaskId, TraceId
from bus.plans import DeploymentId
from bus.port import BusClosed, Message, OutcomeUnknown
from bus.services import (
    AppRequested,
    CancelRequested,
    ContinueRequested,
    GroupRequested,
    JobRequested,
    KillsRequested,
    PodRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    RunRequested,
    ScaleRequested,
    ScheduleRemovalRequested,
    ScheduleRequested,
    SwitchRequested,
)
from bus.subjects import Author, Kind
from tests.simulation.clock import virtual_now
from tests.simulation.ledger import Ledger
from tests.simulation.line import Crash, Weather, WeatheredBus
from tests.simulation.server import FragileServer

MARATHON, METRONOME = "marathon", "metronome"
CLIENT = Author(Kind.CLIENT, "u-sim")
tries_max = 8


class People:
    """Everybody who asks for something, and what they were promised."""

    def __init__(self, server: FragileServer, ledger: Ledger, random: Random, weather: Weather) -> None:
        self.server, self.ledger, self.random, self.weather = server, ledger, random, weather
        self.asked: dict[str, tuple[str, Fact]] = {}
        self.acknowledged: list[tuple[Position, Message]] = []
        self.unheard = 0
        """Asks that were given up without an acknowledgement."""

    async def live(self, span_s: float, every_s: float) -> None:
        """Ask for this and that."""
        loop = asyncio.get_running_loop()
        until = loop.time() + span_s
        async with asyncio.TaskGroup() as group:
            while loop.time() < until:
                await asyncio.sleep(self.random.expovariate(1 / every_s))  # virtual
                group.create_task(self.ask(f"r{len(self.asked)}", *self._wish()))
                if self.random.random() < 0.2:
                    again = self.random.choice(sorted(self.asked) or ["r0"])
                    if again in self.asked:
                        group.create_task(self.ask(again, *self.asked[again]))

    async def ask(self, request: str, to: str, fact: Fact) -> None:
        """Ask, until the bus has it."""
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
        # a repetition after the bus's own window, so that the scheduler has to recognise it
        unique = f"{request}@{virtual_now()}"
        await self._publish(Message(codec.subject("dc", event), encode(event), unique))

    async def _publish(self, message: Message) -> None:
        bus = WeatheredBus(self.server, self.weather)
        try:
            for _ in range(tries_max):
                try:
                    self.acknowledged.append((await bus.append([message], None), message))
                    return
                except OutcomeUnknown:
                    await asyncio.sleep(1)  # virtual
            self.unheard += 1
        except (Crash, BusClosed):
            self.unheard += 1
        finally:
            await bus.close()

    def check(self) -> None:
        """What the bus said it has, it has: at that place, byte for byte."""
        records = self.server.records()
        for position, message in self.acknowledged:
            record = records[position - 1]
            assert record.position == position, f"#{position} is in the place of #{record.position}"
            assert (record.subject, record.body) == (message.subject, message.body), (
                f"#{position} {message.subject} was acknowledged, and is {record.subject}"
            )

    # ---- wishes ---------------------------------------------------------------------------------------------------

    def _wish(self) -> tuple[str, Fact]:
        jobs = [self._job, self._run, self._run, self._schedule]
        kinds = [self._app, self._app, self._change, self._kill, self._pod, self._group, self._rollout, *jobs]
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
            **self._care(),
        )
        update, force = self.random.random() < 0.7, self.random.random() < 0.3
        return MARATHON, AppRequested(app=spec, update=update, force=force)

    def _change(self) -> tuple[str, Fact]:
        name = AppId(f"/app-{self.random.randrange(4)}")
        change = self.random.randrange(5)
        if change == 0:
            return MARATHON, RemovalRequested(app=name)
        if change == 1:
            return MARATHON, RestartRequested(app=name)
        return MARATHON, ScaleRequested(app=name, instances=self.random.randrange(5), force=change == 2)

    def _care(self) -> dict[str, Any]:
        """How an app is replaced."""
        random = self.random
        strategy = UpgradeStrategy(
            minimum_health_capacity=random.choice([0.0, 0.5, 1.0]), maximum_over_capacity=random.choice([0.0, 0.5, 1.0])
        )
        rollout = Rollout(
            canaries=random.choice([0, 0, 0, 1]),
            progress_deadline_seconds=random.choice([None, None, 60]),
            max_launch_attempts=random.choice([None, None, None, 3]),
            auto_rollback=random.random() < 0.5,
        )
        return {"upgrade_strategy": strategy, "rollout": rollout}

    def _group(self) -> tuple[str, Fact]:
        """A shop whose apps need each other, as a whole."""
        random, group = self.random, AppId("/shop")
        change = random.randrange(6)
        if change == 0:
            return MARATHON, RemovalRequested(group=group, force=random.random() < 0.5)
        if change == 1:
            return MARATHON, RestartRequested(group=group, force=random.random() < 0.5)
        if change == 2:
            return MARATHON, ScaleRequested(group=group, factor=random.choice([0.5, 2.0]), force=random.random() < 0.5)
        apps = tuple(self._in_shop(k) for k in range(3) if random.random() < 0.8)
        spec = GroupSpec(id=group, apps=apps)
        return MARATHON, GroupRequested(group=spec, update=random.random() < 0.8, force=random.random() < 0.3)

    def _in_shop(self, k: int) -> AppSpec:
        return AppSpec(
            id=AppId(f"/shop/s{k}"),
            cmd="serve",
            cpus=0.1,
            mem=32,
            instances=self.random.randrange(1, 3),
            env={"V": str(self.random.randrange(2))},
            dependencies=tuple(f"/shop/s{other}" for other in range(k) if self.random.random() < 0.5),
            **self._care(),
        )

    def _rollout(self) -> tuple[str, Fact]:
        """Somebody interferes with a deployment, or goes back."""
        random, rollouts = self.random, self.ledger.rollouts
        known = [*rollouts.going, *list(rollouts.ended)[-3:]] or [DeploymentId("d-0")]
        match random.randrange(5):
            case 0 | 1:
                return MARATHON, CancelRequested(deployment=random.choice(known), force=random.random() < 0.5)
            case 2:
                return MARATHON, ContinueRequested(deployment=random.choice(known))
            case 3:
                tasks = sorted(self.ledger.launched) or [TaskId("nobody")]
                few = tuple(dict.fromkeys(random.choice(tasks) for _ in range(2)))
                return MARATHON, KillsRequested(tasks=few, scale=random.random() < 0.5, force=random.random() < 0.5)
        app = AppId(f"/app-{random.randrange(4)}")
        version = random.choice(rollouts.versions.get(app) or ["2027-01-01T00:00:00.000Z"])
        return MARATHON, RollbackRequested(app=app, to_version=version, force=random.random() < 0.5)

    def _pod(self) -> tuple[str, Fact]:
        name = AppId(f"/pod-{self.random.randrange(2)}")
        change = self.random.randrange(6)
        if change == 0:
            return MARATHON, RemovalRequested(pod=name)
        if change == 1:
            return MARATHON, RestartRequested(pod=name)
        if change == 2:
            return MARATHON, ScaleRequested(pod=name, instances=self.random.randrange(4))
        containers = tuple(
            PodContainer(
                name=f"c{k}",
                resources=Amounts(cpus=self.random.choice([0.2, 1.0]), mem=64.0),
                exec=Exec(command=PodCommand(shell="serve")),
                endpoints=(Endpoint(name=f"e{k}", host_port=0),) if self.random.random() < 0.5 else (),
            )
            for k in range(self.random.randrange(1, 4))
        )
        pod = PodSpec(id=name, containers=containers, scaling=Scaling(instances=self.random.randrange(1, 3)))
        return MARATHON, PodRequested(pod=pod, update=self.random.random() < 0.7)

    def _kill(self) -> tuple[str, Fact]:
        tasks = sorted(self.ledger.launched) or [TaskId("nobody")]
        task = self.random.choice(tasks)
        info = self.ledger.launched.get(task)
        return (METRONOME if info and info.job else MARATHON), KillRequested(task=task)

    def _job(self) -> tuple[str, Fact]:
        number = self.random.randrange(4)
        parents = (Dependency(id=JobId("job-0")), Dependency(id=JobId("job-1"))) if number == 3 else ()
        spec = JobSpec(
            id=JobId(f"job-{number}"),
            run=JobRunSpec(
                cpus=0.5,
                mem=64,
                disk=0,
                cmd="compute",
                restart=Restart(policy=self.random.choice(["NEVER", "ON_FAILURE"]), active_deadline_seconds=120),
            ),
            schedules=() if parents else self._schedules(),
            dependencies=parents,
        )
        return METRONOME, JobRequested(job=spec, update=self.random.random() < 0.7)

    def _schedules(self) -> tuple[Schedule, ...]:
        catch_up = self.random.choice(("none", "latest", "all"))
        every = Schedule(cron="* * * * *", catch_up=catch_up)
        alone = Schedule(id="alone", cron="*/2 * * * *", concurrency_policy="FORBID")
        return self.random.choice(((), (every,), (every, alone)))

    def _schedule(self) -> tuple[str, Fact]:
        job, name = JobId(f"job-{self.random.randrange(3)}"), self.random.choice(("default", "alone"))
        change = self.random.randrange(3)
        if change == 0:
            return METRONOME, ScheduleRemovalRequested(job=job, schedule=name)
        if change == 1:
            return METRONOME, SwitchRequested(job=job, schedule=name, enabled=self.random.random() < 0.5)
        wanted = Schedule(id=name, cron="* * * * *")
        return METRONOME, ScheduleRequested(job=job, schedule=wanted, update=self.random.random() < 0.5)

    def _run(self) -> tuple[str, Fact]:
        return METRONOME, RunRequested(job=JobId(f"job-{self.random.randrange(3)}"))
