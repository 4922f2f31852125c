"""Metronome's state and log, read by somebody who believes nothing."""

from __future__ import annotations

from collections import Counter

from bus.documents import JobSpec
from bus.events import Event, Fact, OfferAccepted
from bus.nouns import JobId, Now, RunId, TaskId, TaskState
from bus.services import AttemptScheduled, JobRemoved, JobSpecified, RunCreated, RunStopped, RunUpdated, ScheduleSkipped
from components.metronome.cron import parse_cron
from components.metronome.firings import next_after
from components.metronome.state import RUN_ENDED, MetronomeState, Run


def audit(state: MetronomeState) -> None:
    """What `check` takes from its books, counted."""
    every = [run for job in state.jobs.values() for run in (*job.active.values(), *job.finished)]
    active = [run for job in state.jobs.values() for run in job.active.values()]
    assert {run.run: run.job for run in every} == state.runs
    assert {attempt.task: run.run for run in every for attempt in run.attempts} == state.tasks
    assert all(run.ended == (run.run in state.ended) for run in every)
    assert all(run.run in state.jobs[run.job].finished_as(run.state) for run in every if run.ended)
    assert len(state.ended) <= state.all_runs_kept_max
    for run in active:
        footing = (run.current is not None, run.retry_at is not None)
        assert sum(footing) == 1, f"stands on {footing}: {run}"
    waiting = {attempt.task: run for run in every for attempt in run.attempts if attempt.waits}
    assert {task for group in state.waiting.values() for task in group} == set(waiting)
    assert all(task in state.waiting[run.version] for task, run in waiting.items())
    assert set(state.verdicts) == {run.job for run in waiting.values()}
    parents = {name: spec.parents for name in state.jobs if (spec := state.spec(name))}
    children = {(parent, child) for child, found in parents.items() for parent in found}
    assert children == {(parent, child) for parent, found in state.children.items() for child in found}
    audit_books(state, active)


def audit_books(state: MetronomeState, active: list[Run]) -> None:
    users = Counter(run.version for run in active) + Counter(job.version for job in state.jobs.values() if job.version)
    assert {version: one.users for version, one in state.specs.items()} == users
    dues = [(at, "job", f"{name} {each}") for name, job in state.jobs.items() for each, at in job.nexts.items()]
    dues += [(job.owed_at, "child", name) for name, job in state.jobs.items() if job.owed_at is not None]
    dues += [(due, "run", run.run) for run in active if (due := run.next_due()) is not None]
    assert state.dues == sorted(dues)
    kinds = [kind for job in state.jobs.values() for kind in (job.succeeded, job.failed)]
    assert all(len(kind) <= state.runs_kept_max for kind in kinds)
    assert all((job.version is None) == (name in state.removed) or job.active for name, job in state.jobs.items())


