"""What Marathon says of deployments, and of what they make of apps, pods and groups.

Rule of this room: as in `bus.services`, from where all of these can be imported too.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from bus.documents import AppSpec, PodSpec
from bus.events import Fact, fact
from bus.instances import InstanceScheduled
from bus.nouns import AppId, TaskId
from bus.plans import DeploymentId, GroupTraits, Outcome, Plan

F = TypeVar("F", bound=Fact)


@fact("deployment.started", said="marathon, to the client")
class DeploymentStarted(Fact, frozen=True):
    """The answer to whatever changes apps, pods or groups: a plan, and the lock on all that it changes.

    Of one app or pod it says itself what that is to be, and which instances more are wanted; the last step of its plan
    begins with it, since a new one exists as soon as it is said. Of several, and in older logs of one as well,
    `app.specified`, `pod.specified` or `app.removed`, `deployment.advanced` and `instance.scheduled` follow. A request
    that changes nothing is answered with a plan without steps, which ends at once.
    """

    deployment: DeploymentId
    deployment_version: str
    """Of the root group. (Marathon: ISO-8601 UTC with milliseconds)"""
    plan: Plan
    changed: str
    """What the request was: created, updated, scaled, restarted, removed, rolled back, reversed or killed."""
    group: AppId | None = None
    """The group that was asked for."""
    reverses: DeploymentId | None = None
    """The deployment that it undoes."""
    cancels: tuple[DeploymentId, ...] = ()
    """The deployments that were stopped for it."""
    app: AppSpec | None = None
    """The one app that it changes, as it is to be."""
    pod: PodSpec | None = None
    """Or the one pod."""
    removed: AppId | None = None
    """Or the one app or pod that is wanted no more."""
    app_version: str = ""
    """Of the one, as of `app.specified`."""
    change_version: str | None = None
    """Of the one, as of `app.specified`."""
    scheduled: tuple[TaskId, ...] = ()
    """Instances of the one, as of `instance.scheduled`, which says those beyond a few hundred."""

    @property
    def riding(self) -> tuple[Fact, ...]:
        """What it says of one app or pod, as the facts that say it of several."""
        specified = self._specified()
        if specified is None:
            return ()
        steps = (DeploymentAdvanced(deployment=self.deployment, step=step) for step in range(len(self.plan.steps)))
        one, version = (*self.plan.apps, *self.plan.pods)[0], self.app_version
        waiting = (InstanceScheduled(app=one, task=task, app_version=version) for task in self.scheduled)
        return (specified, *steps, *waiting)

    def _specified(self) -> AppSpecified | PodSpecified | AppRemoved | None:
        name, version, change = self.deployment, self.app_version, self.change_version
        if self.app is not None:
            return AppSpecified(
                app=self.app, app_version=version, changed=self.changed, deployment=name, change_version=change
            )
        if self.pod is not None:
            return PodSpecified(
                pod=self.pod, app_version=version, changed=self.changed, deployment=name, change_version=change
            )
        return AppRemoved(app=self.removed, deployment=name) if self.removed is not None else None


def facts_of(fact: Fact) -> tuple[Fact, ...]:
    """A fact, and what rides on it."""
    return (fact, *fact.riding) if isinstance(fact, DeploymentStarted) else (fact,)


def in_short(fact: F) -> F:
    """A fact without what rides on it."""
    if not isinstance(fact, DeploymentStarted):
        return fact
    return replace(fact, app=None, pod=None, removed=None, app_version="", change_version=None, scheduled=())


@fact("deployment.advanced", said="marathon, to the client")
class DeploymentAdvanced(Fact, frozen=True):
    """A step of a deployment begins: all before it are done."""

    deployment: DeploymentId
    step: int
    """Its place in the plan, from 0."""


@fact("deployment.paused", said="marathon, to the client")
class DeploymentPaused(Fact, frozen=True):
    """The canaries of an app are up: it goes on when somebody says so."""

    deployment: DeploymentId
    app: AppId
    canaries: int


@fact("deployment.continued", said="marathon, to the client")
class DeploymentContinued(Fact, frozen=True):
    """The canaries were found good: the deployment goes on."""

    deployment: DeploymentId
    apps: tuple[AppId, ...]


@fact("deployment.ended", said="marathon, to the client")
class DeploymentEnded(Fact, frozen=True):
    """A deployment is over, and its locks are free."""

    deployment: DeploymentId
    outcome: Outcome
    message: str = ""
    """Why, unless it succeeded."""


@fact("app.specified", said="marathon, to the client")
class AppSpecified(Fact, frozen=True):
    """An app exists in this version; instances of other versions are to be replaced.

    It is one of several that a deployment changes: of one alone `deployment.started` says it, and so it is with
    `pod.specified` and `app.removed`.
    """

    app: AppSpec
    app_version: str
    """Of its configuration: what its instances have. (Marathon: ISO-8601 UTC with milliseconds)"""
    changed: str
    """What the request was, as of `DeploymentStarted`."""
    deployment: DeploymentId | None = None
    """The deployment that makes it so, step by step; None: at once, as before there were deployments."""
    change_version: str | None = None
    """Of this change, if not of its configuration: it was only scaled."""


@fact("pod.specified", said="marathon, to the client")
class PodSpecified(Fact, frozen=True):
    """A pod exists in this version, as `app.specified` says it of an app."""

    pod: PodSpec
    app_version: str
    changed: str
    deployment: DeploymentId | None = None
    change_version: str | None = None


@fact("app.removed", said="marathon, to the client")
class AppRemoved(Fact, frozen=True):
    """An app or a pod is wanted no more; its instances are to be killed."""

    app: AppId
    deployment: DeploymentId | None = None


@fact("groups.specified", said="marathon, to the client")
class GroupsSpecified(Fact, frozen=True):
    """Groups exist like this, or are no more."""

    deployment: DeploymentId
    groups: tuple[GroupTraits, ...] = ()
    removed: tuple[AppId, ...] = ()
