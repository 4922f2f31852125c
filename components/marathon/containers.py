"""The containers of a pod's instance, and what they make of the instance together.

Rule of this room: an instance is what its containers are: it runs when all of them do, and ends with the last.
(Marathon: `Instance.scala`, conditionHierarchy)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from bus.nouns import TERMINAL, Now, Reason, Source, TaskId, TaskInfo, TaskState, TaskStatus

_LOST = (TaskState.UNREACHABLE, TaskState.UNKNOWN)
_BEFORE_RUNNING = (TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING)
_PART = 2
"""A container's task id is its instance's, its name and a number."""


@dataclass(slots=True, kw_only=True)
class Contained:
    """One container of an instance that was launched."""

    name: str
    status: TaskStatus
    since: Now
    """When it got its state."""
    changed: Now
    """When anything was last heard of it."""
    ports: tuple[int, ...] = ()
    """Of its endpoints, in their order."""
    checked: bool = False
    """Whether its executor checks its health."""

    @property
    def state(self) -> TaskState:
        return self.status.state

    def take(self, status: TaskStatus, at: Now) -> None:
        """Something was heard of it. (fold)"""
        if status.state is not self.status.state:
            self.since = at
        self.status, self.changed = status, at


@dataclass(slots=True, kw_only=True)
class Termination:
    """An instance that ended."""

    instance: TaskId
    started_at: Now
    terminated_at: Now
    message: str = ""
    containers: dict[TaskId, Contained] = field(default_factory=dict)


def contained(task: TaskInfo, at: Now) -> Contained:
    """A container that was asked for."""
    staging = TaskStatus(task=task.task, state=TaskState.STAGING, source=Source.MASTER)
    checked = task.health is not None
    return Contained(name=task.name, status=staging, since=at, changed=at, ports=task.ports, checked=checked)


def instance_of(task: TaskId) -> TaskId:
    """The instance whose container a task would be."""
    return TaskId(task.rsplit(".", _PART)[0])


def whole(instance: TaskId, containers: Mapping[TaskId, Contained], news: TaskStatus | None = None) -> TaskStatus:
    """The status of an instance, if this was the news of one of its containers."""
    statuses = [one.status for task, one in containers.items() if news is None or task != news.task]
    statuses += [news] if news is not None else []
    return replace(
        _together(statuses), task=instance, healthy=_healthy(containers, statuses), failures=_failures(statuses)
    )


def _together(statuses: list[TaskStatus]) -> TaskStatus:
    """The status that tells of all."""
    lost = [status for status in statuses if status.state in _LOST]
    if lost:
        return lost[0]
    live = [status for status in statuses if status.state not in TERMINAL]
    ended = [status for status in statuses if status.state in TERMINAL]
    bad = [status for status in ended if status.state is not TaskState.FINISHED]
    if not live:
        return _named(next((one for one in bad if _is_a_failure(one)), bad[0] if bad else ended[-1]))
    if bad or any(status.state is TaskState.KILLING for status in live):
        return replace((bad or live)[0], state=TaskState.KILLING, exit_status=None, signal=None)
    return min(live, key=lambda status: _BEFORE_RUNNING.index(status.state))


def _named(status: TaskStatus) -> TaskStatus:
    """An end, with the container it was."""
    return replace(status, message=f"{status.task}: {status.message}" if status.message else f"{status.task}")


def _is_a_failure(status: TaskStatus) -> bool:
    """Whether an end was the container's own; the others were killed for it."""
    return status.state is not TaskState.KILLED or status.reason is Reason.TASK_HEALTH_CHECK_STATUS_UPDATED


def healthy(containers: Mapping[TaskId, Contained]) -> bool | None:
    """Whether all that are checked are healthy."""
    return _healthy(containers, [one.status for one in containers.values()])


def _healthy(containers: Mapping[TaskId, Contained], statuses: Iterable[TaskStatus]) -> bool | None:
    """Whether all that are checked are healthy; None: of one nothing is known yet, or none is checked."""
    found = [status.healthy for status in statuses if containers[status.task].checked]
    return False if False in found else True if found and None not in found else None


def _failures(statuses: Iterable[TaskStatus]) -> int:
    return max((status.failures for status in statuses), default=0)
