"""What Metronome remembers: jobs, and of each the runs that are active and the latest that ended.

    run.created ─► INITIAL ─► STARTING ─► ACTIVE ─► SUCCESS | FAILED

    run.created, attempt.scheduled ─► waits ─ offer.accepted ─► lives ─ run.updated ─► over, and the run ended,
                                                                                    or rests until its next attempt

Rule of this room: an active run stands on exactly one thing, an attempt that waits, an attempt that lives, or a time
at which the next is due; a run that stands on nothing is *adrift*, and no decision may end with one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType

from bus.documents import JobSpec
from bus.nouns import TERMINAL, AgentId, JobId, Now, RunId, TaskId, TaskState, TaskStatus, TraceId, Unfit, second
from components.component import Because, Entry, State
from components.referring import Names

Version = NewType("Version", str)
"""Which description of a job: the number of the event that said it."""

confirm_s = 300
"""After which the master is asked about a launch nobody has reported. (Metronome: launch confirm timeout)"""
attempts_kept_max = 20
"""Of one run, the latest; all of them are in the log."""


class RunState(StrEnum):
    """What a run is doing. (Metronome: JobRunStatus)"""

    INITIAL = "INITIAL"
    """It waits for its first task to be heard of."""
    STARTING = "STARTING"
    ACTIVE = "ACTIVE"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


_S = RunState
RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    _S.INITIAL: frozenset({_S.STARTING, _S.ACTIVE, _S.SUCCESS, _S.FAILED}),
    _S.STARTING: frozenset({_S.ACTIVE, _S.SUCCESS, _S.FAILED}),
    _S.ACTIVE: frozenset({_S.STARTING, _S.SUCCESS, _S.FAILED}),
    _S.SUCCESS: frozenset(),
    _S.FAILED: frozenset(),
}
"""From each state, the states that may follow; ACTIVE to STARTING is another attempt after a failure."""
RUN_ENDED = frozenset(state for state, following in RUN_MOVES.items() if not following)

LOST = frozenset({TaskState.UNREACHABLE, TaskState.UNKNOWN})
"""A task of which nobody knows whether it will be heard of again."""
ALIVE = frozenset({TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING})
"""A task that has to be killed if nobody wants it."""


def earliest(*times: Now | None) -> Now | None:
    """The first of the times that are given."""
    first = None
    for time in times:
        if time and (first is None or time < first):
            first = time
    return first


class Attempt(Entry):
    """One task of a run: wanted, launched, over."""

    task: TaskId
    asked_at: Now | None = None
    """When it was launched, or the master last asked about it; None while it waits for an offer."""
    launched_at: Now | None = None
    finished_at: Now | None = None
    agent: AgentId | None = None
    status: TaskStatus | None = None
    """None: nobody has reported it."""
    given_up: bool = False
    """It was lost once: whatever becomes of it, its run goes on without it."""

    @property
    def state(self) -> TaskState:
        return self.status.state if self.status else TaskState.STAGING

    @property
    def waits(self) -> bool:
        return self.asked_at is None

    @property
    def lives(self) -> bool:
        """Whether it was launched and its end is still to come."""
        return self.asked_at is not None and not self.over

    @property
    def over(self) -> bool:
        """Whether nothing is expected of it any more."""
        return self.given_up or (self.status is not None and self.status.state in TERMINAL)


class Run(Entry):
    """A job's execution, once: tasks one after another, until one finishes or no more may follow."""

    run: RunId
    job: JobId
    version: Version
    client: str
    """Who asked for it and hears how it goes; nobody for a schedule."""
    trace: TraceId | None
    created_at: Now
    created_n: int
    """Number of the event that created it."""
    schedule: str | None
    nominal: Now | None
    start_by: Now | None
    """Unless it is ACTIVE once until then, it ends. None: it was."""
    end_by: Now | None
    """activeDeadlineSeconds, counted from its creation."""
    parents: tuple[RunId, ...] = ()
    """The runs of the jobs it depends on that led to it."""
    state: RunState = RunState.INITIAL
    attempts: list[Attempt] = []
    """Oldest first."""
    attempt_count: int = 0
    stopping: str = ""
    """Why it is wanted no more; no attempt follows."""
    job_removed: bool = False
    delay_us: int = 0
    """The latest delay before another attempt."""
    failed_at: Now | None = None
    retry_at: Now | None = None
    message: str = ""
    finished_at: Now | None = None
    due: Now | None = None
    """Its entry in `MetronomeState.dues`."""

    @property
    def ended(self) -> bool:
        return self.state in RUN_ENDED

    @property
    def current(self) -> Attempt | None:
        """The attempt that waits or lives."""
        return None if self.idle or self.ended else self.attempts[-1]

    @property
    def idle(self) -> bool:
        """Whether no attempt of it waits or lives."""
        return not self.attempts or self.attempts[-1].over

    @property
    def adrift(self) -> bool:
        """Whether it is active and stands on nothing."""
        return self.retry_at is None and self.state not in RUN_ENDED and self.idle

    @property
    def ask_at(self) -> Now | None:
        """When the master is asked about a launch that nobody has reported."""
        if not self.attempts or self.state in RUN_ENDED:
            return None
        latest = self.attempts[-1]
        if latest.status is not None or latest.asked_at is None:
            return None
        return Now(latest.asked_at + confirm_s * second)

    def attempt(self, task: TaskId) -> Attempt:
        """The attempt that is this task."""
        for attempt in reversed(self.attempts):
            if attempt.task == task:
                return attempt
        raise AssertionError(f"{task} is no attempt of {self.run}")

    def next_due(self) -> Now | None:
        """When somebody must decide about it."""
        if self.state in RUN_ENDED:
            return None
        if self.stopping:
            return self.ask_at
        if self.job_removed:
            return Now(0)
        return earliest(self.ask_at, self.start_by, self.end_by, self.retry_at)


