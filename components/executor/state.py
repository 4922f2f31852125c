"""What an executor remembers of its tasks.

Rule of this room: a change of the executor's mind is written here and nowhere else. A live task is remembered with all
that was delivered, because the hands of the next process must be able to find or launch it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from bus.events import Event, ExecutorStarted, TaskDelivered, TaskReported
from bus.nouns import (
    MOVES,
    NOBODY,
    TERMINAL,
    Now,
    Reason,
    TaskGroup,
    TaskGroupId,
    TaskId,
    TaskState,
    TaskStatus,
    second,
)
from components.component import Entry, State

_LIVE_REASONS = (
    None,
    Reason.MAX_COMPLETION_TIME_REACHED,
    Reason.TASK_HEALTH_CHECK_STATUS_UPDATED,
    Reason.TASK_CHECK_STATUS_UPDATED,
)
slow_start_s = 10.0
"""So long a task may be starting before its agent is told so: of nearly all it hears next that they run. Several times
what the 300 take that a master lets one agent start at once, and short enough for who waits and looks.
"""
ended_max = 1000
"""Ended tasks whose last status is remembered."""
broken_chars_max = 500
span_max_s = 10 * 366 * 24 * 3600.0
"""The longest grace or completion time that is counted."""


def after(now: Now, span_s: float) -> Now:
    """A moment a number of seconds later; a negative number counts as none."""
    return Now(now + round(min(max(0.0, span_s), span_max_s) * second))


class Task(Entry):
    """A task that has not ended."""

    delivered: TaskDelivered
    status: TaskStatus
    due_at: Now | None = None
    """When it has had its max_completion_s; none once it is being killed."""
    tell_at: Now | None = None
    """When its agent is told that it is starting; none once it was told anything of it."""
    kill_at: Now | None = None
    """When SIGKILL follows SIGTERM; none unless it is being killed."""
    running_since: Now | None = None
    proven: bool = False
    """Whether it was healthy once: from then on each failed check counts."""
    boot: str = ""
    """The run of the machine in which it was said to be starting: nowhere else is it executed."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Tasks that started together: if one ends other than by finishing, so do the others."""

    heard: int = 0
    """How many of them were delivered."""
    live: dict[TaskId, None] = field(default_factory=dict)
    broken: str = ""
    """Which one ended, and how, if the others are to end for it."""


@dataclass(slots=True, kw_only=True)
class ExecutorState(State):
    """An executor's tasks: the live ones, and how the latest ended."""

    tasks: dict[TaskId, Task] = field(default_factory=dict)
    ended: dict[TaskId, TaskStatus] = field(default_factory=dict)
    """Oldest first."""
    groups: dict[TaskGroupId, Group] = field(default_factory=dict)
    """Those that are not over: some of it lives, or is still to be delivered."""
    due: list[tuple[Now, TaskId]] = field(default_factory=list)
    """Every task's `due_at`, ascending."""
    untold: list[tuple[Now, TaskId]] = field(default_factory=list)
    """Every task's `tell_at`, ascending."""
    boot: str = ""
    """The run of the machine that the latest term began in."""


def fold(state: ExecutorState, event: Event) -> None:
    """Remember what was reported; everything else the executor says changes nothing."""
    if isinstance(event.fact, ExecutorStarted):
        state.boot = event.fact.boot
    elif isinstance(event.fact, TaskReported):
        _remember(state, event, event.fact)


def _remember(state: ExecutorState, event: Event, reported: TaskReported) -> None:
    status, at = reported.status, event.at
    if status.task in state.ended:
        assert state.ended[status.task] == status, (
            f"{status.task}: ended twice, {state.ended[status.task]} and {status}"
        )
    elif reported.delivered is not None:
        _begin(state, reported.delivered, status, at)
        if status.task in state.tasks and event.to == NOBODY:
            _tell_later(state, state.tasks[status.task], at)
        _note_group(state, reported.delivered.task.group, status, delivered=True)
    elif status.task not in state.tasks:
        _end(state, status)  # killed before it was delivered
    else:
        _move(state, state.tasks[status.task], reported, at)


def _begin(state: ExecutorState, delivered: TaskDelivered, status: TaskStatus, at: Now) -> None:
    if status.state in TERMINAL:
        assert delivered.task.group is not None, f"{status.task}: {status.state} as it is delivered"
        _end(state, status)  # one of a group, delivered and never started
        return
    task = Task(delivered=delivered, status=status, boot=state.boot)
    assert status.state is TaskState.STARTING, f"{status.task}: begins as {status.state}"
    assert status.task not in state.tasks, f"{status.task}: begins again"
    state.tasks[status.task] = task
    if delivered.task.max_completion_s is not None:
        task.due_at = after(at, delivered.task.max_completion_s)
        insort(state.due, (task.due_at, status.task))


