"""One round of work, watched from outside: an app of three instances and a run of a job, and what came of them.

Rule of this room: what was launched is counted twice, in the log and among the machine's processes.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bus.documents import AppSpec, JobRunSpec, JobSpec
from bus.events import Event, TaskLaunched, TaskReported
from bus.nouns import TERMINAL, AppId, FrameworkId, JobId, TaskId, TaskState, TraceId
from bus.services import (
    AppRequested,
    JobRequested,
    RemovalRequested,
    RunCreated,
    RunRequested,
    RunUpdated,
    SchedulerLocated,
)
from bus.subjects import Kind
from tests.faults.audit import processes_with
from tests.faults.customers import MARATHON, METRONOME, Customer
from tests.faults.history import Write
from tests.faults.observer import Observer

INSTANCES = 3
RUN = secrets.token_hex(4)
"""Several programs of the gate may run on one machine."""
done_s = 90.0


@dataclass
class Work:
    """An app and a job that nobody else has, told by their name in the log and on the machine."""

    name: str
    witness: Path
    """A line is added to this file by each execution of the job."""
    mark: int = 0
    """Where its story begins in what the observer saw."""
    instances: int = INSTANCES

    @property
    def app(self) -> AppId:
        return AppId(f"/{self.name}")

    @property
    def job(self) -> JobId:
        return JobId(self.name)

    @property
    def marker(self) -> str:
        """In the command line of each instance's process."""
        return f"# {self.name} of {RUN} #"

    @property
    def traces(self) -> dict[str, TraceId]:
        """What follows from the requests, by whom they are to."""
        return {of.id: TraceId(f"{self.name}-{of.id}") for of in (MARATHON, METRONOME)}

    def app_spec(self) -> AppSpec:
        command = f"while :; do sleep 1; done {self.marker}"
        return AppSpec(id=self.app, cmd=command, cpus=0.1, mem=32, instances=self.instances, ports=())

    def job_spec(self) -> JobSpec:
        run = JobRunSpec(cmd=f"echo $$ >> {self.witness}", cpus=0.1, mem=32, disk=0)
        return JobSpec(id=self.job, run=run)

    # ---- asking ---------------------------------------------------------------------------------------------------

    async def prepare(self, client: Customer) -> None:
        """Describe the job; its run comes later."""
        done = await client.request(METRONOME, JobRequested(job=self.job_spec()))
        assert done.ended_at is not None, f"the job of {self.name} is not there: {done}"
        assert not done.refused, f"the job of {self.name} is not there: {done}"

    async def ask_app(self, client: Customer) -> Write:
        """Steps 1 and 4, of Marathon."""
        trace = self.traces[MARATHON.id]
        await client.tell(MARATHON, SchedulerLocated(framework=FrameworkId(MARATHON.id), through="master.main"), trace)
        return await client.request(MARATHON, AppRequested(app=self.app_spec()), trace=trace)

    async def ask_run(self, client: Customer) -> Write:
        """Steps 1 and 4, of Metronome."""
        trace = self.traces[METRONOME.id]
        located = SchedulerLocated(framework=FrameworkId(METRONOME.id), through="master.main")
        await client.tell(METRONOME, located, trace)
        return await client.request(METRONOME, RunRequested(job=self.job), trace=trace)

    async def remove(self, client: Customer, observer: Observer) -> None:
        """Take it all away again, and wait until its processes have ended."""
        await client.request(MARATHON, RemovalRequested(app=self.app))
        await client.request(METRONOME, RemovalRequested(job=self.job))
        wanted = set(self.launched(observer, MARATHON.id))
        await observer.until(
            f"the instances of {self.name} have ended", lambda: wanted <= self._ended(observer), within_s=done_s
        )

    # ---- what came of it ------------------------------------------------------------------------------------------

    def launched(self, observer: Observer, framework: str) -> Counter[TaskId]:
        """How often the master launched each task of the app, or of the job."""
        found: Counter[TaskId] = Counter()
        for told in observer.since(self.mark):
            fact = told.event.fact
            if isinstance(fact, TaskLaunched) and fact.task.framework == framework and self.concerns(fact):
                found[fact.task.task] += 1
        return found

    def concerns(self, fact: TaskLaunched) -> bool:
        """Whether a task is of this app or job."""
        return fact.task.app == self.app or fact.task.job == self.job

    def states(self, observer: Observer) -> dict[TaskId, TaskState]:
        """What executors said last of each task."""
        found: dict[TaskId, TaskState] = {}
        for told in observer.since(self.mark):
            if isinstance(told.event.fact, TaskReported) and told.event.by.kind is Kind.EXECUTOR:
                found[told.event.fact.status.task] = told.event.fact.status.state
        return found

    def _ended(self, observer: Observer) -> set[TaskId]:
        return {task for task, state in self.states(observer).items() if state in TERMINAL}

    def running(self, observer: Observer) -> int:
        """How many instances run, by what executors said."""
        states = self.states(observer)
        return sum(states.get(task) is TaskState.RUNNING for task in self.launched(observer, MARATHON.id))

    def run_ended(self, observer: Observer) -> list[str]:
        """The states in which runs of the job ended."""
        facts = (told.event.fact for told in observer.since(self.mark))
        return [f.state for f in facts if isinstance(f, RunUpdated) and f.job == self.job and f.state in RUN_ENDS]

    async def done(self, observer: Observer) -> None:
        """Wait until all instances run and the run has ended well. Raises Waited."""

        def all_done() -> bool:
            return self.running(observer) >= self.instances and bool(self.run_ended(observer))

        await observer.until(f"{self.name} is done", all_done, within_s=done_s)

    def check(self, observer: Observer) -> None:
        """Exactly one launch per intended task, none missing, no second run; in the log and on the machine."""
        apps, runs = self.launched(observer, MARATHON.id), self.launched(observer, METRONOME.id)
        assert len(apps) == self.instances, f"{self.name}: {len(apps)} instances were launched: {apps}"
        assert len(runs) == 1, f"{self.name}: {len(runs)} tasks of the job were launched: {runs}"
        assert set((apps + runs).values()) == {1}, f"{self.name}: a task was launched twice: {apps + runs}"
        created = [told for told in observer.since(self.mark) if _creates(told.event, self.job)]
        assert len(created) == 1, f"{self.name}: {len(created)} runs were created"
        ends = set(self.run_ended(observer))
        assert ends == {"SUCCESS"}, f"{self.name}: the run ended as {ends}"
        lines = self.witness.read_text().splitlines()
        assert len(lines) == 1, f"{self.name}: the job was executed {len(lines)} times"
        there, said = processes_with(self.marker), self.pids(observer)
        assert there == said, f"{self.name}: processes {there}, executors say {said}"

    def pids(self, observer: Observer) -> list[int]:
        """The processes of the instances, as their executors told them."""
        tasks = self.launched(observer, MARATHON.id)
        found = set()
        for told in observer.since(self.mark):
            fact = told.event.fact
            if isinstance(fact, TaskReported) and fact.status.task in tasks and told.event.by.kind is Kind.EXECUTOR:
                what, _, pid = fact.status.message.partition(" ")
                if what == "pid":
                    found.add(int(pid))
        return sorted(found)


RUN_ENDS = ("SUCCESS", "FAILED")


def _creates(event: Event, job: JobId) -> bool:
    return isinstance(event.fact, RunCreated) and event.fact.job == job