@dataclass(slots=True, kw_only=True)
class Spec:
    """A job's description, kept while the job is this or an active run began with it."""

    job: JobSpec
    users: int = 0


@dataclass(slots=True, kw_only=True)
class Job:
    """A computation that can be run, with its runs; or, removed, what is left to know of those."""

    version: Version | None
    """Its description in `MetronomeState.specs`; None: removed."""
    nexts: dict[str, Now] = field(default_factory=dict)
    """The nominal time of the next firing of each schedule that fires; each is an entry in `MetronomeState.dues`."""
    successes: int = 0
    failures: int = 0
    last_success_at: Now | None = None
    last_failure_at: Now | None = None
    active: dict[RunId, Run] = field(default_factory=dict)
    """Oldest first."""
    succeeded: dict[RunId, Run] = field(default_factory=dict)
    """In the order they ended."""
    failed: dict[RunId, Run] = field(default_factory=dict)
    """In the order they ended."""
    success_n: int = 0
    """Number of the event that said its last success; 0 without one."""
    success_run: RunId | None = None
    success_began_n: int = 0
    """Number of the event that began its last success; before there was one, of the event that began the job."""
    began_n: int = 0
    """Number of the event that began its latest run."""
    owed_at: Now | None = None
    """Since when a run is due because those it depends on succeeded; an entry in `MetronomeState.dues`."""

    @property
    def finished(self) -> list[Run]:
        """Its runs that ended."""
        return [*self.succeeded.values(), *self.failed.values()]

    def finished_as(self, state: RunState) -> dict[RunId, Run]:
        """Its runs that ended so."""
        return self.succeeded if state is RunState.SUCCESS else self.failed

    @property
    def next_at(self) -> Now | None:
        """When it fires next."""
        return min(self.nexts.values(), default=None)


class Verdict(NamedTuple):
    """Why a job did not fit on an agent, the last time it was tried."""

    at: Now
    unfit: tuple[Unfit, ...]


@dataclass(slots=True, kw_only=True)
class MetronomeState(State):
    """Everything Metronome knows."""

    runs_kept_max: int
    all_runs_kept_max: int
    removed_jobs_kept_max: int
    jobs: dict[JobId, Job] = field(default_factory=dict)
    removed: dict[JobId, None] = field(default_factory=dict)
    """Of the jobs, those that are no more, in the order they were removed."""
    specs: dict[Version, Spec] = field(default_factory=dict)
    runs: dict[RunId, JobId] = field(default_factory=dict)
    """The job of every run that is not forgotten."""
    ended: dict[RunId, None] = field(default_factory=dict)
    """Of the runs, those that ended, in the order they did."""
    tasks: dict[TaskId, RunId] = field(default_factory=dict)
    """The run of every attempt that is not forgotten."""
    waiting: dict[Version, dict[TaskId, RunId]] = field(default_factory=dict)
    """Attempts that wait for an offer, by what they need; oldest first."""
    adrift: dict[RunId, None] = field(default_factory=dict)
    dues: list[tuple[Now, str, str]] = field(default_factory=list)
    """Ascending: when what must be decided about: a schedule (`job`: the job's id, a space, the schedule's), a job that
    depends on others (`child`), or a run (`run`)."""
    children: dict[JobId, dict[JobId, None]] = field(default_factory=dict)
    """The jobs that depend on a job."""
    verdicts: dict[JobId, dict[AgentId, Verdict]] = field(default_factory=dict)
    """While runs of a job wait: why not on this agent."""
    secrets: Names = field(default_factory=dict)
    """The names of all there are."""
    to_register: bool = False
    admitted: bool = False
    suppressed: bool = False
    filtered: bool = False
    """Whether resources may be held back from us because we declined them."""
    hungry: bool = False
    """Whether something waits that did not when the last offers were answered."""
    given_back: bool = False
    """Whether something offered was given back only because one decision could not use more."""
    wanted_for: Because | None = None
    """What led to that something waits, or was given back, since offers were last asked for."""

    @property
    def revives(self) -> bool:
        """Whether offers are to be asked for: at once.

        What was given back would come again with the master's next batch: asking for it brings it at once.
        """
        held_back = self.hungry and (self.suppressed or self.filtered)
        return self.admitted and (held_back or self.given_back)

    def spec(self, job: JobId) -> JobSpec | None:
        """A job as it is described now; None if there is no such job."""
        known = self.jobs.get(job)
        return None if known is None or known.version is None else self.specs[known.version].job

    def run(self, run: RunId) -> Run | None:
        """A run, active or ended."""
        name = self.runs.get(run)
        if name is None:
            return None
        job = self.jobs[name]
        return job.active.get(run) or job.succeeded.get(run) or job.failed[run]

    def run_of(self, task: TaskId) -> Run | None:
        """The run a task belongs to."""
        run = self.tasks.get(task)
        return None if run is None else self.run(run)


def check(state: MetronomeState) -> None:
    """What must hold between decisions: every active run has one current attempt, or the time of the next."""
    for run_id in state.adrift:
        raise AssertionError(f"active, with neither an attempt nor a time for one: {state.run(run_id)}")
    for version in state.waiting:
        assert version in state.specs, f"attempts wait with description {version}, which is forgotten"
    assert all(job in state.jobs for job in state.verdicts), f"verdicts of unknown jobs: {list(state.verdicts)}"
    assert not (state.to_register and state.admitted), "admitted without being registered"
