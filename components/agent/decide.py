"""What an agent makes of what it hears: it hands tasks and kills on to its executor, and statuses to the master.

Rule of this room: the master alone is obeyed, the own executor alone is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile

import msgspec

from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRefused,
    AgentRegistered,
    ArtifactsAwaited,
    Event,
    KillDelivered,
    KillDirected,
    RegistrationNoted,
    SandboxCollected,
    TaskDelivered,
    TaskGathered,
    TaskLaunched,
    TaskReported,
)
from bus.nouns import (
    MASTER,
    TERMINAL,
    HeldTask,
    Now,
    Position,
    Reason,
    Refusal,
    Resources,
    Source,
    TaskGroup,
    TaskId,
    TaskInfo,
    TaskState,
    TaskStatus,
    is_news,
    second,
)
from bus.secrets import SecretsAwaited, names_of
from bus.subjects import Author, Kind
from components.agent.config import AgentConfig
from components.agent.state import (
    AgentState,
    Awaiting,
    Task,
    after,
    gathered,
    held_bytes,
    knows,
    knows_group,
    weigh,
)
from components.component import Heard, Input, Say, Seen, Sight, Wake, asked, refuse, sight
from components.places import sandbox_name

live_bytes_max = 400 * 1024
"""What the live tasks may take in a registration, which is one event: 800 to 1,400 of them, by their ids."""
held_bytes_max = 480 * 1024
"""The same with ended tasks, answering a mark."""
info_bytes_max = 500 * 1024
"""A task's description: handing it on adds a few hundred bytes, and it is one event again."""
message_length_max = 4096
"""What an executor says of a status; longer is cut."""
ended_message_length_max = 200
"""The same in a registration."""
collected_at_once_max = 500
given_up_at_once_max = 100
_MASTER = Author(Kind.MASTER, MASTER)
_NEVER_SAID = (TaskState.STAGING, TaskState.UNREACHABLE, TaskState.UNKNOWN)
"""States that are not an executor's to report."""


@sight("resources.detected")
class ResourcesDetected(Sight, frozen=True):
    """What the machine has to share out."""

    resources: Resources


@sight("artifacts.fetched")
class ArtifactsFetched(Sight, frozen=True):
    """Every file a task wants is in its sandbox."""

    task: TaskId


@sight("artifacts.missed")
class ArtifactsMissed(Sight, frozen=True):
    """A file a task wants is not to be had."""

    task: TaskId
    message: str
    """Its URI, and why."""


@sight("secrets.arrived")
class SecretsArrived(Sight, frozen=True):
    """Every secret a task refers to is on this machine."""

    task: TaskId


@sight("secrets.withheld")
class SecretsWithheld(Sight, frozen=True):
    """A secret a task refers to is not to be had."""

    task: TaskId
    message: str
    """Which one, and why."""


def decide(config: AgentConfig, state: AgentState, told: Input, now: Now) -> Iterator[Say]:
    """What follows from one input."""
    match told:
        case Heard(event) if event.by == _MASTER:
            yield from _obey(config, state, event, now)
        case Heard(event) if event.by == config.executor_author:
            yield from _believe(config, state, event)
        case Heard(event) if asked(event) is not None:
            yield refuse(event, Refusal.INVALID, f"{config.id} is an agent: nothing can be requested of it")
        case Seen(ResourcesDetected(resources=resources)) if config.resources is None:
            if state.registration_due or resources != state.resources:
                yield _registration(config, state, resources)
        case Seen(ArtifactsFetched(task=task)) if task in state.awaiting and state.awaiting[task].fetching:
            yield from _fetched(config, state, state.awaiting[task], now)
        case Seen(SecretsArrived(task=task)) if task in state.awaiting and not state.awaiting[task].fetching:
            yield from _ready(config, state, state.awaiting[task], now)
        case Seen(SecretsWithheld(task=task, message=message) | ArtifactsMissed(task=task, message=message)) if (
            task in state.awaiting
        ):
            why = message[:message_length_max]
            status = _status(task, TaskState.FAILED, why, Reason.CONTAINER_LAUNCH_FAILED)
            yield from _end_early(config, state, status)
        case Wake():
            yield from _wake(config, state, now)


