"""How agents come, go and come back.

An agent hears what the master says in the order it was said, and never loses what it heard: it too rebuilds from its
log. So a task that the master gave an agent and that the agent does not list has either ended there with a report
that the master is still to hear, or is still on its way to the agent, or the agent has lost its memory. Reports lie in
front of the registration, so the first cannot be. To tell the other two apart the master must know that the agent
has heard the launch. Positions do not tell: the master does not know where its own events lie while it folds them.
Numbers of its own log do: whoever reports a task, lists it, or answers a mark has heard everything that the master
said before that launch or mark (`Agent.known_n`). A task launched up to there and not listed is gone; a later one is
on its way and will be reported. Nothing is launched on an unreachable agent, so an answer to a mark tells of all.

Rule of this room: an unreachable agent is not acted on until it answers its mark.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRefused,
    AgentRegistered,
    Event,
    TaskReported,
)
from bus.nouns import (
    TERMINAL,
    AgentId,
    FrameworkId,
    Reason,
    Refusal,
    Rescinded,
    Source,
    TaskId,
    TaskState,
    TaskStatus,
)
from components.component import Say
from components.master.books import held_by
from components.master.offers import rescind
from components.master.state import Agent, MasterState, Task
from components.master.tasks import (
    ALIVE,
    believable,
    direct_kill,
    from_agent,
    given_to,
    hear_report,
    kill_stray,
    updated,
)
from components.master.validity import BUILT_IN, agent_invalid, reserved

updates_max = 600
"""Updates about one agent's tasks that one decision holds."""
kills_max = 100
"""Kills that follow from one registration. What lives beyond them is killed at its next report or registration."""
changes_bytes_max = 400 * 1024
"""Changes that one admission tells. What is lost beyond them is found at the next registration."""


def hear_agent(state: MasterState, event: Event) -> Iterator[Say]:
    """An agent registers, or reports a task's status."""
    name = AgentId(event.by.id)
    agent = state.agents.get(name)
    match event.fact:
        case AgentRegistered() if agent is not None and event.n <= agent.acted_n:
            return  # a replay: the list is of tasks it had before what the master has acted on
        case AgentRegistered() as fact if agent is None or agent.active or _answers(agent, fact):
            yield from _register(state, name, agent, event, fact)
        case AgentRegistered() if agent is not None and agent.answered:
            yield mark(agent, "its last answer to a mark was refused; it is to answer again")
        case TaskReported(status=status) if agent is not None and agent.active:
            yield from hear_report(state, agent, event, status)


def _answers(agent: Agent, fact: AgentRegistered) -> bool:
    """Whether a registration answers the agent's latest mark.

    That lies behind what the master had heard when it said it; the answer to every earlier mark, which is behind that
    mark itself, lies before. So the position in the registration is the latest mark's if it is behind.
    """
    return fact.answers is not None and fact.answers > agent.marked_heard


# ---- registrations -----------------------------------------------------------------------------------------------


def _register(
    state: MasterState, name: AgentId, agent: Agent | None, event: Event, fact: AgentRegistered
) -> Iterator[Say]:
    refused = _refusal(state, name, agent, fact)
    if refused is not None:
        yield Say(refused, to=name)
        return
    if agent is not None:
        yield from rescind(state, agent.offer_ids, Rescinded.AGENT_REREGISTERED)
    admitted = AgentAdmitted(
        agent=name,
        hostname=fact.hostname,
        resources=fact.resources,
        attributes=fact.attributes,
        acted_n=event.n,
        changes=_fitting(_changes(state, agent, fact)) if agent is not None else (),
        key=fact.key,
        role=fact.role,
        region=fact.region,
        zone=fact.zone,
    )
    yield Say(admitted, to=name)
    agent = state.agents[name]
    yield from say_changes(state, agent)
    yield from islice(_kills(state, agent, fact), kills_max)


def _refusal(state: MasterState, name: AgentId, agent: Agent | None, fact: AgentRegistered) -> AgentRefused | None:
    if reserved(name) or name in BUILT_IN or FrameworkId(name) in state.frameworks:
        taken = f"{name} is, or may become, the id of something that is no agent"
        return AgentRefused(agent=name, reason=Refusal.ID_TAKEN, message=taken)
    wrong = agent_invalid(fact)
    if wrong is not None:
        return AgentRefused(agent=name, reason=Refusal.INVALID, message=wrong)
    held = held_by(_staying(state, agent, fact)) if agent is not None else None
    if held is not None and not fact.resources.covers(held):
        message = f"{name} registered with {fact.resources}, less than its tasks hold: {held}"
        return AgentRefused(agent=name, reason=Refusal.BELOW_HELD, message=message)
    return None


