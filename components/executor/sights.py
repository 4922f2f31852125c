"""What an executor's hands see of its tasks. Each may be seen twice."""

from __future__ import annotations

from bus.nouns import TaskId
from components.component import Sight


class TaskStarted(Sight, frozen=True):
    """A task's command is being executed."""

    task: TaskId
    pid: int


class TaskEnded(Sight, frozen=True):
    """A task's main process ended, and no process of the task is left."""

    task: TaskId
    wait_status: int | None
    """As waitpid(2) gives it; None if nobody recorded it."""
    stopped: bool = False
    """It was ended because everything on its agent was."""


class LaunchFailed(Sight, frozen=True):
    """A task's command was not executed and never will be."""

    task: TaskId
    message: str