def wake_at(config: AgentConfig, state: AgentState) -> Now | None:
    """When to register (at once), to give up the oldest task nothing is heard of, or to collect the oldest sandbox."""
    if state.registration_due and config.resources is not None:
        return state.at
    dues = [at for at, _ in zip(state.unheard.values(), range(1), strict=False)]
    if len(state.ended) > config.ended_max:
        dues.append(state.at)
    elif state.ended:
        dues.append(_collect_at(config, next(iter(state.ended.values()))))
    return min(dues, default=None)


def _wake(config: AgentConfig, state: AgentState, now: Now) -> Iterator[Say]:
    if state.registration_due and config.resources is not None:
        yield _registration(config, state, config.resources)
    yield from _give_up(config, state, now)
    for task in _collectable(config, state, now):
        yield Say(SandboxCollected(task=task))


def _give_up(config: AgentConfig, state: AgentState, now: Now) -> Iterator[Say]:
    """Tasks of which the executor has said nothing in time have failed. (Mesos: executor_registration_timeout)

    The executor does not start them any more (`TaskDelivered.start_by`); if it did and could not say so, it kills them.
    Later tasks are handed to it as before: its process is started again and again.
    """
    late = takewhile(lambda task: state.unheard[task] <= now, list(state.unheard))
    for task in islice(late, given_up_at_once_max):
        why = f"{config.executor} did not take it within {config.executor_registration_s:g} s"
        status = _status(task, TaskState.FAILED, why, Reason.EXECUTOR_REGISTRATION_TIMEOUT)
        yield Say(KillDelivered(task=task, grace_s=0.0), to=config.executor)
        yield from _report(config, state, state.tasks[task], status)


# ---- the master --------------------------------------------------------------------------------------------------


def _obey(config: AgentConfig, state: AgentState, event: Event, now: Now) -> Iterator[Say]:
    match event.fact:
        case TaskLaunched(task=info):
            yield from _launch(config, state, info, now)
        case KillDirected(task=task, grace_s=grace_s):
            yield from _kill(config, state, task, grace_s)
        case AgentMarked(acted_n=acted_n):
            # Only who has registered can be marked, so resources are known: to an agent that still looks for them,
            # from its last term; what it finds it registers afterwards.
            resources = config.resources or state.resources
            if resources is not None:
                yield _registration(config, state, resources, Mark(event.position, acted_n))
        case AgentAdmitted():
            yield from _note(state, RegistrationNoted())
        case AgentRefused(reason=reason, message=message):
            yield from _note(state, RegistrationNoted(reason=reason, message=message))


def _note(state: AgentState, noted: RegistrationNoted) -> Iterator[Say]:
    if state.verdict != noted:
        yield Say(noted)


def _launch(config: AgentConfig, state: AgentState, info: TaskInfo, now: Now) -> Iterator[Say]:
    if info.task in state.tasks:  # it runs: what the master hears of it from now on holds for both launches
        if state.tasks[info.task].info.group != info.group:
            yield from _end_others(config, state, info, _status(info.task, TaskState.DROPPED, "it runs here already"))
        return
    refused = _unfit(config, state, info)
    if refused is not None:
        yield Say(TaskReported(status=refused), to=MASTER, trace=info.trace)
        yield from _end_others(config, state, info, refused)
    elif info.command.fetch:
        yield Say(ArtifactsAwaited(task=info), trace=info.trace)
    elif names_of(info):
        yield Say(SecretsAwaited(task=info), trace=info.trace)
    elif info.group is not None:
        yield from _gather(config, state, info, info.group, now)
    else:
        yield _deliver(config, info, now)


def _fetched(config: AgentConfig, state: AgentState, awaiting: Awaiting, now: Now) -> Iterator[Say]:
    """A task's files are here: now its secrets, which are not to lie about longer than they must."""
    info = awaiting.info
    if names_of(info):
        yield Say(SecretsAwaited(task=info), trace=info.trace, cause=awaiting.cause)
    else:
        yield from _ready(config, state, awaiting, now)


