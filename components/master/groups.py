"""Task groups: what is launched together or not at all, and why it is not.

Rule of this room: a group is whole in one accept and is decided on in one decision. (Mesos: `Master::_accept`,
LAUNCH_GROUP, `validation::task::group`)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from bus.nouns import AgentId, FrameworkId, Resources, TaskInfo
from components.master.state import MasterState
from components.master.validity import TASK_ID, launch_invalid, malformed, taken_by, task_bytes_max

group_tasks_max = 100


def units(launch: Sequence[TaskInfo]) -> Iterator[list[TaskInfo]]:
    """What is launched together, in order: tasks of one group that stand together, and each other task by itself."""
    for group, tasks in groupby(launch, key=lambda info: info.group.id if info.group is not None else None):
        if group is None:
            yield from ([info] for info in tasks)
        else:
            yield list(tasks)


def portion(launch: Sequence[TaskInfo], most: int) -> list[TaskInfo]:
    """The first so many tasks to launch, cut between groups; none is split unless it alone is more."""
    taken: list[TaskInfo] = []
    for unit in units(launch[: most + group_tasks_max]):
        if taken and len(taken) + len(unit) > most:
            break
        taken += unit
    return taken[:most]


def group_invalid(
    state: MasterState, tasks: Sequence[TaskInfo], *, framework: FrameworkId, agent: AgentId, left: Resources
) -> str | None:
    """Why a group cannot be launched on what is left of the accepted offers: it is valid as a whole or not at all."""
    wrong = _shape(state, tasks)
    if wrong is not None:
        return wrong
    for info in tasks:
        known = info.task in state.tasks or info.task in state.ended
        wrong = launch_invalid(info, framework=framework, agent=agent, left=left, known=known)
        if wrong is not None:
            return f"Task {info.task} is invalid: {wrong}"
        left -= taken_by(info)
    return None


def _shape(state: MasterState, tasks: Sequence[TaskInfo]) -> str | None:
    first = tasks[0].group
    assert first is not None, f"{tasks[0].task} is in no group"
    if not TASK_ID.fullmatch(first.id):
        expected = "expected 1 to 255 of [A-Za-z0-9._-], not beginning with '.'"
        return f"Task group ID {first.id[:300]!r} is invalid: {expected}"
    if first.id in state.groups:
        return f"Task group has duplicate ID: {first.id}"
    if len(tasks) != first.size or len(tasks) > group_tasks_max:
        expected = f"expected {first.size}, at most {group_tasks_max}"
        return f"Task group {first.id} has {len(tasks)} tasks in a row in the accept: {expected}"
    for index, info in enumerate(tasks):
        if info.group != msgspec.structs.replace(first, index=index):
            return f"Task {info.task} is not number {index} of task group {first.id} as the others have it"
    if len({info.task for info in tasks}) < len(tasks):
        return f"Task group {first.id} has a task twice"
    wrong = malformed(first.executor)
    if wrong is not None or first.executor.ports:
        return f"Task group {first.id} has an executor with invalid resources: {wrong or 'it has ports'}"
    size = sum(len(msgspec.msgpack.encode(info)) for info in tasks)
    return None if size <= task_bytes_max else f"Task group is {size} bytes: expected at most {task_bytes_max}"
