"""What can be asked of Metronome about its jobs (`jobs`), their runs (`runs`) and those that wait (`queue`).

Rule of this room: as in `bus.queries`.
"""

from __future__ import annotations

from bus.documents import JobSpec
from bus.nouns import AgentId, JobId, Noun, Now, Resources, RunId, TaskId, TaskState, TaskStatus


class AttemptRow(Noun, frozen=True):
    """One task of a run."""

    task: TaskId
    state: TaskState | None
    """None: launched, and nobody has reported it. (Metronome: TASK_CREATED)"""
    created_at: Now
    """When it was launched."""
    finished_at: Now | None = None
    agent: AgentId | None = None


class RunRow(Noun, frozen=True):
    """One run of a job."""

    run: RunId
    job: JobId
    state: str
    created_at: Now
    finished_at: Now | None = None
    tasks: tuple[TaskStatus, ...] = ()
    agent: AgentId | None = None
    schedule: str | None = None
    nominal: Now | None = None
    message: str = ""
    attempts: tuple[AttemptRow, ...] = ()
    """Its tasks, in the order of `tasks`; of very many, the latest."""
    parents: tuple[RunId, ...] = ()
    """The runs of the jobs it depends on that led to it."""
    retry_at: Now | None = None
    """When its next task is wanted, after a failure."""


class RunsQuestion(Noun, frozen=True):
    """Which runs: of one job or of all, active ones, finished ones or both; of those, the latest."""

    job: JobId | None = None
    run: RunId | None = None
    """Only this one."""
    limit: int = 1000
    active: bool | None = None
    """Only active ones, or only finished ones."""
    state: str | None = None
    """Only those in this state, e.g. SUCCESS."""

    def wants(self, row: RunRow) -> bool:
        """Whether a run is one of those."""
        return (
            self.job in (None, row.job)
            and self.run in (None, row.run)
            and self.active in (None, row.finished_at is None)
            and self.state in (None, row.state)
        )


class JobRow(Noun, frozen=True):
    """A job and how it went."""

    job: JobSpec
    active: int
    successes: int
    failures: int
    next_run_at: Now | None = None
    """By the first of its schedules."""
    last_success_at: Now | None = None
    last_failure_at: Now | None = None
    nexts: dict[str, Now] = {}
    """When each schedule fires next; one that is disabled or fires no more is not here."""
    dependants: tuple[JobId, ...] = ()
    """The jobs that depend on it."""
    waits_for: tuple[JobId, ...] = ()
    """Of the jobs it depends on, those that have not succeeded since its own last success began."""


class QueuedRow(Noun, frozen=True):
    """A job's runs that wait for an offer, oldest first. (Metronome: `GET /v1/queue`)"""

    job: JobId
    runs: tuple[RunId, ...]
    needed: Resources
    """By one of them."""
    since: Now
    """How long the oldest run is there."""
    reasons: dict[str, int] = {}
    """Why not, on how many nodes, as they answered last."""