def _ready(config: AgentConfig, state: AgentState, awaiting: Awaiting, now: Now) -> Iterator[Say]:
    """Nothing of a task's own is missing: it is handed on, or waits for the rest of its group."""
    group = awaiting.info.group
    if group is None:
        yield msgspec.structs.replace(_deliver(config, awaiting.info, now), cause=awaiting.cause)
    elif not awaiting.ready:
        yield from _gather(config, state, awaiting.info, group, now)


def _gather(config: AgentConfig, state: AgentState, info: TaskInfo, group: TaskGroup, now: Now) -> Iterator[Say]:
    """One more task of a group is ready; with the last, all are handed on in one decision: all, or none."""
    yield Say(TaskGathered(task=info), trace=info.trace)
    members = gathered(state, group.id)
    if len(members) == group.size and all(one.ready for one in members):
        for one in members:
            yield msgspec.structs.replace(_deliver(config, one.info, now), cause=one.cause)


def _end_early(config: AgentConfig, state: AgentState, status: TaskStatus) -> Iterator[Say]:
    """A task ends that is not handed on, and with it those of its group. (Mesos: `slave.cpp`, pending task groups)"""
    task = state.tasks[status.task]
    yield from _report(config, state, task, status)
    yield from _end_others(config, state, task.info, status)


def _end_others(config: AgentConfig, state: AgentState, info: TaskInfo, status: TaskStatus) -> Iterator[Say]:
    for other in gathered(state, info.group.id) if info.group is not None else ():
        why = f"{info.task} of its group ended as {status.state}: {status.message}"[:message_length_max]
        killed = _status(other.info.task, TaskState.KILLED, why, Reason.TASK_KILLED_DURING_LAUNCH)
        yield from _report(config, state, state.tasks[other.info.task], killed)


def _deliver(config: AgentConfig, info: TaskInfo, now: Now) -> Say:
    sandbox = f"{config.work}/sandboxes/{sandbox_name(info.task)}"
    start_by = after(now, config.executor_registration_s)
    delivered = TaskDelivered(task=info, executor=config.executor, sandbox=sandbox, start_by=start_by)
    return Say(delivered, to=config.executor, trace=info.trace)


def _unfit(config: AgentConfig, state: AgentState, info: TaskInfo) -> TaskStatus | None:
    """Why a launched task is not handed on, if so."""
    if knows(state, info.task):
        return _status(info.task, TaskState.DROPPED, f"{config.id} had a task of this id before, and keeps its files")
    group = info.group
    if group is not None and not group.index and knows_group(state, group.id):
        why = f"{config.id} had a group {group.id} before, and keeps its files"
        return _status(info.task, TaskState.DROPPED, why)
    if group is not None and len(gathered(state, group.id)) != group.index:
        why = f"those of its group {group.id} that were launched before it have ended"
        return _status(info.task, TaskState.KILLED, why, Reason.TASK_KILLED_DURING_LAUNCH)
    size = len(msgspec.msgpack.encode(info))
    if size > info_bytes_max:
        why = f"its description is {size} bytes, at most {info_bytes_max} can be handed to an executor"
        return _status(info.task, TaskState.ERROR, why, Reason.TASK_INVALID)
    if state.weight + weigh(info) > live_bytes_max:
        why = f"{config.id} has {len(state.tasks)} tasks, and a list with one more would not fit into its registration"
        return _status(info.task, TaskState.DROPPED, why)
    return None


def _kill(config: AgentConfig, state: AgentState, task: TaskId, grace_s: float | None) -> Iterator[Say]:
    """Each kill has one answer. Of an ended task it is the end again: the master passes over what it knows."""
    if task in state.awaiting:
        what = "files" if state.awaiting[task].fetching else "secrets"
        why = f"killed before its {what} were here"
        status = _status(task, TaskState.KILLED, why, Reason.TASK_KILLED_DURING_LAUNCH)
        yield from _end_early(config, state, status)
        return
    if task in state.tasks:
        yield Say(KillDelivered(task=task, grace_s=grace_s), to=config.executor)
        return
    ended = state.ended.get(task)
    why = f"{config.id} has collected it" if task in state.collected else f"{config.id} has no such task"
    status = ended.status if ended else _status(task, TaskState.GONE, why)
    yield Say(TaskReported(status=status), to=MASTER)


