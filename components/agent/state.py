"""What an agent remembers: the tasks it has, those that ended, and how it stands with the master.

Rule of this room: only `fold` touches; it knows no configuration, so any process that can read an agent's log can
rebuild its state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from bus.events import (
    AgentRegistered,
    AgentStarted,
    ArtifactsAwaited,
    Event,
    RegistrationNoted,
    SandboxCollected,
    TaskDelivered,
    TaskGathered,
    TaskReported,
)
from bus.nouns import (
    TERMINAL,
    Command,
    HeldTask,
    Now,
    Position,
    Reason,
    Resources,
    Source,
    TaskGroupId,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    is_news,
    second,
)
from bus.secrets import SecretsAwaited
from components.component import Entry, State

believed_s = 5
"""So long after the last moment at which the executor would start a task, its word that it did may be on the way."""
hear_first_s = 60
"""So long after an agent's start no task is given up: what the executor said meanwhile may not be heard yet."""
collected_max = 1000
"""Ids of collected tasks that are remembered, to tell "collected" from "never had"."""


class Task(Entry):
    """A task of this agent: who it is, and the last that was reported of it."""

    info: TaskInfo
    """As `slim` leaves it. (Mesos' `Task`, by which an agent registers, carries no command either)"""
    status: TaskStatus
    since: Now
    launched_at: Now
    weight: int
    """The most bytes it can take in a registration while it lives."""
    reported_n: int = 0
    """The number in the agent's log of the event that reported this status; 0: none has."""


@dataclass(slots=True, kw_only=True)
class Awaiting:
    """A task that is handed on once its files and its secrets are here, and all of its group."""

    info: TaskInfo
    """All of it."""
    cause: Position | None
    """What launched it."""
    fetching: bool = False
    """The files it wants are not here; its secrets are asked for afterwards."""
    ready: bool = False
    """Nothing of its own is missing: it waits for others of its group."""


@dataclass(slots=True, kw_only=True)
class AgentState(State):
    """Everything an agent remembers."""

    registration_due: bool = False
    """A term began and its registration is not yet said."""
    resources: Resources | None = None
    """As last registered."""
    verdict: RegistrationNoted | None = None
    """What the master made of the last registration; None: the answer is still to come."""
    tasks: dict[TaskId, Task] = field(default_factory=dict)
    """The live ones, oldest first."""
    ended: dict[TaskId, Task] = field(default_factory=dict)
    """Those whose sandboxes are kept, in the order they ended."""
    collected: dict[TaskId, Now] = field(default_factory=dict)
    """The latest whose sandboxes were given up, oldest first."""
    awaiting: dict[TaskId, Awaiting] = field(default_factory=dict)
    """Of the live tasks, those that are not handed on yet: their files or secrets are not here, or the rest of their
    group.
    """
    unheard: dict[TaskId, Now] = field(default_factory=dict)
    """Tasks of which the executor has said nothing yet, oldest first, and when each is given up."""
    weight: int = 0
    """The sum of the live tasks' weights."""


def start() -> AgentState:
    """The state before the first event."""
    return AgentState()


def fold(state: AgentState, event: Event) -> None:
    """Fold one event of the agent's own log."""
    match event.fact:
        case AgentStarted():
            state.registration_due = True
            state.unheard = {task: max(at, after(event.at, hear_first_s)) for task, at in state.unheard.items()}
        case AgentRegistered(resources=resources):
            state.registration_due, state.resources, state.verdict = False, resources, None
        case RegistrationNoted() as noted:
            state.verdict = noted
        case ArtifactsAwaited(task=info):
            _await(state, event, info).fetching = True
        case SecretsAwaited(task=info):
            _await(state, event, info).fetching = False
        case TaskGathered(task=info):
            awaiting = _await(state, event, info)
            awaiting.fetching, awaiting.ready = False, True
        case TaskDelivered() as delivered:
            _deliver(state, event, delivered)
        case TaskReported(status=status):
            _report(state, event, status)
        case SandboxCollected(task=task):
            _collect(state, event, task)


def after(at: Now, seconds: float) -> Now:
    """A moment so many seconds later."""
    return Now(at + round(seconds * second))


def _await(state: AgentState, event: Event, info: TaskInfo) -> Awaiting:
    """What is missing of a task; it is taken on if it was not before."""
    if info.task not in state.awaiting:
        _take(state, event, info)
        state.awaiting[info.task] = Awaiting(info=info, cause=event.cause)
    return state.awaiting[info.task]


def _deliver(state: AgentState, event: Event, delivered: TaskDelivered) -> None:
    info = delivered.task
    if state.awaiting.pop(info.task, None) is None:
        _take(state, event, info)
    if delivered.start_by is not None:
        state.unheard[info.task] = after(delivered.start_by, believed_s)


