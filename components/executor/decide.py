"""What an executor makes of deliveries, kills, time and what its hands see.

    STARTING ─► RUNNING ─► KILLING ─► FINISHED | FAILED | KILLED

Rule of this room: STARTING is said before anything is started, so whoever reads the log knows what may be running. The
agent hears it only of a task that is slow to start, or is killed before it runs. (Mesos: `src/launcher/executor.cpp`)
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from bus.events import Event, KillDelivered, TaskDelivered, TaskReported
from bus.nouns import NOBODY, Now, Reason, Refusal, Source, TaskId, TaskState, TaskStatus
from bus.port import batch_events_max
from components.component import Heard, Input, Say, Seen, Wake, refuse
from components.executor.checks import found, looked_at, say, say_killing
from components.executor.config import ExecutorConfig
from components.executor.groups import broken_by, kill_rest
from components.executor.sights import CheckFound, HealthSeen, LaunchFailed, TaskEnded, TaskStarted
from components.executor.state import ExecutorState, Task, after

at_once_max = batch_events_max // 3
"""Tasks that are told of, and others that are killed, in one decision: of each up to one event and two."""
LOST = "exit status unknown"
_NAMES = """
HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ
VTALRM PROF WINCH IO PWR SYS
"""
SIGNALS = {number: f"SIG{name}" for number, name in enumerate(_NAMES.split(), start=1)}
"""Signals by number. (Linux: signal(7), x86 and ARM)"""


def decide(config: ExecutorConfig, state: ExecutorState, told: Input, now: Now) -> Iterator[Say]:
    """The executor's mind."""
    match told:
        case Heard(event):
            yield from _hear(config, state, event, now)
        case Seen(TaskStarted() | TaskEnded() | LaunchFailed() as sight) if sight.task in state.tasks:
            task = state.tasks[sight.task]
            yield from _see(task, sight, config)
            yield from kill_rest(config, state, task.delivered.task.group, now)
        case Seen(HealthSeen() as sight) if sight.task in state.tasks:
            yield from found(config, state.tasks[sight.task], sight, now)
        case Seen(CheckFound() as sight) if sight.task in state.tasks:
            yield from looked_at(config, state.tasks[sight.task], sight)
        case Wake():
            yield from _tell_of_slow(config, state, now)
            yield from _overdue(config, state, now)
        case _:
            pass  # an old sight of a task that has ended


def _hear(config: ExecutorConfig, state: ExecutorState, event: Event, now: Now) -> Iterator[Say]:
    match event.fact:
        case TaskDelivered() | KillDelivered() if event.by != config.listens_to:
            yield refuse(event, Refusal.INVALID, f"{config.id} takes tasks and kills from {config.listens_to} only")
        case TaskDelivered() as delivered if delivered.executor != config.id:
            yield refuse(event, Refusal.INVALID, f"delivered to {config.id}, but for {delivered.executor}")
        case TaskDelivered() as delivered:
            yield from _deliver(config, state, delivered, now)
        case KillDelivered(task=name, grace_s=grace_s):
            yield from _kill(config, state, name, grace_s, now)
        case _:
            pass  # refusals and complaints: nothing an executor says needs an answer


def _deliver(config: ExecutorConfig, state: ExecutorState, delivered: TaskDelivered, now: Now) -> Iterator[Say]:
    """A new task is started, unless it comes too late; one we know is told about again, in case the agent forgot."""
    name = delivered.task.task
    if name in state.tasks:
        task = state.tasks[name]
        yield say(config, task, TaskReported(status=task.status, kill_at=task.kill_at))
    elif name in state.ended:
        yield Say(TaskReported(status=state.ended[name]), to=config.agent, trace=delivered.task.trace)
    elif delivered.start_by is not None and now >= delivered.start_by:
        status = _too_late(name, now - delivered.start_by)
        yield from _turn_away(config, state, delivered, status, now)
    elif (broken := broken_by(state, delivered.task.group)) is not None:
        yield from _turn_away(config, state, delivered, _never(name, broken), now)
    else:
        status = TaskStatus(task=name, state=TaskState.STARTING, source=Source.EXECUTOR)
        yield Say(TaskReported(status=status, delivered=delivered), trace=delivered.task.trace)


def _turn_away(
    config: ExecutorConfig, state: ExecutorState, delivered: TaskDelivered, status: TaskStatus, now: Now
) -> Iterator[Say]:
    """A task is not started; nor is, or stays, the rest of its group, and so the log says which one it was."""
    group = delivered.task.group
    reported = TaskReported(status=status, delivered=delivered if group is not None else None)
    yield Say(reported, to=config.agent, trace=delivered.task.trace)
    yield from kill_rest(config, state, group, now)


def _kill(config: ExecutorConfig, state: ExecutorState, name: TaskId, grace_s: float | None, now: Now) -> Iterator[Say]:
    """A live task gets its grace, which another kill can only shorten; one never delivered is dead from now on."""
    task = state.tasks.get(name)
    if task is None:
        if name not in state.ended:
            yield Say(TaskReported(status=_never(name, "killed before it was delivered")), to=config.agent)
        return
    kill_at = after(now, task.delivered.task.kill_grace_s if grace_s is None else grace_s)
    if task.kill_at is None:
        status = TaskStatus(task=name, state=TaskState.KILLING, source=Source.EXECUTOR)
        yield from say_killing(config, task, TaskReported(status=status, kill_at=kill_at))
    elif kill_at < task.kill_at:
        # a new deadline is no new status: it is for our own log, the agent need not hear it
        yield say(config, task, TaskReported(status=task.status, kill_at=kill_at), to=NOBODY)


