"""The machines of a simulated datacenter: processes that outlive whoever started them, and end as chance has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from bus.events import Event, TaskDelivered, TaskReported
from bus.nouns import AgentId, TaskId, TaskInfo, TaskState, second
from components.component import Ask, See
from components.executor.sights import LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState
from tests.simulation.clock import virtual_now
from tests.simulation.ledger import Ledger

SIGTERM, SIGKILL = 15, 9


@dataclass
class Process:
    """A task's process: started at most once, ended at most once."""

    info: TaskInfo
    started: bool = False
    failed: bool = False
    status: int | None = None
    """Raw wait status once it ended."""
    kill: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        return self.started and self.status is None


@dataclass
class Machine:
    """One node's launcher and the processes it keeps, whatever dies above it."""

    agent: AgentId
    random: Random
    ledger: Ledger
    processes: dict[TaskId, Process] = field(default_factory=dict)
    watchers: list[asyncio.Event] = field(default_factory=list)
    calm: bool = False
    """Whether processes that are meant to run on do so."""

    def launch(self, delivered: TaskDelivered) -> None:
        """Start a task, once however often it is asked for."""
        info = delivered.task
        if info.task in self.processes:
            return
        self.ledger.must_be_starting(info.task)
        self.processes[info.task] = Process(info)
        self._later(self._start_s(), lambda: self._start(self.processes[info.task]))

    def kill(self, task: TaskId, grace_s: float) -> None:
        """SIGTERM, which half of all processes heed, and SIGKILL."""
        process = self.processes.get(task)
        if process is None:
            self.processes[task] = process = Process(_nobody(task), failed=True)
            self._tell()
        if self.random.random() < 0.5:
            self._later(0.01, lambda: self._end(process, SIGTERM))
        if process.kill is not None:
            process.kill.cancel()
        process.kill = self._later(max(grace_s, 0.02), lambda: self._end(process, SIGKILL))

    def _start(self, process: Process) -> None:
        if process.status is not None or process.failed:
            return
        if self.random.random() < 0.02:
            process.failed = True
        else:
            process.started = True
            self._later(self._span_s(process), lambda: self._exit(process))
        self._tell()

    def _start_s(self) -> float:
        """At times a start takes longer than an agent waits for a word of its executor."""
        slow = self.random.random() < 0.05
        return self.random.random() * (200 if slow else 0.5)

    def _span_s(self, process: Process) -> float:
        return self.random.expovariate(1 / 120) if process.info.app else self.random.random() * 10

    def _exit(self, process: Process) -> None:
        if process.info.app and self.calm:
            return
        self._end(process, self.random.choice([0, 1 << 8, SIGKILL]))

    def _end(self, process: Process, status: int) -> None:
        if process.status is None and not process.failed:
            process.started = True
            process.status = status
            self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher.set()

    def _later(self, delay_s: float, act: object) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s, act)  # type: ignore[arg-type]


def _nobody(task: TaskId) -> TaskInfo:
    from bus.nouns import NOTHING, Command, FrameworkId

    return TaskInfo(
        task=task, name="", agent=AgentId(""), framework=FrameworkId(""), resources=NOTHING, command=Command()
    )


class MachineHands:
    """An executor's hands on a simulated machine."""

    def __init__(self, machine: Machine) -> None:
        self.asks: Mapping[str, Ask] = {}
        self.machine = machine
        self.wanted: set[TaskId] = set()

    async def run(self, state: ExecutorState, see: See) -> None:
        for task in state.tasks.values():
            grace_s = (task.kill_at - max(virtual_now(), state.at)) / second if task.kill_at is not None else None
            self._begin(task.delivered, task.status.state, grace_s)
        changed = asyncio.Event()
        self.machine.watchers.append(changed)
        told: set[tuple[TaskId, str]] = set()
        try:
            while True:
                for sight in self._sights(told):
                    await see(sight)
                await changed.wait()
                changed.clear()
        finally:
            self.machine.watchers.remove(changed)

    def _begin(self, delivered: TaskDelivered, state: TaskState, grace_s: float | None) -> None:
        self.wanted.add(delivered.task.task)
        if state is TaskState.STARTING or delivered.task.task not in self.machine.processes:
            self.machine.launch(delivered)
        if grace_s is not None:
            self.machine.kill(delivered.task.task, grace_s)

    def _sights(self, told: set[tuple[TaskId, str]]) -> list[TaskStarted | TaskEnded | LaunchFailed]:
        news: list[TaskStarted | TaskEnded | LaunchFailed] = []
        for task, process in self.machine.processes.items():
            for what, happened in (("failed", process.failed), ("started", process.started), ("ended", process.status)):
                if happened is not None and happened is not False and (task, what) not in told:
                    told.add((task, what))
                    news.append(self._sight(task, what, process))
        return news

    def _sight(self, task: TaskId, what: str, process: Process) -> TaskStarted | TaskEnded | LaunchFailed:
        if what == "failed":
            return LaunchFailed(task=task, message="no")
        return TaskStarted(task=task, pid=1) if what == "started" else TaskEnded(task=task, wait_status=process.status)

    def act(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, TaskReported) and fact.delivered is not None and fact.status.state is TaskState.STARTING:
            self._begin(fact.delivered, TaskState.STARTING, None)
        elif isinstance(fact, TaskReported) and fact.kill_at is not None:
            self.machine.kill(fact.status.task, (fact.kill_at - event.at) / second)
