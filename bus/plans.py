"""Deployments as data: what is done to which apps and pods, in which order.

Rule of this room: the words are Marathon's. (Marathon: `DeploymentPlan.scala`, `types/deploymentPlan.raml`)
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

from bus.nouns import AppId, Noun

DeploymentId = NewType("DeploymentId", str)
"""`d-<n>`, n the number of the last event before it in Marathon's log."""


class Deed(StrEnum):
    """What is done to an app or a pod."""

    STOP = "Stop"
    """It is removed: all its instances are killed."""
    START = "Start"
    """It is new: it exists, with no instance yet."""
    SCALE = "Scale"
    """It gets as many instances as it is to have; none is restarted."""
    RESTART = "Restart"
    """Its instances are replaced by those of its new version, a few at a time. (`upgradeStrategy`)"""


class Action(Noun, frozen=True):
    """One thing a deployment does: to an app, or to a pod."""

    deed: Deed
    app: AppId | None = None
    pod: AppId | None = None

    @property
    def name(self) -> str:
        """As Marathon calls it: StartApplication, RestartPod ..."""
        return self.deed + ("Application" if self.pod is None else "Pod")

    @property
    def id(self) -> AppId:
        """The app or pod."""
        found = self.app if self.app is not None else self.pod
        assert found is not None
        return found


Step = tuple[Action, ...]
"""Actions that are done at the same time; the next step begins when all of them are done."""


class Plan(Noun, frozen=True):
    """What a deployment does: stop what is removed, start what is new, then the rest, dependencies first."""

    steps: tuple[Step, ...] = ()

    @property
    def apps(self) -> tuple[AppId, ...]:
        """The apps it changes, each once, in the order of their first action."""
        return tuple(dict.fromkeys(one.app for step in self.steps for one in step if one.app is not None))

    @property
    def pods(self) -> tuple[AppId, ...]:
        """The pods it changes, likewise."""
        return tuple(dict.fromkeys(one.pod for step in self.steps for one in step if one.pod is not None))


class Outcome(StrEnum):
    """How a deployment ended."""

    SUCCEEDED = "SUCCEEDED"
    """Everything is as planned, and up."""
    REVERSED = "REVERSED"
    """A person cancelled it: another deployment goes back to what was before."""
    CANCELLED = "CANCELLED"
    """Stopped where it was, by a person or for another deployment that was forced; what it left is mixed."""
    FAILED = "FAILED"
    """It gave up, as its apps' `rollout` said."""


class GroupTraits(Noun, frozen=True):
    """What a group is, besides what is in it."""

    group: AppId
    dependencies: tuple[AppId, ...] = ()
    """Apps and groups, absolute, that are up before what is in this group is changed."""
    enforce_role: bool = False
