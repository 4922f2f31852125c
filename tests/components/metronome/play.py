"""Metronome on a stage, with the words of the master and of clients made up by the test."""

from __future__ import annotations

from typing import Any

import msgspec

from bus.documents import JobSpec, Schedule
from bus.events import Event, Fact, FrameworkAdmitted, OfferAccepted, OfferMade, TaskUpdated
from bus.job_rows import RunRow, RunsQuestion
from bus.nouns import (
    AgentId,
    FrameworkId,
    JobId,
    Now,
    Offer,
    OfferId,
    Reason,
    Resources,
    RunId,
    Source,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    second,
)
from bus.queries import pack
from bus.services import JobRequested, RunCreated, RunRequested, RunUpdated, StopRequested
from bus.subjects import Author, Kind
from components.metronome import MetronomeConfig, component, queries
from components.metronome.state import MetronomeState, Run
from tests.components.driver import START, Stage, only

MAIN = Author(Kind.MASTER, "main")
ALICE = Author(Kind.CLIENT, "u-alice")
BOB = Author(Kind.CLIENT, "u-bob")
METRONOME = FrameworkId("metronome")
COUNT = JobId("count")
ROOMY = Resources(cpu_milli=8000, mem_mb=16384, disk_mb=10000)
STAGING, STARTING, RUNNING, FINISHED = TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING, TaskState.FINISHED
FAILED, KILLED, UNREACHABLE, DROPPED = TaskState.FAILED, TaskState.KILLED, TaskState.UNREACHABLE, TaskState.DROPPED
NEXT_MINUTE = Now(START + 60 * second)
"""START is 08:00:00 UTC on a Friday, 15 January 2027."""


def spec(
    job: str = "count", *, cron: str | None = None, policy: str = "NEVER", after: tuple[str, ...] = (), **fields: object
) -> JobSpec:
    """A job, with what the test cares for, as it comes off the bus; `run_...` goes into `run`, `schedule_...` there."""
    run: dict[str, object] = {"cmd": "wc -l", "cpus": 1, "mem": 32, "disk": 0}
    run["restart"] = {"policy": policy, **_split(fields, "restart_")}
    run |= _split(fields, "run_")
    schedules = [{"cron": cron, **_split(fields, "schedule_")}] if cron else []
    dependencies = [{"id": parent} for parent in after]
    whole = {"id": job, "run": run, "schedules": schedules, "dependencies": dependencies, **fields}
    return msgspec.convert(whole, JobSpec)


def schedule(cron: str = "* * * * *", id: str = "default", **fields: object) -> Schedule:
    """A schedule, as it comes off the bus."""
    return msgspec.convert({"cron": cron, "id": id, **fields}, Schedule)


def _split(fields: dict[str, object], prefix: str) -> dict[str, object]:
    return {name.removeprefix(prefix): fields.pop(name) for name in list(fields) if name.startswith(prefix)}


def status(
    task: TaskId, state: TaskState, *, reason: Reason | None = None, message: str = "", exit_status: int | None = None
) -> TaskStatus:
    return TaskStatus(
        task=task, state=state, source=Source.EXECUTOR, reason=reason, message=message, exit_status=exit_status
    )


class Play(Stage[MetronomeState]):
    """A stage with Metronome on it, registered and admitted unless the test does that itself."""

    def __init__(self, config: MetronomeConfig | None = None, *, admitted: bool = True, now: Now = START) -> None:
        super().__init__(component(config or MetronomeConfig()), now)
        self.offers = 0
        self.requests = 0
        self.begin()
        if admitted:
            self.settle()
            self.admit()

    def admit(self) -> list[Event]:
        admitted = FrameworkAdmitted(framework=METRONOME, name="metronome", role="*", failover_timeout_s=604_800.0)
        return self.hear(MAIN, admitted)

    def ask(self, fact: Fact, *, by: Author = ALICE, trace: str | None = "t1") -> list[Event]:
        """A client asks something; all that follows at once."""
        self.requests += 1
        return self.hear(by, fact, request=f"q{self.requests}", trace=trace) + self.settle()

    def add(self, job: str = "count", **fields: object) -> list[Event]:
        """Alice creates a job."""
        return self.ask(JobRequested(job=spec(job, **fields)))  # type: ignore[arg-type]

    def update_job(self, job: str = "count", **fields: object) -> list[Event]:
        """Alice updates a job."""
        return self.ask(JobRequested(job=spec(job, **fields), update=True))  # type: ignore[arg-type]

    def start(self, job: JobId = COUNT, *, by: Author = ALICE, trace: str | None = "t1") -> RunId:
        """A client runs a job now."""
        (created,) = only(self.ask(RunRequested(job=job), by=by, trace=trace), RunCreated)
        return created.run

    def stop(self, run: RunId, job: JobId = COUNT, *, by: Author = ALICE) -> list[Event]:
        return self.ask(StopRequested(job=job, run=run), by=by)

    def offer(self, resources: Resources = ROOMY, agent: str = "a1", **more: Any) -> Offer:
        """A new offer, not yet said."""
        self.offers += 1
        host = f"{agent}.example"
        offer = OfferId(f"o-{self.offers}")
        return Offer(offer=offer, agent=AgentId(agent), hostname=host, resources=resources, **more)

    def make(self, *offers: Offer) -> list[Event]:
        """The master makes offers, by default one roomy one; all that follows at once."""
        fact = OfferMade(framework=METRONOME, role="*", offers=offers or (self.offer(),), expires_at=self.now)
        return self.hear(MAIN, fact) + self.settle()

    def launch(self) -> TaskId:
        """The master makes a roomy offer, and one task is launched on it."""
        (task,) = launches(self.make())
        return task.task

    def update(self, task: TaskId, state: TaskState, *, reason: Reason | None = None, message: str = "") -> list[Event]:
        """The master says a task's status; all that follows at once."""
        told = status(task, state, reason=reason, message=message)
        return self.hear(MAIN, TaskUpdated(framework=METRONOME, status=told, agent=AgentId("a1"))) + self.settle()

    def succeed(self, job: str = "count") -> RunId:
        """A run of a job, from its beginning to its success."""
        run = self.start(JobId(job))
        self.end(run)
        return run

    def end(self, run: RunId, state: TaskState = FINISHED) -> list[Event]:
        """The task of a run ends; it is launched for it if it waits."""
        current = self.run(run).current
        assert current is not None, f"{run} has no task"
        if current.waits:
            self.make()
        return self.update(current.task, state)

    def running(self, **fields: object) -> tuple[RunId, TaskId]:
        """A job is added and its first run is ACTIVE."""
        self.add(**fields)  # type: ignore[arg-type]
        run = self.start()
        task = self.launch()
        self.update(task, RUNNING)
        return run, task

    def run(self, run: RunId) -> Run:
        found = self.state.run(run)
        assert found is not None
        return found

    def rows(self, question: RunsQuestion | None = None) -> list[RunRow]:
        return queries.runs(self.state, pack(question or RunsQuestion()), self.now)

    def since_start(self) -> float:
        return (self.now - START) / second


def launches(events: list[Event]) -> list[TaskInfo]:
    """The tasks asked for in events."""
    return [task for accepted in only(events, OfferAccepted) for task in accepted.launch]


def states(events: list[Event]) -> list[str]:
    """The states runs are said to have in events."""
    return [fact.state for fact in only(events, RunUpdated)]
