"""What Marathon's hands see of running instances. Each may be seen twice."""

from __future__ import annotations

from bus.nouns import TaskId
from components.component import Sight, sight


@sight("check.seen")
class CheckSeen(Sight, frozen=True):
    """One of an instance's checks found something."""

    task: TaskId
    check: int
    """Which of them, from 0."""
    healthy: bool
    cause: str = ""
    """What was wrong."""


@sight("readiness.seen")
class ReadinessSeen(Sight, frozen=True):
    """An instance answered whether it is ready, or did not answer."""

    task: TaskId
    ready: bool
    status: int | None = None
    content_type: str = ""
    body: str = ""
    cause: str = ""
