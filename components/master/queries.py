"""What the master answers from what it remembers: `agents`, `frameworks`, `offers`, `tasks`, `alarms`.

Rule of this room: rows in the order of their names; it looks, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bus.nouns import NOTHING, Now, Resources, total
from bus.queries import AgentRow, AlarmRow, FrameworkRow, OfferRow, TaskRow, TasksQuestion
from components.component import Query
from components.master.allocator import dominant_share_milli
from components.master.state import Agent, Framework, MasterState, Task


def agents(state: MasterState, _question: bytes, _now: Now) -> list[AgentRow]:
    """Every agent ever admitted."""
    return [_agent_row(state, agent) for _, agent in sorted(state.agents.items())]


def _agent_row(state: MasterState, agent: Agent) -> AgentRow:
    return AgentRow(
        agent=agent.agent,
        hostname=agent.hostname,
        state="ACTIVE" if agent.active else "UNREACHABLE",
        total=agent.total,
        used=total(state.tasks[task].info.resources for task in sorted(agent.task_ids)),
        offered=total(state.offers[offer].resources for offer in sorted(agent.offer_ids)),
        tasks=len(agent.task_ids),
        registered_at=agent.registered_at,
        attributes=agent.attributes,
        unreachable_since=agent.unreachable_since,
    )


def frameworks(state: MasterState, _question: bytes, _now: Now) -> list[FrameworkRow]:
    """Every framework that is admitted and was not removed."""
    return [_framework_row(state, framework) for _, framework in sorted(state.frameworks.items())]


def _framework_row(state: MasterState, framework: Framework) -> FrameworkRow:
    tasks = [state.tasks[task] for task in sorted(framework.task_ids)]
    standing = "SUPPRESSED" if framework.suppressed else "ACTIVE"
    return FrameworkRow(
        framework=framework.framework,
        name=framework.name,
        role=framework.role,
        state=standing if framework.connected else "DISCONNECTED",
        tasks=len(tasks),
        offers=len(framework.offer_ids),
        used=_scalars(total(task.info.resources for task in tasks if task.holds)),
        share_milli=dominant_share_milli(framework.held, state.capacity),
        registered_at=framework.registered_at,
        failover_timeout_s=framework.failover_timeout_s,
        removed_at_latest=framework.removed_at,
    )


def _scalars(amount: Resources) -> Resources:
    return msgspec.structs.replace(amount, ports=NOTHING.ports)


def offers(state: MasterState, _question: bytes, _now: Now) -> list[OfferRow]:
    """Every outstanding offer, the oldest first."""
    return [
        OfferRow(
            offer=name,
            framework=offer.framework,
            agent=offer.agent,
            resources=offer.resources,
            made_at=offer.made_at,
            expires_at=offer.expires_at,
        )
        for name, offer in state.offers.items()
    ]


def tasks(state: MasterState, question: bytes, _now: Now) -> list[TaskRow]:
    """The live and unreachable tasks; with `all` the latest ended ones first. Raises msgspec.DecodeError."""
    asked = msgspec.msgpack.decode(question, type=TasksQuestion) if question else TasksQuestion()
    ended = list(state.ended.values()) if asked.all else []
    return [_task_row(task) for task in [*ended, *state.tasks.values()] if task.info.task.startswith(asked.prefix)]


def _task_row(task: Task) -> TaskRow:
    info = task.info
    return TaskRow(
        task=info.task,
        name=info.name,
        framework=info.framework,
        agent=info.agent,
        status=task.status,
        since=task.since,
        launched_at=task.launched_at,
        resources=info.resources,
        app=info.app,
        job=info.job,
        run=info.run,
    )


def alarms(state: MasterState, _question: bytes, _now: Now) -> list[AlarmRow]:
    """What an operator has to look at, the oldest first."""
    rows = [AlarmRow(alarm=name, message=alarm.message, since=alarm.since) for name, alarm in state.alarms.items()]
    return sorted(rows, key=lambda row: (row.since, row.alarm))


QUERIES: Mapping[str, Query] = {
    "agents": agents,
    "frameworks": frameworks,
    "offers": offers,
    "tasks": tasks,
    "alarms": alarms,
}
