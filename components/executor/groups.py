"""What becomes of a group of tasks when one of them ends.

Rule of this room: a task that finished leaves the others alone; any other end, whatever led to it, is the end of all.
(Mesos: `src/launcher/default_executor.cpp`)
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import TaskReported
from bus.nouns import Now, Source, TaskGroup, TaskState, TaskStatus
from components.component import Say
from components.executor.checks import say_killing
from components.executor.config import ExecutorConfig
from components.executor.state import ExecutorState, after


def broken_by(state: ExecutorState, group: TaskGroup | None) -> str | None:
    """Why a task is not to be started any more, if one of its group ended."""
    if group is None or group.id not in state.groups:
        return None
    return state.groups[group.id].broken or None


def kill_rest(config: ExecutorConfig, state: ExecutorState, group: TaskGroup | None, now: Now) -> Iterator[Say]:
    """If one of a group ended other than by finishing, the others are killed, each with its own grace."""
    broken = broken_by(state, group)
    if broken is None or group is None:
        return
    for name in list(state.groups[group.id].live):
        task = state.tasks[name]
        if task.kill_at is None:
            status = TaskStatus(task=name, state=TaskState.KILLING, source=Source.EXECUTOR, message=f"killed: {broken}")
            kill_at = after(now, task.delivered.task.kill_grace_s)
            yield from say_killing(config, task, TaskReported(status=status, kill_at=kill_at))