def _tell_of_slow(config: ExecutorConfig, state: ExecutorState, now: Now) -> Iterator[Say]:
    """Tasks that take long to start are told of, so that the agent does not give them up; a batch at a time."""
    for name in [name for at, name in islice(state.untold, at_once_max) if at <= now]:
        yield say(config, state.tasks[name], TaskReported(status=state.tasks[name].status))


def _overdue(config: ExecutorConfig, state: ExecutorState, now: Now) -> Iterator[Say]:
    """Tasks that had their max_completion_s are killed without grace; a batch at a time."""
    names = [name for at, name in islice(state.due, at_once_max) if at <= now]
    for name in names:
        status = TaskStatus(
            task=name,
            state=TaskState.KILLING,
            source=Source.EXECUTOR,
            reason=Reason.MAX_COMPLETION_TIME_REACHED,
        )
        yield from say_killing(config, state.tasks[name], TaskReported(status=status, kill_at=now))


def _see(task: Task, sight: TaskStarted | TaskEnded | LaunchFailed, config: ExecutorConfig) -> Iterator[Say]:
    match sight:
        case TaskStarted(pid=pid):
            if task.status.state is TaskState.STARTING:
                status = TaskStatus(
                    task=sight.task, state=TaskState.RUNNING, source=Source.EXECUTOR, message=f"pid {pid}"
                )
                yield say(config, task, TaskReported(status=status))
        case TaskEnded(wait_status=wait_status, stopped=stopped):
            yield say(config, task, TaskReported(status=_ended(task, wait_status, stopped)))
        case LaunchFailed(message=message):
            yield say(config, task, TaskReported(status=_failed(task, message)))


def _ended(task: Task, wait_status: int | None, stopped: bool) -> TaskStatus:
    """How a task ended. Killed is killed, whatever the exit code; out of time is failed, unless it ended well.

    What ended because everything on the agent did was killed, too: it says nothing about the task. (Mesos: `shutdown`)
    """
    name, killing = task.status.task, task.status.state is TaskState.KILLING
    exit_status, signal, message = told_by_wait(wait_status)
    state, reason = TaskState.FINISHED if exit_status == 0 else TaskState.FAILED, None
    if killing and task.status.reason is None:
        state = TaskState.KILLED
        message = f"{message}; {task.status.message}" if task.status.message else message
    elif killing and task.status.healthy is False:
        state, reason = TaskState.KILLED, task.status.reason
        message = f"{message}; it was killed as unhealthy: {task.status.message}"
    elif killing and state is TaskState.FAILED:
        reason, message = (
            task.status.reason,
            f"{message}; max_completion_s was {task.delivered.task.max_completion_s:g}",
        )
    elif stopped:
        state, reason, message = TaskState.KILLED, Reason.EXECUTOR_TERMINATED, f"{message}; everything here was stopped"
    elif wait_status is None:
        reason = Reason.EXECUTOR_TERMINATED
    return TaskStatus(
        task=name,
        state=state,
        source=Source.EXECUTOR,
        reason=reason,
        message=message,
        exit_status=exit_status,
        signal=signal,
        healthy=task.status.healthy if killing else None,
        failures=task.status.failures if killing else 0,
    )


def told_by_wait(wait_status: int | None) -> tuple[int | None, int | None, str]:
    """Exit code, signal number and words of a raw wait status. (wait(2))"""
    if wait_status is None:
        return None, None, LOST
    number = wait_status & 0x7F
    if number == 0:
        code = wait_status >> 8 & 0xFF
        return code, None, f"Command exited with status {code}"
    return None, number, f"Command terminated with signal {SIGNALS.get(number, number)}"


def _failed(task: Task, message: str) -> TaskStatus:
    """A task that never was."""
    why = task.status.reason
    if task.status.state is TaskState.KILLING and why is None:
        return _never(task.status.task, message)
    return TaskStatus(
        task=task.status.task,
        state=TaskState.FAILED,
        source=Source.EXECUTOR,
        reason=why or Reason.CONTAINER_LAUNCH_FAILED,
        message=message,
    )


def _never(name: TaskId, message: str) -> TaskStatus:
    return TaskStatus(
        task=name,
        state=TaskState.KILLED,
        source=Source.EXECUTOR,
        reason=Reason.TASK_KILLED_DURING_LAUNCH,
        message=message,
    )


def _too_late(name: TaskId, late_us: int) -> TaskStatus:
    """A task that its agent has given up meanwhile, or is about to: a second copy may run elsewhere already."""
    return TaskStatus(
        task=name,
        state=TaskState.FAILED,
        source=Source.EXECUTOR,
        reason=Reason.EXECUTOR_REGISTRATION_TIMEOUT,
        message=f"it was not started: the executor heard of it {late_us // 1000} ms too late",
    )
