"""What an executor makes of what its checks find.

Rule of this room: who checked is the hands; here it is decided what counts. A failure does not count within the grace,
unless the task was healthy before; a task that stays healthy is no news. (Mesos: `src/checks/health_checker.cpp`)
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from bus.events import TaskReported
from bus.nouns import Now, Reason, Source, TaskState, TaskStatus
from components.component import Say
from components.executor.config import ExecutorConfig
from components.executor.sights import CheckFound, HealthSeen
from components.executor.state import Task, after

cause_length_max = 1000


def found(config: ExecutorConfig, task: Task, sight: HealthSeen, now: Now) -> Iterator[Say]:
    """What follows from one check: nothing, a new health, or the end of the task."""
    check, status = task.delivered.task.health, task.status
    if check is None or status.state is not TaskState.RUNNING or task.running_since is None:
        return  # it was seen before the kill
    if sight.healthy:
        if status.healthy is not True:
            yield say(config, task, TaskReported(status=_status(task, sight, 0)))
        return
    if not task.proven and now < after(task.running_since, check.grace_s):
        return
    failed = _status(task, sight, status.failures + 1)
    yield say(config, task, TaskReported(status=failed))
    if failed.failures >= check.failures_max:
        kill_at = after(now, task.delivered.task.kill_grace_s)
        yield say(
            config, task, TaskReported(status=_status(task, sight, failed.failures, TaskState.KILLING), kill_at=kill_at)
        )


def looked_at(config: ExecutorConfig, task: Task, sight: CheckFound) -> Iterator[Say]:
    """What is found is told if it is something else than before. (Mesos: `src/checks/checker.cpp`)"""
    status = task.status
    if task.delivered.task.check is None or status.state is not TaskState.RUNNING or status.checked == sight.found:
        return
    reason = Reason.TASK_CHECK_STATUS_UPDATED
    changed = replace(status, checked=sight.found, reason=reason, message=sight.message[:cause_length_max])
    yield say(config, task, TaskReported(status=changed))


def _status(task: Task, sight: HealthSeen, failures: int, state: TaskState = TaskState.RUNNING) -> TaskStatus:
    return TaskStatus(
        task=sight.task,
        state=state,
        source=Source.EXECUTOR,
        reason=Reason.TASK_HEALTH_CHECK_STATUS_UPDATED,
        message=sight.message[:cause_length_max],
        healthy=sight.healthy,
        failures=failures,
        checked=task.status.checked if state is TaskState.RUNNING else None,
    )


def say_killing(config: ExecutorConfig, task: Task, reported: TaskReported) -> Iterator[Say]:
    """A report that a task is being killed; first, if its agent was told nothing of it yet, that it was starting."""
    if task.tell_at is not None:
        yield say(config, task, TaskReported(status=task.status))
    yield say(config, task, reported)


def say(config: ExecutorConfig, task: Task, reported: TaskReported, *, to: str | None = None) -> Say:
    """A report on a task, in the task's trace, to the agent unless said otherwise."""
    return Say(reported, to=config.agent if to is None else to, trace=task.delivered.task.trace)
