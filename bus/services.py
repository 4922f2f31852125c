"""What user space says: clients' requests, and what Marathon and Metronome say about apps, jobs and runs.

Rule of this room: as in `bus.events`, whose kernel space knows nothing of these.
"""

from __future__ import annotations

from bus.deployments import AppRemoved as AppRemoved
from bus.deployments import AppSpecified as AppSpecified
from bus.deployments import DeploymentAdvanced as DeploymentAdvanced
from bus.deployments import DeploymentContinued as DeploymentContinued
from bus.deployments import DeploymentEnded as DeploymentEnded
from bus.deployments import DeploymentPaused as DeploymentPaused
from bus.deployments import DeploymentStarted as DeploymentStarted
from bus.deployments import GroupsSpecified as GroupsSpecified
from bus.deployments import PodSpecified as PodSpecified
from bus.deployments import facts_of as facts_of
from bus.deployments import in_short as in_short
from bus.documents import AppSpec, GroupSpec, JobSpec, PodSpec, Schedule
from bus.events import Fact, fact
from bus.instances import CheckChanged as CheckChanged
from bus.instances import HealthChanged as HealthChanged
from bus.instances import InstanceDeactivated as InstanceDeactivated
from bus.instances import InstanceExpunged as InstanceExpunged
from bus.instances import InstanceScheduled as InstanceScheduled
from bus.instances import ReadinessChanged as ReadinessChanged
from bus.nouns import AgentId, AppId, FrameworkId, JobId, Noun, Now, RunId, TaskId, TaskStatus
from bus.plans import DeploymentId

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
    partial: tuple[str, ...] | None = None
    """Wire names of the fields of `app` that are meant: the others stay as they are. None: all are."""
    only_existing: bool = False
    """Refused as not found if there is no such app, instead of creating it."""
    force: bool = False
    """Deployments that hold a lock on it are stopped for it, instead of refusing it as locked."""


class AppWish(Noun, frozen=True):
    """One of several apps that are asked for."""

    app: AppSpec
    partial: tuple[str, ...] | None = None
    """As of `AppRequested`."""


@fact("apps.requested", said="client, to marathon")
class AppsRequested(Fact, frozen=True):
    """Several apps shall exist like this, by one deployment. (Marathon: PUT and PATCH /v2/apps)"""

    apps: tuple[AppWish, ...]
    only_existing: bool = False
    force: bool = False


@fact("pod.requested", said="client, to marathon")
class PodRequested(Fact, frozen=True):
    """A pod shall be created, or exist as `pod` from now on if `update`."""

    pod: PodSpec
    update: bool = False
    force: bool = False


@fact("group.requested", said="client, to marathon")
class GroupRequested(Fact, frozen=True):
    """A group shall be created, or be as `group` says from now on if `update`, by one deployment.

    Ids are absolute. Of a list of apps or groups that is given, what is not named is removed; what is not given
    stays. With `version` alone it goes back to that version; with `scale_by` alone its apps are scaled.
    """

    group: GroupSpec
    update: bool = False
    force: bool = False


@fact("scale.requested", said="client, to marathon")
class ScaleRequested(Fact, frozen=True):
    """An app or a pod shall have another number of instances, or all apps of a group so many times as many."""

    app: AppId | None = None
    instances: int = 0
    group: AppId | None = None
    factor: float = 1.0
    """Of a group. (Marathon: scaleBy)"""
    pod: AppId | None = None
    force: bool = False


@fact("restart.requested", said="client, to marathon")
class RestartRequested(Fact, frozen=True):
    """Every instance of an app, a pod, or of all apps in a group shall be replaced."""

    app: AppId | None = None
    group: AppId | None = None
    pod: AppId | None = None
    force: bool = False


@fact("removal.requested", said="client, to marathon or metronome")
class RemovalRequested(Fact, frozen=True):
    """An app, a pod, a group with all that is in it, or a job shall be no more."""

    app: AppId | None = None
    job: JobId | None = None
    stop_runs: bool = False
    """A job's active runs may be stopped for it. (Metronome: stopCurrentJobRuns)"""
    group: AppId | None = None
    pod: AppId | None = None
    force: bool = True
    """As of `AppRequested`; a removal is forced unless said otherwise. (Marathon: DELETE /v2/apps)"""