def _status(task: TaskId, state: TaskState, message: str, reason: Reason | None = None) -> TaskStatus:
    return TaskStatus(task=task, state=state, source=Source.AGENT, reason=reason, message=message)


# ---- the executor ------------------------------------------------------------------------------------------------


def _believe(config: AgentConfig, state: AgentState, event: Event) -> Iterator[Say]:
    if not isinstance(event.fact, TaskReported):
        return
    task = state.tasks.get(event.fact.status.task)
    status = _legal(task, event.fact.status) if task is not None else None
    if task is None or status is None:
        return
    yield from _report(config, state, task, status)


def _report(config: AgentConfig, state: AgentState, task: Task, status: TaskStatus) -> Iterator[Say]:
    yield Say(TaskReported(status=status), to=MASTER, trace=task.info.trace)
    # What the tasks hold is all that can make a refused registration acceptable; nothing else is worth another try.
    below = state.verdict is not None and state.verdict.reason is Refusal.BELOW_HELD
    resources = config.resources or state.resources
    if below and status.state in TERMINAL and resources is not None:
        yield _registration(config, state, resources)


def _legal(task: Task, status: TaskStatus) -> TaskStatus | None:
    """The status to report; None if it is old, or not an executor's to say."""
    status = msgspec.structs.replace(status, message=status.message[:message_length_max])
    if status.state in _NEVER_SAID:
        return None
    if is_news(task.status, status):
        return status
    if status.state not in TERMINAL:
        return None
    # An end is an end, even one the table does not know from here (an error after it started): it must not be lost.
    message = f"{status.state} after {task.status.state}: {status.message}"
    return msgspec.structs.replace(status, state=TaskState.FAILED, message=message)


# ---- registrations -----------------------------------------------------------------------------------------------


class Mark(msgspec.Struct, frozen=True):
    """The agent.marked that a registration answers."""

    position: Position
    acted_n: int


def _registration(config: AgentConfig, state: AgentState, resources: Resources, mark: Mark | None = None) -> Say:
    ended = _unacted(state, mark.acted_n) if mark else []
    fact = AgentRegistered(
        hostname=config.hostname,
        resources=resources,
        attributes=dict(config.attributes),
        tasks=(*(_held(task, 0) for task in state.tasks.values()), *ended),
        answers=mark.position if mark else None,
        key=config.key,
        role=config.role,
        region=config.region,
        zone=config.zone,
    )
    return Say(fact, to=MASTER)


def _unacted(state: AgentState, acted_n: int) -> list[HeldTask]:
    """The ended tasks whose final report the master has not acted on, in the order they ended.

    As many of the newest as fit: of the others the master learns that they are gone.
    """
    held: list[HeldTask] = []
    room = held_bytes_max - state.weight
    for task in reversed(state.ended.values()):
        entry = _held(task, ended_message_length_max)
        room -= held_bytes(entry)
        if task.reported_n <= acted_n or room < 0:
            break
        held.append(entry)
    return held[::-1]


def _held(task: Task, message_length: int) -> HeldTask:
    status = msgspec.structs.replace(task.status, message=task.status.message[:message_length])
    return HeldTask(info=task.info, status=status)


# ---- sandboxes ---------------------------------------------------------------------------------------------------


def _collectable(config: AgentConfig, state: AgentState, now: Now) -> list[TaskId]:
    """Ended tasks whose time is over, and the oldest of too many.

    What is forgotten here cannot be told again in answer to a mark. That is no loss: an end the master has not acted
    on belongs to a task in the master's books, launched before the mark. Those are no more than an agent takes at
    once (`live_bytes_max`, about `ended_max`), and the newest `ended_max` stay; a gc delay of days outlasts any mark.
    """
    too_many = len(state.ended) - config.ended_max
    oldest = enumerate(islice(state.ended.items(), collected_at_once_max))
    due = takewhile(lambda each: each[0] < too_many or _collect_at(config, each[1][1]) <= now, oldest)
    return [name for _, (name, _) in due]


def _collect_at(config: AgentConfig, task: Task) -> Now:
    return Now(task.since + round(config.sandbox_gc_s * second))
