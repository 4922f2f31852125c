"""What is said about tasks that were launched: reports, kills, reconciliation.

Rule of this room: an agent is believed about the tasks it was given, a framework is obeyed about its own; each change
of a status is said once, an answer to a question as often as it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from bus.events import Event, KillDirected, KillRequested, TaskReconciled, TaskUpdated
from bus.nouns import TERMINAL, FrameworkId, Now, Reason, Refusal, Source, TaskId, TaskState, TaskStatus, is_news
from components.component import Say, refuse
from components.master.books import returning
from components.master.state import Agent, Framework, MasterState, Task
from components.master.validity import not_seconds

reason_length_max = 500
answers_max = 600
"""Answers of one reconciliation that one decision holds."""
NOT_AN_AGENTS = frozenset({TaskState.STAGING, TaskState.UNREACHABLE, TaskState.UNKNOWN})
"""States that are not an agent's to report."""
ALIVE = frozenset({TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING})


def updated(task: Task, status: TaskStatus, *, acted_n: int = 0, unreachable_since: Now | None = None) -> Say:
    """A task's framework is told its new status."""
    info = task.info
    fact = TaskUpdated(
        framework=info.framework,
        status=status,
        agent=info.agent,
        unreachable_since=unreachable_since,
        acted_n=acted_n,
    )
    return Say(fact, to=info.framework, trace=info.trace)


def believable(task: Task, status: TaskStatus) -> bool:
    """Whether a status is news of the task, and the agent's to say."""
    return is_news(task.status, status) and status.state not in NOT_AN_AGENTS


def from_agent(task: Task, status: TaskStatus) -> TaskStatus:
    """The status as an agent may say it: never in the master's name; and why, where the master is who had it killed."""
    if status.source is Source.MASTER:
        status = msgspec.structs.replace(status, source=Source.AGENT)
    if task.abandoned and status.state is TaskState.KILLED:
        status = msgspec.structs.replace(status, reason=Reason.FRAMEWORK_REMOVED)
    return status


# ---- reports -----------------------------------------------------------------------------------------------------


def hear_report(state: MasterState, agent: Agent, event: Event, status: TaskStatus) -> Iterator[Say]:
    """A status is passed on once: an old one, or one that cannot follow, is no news."""
    task = given_to(state, agent, status.task)
    if task is None:
        if status.state in ALIVE:
            yield kill_stray(state, agent, status.task)
    elif believable(task, status) and _has_room(state, agent, task, status):
        yield updated(task, from_agent(task, status), acted_n=event.n)


def _has_room(state: MasterState, agent: Agent, task: Task, status: TaskStatus) -> bool:
    """Whether a task that was UNREACHABLE can hold its resources again; if not, it waits for a registration."""
    returns = not task.holds and status.state not in TERMINAL
    return not returns or agent.free.covers(returning(state, task))


def given_to(state: MasterState, agent: Agent, name: TaskId) -> Task | None:
    """A task that has not ended, if the agent was given it.

    One that an agent has alive without it is killed there. Mesos adopts such tasks, because its master forgets; ours
    has its whole log, so a task it does not know has ended for it, or was never its own.
    """
    task = state.tasks.get(name)
    return task if task is not None and task.info.agent == agent.agent else None


# ---- kills -------------------------------------------------------------------------------------------------------


def hear_kill(state: MasterState, framework: Framework, event: Event, fact: KillRequested) -> Iterator[Say]:
    """The task's agent is to kill it; of a task that has ended or is not known the framework is told what is known."""
    task = state.tasks.get(fact.task) or state.ended.get(fact.task)
    wrong = None if fact.grace_s is None else not_seconds("grace_s", fact.grace_s)
    if wrong is not None:
        yield refuse(event, Refusal.INVALID, wrong)
    elif task is not None and task.info.framework != framework.framework:
        yield refuse(event, Refusal.NOT_FOUND, f"{fact.task} is not a task of {framework.framework}'s")
    elif fact.group and task is not None and task.info.group is not None and task.info.group.id in state.groups:
        for name in list(state.groups[task.info.group.id]):
            yield direct_kill(state.tasks[name], fact.grace_s, event, reason=fact.reason)
    elif fact.task in state.tasks:
        yield direct_kill(state.tasks[fact.task], fact.grace_s, event, reason=fact.reason)
    else:
        yield what_is_known(state, framework.framework, fact.task)


def direct_kill(task: Task, grace_s: float | None, because: Event | None = None, *, reason: str = "") -> Say:
    """The task's agent is told to kill it. Its inbox keeps that until it hears it, be it unreachable now."""
    trace = because.trace if because is not None else None
    fact = KillDirected(task=task.info.task, grace_s=grace_s, reason=reason[:reason_length_max])
    return Say(fact, to=task.info.agent, trace=trace or task.info.trace)


def kill_stray(state: MasterState, agent: Agent, name: TaskId) -> Say:
    """An agent has a task alive that it was not given, or that has ended for everybody else: it is to kill it."""
    ended, elsewhere = state.ended.get(name), state.tasks.get(name)
    if elsewhere is not None:
        why = f"it is {elsewhere.info.agent}'s, and survives there"
    elif ended is not None and ended.info.agent == agent.agent:
        why = f"it ended as {ended.status.state}, and its framework was told so"
    else:
        why = f"the master knows of no such task on {agent.agent}"
    return Say(KillDirected(task=name, reason=why), to=agent.agent)


# ---- reconciliation ----------------------------------------------------------------------------------------------


def hear_reconcile(state: MasterState, framework: Framework, fact: TaskReconciled) -> Iterator[Say]:
    """Answer for each task asked about; if none is named, for all the framework has. (Mesos: `Master::reconcile`)"""
    name = framework.framework
    asked = list(dict.fromkeys(fact.tasks))
    rest = tuple(asked[answers_max:])
    if not asked:
        asked = sorted(framework.task_ids)
        if len(asked) > answers_max:
            yield Say(TaskReconciled(framework=name))
    yield from _answers(state, name, asked)
    if rest:
        yield Say(TaskReconciled(framework=name, tasks=rest))


def go_on_answering(state: MasterState) -> Iterator[Say]:
    """Answer more of what was asked and not answered yet."""
    framework, asked = next(iter(state.reconciling.items()))
    yield from _answers(state, framework, sorted(asked))


def _answers(state: MasterState, framework: FrameworkId, asked: Iterable[TaskId]) -> Iterator[Say]:
    for task in islice(asked, answers_max):
        yield what_is_known(state, framework, task)


def what_is_known(state: MasterState, framework: FrameworkId, name: TaskId) -> Say:
    """What is known of a task, in the master's own name. A task that is not this framework's is unknown to it."""
    task = state.tasks.get(name) or state.ended.get(name)
    if task is None or task.info.framework != framework:
        status = TaskStatus(task=name, state=TaskState.UNKNOWN, source=Source.MASTER, reason=Reason.RECONCILIATION)
        return Say(TaskUpdated(framework=framework, status=status), to=framework)
    status = msgspec.structs.replace(task.status, source=Source.MASTER, reason=Reason.RECONCILIATION, message="")
    return updated(task, status, unreachable_since=task.unreachable_since)