class Reading:
    """What the log says, event by event: every firing once, every run ended once, nothing after an end."""

    def __init__(self) -> None:
        self.read = 0
        self.jobs: dict[JobId, JobSpec] = {}
        self.cursors: dict[tuple[JobId, str], Now] = {}
        """Up to when every firing of a schedule of a job is accounted for."""
        self.runs: dict[RunId, JobSpec] = {}
        self.states: dict[RunId, str] = {}
        self.launched: dict[RunId, list[TaskId]] = {}
        self.statuses: dict[TaskId, list[TaskState]] = {}
        self.stopped: set[RunId] = set()
        self.births: dict[JobId, int] = {}
        """Number of the event a job began with."""
        self.began: dict[RunId, int] = {}
        """Number of the event a run began with."""
        self.succeeded: dict[RunId, int] = {}
        """Number of the event that said it succeeded."""

    def go_on(self, log: list[Event]) -> None:
        for event in log[self.read :]:
            self.one(event.fact, event.at, event.n)
        self.check_dependencies()
        self.read = len(log)

    def one(self, fact: Fact, at: Now, n: int) -> None:
        match fact:
            case JobSpecified():
                if fact.job.id not in self.jobs:
                    self.births[fact.job.id] = n
                self.specified(fact, at)
            case JobRemoved():
                del self.jobs[fact.job]
            case ScheduleSkipped():
                self.skipped(fact, at)
            case RunCreated():
                assert not fact.parents or self.due(fact.job), f"{fact.run} is not due: {self.jobs[fact.job].parents}"
                assert len(fact.parents) in (0, len(self.jobs[fact.job].parents)), fact
                self.began[fact.run] = n
                self.created(fact, at)
            case AttemptScheduled():
                assert self.states[fact.run] not in RUN_ENDED, f"{fact.task} is wanted after the end"
                assert fact.run not in self.stopped, f"{fact.task} is wanted after the stop"
            case OfferAccepted():
                self.accepted(fact)
            case RunStopped():
                assert self.states[fact.run] not in RUN_ENDED, f"{fact.run} is stopped after its end"
                self.stopped.add(fact.run)
            case RunUpdated():
                self.updated(fact)
                if fact.state == "SUCCESS":
                    self.succeeded[fact.run] = n

    def specified(self, fact: JobSpecified, at: Now) -> None:
        job, before = fact.job.id, self.jobs.get(fact.job.id)
        for schedule in fact.job.enabled:
            old = before.schedule(schedule.id) if before else None
            if old is None or not old.enabled or (old.cron, old.timezone) != (schedule.cron, schedule.timezone):
                self.cursors[job, schedule.id] = at
        self.jobs[job] = fact.job
        nexts = {one.id: at for one in fact.job.enabled if (at := self.following(job, one.id)) is not None}
        assert fact.next_at == min(nexts.values(), default=None)
        assert fact.nexts == (nexts if len(fact.job.enabled) > 1 else {})

    def following(self, job: JobId, schedule_id: str) -> Now | None:
        schedule = self.jobs[job].schedule(schedule_id)
        assert schedule is not None, f"{job} has no schedule {schedule_id}"
        return next_after(parse_cron(schedule.cron), schedule.timezone, self.cursors[job, schedule_id])

    def fired(self, job: JobId, schedule: str, nominal: Now, at: Now) -> None:
        due = self.following(job, schedule)
        assert nominal == due, f"{job} {schedule} fires for {nominal}, due is {due}"
        assert nominal <= at, f"{job} {schedule} fires for {nominal} at {at}"
        self.cursors[job, schedule] = nominal

    def skipped(self, fact: ScheduleSkipped, at: Now) -> None:
        self.fired(fact.job, fact.schedule, fact.nominal, at)
        for _ in range(fact.count - 1):
            self.fired(fact.job, fact.schedule, self.following(fact.job, fact.schedule) or at, at)
        assert (fact.until or fact.nominal) == self.cursors[fact.job, fact.schedule]
        assert fact.next_at == self.following(fact.job, fact.schedule)

    def created(self, fact: RunCreated, at: Now) -> None:
        assert fact.run not in self.runs, f"{fact.run} is created twice"
        if fact.schedule is not None and fact.nominal is not None:
            self.fired(fact.job, fact.schedule, fact.nominal, at)
            schedule = self.jobs[fact.job].schedule(fact.schedule)
            forbidden = schedule is not None and schedule.concurrency_policy == "FORBID"
            assert not (forbidden and self.active(fact.job)), f"{fact.run} begins beside {self.active(fact.job)}"
        self.runs[fact.run], self.states[fact.run], self.launched[fact.run] = self.jobs[fact.job], "INITIAL", []

    # ---- jobs that depend on others -----------------------------------------------------------------------------

    def mine(self, job: JobId) -> list[RunId]:
        """The runs of a job since it was described first; of one of that name before, they are another's."""
        return [run for run, spec in self.runs.items() if spec.id == job and self.began[run] > self.births[job]]

    def due(self, job: JobId) -> bool:
        """Whether all that a job depends on succeeded after its last success began, and one after its last run did."""
        parents = self.jobs[job].parents
        if not parents or self.active(job):
            return False
        mine = self.mine(job)
        last = max((self.began[run] for run in mine if run in self.succeeded), default=self.births[job])
        latest = max((self.began[run] for run in mine), default=self.births[job])
        successes = [
            max((self.succeeded[run] for run in self.mine(parent) if run in self.succeeded), default=0)
            for parent in parents
        ]
        return min(successes) > last and max(successes) > latest

    def check_dependencies(self) -> None:
        """What is due has begun, and nobody depends on what is not there."""
        for job, spec in self.jobs.items():
            assert not self.due(job), f"{job} is due and does not run"
            assert all(parent in self.jobs for parent in spec.parents), (
                f"{job} depends on what is removed: {spec.parents}"
            )

    def active(self, job: JobId) -> list[RunId]:
        return [run for run, spec in self.runs.items() if spec.id == job and self.states[run] not in RUN_ENDED]

    def accepted(self, fact: OfferAccepted) -> None:
        for task in fact.launch:
            assert task.run is not None
            assert self.states[task.run] not in RUN_ENDED, f"{task.task} is launched after the end"
            assert task.run not in self.stopped, f"{task.task} is launched after the stop"
            for _, _, host in self.runs[task.run].run.constraints:
                assert task.hostname == host, f"{task.task} is on {task.hostname}, wanted {host}"
            self.launched[task.run].append(task.task)
            self.statuses[task.task] = []

    def updated(self, fact: RunUpdated) -> None:
        before = self.states[fact.run]
        assert before not in RUN_ENDED, f"{fact.run} goes on after its end: {before}, {fact.state}"
        self.states[fact.run] = fact.state
        if fact.status is not None:
            states = self.statuses[fact.status.task]
            assert not states or states[-1] is not fact.status.state, f"said twice: {fact}"
            states.append(fact.status.state)

    def check_policies(self) -> None:
        """NEVER: of the tasks of a run at most one was not dropped."""
        for run, spec_ in self.runs.items():
            ran = [task for task in self.launched[run] if TaskState.DROPPED not in self.statuses[task]]
            assert spec_.run.restart.policy == "ON_FAILURE" or len(ran) <= 1, f"{run} ran {ran}"