@fact("rollback.requested", said="client, to marathon")
class RollbackRequested(Fact, frozen=True):
    """An app, a pod or a group shall be again what it was at a version: a new version of the old configuration."""

    to_version: str
    app: AppId | None = None
    group: AppId | None = None
    pod: AppId | None = None
    force: bool = False


@fact("cancel.requested", said="client, to marathon")
class CancelRequested(Fact, frozen=True):
    """A deployment shall be undone by another one; with `force` only stopped, whatever is left."""

    deployment: DeploymentId
    force: bool = False


@fact("continue.requested", said="client, to marathon")
class ContinueRequested(Fact, frozen=True):
    """The canaries are good: the deployment shall go on."""

    deployment: DeploymentId


@fact("kills.requested", said="client, to marathon")
class KillsRequested(Fact, frozen=True):
    """Instances shall be killed: and replaced, or with `scale` their apps shall have so many fewer."""

    tasks: tuple[TaskId, ...]
    scale: bool = False
    wipe: bool = False
    """What is reserved for them shall be given up too: nothing is, without persistent volumes."""
    force: bool = False
    """As of `AppRequested`; matters with `scale` only."""


@fact("reset.requested", said="client, to marathon")
class ResetRequested(Fact, frozen=True):
    """An app that waits after failures shall wait no longer. (Marathon: DELETE /v2/queue/ID/delay)"""

    app: AppId


@fact("resignation.requested", said="client, to marathon")
class ResignationRequested(Fact, frozen=True):
    """The instance that leads shall end, so that another one leads. (Marathon: DELETE /v2/leader)"""


@fact("job.requested", said="client, to metronome")
class JobRequested(Fact, frozen=True):
    """A job shall be created, or exist as `job` from now on if `update`."""

    job: JobSpec
    update: bool = False
    keep_schedules: bool = False
    """The schedules it has stay, whatever `job` says of them. (Metronome: PUT of a job)"""


ONLY_ONE = "at most one schedule was asked for"
"""How the refusal of a second schedule ends."""


@fact("schedule.requested", said="client, to metronome")
class ScheduleRequested(Fact, frozen=True):
    """A job shall have one more schedule, or have `schedule` in place of its own of that id if `update`."""

    job: JobId
    schedule: Schedule
    update: bool = False
    only: bool = False
    """Refused if the job has any other. (Metronome: one schedule per job)"""


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


@fact("kills.granted", said="marathon, to the client")
class KillsGranted(Fact, frozen=True):
    """These instances are dismissed and will be replaced."""

    tasks: tuple[TaskId, ...]


@fact("resignation.granted", said="marathon, to the client")
class ResignationGranted(Fact, frozen=True):
    """The instance that leads ends in good order behind this; who stands by, or is started again, goes on."""

    epoch: int
    """Its term."""


@fact("delay.reset", said="marathon, to the client")
class DelayReset(Fact, frozen=True):
    """An app's failures are forgiven: what waits may be launched now."""

    app: AppId


@fact("instance.dismissed", said="marathon, to nobody, or to the client who asked to kill it")
class InstanceDismissed(Fact, frozen=True):
    """An instance is wanted no more: forgotten if it still waited, else to be killed."""

    app: AppId
    task: TaskId
    reason: str
    why: str = ""
    """More of it, in words."""
    delay_until: Now | None = None
    """The app launches nothing before this, because it was unhealthy. (Marathon: backoffSeconds)"""
    avoided_until: Now | None = None
    """As of `app.updated`, because it was unhealthy there."""


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
    task: TaskId | None = None
    """The task it wants first, which waits for an offer. None, in older logs: an `attempt.scheduled` says it."""


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
    """A run wants another task, after a failure, and waits for an offer. In older logs the first as well."""

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
