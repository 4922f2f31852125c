"""What must come true once the faults stop: somebody leads, every request is answered, and the world is as asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from bus.documents import AppSpec, PodSpec
from bus.memory import MemoryBus
from bus.nouns import TaskId, TaskInfo, TaskState
from bus.port import NoAnswer, NobodyThere
from bus.queries import pack
from bus.roll import roll_call
from bus.services import AppRemoved, AppSpecified, PodSpecified
from bus.subjects import ping
from tests.simulation.ledger import ENDED, Ledger
from tests.simulation.seats import SINGLETONS
from tests.simulation.server import FragileServer
from tests.simulation.world import Machine

cpu_milli_max = 12_000
"""Of a node."""


class Claims:
    """Each claim says what is missing for it to be true; nothing if it is."""

    def __init__(self, server: FragileServer, ledger: Ledger, machines: Mapping[str, Machine]) -> None:
        self.server, self.ledger, self.machines = server, ledger, machines

    async def led(self) -> str:
        """Each singleton has exactly one instance that says it leads, in the newest term."""
        bus = MemoryBus(self.server)
        for author in SINGLETONS:
            where = ping(self.server.cluster, author)
            there = len(self.server.servers_of(where))
            if there != 1:
                return f"{author} has {there} leaders"
            try:
                answer = await bus.query(where, b"", timeout_s=1)
            except (NobodyThere, NoAnswer) as error:
                return f"{author}: {error}"
            if answer != pack(self.ledger.epoch(author)):
                return f"who leads {author} is not of term {self.ledger.epoch(author)}"
        await bus.close()
        return ""

    async def standings(self) -> Counter[str]:
        """How the instances of the singletons stand, by their own word: `leader`, `standby`, `diverged`."""
        bus = MemoryBus(self.server)
        rows = [row for author in SINGLETONS for row in await roll_call(bus, author)]
        await bus.close()
        return Counter(row.standing for row in rows)

    async def as_asked(self) -> str:
        """Everything that was asked is answered, no run goes on, and each app has what was last answered."""
        if unanswered := self.ledger.unanswered():
            return f"no answer to {unanswered}"
        if going := sorted(run for run, state in self.ledger.runs.items() if state not in ENDED):
            return f"runs {going} go on"
        return self._deployments() or self._instances() or await self.led()

    def _deployments(self) -> str:
        """Every deployment is over, but for those of apps that fit nowhere."""
        rollouts = self.ledger.rollouts
        for name, going in rollouts.going.items():
            if not any(rollouts.apps[app].spec.resources.cpu_milli > cpu_milli_max for app in going.plan.apps):
                return f"{name} goes on: {going}"
        return ""

    def _instances(self) -> str:
        wanted = self._wanted()
        alive: dict[str, list[TaskId]] = {}
        living: set[TaskId] = set()
        for machine in self.machines.values():
            for task, process in sorted(machine.processes.items()):
                if process.alive:
                    living.add(task)
                    self._count(alive, task, process.info)
        if half := self.ledger.groups.half_alive(self.ledger.states, living):
            return half
        going = {app for one in self.ledger.rollouts.going.values() for app in one.plan.apps}
        for app in sorted({*wanted, *alive} - going):
            tasks = alive.get(app, [])
            count = wanted.get(app, 0)
            if count is not None and len(tasks) != count:
                return f"{app} has {tasks}, wanted are {count}"
            if wrong := [t for t in tasks if self.ledger.states.get(t) is not TaskState.RUNNING]:
                return f"{wrong} run, the master says {[self.ledger.states.get(t) for t in wrong]}"
        return ""

    def _count(self, alive: dict[str, list[TaskId]], task: TaskId, info: TaskInfo) -> None:
        """One more instance of an app; of a pod, by whichever of its containers was looked at first."""
        counted = alive.setdefault(info.app or "", [])
        groups = {self.ledger.launched[one].group for one in counted}
        if info.group is None or info.group.id not in {group.id for group in groups if group is not None}:
            counted.append(task)

    def _wanted(self) -> dict[str, int | None]:
        """Instances of each app as last specified; None: no node can hold them, so those it had before may stay."""
        specs: dict[str, AppSpec | PodSpec] = {}
        for fact in self.ledger.specified:
            match fact:
                case AppSpecified(app=app):
                    specs[app.id] = app
                case PodSpecified(pod=pod):
                    specs[pod.id] = pod
                case AppRemoved(app=removed):
                    specs.pop(removed, None)
        return {
            app: spec.instances if spec.resources.cpu_milli <= cpu_milli_max else None for app, spec in specs.items()
        }
