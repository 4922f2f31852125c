"""The instances of an app, or a pod: what is remembered of each, and what an end of one means.

Rule of this room: as in `state`, of which this is a part.
"""

from __future__ import annotations

from dataclasses import dataclass

from bus.events import KillRequested
from bus.nouns import TERMINAL, AgentId, Check, Now, Position, Reason, TaskId, TaskState, TaskStatus, TraceId
from components.component import Entry
from components.marathon.containers import Contained, healthy, whole

LOST = frozenset({TaskState.UNREACHABLE, TaskState.UNKNOWN})
ENDED = TERMINAL | LOST
"""States in which an instance counts no more. (Marathon: unreachableStrategy 0/0 expunges at once)"""


class Waiting(Entry):
    """An instance that waits for an offer."""

    app_version: str
    since: Now
    order: int
    """Who is served first: the number of the event that scheduled it."""
    replaces: TaskId | None


@dataclass(slots=True, kw_only=True)
class Found:
    """What one check of an instance found. (Marathon: `Health.scala`)"""

    alive: bool | None = None
    failures: int = 0
    """In a row."""
    first_success: Now | None = None
    last_success: Now | None = None
    last_failure: Now | None = None
    cause: str = ""


@dataclass(slots=True, kw_only=True)
class Readiness:
    """What an instance answered when it was asked whether it is ready."""

    ready: bool
    status: int | None = None
    content_type: str = ""
    body: str = ""


class Launched(Entry):
    """An instance that was asked for on an agent."""

    app_version: str
    since: Now
    """When it got its state."""
    launched_at: Now
    agent: AgentId
    hostname: str
    ports: tuple[int, ...]
    replaces: TaskId | None
    trace: TraceId | None
    place: dict[str, str] = {}
    """What its app's constraints count of its agent."""
    state: TaskState = TaskState.STAGING
    running_since: Now | None = None
    watched: tuple[Check, ...] = ()
    """What Marathon checks of it."""
    asked_ready: Check | None = None
    """What Marathon asks it until it is ready."""
    found: list[Found] = []
    """Of each check; of one, if its executor makes it."""
    readiness: Readiness | None = None
    checked: int | None = None
    """What its executor found last by the check from which nothing follows."""
    inactive_at: Now | None = None
    """Of one that cannot be reached: when another takes its place."""
    expunge_at: Now | None = None
    """Of one that cannot be reached: when it is given up."""
    lost_by: Position | None = None
    """What said that it cannot be reached."""
    replaced_by: TaskId | None = None
    returned: bool = False
    """Whether it came back after another had taken its place."""
    containers: dict[TaskId, Contained] = {}
    """Of a pod's instance, by their tasks."""

    @property
    def healthy(self) -> bool | None:
        """Whether all its checks are good; None: one of them is not known yet, or there is none."""
        if self.containers:
            return healthy(self.containers)
        alive = [one.alive for one in self.found]
        return False if False in alive else True if alive and None not in alive else None

    @property
    def ready(self) -> bool | None:
        """Whether it was ready once; None: nothing is known yet, or it is not asked."""
        return self.readiness.ready if self.readiness is not None else None


def is_up(instance: Launched) -> bool:
    """Whether an instance counts in a deployment: it runs, and is healthy and ready if its version checks that."""
    checked = bool(instance.found) or any(one.checked for one in instance.containers.values())
    healthy = instance.healthy is True or not checked
    ready = instance.ready is True or instance.asked_ready is None
    return instance.state is TaskState.RUNNING and healthy and ready


def as_instance(instance_id: TaskId, instance: Launched, status: TaskStatus) -> TaskStatus:
    """What an instance is, if this is the status of its task, or of one of its containers'."""
    return whole(instance_id, instance.containers, status) if instance.containers else status


def kill_of(task: TaskId, instance: Launched | None, grace_s: float | None, reason: str = "") -> KillRequested:
    """What has an instance killed: a pod's, by any of its containers that live, with each one's own grace."""
    if instance is None or not instance.containers:
        return KillRequested(task=task, grace_s=grace_s, reason=reason)
    live = [name for name, one in instance.containers.items() if one.state not in TERMINAL]
    return KillRequested(task=next(iter(live or instance.containers)), grace_s=grace_s, reason=reason, group=True)


def is_failure(status: TaskStatus) -> bool:
    """Whether an end makes the app wait before its next launch. (Marathon: backoff grows on all ends but KILLED)

    An offer that had just been taken back, a lost agent, and a machine that went down with all its tasks say nothing
    about the app. One that was killed as unhealthy failed.
    """
    if status.state is TaskState.KILLED:
        return status.reason is Reason.TASK_HEALTH_CHECK_STATUS_UPDATED
    failures = (TaskState.FINISHED, TaskState.FAILED, TaskState.ERROR, TaskState.DROPPED, TaskState.GONE)
    return status.state in failures and status.reason not in (Reason.INVALID_OFFERS, Reason.EXECUTOR_TERMINATED)
