"""What an executor's hands see of its tasks. Each may be seen twice."""

from __future__ import annotations

from bus.nouns import TaskId
from components.component import Sight, sight


@sight("task.started")
class TaskStarted(Sight, frozen=True):
    """A task's command is being executed."""

    task: TaskId
    pid: int


@sight("task.ended")
class TaskEnded(Sight, frozen=True):
    """A task's main process ended, and no process of the task is left."""

    task: TaskId
    wait_status: int | None
    """As waitpid(2) gives it; None if nobody recorded it."""
    stopped: bool = False
    """It was ended because everything on its agent was."""


@sight("health.seen")
class HealthSeen(Sight, frozen=True):
    """A check of a running task found something."""

    task: TaskId
    healthy: bool
    message: str = ""
    """What was wrong."""


@sight("check.found")
class CheckFound(Sight, frozen=True):
    """The look at a running task from which nothing follows found something, or could not."""

    task: TaskId
    found: int | None
    """As `TaskStatus.checked`."""
    message: str = ""
    """Why nothing was found."""


@sight("launch.failed")
class LaunchFailed(Sight, frozen=True):
    """A task's command was not executed and never will be."""

    task: TaskId
    message: str
