"""What user space says: clients' requests, and what Marathon and Metronome say about apps, jobs and runs.

Rule of this room: as in `bus.events`, whose kernel space knows nothing of these.
"""

from __future__ import annotations

from bus.documents import AppSpec, JobSpec, Schedule
from bus.events import Fact, fact
from bus.nouns import AgentId, AppId, FrameworkId, JobId, Now, RunId, TaskId, TaskStatus

# ---- what clients ask -------------------------------------------------------------------------------------------


@fact("scheduler.located", said="client, to the framework")
class SchedulerLocated(Fact, frozen=True):
    """The client learned how to reach the scheduler: step 1."""

    framework: FrameworkId
    through: str
    """How it learned: the component that told."""


@fact("app.requested", said="client, to marathon")
class AppRequested(Fact, frozen=True):
    """An app shall be created, or exist as `app` from now on if `update`."""

    app: AppSpec
    update: bool = False


@fact("scale.requested", said="client, to marathon")
class ScaleRequested(Fact, frozen=True):
    """An app shall have another number of instances."""

    app: AppId
    instances: int


@fact("restart.requested", said="client, to marathon")
class RestartRequested(Fact, frozen=True):
    """Every instance of an app shall be replaced."""

    app: AppId


@fact("removal.requested", said="client, to marathon or metronome")
class RemovalRequested(Fact, frozen=True):
    """An app or a job shall be no more."""

    app: AppId | None = None
    job: JobId | None = None
    stop_runs: bool = False
    """A job's active runs may be stopped for it. (Metronome: stopCurrentJobRuns)"""


@fact("job.requested", said="client, to metronome")
class JobRequested(Fact, frozen=True):
    """A job shall be created, or exist as `job` from now on if `update`."""

    job: JobSpec
    update: bool = False
    keep_schedules: bool = False
    """The schedules it has stay, whatever `job` says of them. (Metronome: PUT of a job)"""


@fact("schedule.requested", said="client, to metronome")
class ScheduleRequested(Fact, frozen=True):
    """A job shall have one more schedule, or have `schedule` in place of its own of that id if `update`."""

    job: JobId
    schedule: Schedule
    update: bool = False


@fact("switch.requested", said="client, to metronome")
class SwitchRequested(Fact, frozen=True):
    """A schedule shall fire, or fire no more, and stay as it is otherwise."""

    job: JobId
    schedule: str
    enabled: bool


@fact("schedule-removal.requested", said="client, to metronome")
class ScheduleRemovalRequested(Fact, frozen=True):
    """A job shall have one schedule less."""

    job: JobId
    schedule: str


@fact("run.requested", said="client, to metronome")
class RunRequested(Fact, frozen=True):
    """A job shall run now."""

    job: JobId


@fact("stop.requested", said="client, to metronome")
class StopRequested(Fact, frozen=True):
    """An active run shall be stopped."""

    job: JobId
    run: RunId


# ---- marathon ---------------------------------------------------------------------------------------------------


@fact("app.specified", said="marathon, to the client")
class AppSpecified(Fact, frozen=True):
    """An app exists in this version; instances of other versions are to be replaced."""

    app: AppSpec
    app_version: str
    """(Marathon: ISO-8601 UTC with milliseconds)"""
    changed: str
    """What the request was: created, updated, scaled or restarted."""


@fact("app.removed", said="marathon, to the client")
class AppRemoved(Fact, frozen=True):
    """An app is wanted no more; its instances are to be killed."""

    app: AppId


@fact("instance.scheduled", said="marathon, to nobody")
class InstanceScheduled(Fact, frozen=True):
    """An instance of an app is wanted and waits for an offer."""

    app: AppId
    task: TaskId
    app_version: str
    replaces: TaskId | None = None


@fact("instance.dismissed", said="marathon, to nobody, or to the client who asked to kill it")
class InstanceDismissed(Fact, frozen=True):
    """An instance is wanted no more: forgotten if it still waited, else to be killed."""

    app: AppId
    task: TaskId
    reason: str


@fact("app.updated", said="marathon, to the client who last changed the app")
class AppUpdated(Fact, frozen=True):
    """One instance of an app changed: step 12."""

    app: AppId
    status: TaskStatus
    agent: AgentId | None = None
    instances: int = 0
    running: int = 0
    """How many of the wanted instances run, this change included."""
    delay_until: Now | None = None
    """The app launches nothing before this, after a failure. (Marathon: backoffSeconds)"""
    avoided_until: Now | None = None
    """The app's instances keep away from the agent before this, after a failure there, while they do run elsewhere."""


# ---- metronome --------------------------------------------------------------------------------------------------


@fact("job.specified", said="metronome, to the client")
class JobSpecified(Fact, frozen=True):
    """A job exists as described."""

    job: JobSpec
    changed: str
    """What the request was: created, updated, or what became of `schedule`: added, changed, enabled, disabled,
    removed."""
    next_at: Now | None = None
    """When it fires next, by the first of its schedules; said, not computed by readers, because time zones change."""
    nexts: dict[str, Now] = {}
    """When each schedule fires next, if there are several."""
    schedule: str | None = None
    """The one schedule that was asked about."""


@fact("job.removed", said="metronome, to the client")
class JobRemoved(Fact, frozen=True):
    """A job is no more; its finished runs stay known."""

    job: JobId


@fact("run.created", said="metronome, to the client or nobody")
class RunCreated(Fact, frozen=True):
    """A run of a job begins: wanted now, by a schedule for the nominal time, or after those it depends on."""

    job: JobId
    run: RunId
    schedule: str | None = None
    nominal: Now | None = None
    next_at: Now | None = None
    """When the schedule fires next, if it was the schedule; none if it never does again."""
    parents: tuple[RunId, ...] = ()
    """The runs of the jobs it depends on that led to it, if it was those."""


@fact("schedule.skipped", said="metronome, to nobody")
class ScheduleSkipped(Fact, frozen=True):
    """A firing did not lead to a run, or all of several in a row."""

    job: JobId
    schedule: str
    nominal: Now
    """Of the first."""
    reason: str
    count: int = 1
    until: Now | None = None
    """Nominal time of the last, if there are several."""
    next_at: Now | None = None
    """When the schedule fires next."""


@fact("attempt.scheduled", said="metronome, to nobody")
class AttemptScheduled(Fact, frozen=True):
    """A run wants a task and waits for an offer: the first, or another after a failure."""

    job: JobId
    run: RunId
    task: TaskId


@fact("run.stopped", said="metronome, to the client")
class RunStopped(Fact, frozen=True):
    """An active run is wanted no more; its task is to be killed."""

    job: JobId
    run: RunId
    reason: str


@fact("run.updated", said="metronome, to the client who asked for the run")
class RunUpdated(Fact, frozen=True):
    """A run's state changed, or its task's: step 12."""

    job: JobId
    run: RunId
    state: str
    """INITIAL, STARTING, ACTIVE, SUCCESS or FAILED. (Metronome: JobRunStatus)"""
    status: TaskStatus | None = None
    agent: AgentId | None = None
    message: str = ""
    delay_until: Now | None = None
    """The next attempt is not scheduled before this, after a failure."""
