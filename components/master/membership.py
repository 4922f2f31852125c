"""How agents and frameworks join, fall silent, come back and leave, as the master remembers it.

A framework that is disconnected has an absolute moment at which it is removed, so no failover can lose it. Its tasks
are nobody's from then on: each is killed, and stays in its agent's books until the agent says that it ended.

Rule of this room: as in `fold`, whose part it is: it writes state, and only for the master's own events.
"""

from __future__ import annotations

from bus.events import (
    AgentAdmitted,
    AgentMarked,
    AgentRefused,
    Event,
    FrameworkAdmitted,
    FrameworkDisconnected,
    FrameworkReconnected,
    FrameworkRemoved,
    FrameworkRevived,
    FrameworkSuppressed,
    LeaderElected,
)
from bus.nouns import FrameworkId, Now, second
from components.master.books import abandon, clear_filters, drop_filters, move, ripen, scalars, touch
from components.master.config import removals_kept_max
from components.master.state import Agent, Framework, MasterState

hear_first_s = 60
"""So long after an election no framework is removed: that it is back may be said and not be heard yet."""


def fold_membership(state: MasterState, event: Event) -> None:
    """What changes how an agent or a framework stands with the master."""
    match event.fact:
        case AgentAdmitted() as fact:
            _admit_agent(state, event, fact)
        case AgentMarked() as fact:
            _mark(state, event, fact)
        case AgentRefused(agent=name):
            agent = state.agents.get(name)
            if agent is not None and not agent.active:
                agent.answered = True
        case _:
            _fold_framework(state, event)


def _fold_framework(state: MasterState, event: Event) -> None:
    match event.fact:
        case FrameworkAdmitted() as fact:
            _admit_framework(state, event, fact)
        case FrameworkDisconnected() as fact:
            _disconnect(state, event, fact)
        case FrameworkReconnected(framework=name):
            connect(state, state.frameworks[name], event.n)
        case FrameworkRemoved(framework=name):
            _remove(state, state.frameworks[name])
        case FrameworkSuppressed(framework=name):
            suppress(state, name)
        case FrameworkRevived(framework=name):
            revive(state, name, event.n)
        case LeaderElected():
            state.taken_over = sum(agent.active for agent in state.agents.values())
            _wait_for_frameworks(state, event.at)


# ---- agents ------------------------------------------------------------------------------------------------------


def _admit_agent(state: MasterState, event: Event, fact: AgentAdmitted) -> None:
    agent = state.agents.get(fact.agent)
    if agent is None:
        agent = state.agents[fact.agent] = Agent(
            agent=fact.agent,
            hostname=fact.hostname,
            attributes=fact.attributes,
            total=fact.resources,
            free=fact.resources,
            registered_at=event.at,
            admitted_n=event.n,
            acted_n=fact.acted_n,
        )
        state.capacity += scalars(fact.resources)
    else:
        _readmit(state, agent, fact)
    agent.admitted_n, agent.acted_n = event.n, max(agent.acted_n, fact.acted_n)
    agent.key = fact.key
    if agent.role != fact.role:
        clear_filters(state, agent)  # of frameworks that may not be offered anything here any more, none would end
    agent.role, agent.region, agent.zone = fact.role, fact.region, fact.zone
    agent.later = {status.task: status for status in fact.changes}
    note_unfinished(state, agent)
    touch(state, agent, event.n, event.at)


def _readmit(state: MasterState, agent: Agent, fact: AgentAdmitted) -> None:
    assert not agent.offer_ids, f"{agent.agent} is admitted again with offers out: {sorted(agent.offer_ids)}"
    held = agent.total - agent.free
    assert fact.resources.covers(held), f"{agent.agent} is admitted with {fact.resources}, its tasks hold {held}"
    if agent.active:
        state.capacity -= scalars(agent.total)
    else:
        agent.known_n = max(agent.known_n, agent.marked_n)
    state.capacity += scalars(fact.resources)
    agent.hostname, agent.attributes = fact.hostname, fact.attributes
    agent.total, agent.free = fact.resources, fact.resources - held
    agent.unreachable_since, agent.answered = None, False


