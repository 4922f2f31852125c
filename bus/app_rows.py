"""The questions that Marathon answers, and their rows: apps, versions, groups, deployments, plans, why nothing fits.

Rule of this room: as in `bus.queries`, from where all of these can be imported too.
"""

from __future__ import annotations

from typing import Any

from bus.documents import AppSpec, PodSpec
from bus.nouns import AgentId, AppId, Noun, Now, Refusal, TaskId, TaskState, TaskStatus
from bus.plans import Action, DeploymentId, Plan


class FoundRow(Noun, frozen=True):
    """What one check of an instance found. (Marathon: HealthCheckResult)"""

    alive: bool | None = None
    """None: nothing yet."""
    failures: int = 0
    """In a row."""
    first_success: Now | None = None
    last_success: Now | None = None
    """The one that changed something: that it goes on is said by nobody."""
    last_failure: Now | None = None
    cause: str = ""
    """Of the last failure."""


class ReadinessRow(Noun, frozen=True):
    """What an instance answered to its readiness check. (Marathon: ReadinessCheckResult)"""

    name: str
    ready: bool
    status: int | None = None
    """Of the last answer, if it is to be kept."""
    content_type: str = ""
    body: str = ""


class InstanceRow(Noun, frozen=True):
    """One instance of an app."""

    task: TaskId
    app_version: str
    state: TaskState | None
    """None: it waits for an offer."""
    since: Now
    agent: AgentId | None = None
    hostname: str | None = None
    ports: tuple[int, ...] = ()
    replaces: TaskId | None = None
    healthy: bool | None = None
    """None: it has no health check, or no result yet."""
    ready: bool | None = None
    """None: it has no readiness check, or no result yet."""
    found: tuple[FoundRow, ...] = ()
    """What each of its health checks found."""
    readiness: ReadinessRow | None = None
    checked: int | None = None
    """What the app's check, from which nothing follows, found: as `TaskStatus.checked`."""
    """What its readiness check was answered."""
    up: bool = False
    """Whether it counts in a deployment: it runs, and is healthy and ready if that is checked."""
    dying: bool = False
    """It is to be killed, or is being killed."""


class AppRow(Noun, frozen=True):
    """An app and its instances."""

    app: AppSpec
    """What it is to be; while a deployment goes on, its instances may be of another version."""
    app_version: str
    """Of its configuration: what its instances have once it is deployed. (Marathon: lastConfigChangeAt)"""
    running: int
    waiting: int
    instances: tuple[InstanceRow, ...]
    delay_until: Now | None = None
    last_failure: TaskStatus | None = None
    failed_at: Now | None = None
    """When that was, if it was of its present version."""
    change_version: str | None = None
    """Of its last change; None: the configuration was changed last. (Marathon: version, lastScalingAt)"""
    deployments: tuple[DeploymentId, ...] = ()
    """Those that change it now: at most one."""
    staged: int = 0
    """Instances that are launched and do not run yet."""
    healthy: int = 0
    unhealthy: int = 0
    """Of the running ones; those whose health is not known are in neither."""


class VersionsQuestion(Noun, frozen=True):
    """Query `versions`: what versions an app or a pod has had, newest first; of a group, those of the root group."""

    app: AppId | None = None
    pod: AppId | None = None
    group: AppId | None = None


class VersionRow(Noun, frozen=True):
    """An app or a pod as it was at a version."""

    version: str
    config_version: str | None = None
    """Of its configuration; None: of a group, which has none."""
    app: AppSpec | None = None
    pod: PodSpec | None = None


class GroupsQuestion(Noun, frozen=True):
    """Query `groups`: a group with all that is in it, now or at one of its versions. Answered with a GroupRow."""

    group: AppId = AppId("/")
    version: str | None = None


class GroupRow(Noun, frozen=True):
    """A group and what is in it."""

    group: AppId
    version: str
    dependencies: tuple[AppId, ...] = ()
    enforce_role: bool = False
    apps: tuple[VersionRow, ...] = ()
    """Directly in it, by id; as they are to be."""
    pods: tuple[VersionRow, ...] = ()
    groups: tuple[GroupRow, ...] = ()


class ActionRow(Noun, frozen=True):
    """An action of a deployment's present step."""

    action: Action
    done: bool
    wanted: int
    """Instances there are to be."""
    up: int
    """Of the new version, those that count: they run, and are healthy and ready if that is checked."""
    old: int
    """Instances still to be replaced or killed, those on their way out included."""
    blocked_by: str = ""
    """What it waits for, in words; empty: nothing, it is done."""
    paused: bool = False
    """Its canaries are up, and it waits for a person's word (`continue.requested`)."""
    fails_at: Now | None = None
    """When it has failed unless one more instance is up by then. (`rollout.progressDeadlineSeconds`)"""


class DeploymentRow(Noun, frozen=True):
    """A deployment that goes on. Query `deployments` answers a list of them, oldest first."""

    deployment: DeploymentId
    version: str
    plan: Plan
    """Its apps and pods are `plan.apps` and `plan.pods`."""
    step: int
    """The present step, from 0. (Marathon's currentStep counts from 1)"""
    actions: tuple[ActionRow, ...]
    """Of the present step."""
    changed: str
    by: str
    """Who asked for it: the person, or the client."""
    since: Now
    step_since: Now
    group: AppId | None = None
    reverses: DeploymentId | None = None


class PlanQuestion(Noun, frozen=True):
    """Query `plan`: what a request would lead to, without asking for it. Answered with a PlanRow."""

    type: str
    """The wire name of the request, e.g. `group.requested`."""
    fields: dict[str, Any]
    """Of the request, as it goes over the bus: `msgspec.to_builtins(fact)`."""


class ChangeRow(Noun, frozen=True):
    """What a plan makes of an app or a pod; nothing before: it is new; nothing after: it is removed."""

    id: AppId
    app_before: AppSpec | None = None
    app_after: AppSpec | None = None
    pod_before: PodSpec | None = None
    pod_after: PodSpec | None = None


class PlanRow(Noun, frozen=True):
    """What a request would lead to."""

    plan: Plan = Plan()
    changes: tuple[ChangeRow, ...] = ()
    cancels: tuple[DeploymentId, ...] = ()
    """Deployments that would be stopped for it."""
    refused: Refusal | None = None
    """Why it would be refused; `locked` unless it is forced, for instance."""
    message: str = ""
    held_by: tuple[DeploymentId, ...] = ()
    """Of something locked: the deployments that hold the lock."""