def _take(state: AgentState, event: Event, info: TaskInfo) -> None:
    assert not knows(state, info.task), f"{info.task} is launched twice, #{event.n}"
    status = TaskStatus(task=info.task, state=TaskState.STAGING, source=Source.MASTER)
    kept = slim(info)
    task = Task(info=kept, status=status, since=event.at, launched_at=event.at, weight=weigh(info))
    state.tasks[info.task] = task
    state.weight += task.weight


def _report(state: AgentState, event: Event, status: TaskStatus) -> None:
    task = state.tasks.get(status.task)
    if task is None:
        return  # the answer to a launch that was turned away, or to a kill of a task that had ended: nothing changes
    assert is_news(task.status, status), f"{status.task}: {task.status.state} -> {status.state}, #{event.n}"
    task.status, task.since, task.reported_n = status, event.at, event.n
    state.unheard.pop(status.task, None)
    state.awaiting.pop(status.task, None)
    if status.state in TERMINAL:
        state.ended[status.task] = state.tasks.pop(status.task)
        state.weight -= task.weight


def _collect(state: AgentState, event: Event, task: TaskId) -> None:
    assert task in state.ended, f"{task} is collected but has not ended, #{event.n}"
    del state.ended[task]
    while len(state.collected) >= collected_max:
        del state.collected[next(iter(state.collected))]
    state.collected[task] = event.at


def knows(state: AgentState, task: TaskId) -> bool:
    """Whether this agent has the task, had it, or remembers that it collected it."""
    return task in state.tasks or task in state.ended or task in state.collected


def gathered(state: AgentState, group: TaskGroupId) -> list[Awaiting]:
    """The tasks of a group that are not handed on yet."""
    return [one for one in state.awaiting.values() if one.info.group is not None and one.info.group.id == group]


def knows_group(state: AgentState, group: TaskGroupId) -> bool:
    """Whether this agent has, or keeps the sandbox of, a task of the group."""
    tasks = (*state.tasks.values(), *state.ended.values())
    return any(task.info.group is not None and task.info.group.id == group for task in tasks)


def slim(info: TaskInfo) -> TaskInfo:
    """What an agent keeps of a task that is handed on: the rest its executor has, and the master."""
    return msgspec.structs.replace(
        info,
        command=Command(),
        labels={},
        hostname="",
        ports=(),
        health=None,
        check=None,
        watched=(),
        readiness=None,
        volumes=(),
    )


_longest_state, _longest_source = max(TaskState, key=len), max(Source, key=len)


def weigh(info: TaskInfo) -> int:
    """The most bytes a live task takes in a registration: with the longest status there is, the message aside."""
    longest = TaskStatus(
        task=info.task,
        state=_longest_state,
        source=_longest_source,
        reason=Reason.EXECUTOR_REGISTRATION_TIMEOUT,
        exit_status=255,
        signal=255,
    )
    if info.health is not None or info.check is not None:
        health = Reason.TASK_HEALTH_CHECK_STATUS_UPDATED
        longest = msgspec.structs.replace(longest, reason=health, healthy=False, failures=2**31, checked=2**31)
    return held_bytes(HeldTask(info=slim(info), status=longest))


def held_bytes(held: HeldTask) -> int:
    """The bytes a task takes in a registration."""
    return len(msgspec.msgpack.encode(held))


def check(state: AgentState) -> None:
    """Each task is in one place, in the state that belongs there, and the weights add up."""
    assert state.weight == sum(task.weight for task in state.tasks.values()), f"weight {state.weight}"
    before = Now(0)
    for name, task in state.ended.items():
        assert task.status.state in TERMINAL, f"{name} is {task.status.state} and ended"
        assert name not in state.tasks, f"{name} lives and ended"
        assert before <= task.since, f"{name} ended before the one before it"
        assert 0 < task.reported_n <= state.n, f"{name} was reported as event {task.reported_n} of {state.n}"
        before = task.since
    for name, task in state.tasks.items():
        assert task.status.state not in TERMINAL, f"{name} is {task.status.state} and lives"
        assert name not in state.collected, f"{name} lives and is collected"
    assert len(state.collected) <= collected_max
    for name in state.awaiting:
        assert state.tasks[name].status.state is TaskState.STAGING, f"{name} is {state.tasks[name]} and kept back"
        assert name not in state.unheard, f"{name} is delivered and awaits secrets"
    for name in state.unheard:
        assert state.tasks[name].status.state is TaskState.STAGING, f"{name} is {state.tasks[name]} and unheard of"