def _mark(state: MasterState, event: Event, fact: AgentMarked) -> None:
    agent = state.agents[fact.agent]
    if agent.active:
        state.capacity -= scalars(agent.total)
        agent.unreachable_since = event.at
        state.marks = [*state.marks[1 - removals_kept_max :], event.at]
    agent.marked_n, agent.marked_heard, agent.answered = event.n, event.heard, False
    agent.later = {}
    note_unfinished(state, agent)
    clear_filters(state, agent)
    touch(state, agent, event.n, event.at)


def note_unfinished(state: MasterState, agent: Agent) -> None:
    """Whether there is more to say about an agent's tasks than one decision held."""
    if agent.later or (agent.task_ids and not agent.active):
        state.unfinished[agent.agent] = None
    else:
        state.unfinished.pop(agent.agent, None)


# ---- frameworks --------------------------------------------------------------------------------------------------


def _admit_framework(state: MasterState, event: Event, fact: FrameworkAdmitted) -> None:
    framework = state.frameworks.get(fact.framework)
    if framework is None:
        framework = state.frameworks[fact.framework] = Framework(
            framework=fact.framework,
            name=fact.name,
            role=fact.role,
            failover_timeout_s=fact.failover_timeout_s,
            registered_at=event.at,
            connected_n=event.n,
            wanting_n=event.n,
        )
    assert not framework.offer_ids, f"{framework.framework} is admitted with offers out: {sorted(framework.offer_ids)}"
    framework.name, framework.role, framework.failover_timeout_s = fact.name, fact.role, fact.failover_timeout_s
    framework.suppressed = False
    connect(state, framework, event.n)
    drop_filters(state, framework)


def connect(state: MasterState, framework: Framework, n: int) -> None:
    """With event `n` the framework is there: it wants offers, and nobody waits for its return any more."""
    if framework.removed_at is not None:
        state.leaving.drop(framework.removed_at, framework.framework)
    framework.connected, framework.removed_at = True, None
    framework.connected_n = framework.wanting_n = n
    move(state, framework.framework)
    ripen(state, framework)


def revive(state: MasterState, name: FrameworkId, n: int) -> None:
    """With event `n` the framework wants offers again, whatever it had filtered."""
    framework = state.frameworks[name]
    framework.suppressed, framework.wanting_n = False, n
    move(state, name)
    drop_filters(state, framework)


def suppress(state: MasterState, name: FrameworkId) -> None:
    """The framework wants no offers until it revives."""
    state.frameworks[name].suppressed = True
    move(state, name)
    ripen(state, state.frameworks[name])


def _disconnect(state: MasterState, event: Event, fact: FrameworkDisconnected) -> None:
    framework = state.frameworks[fact.framework]
    assert framework.connected, f"{fact.framework} is disconnected twice, #{event.n}"
    framework.connected = False
    move(state, fact.framework)
    framework.removed_at = removed_at(framework, event.at) if fact.removed_at is None else fact.removed_at
    state.leaving.add(framework.removed_at, fact.framework)
    drop_filters(state, framework)  # (Mesos: deactivateFramework)


def removed_at(framework: Framework, at: Now) -> Now:
    """When a framework that is disconnected at a moment is removed. (Mesos: `failover_timeout`)"""
    return Now(at + round(framework.failover_timeout_s * second))


def _wait_for_frameworks(state: MasterState, at: Now) -> None:
    until = Now(at + hear_first_s * second)
    for name in state.leaving.until(Now(until - 1)):
        framework = state.frameworks[FrameworkId(name)]
        assert framework.removed_at is not None, f"{name} is due and connected"
        state.leaving.drop(framework.removed_at, name)
        framework.removed_at = until
        state.leaving.add(until, name)


def _remove(state: MasterState, framework: Framework) -> None:
    name = framework.framework
    assert framework.removed_at is not None, f"{name} is removed and connected"
    assert not framework.offer_ids, f"{name} is removed with offers out: {sorted(framework.offer_ids)}"
    for task in sorted(framework.task_ids):
        abandon(state, framework, state.tasks[task])
    drop_filters(state, framework)
    state.leaving.drop(framework.removed_at, name)
    state.reconciling.pop(name, None)
    state.moved.pop(name, None)
    del state.frameworks[name]