def _staying(state: MasterState, agent: Agent, fact: AgentRegistered) -> Iterator[Task]:
    """The tasks that hold resources of the agent once it is admitted."""
    yield from (state.tasks[task] for task in sorted(agent.task_ids))
    for held in fact.tasks:
        if held.info.task in agent.lost_ids and held.status.state not in TERMINAL:
            yield state.tasks[held.info.task]


def _changes(state: MasterState, agent: Agent, fact: AgentRegistered) -> Iterator[TaskStatus]:
    """What an agent's list of tasks says that the master did not know."""
    listed = {held.info.task: held.status for held in fact.tasks}
    heard_n = _heard_n(state, agent, listed)
    for name in sorted(agent.task_ids | agent.lost_ids):
        task, told = state.tasks[name], listed.get(name)
        if told is None:
            if task.launched_n <= heard_n:
                yield _by_master(name, TaskState.GONE, f"{agent.agent} does not have it any more")
        elif task.status.state is TaskState.UNREACHABLE and told.state not in TERMINAL:
            if told.state not in (TaskState.UNREACHABLE, TaskState.UNKNOWN):
                yield _by_master(name, told.state, "")
        elif believable(task, told):
            yield from_agent(task, told)


def _heard_n(state: MasterState, agent: Agent, listed: dict[TaskId, TaskStatus]) -> int:
    """Up to which of its own events the master knows that the agent has heard it."""
    answered = 0 if agent.active else agent.marked_n
    launched = (task.launched_n for name in listed if (task := given_to(state, agent, name)) is not None)
    return max(agent.known_n, answered, *launched)


def _by_master(task: TaskId, state: TaskState, message: str) -> TaskStatus:
    return TaskStatus(task=task, state=state, source=Source.MASTER, reason=Reason.AGENT_REREGISTERED, message=message)


def _fitting(changes: Iterator[TaskStatus]) -> tuple[TaskStatus, ...]:
    """As many of the changes as one event holds."""
    fitting, size = [], 0
    for status in changes:
        size += len(msgspec.msgpack.encode(status))
        if size > changes_bytes_max:
            break
        fitting.append(status)
    return tuple(fitting)


def say_changes(state: MasterState, agent: Agent) -> Iterator[Say]:
    """Tell the frameworks what an admission changed, as much as one decision holds."""
    for status in list(islice(agent.later.values(), updates_max)):
        yield updated(state.tasks[status.task], status, acted_n=agent.acted_n)


def _kills(state: MasterState, agent: Agent, fact: AgentRegistered) -> Iterator[Say]:
    """What the agent has alive and should not."""
    for held in fact.tasks:
        if held.status.state not in ALIVE:
            continue
        task = given_to(state, agent, held.info.task)
        if task is None:
            yield kill_stray(state, agent, held.info.task)
        elif task.kill_wanted:
            why = "its framework was removed" if task.abandoned else "it was to be killed while it could not be reached"
            yield direct_kill(task, task.kill_grace_s, reason=why)


# ---- marks -------------------------------------------------------------------------------------------------------


def lose_agent(state: MasterState, agent: Agent, missed: int) -> Iterator[Say]:
    """An agent stopped answering pings."""
    yield mark(agent, f"it did not answer {missed} pings in a row")
    yield from rescind(state, agent.offer_ids, Rescinded.AGENT_LOST)
    yield from say_unreachable(state, agent)


def mark(agent: Agent, why: str) -> Say:
    """The agent is unreachable until it registers in answer to this."""
    return Say(AgentMarked(agent=agent.agent, acted_n=agent.acted_n, message=why), to=agent.agent)


def say_unreachable(state: MasterState, agent: Agent) -> Iterator[Say]:
    """Tell the frameworks that an agent's tasks cannot be reached, as much as one decision holds."""
    for name in sorted(agent.task_ids)[:updates_max]:
        status = TaskStatus(
            task=name,
            state=TaskState.UNREACHABLE,
            source=Source.MASTER,
            reason=Reason.AGENT_REMOVED,
            message=f"{agent.agent} is unreachable",
        )
        yield updated(state.tasks[name], status, unreachable_since=agent.unreachable_since)