def _tell_later(state: ExecutorState, task: Task, at: Now) -> None:
    """By the last moment at which it could have been started, if not before: after that its agent gives it up."""
    start_by = task.delivered.start_by
    task.tell_at = after(at, slow_start_s) if start_by is None else min(after(at, slow_start_s), start_by)
    insort(state.untold, (task.tell_at, task.status.task))


def _move(state: ExecutorState, task: Task, reported: TaskReported, at: Now) -> None:
    status = reported.status
    if task.tell_at is not None:
        del state.untold[bisect_left(state.untold, (task.tell_at, status.task))]
        task.tell_at = None
    before, after = task.status.state, status.state
    assert after == before or after in MOVES[before], f"{status.task}: {before} -> {after}"
    task.status = status
    task.proven = task.proven or status.healthy is True
    if after is TaskState.RUNNING and before is not TaskState.RUNNING:
        task.running_since = at
    if after in TERMINAL:
        _undue(state, task)
        del state.tasks[status.task]
        _end(state, status)
        _note_group(state, task.delivered.task.group, status)
    elif after is TaskState.KILLING:
        _undue(state, task)
        task.kill_at = reported.kill_at


def _note_group(state: ExecutorState, of: TaskGroup | None, status: TaskStatus, *, delivered: bool = False) -> None:
    """A task of a group was delivered, or ended, or both."""
    if of is None:
        return
    group = state.groups.setdefault(of.id, Group())
    group.heard += delivered
    if status.state not in TERMINAL:
        group.live[status.task] = None
    else:
        group.live.pop(status.task, None)
        if status.state is not TaskState.FINISHED and not group.broken:
            group.broken = f"{status.task} of its group ended as {status.state}: {status.message}"[:broken_chars_max]
    if not group.live and group.heard >= of.size:
        del state.groups[of.id]


def _undue(state: ExecutorState, task: Task) -> None:
    if task.due_at is not None:
        state.due.remove((task.due_at, task.status.task))
        task.due_at = None


def _end(state: ExecutorState, status: TaskStatus) -> None:
    assert status.state in TERMINAL, f"{status.task}: {status.state} of a task that was never delivered"
    state.ended[status.task] = status
    if len(state.ended) > ended_max:
        del state.ended[next(iter(state.ended))]


def wake_at(state: ExecutorState) -> Now | None:
    """When the next task has had its time, or is to be told of."""
    return min([dues[0][0] for dues in (state.due, state.untold) if dues], default=None)


def check(state: ExecutorState) -> None:
    """No task is both live and ended, every deadline is a live task's, what is being killed has a deadline."""
    assert len(state.ended) <= ended_max, f"{len(state.ended)} ended tasks"
    assert not state.tasks.keys() & state.ended.keys(), f"live and ended: {state.tasks.keys() & state.ended.keys()}"
    dues = sorted((task.due_at, name) for name, task in state.tasks.items() if task.due_at is not None)
    assert state.due == dues, f"due {state.due}, of the tasks {dues}"
    untold = sorted((task.tell_at, name) for name, task in state.tasks.items() if task.tell_at is not None)
    assert state.untold == untold, f"untold {state.untold}, of the tasks {untold}"
    grouped = {name for group in state.groups.values() for name in group.live}
    assert grouped == {name for name, task in state.tasks.items() if task.delivered.task.group}, sorted(grouped)
    for name, task in state.tasks.items():
        _check_task(name, task)
    for group_id, group in state.groups.items():
        _check_group(state, group_id, group)


def _check_group(state: ExecutorState, group_id: TaskGroupId, group: Group) -> None:
    """If one of a group ended other than by finishing, nothing of it goes on."""
    going_on = [name for name in group.live if state.tasks[name].status.state is not TaskState.KILLING]
    assert not (group.broken and going_on), f"{group_id}: {group.broken}, but {going_on} go on"


def _check_task(name: TaskId, task: Task) -> None:
    state, reason = task.status.state, task.status.reason
    assert task.status.task == name == task.delivered.task.task, f"{name}: remembers {task.status.task}"
    assert state in (TaskState.STARTING, TaskState.RUNNING, TaskState.KILLING), f"{name}: live and {state}"
    assert task.tell_at is None or state is TaskState.STARTING, f"{name}: {state}, and nobody was told anything of it"
    assert (task.kill_at is not None) == (state is TaskState.KILLING), f"{name}: {state}, SIGKILL at {task.kill_at}"
    assert reason in _LIVE_REASONS, f"{name}: live and {reason}"
    assert task.running_since is not None or state is not TaskState.RUNNING, f"{name}: runs, but since when"
