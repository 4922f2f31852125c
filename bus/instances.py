"""What Marathon says of running instances: how their checks went, and what became of those that cannot be reached.

Rule of this room: as in `bus.services`, from where all of these can be imported too.
"""

from __future__ import annotations

from bus.events import Fact, fact
from bus.nouns import AppId, TaskId


@fact("instance.scheduled", said="marathon, to nobody")
class InstanceScheduled(Fact, frozen=True):
    """An instance of an app is wanted and waits for an offer, if that was not said with its deployment."""

    app: AppId
    task: TaskId
    app_version: str
    replaces: TaskId | None = None


@fact("instance.deactivated", said="marathon, to nobody")
class InstanceDeactivated(Fact, frozen=True):
    """An instance could not be reached for so long that another takes its place; it may come back.

    (Marathon: UnreachableInactive, inactiveAfterSeconds)
    """

    app: AppId
    task: TaskId


@fact("instance.expunged", said="marathon, to nobody")
class InstanceExpunged(Fact, frozen=True):
    """An instance could not be reached for so long that it is given up: if it comes back, it is killed.

    (Marathon: expungeAfterSeconds)
    """

    app: AppId
    task: TaskId
    replaced_by: TaskId | None = None
    """None: nothing was wanted in its place, or that follows."""


@fact("health.changed", said="marathon, to nobody")
class HealthChanged(Fact, frozen=True):
    """A check of a running instance found something else than before, or another failure in a row."""

    app: AppId
    task: TaskId
    check: int
    """Which of the app's checks, from 0."""
    healthy: bool
    failures: int = 0
    """In a row; those that the grace excuses are not among them."""
    cause: str = ""
    """What was wrong."""


@fact("check.changed", said="marathon, to nobody")
class CheckChanged(Fact, frozen=True):
    """What an instance's executor finds by the check from which nothing follows is not what it was."""

    app: AppId
    task: TaskId
    found: int | None
    """As `TaskStatus.checked`; none: nothing could be found."""


@fact("readiness.changed", said="marathon, to nobody")
class ReadinessChanged(Fact, frozen=True):
    """What a running instance answers to its readiness check is not what it was."""

    app: AppId
    task: TaskId
    ready: bool
    """Once it is, it is asked no more."""
    status: int | None = None
    """Of the answer; none if there was none, or it is not to be kept. (Marathon: preserveLastResponse)"""
    content_type: str = ""
    body: str = ""
    cause: str = ""
    """What was wrong."""
