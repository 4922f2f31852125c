"""What the master answers from what it remembers: agents, frameworks, offers, tasks, alarms, identities, tokens.

Rule of this room: rows in the order of their names; it looks, and changes nothing. What the books say is not counted
again: an answer about nodes costs the same however many tasks they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from bus.nouns import Now, second, total
from bus.permits import Role
from bus.queries import (
    AgentRow,
    AlarmRow,
    FrameworkRow,
    IdentityRow,
    OfferRow,
    Passport,
    QueryRefused,
    TaskRow,
    TasksQuestion,
    TokenRow,
    task_row,
)
from components.component import Query
from components.master.allocator import dominant_share_milli
from components.master.books import scalars
from components.master.state import Agent, Framework, MasterState, Task


def agents(state: MasterState, _question: bytes, _now: Now) -> list[AgentRow]:
    """Every agent ever admitted."""
    return [_agent_row(state, agent) for _, agent in sorted(state.agents.items())]


def _agent_row(state: MasterState, agent: Agent) -> AgentRow:
    offered = total(state.offers[offer].resources for offer in sorted(agent.offer_ids))
    return AgentRow(
        agent=agent.agent,
        hostname=agent.hostname,
        state="ACTIVE" if agent.active else "UNREACHABLE",
        total=agent.total,
        used=agent.total - agent.free - offered,
        offered=offered,
        tasks=len(agent.task_ids),
        registered_at=agent.registered_at,
        attributes=agent.attributes,
        role=agent.role,
        region=agent.region,
        zone=agent.zone,
        unreachable_since=agent.unreachable_since,
    )


def frameworks(state: MasterState, _question: bytes, _now: Now) -> list[FrameworkRow]:
    """Every framework that is admitted and was not removed."""
    return [_framework_row(state, framework) for _, framework in sorted(state.frameworks.items())]


def _framework_row(state: MasterState, framework: Framework) -> FrameworkRow:
    offered = total(state.offers[offer].resources for offer in sorted(framework.offer_ids))
    standing = "SUPPRESSED" if framework.suppressed else "ACTIVE"
    return FrameworkRow(
        framework=framework.framework,
        name=framework.name,
        role=framework.role,
        state=standing if framework.connected else "DISCONNECTED",
        tasks=len(framework.task_ids),
        offers=len(framework.offer_ids),
        used=framework.held - scalars(offered),
        share_milli=dominant_share_milli(framework.held, state.capacity),
        registered_at=framework.registered_at,
        failover_timeout_s=framework.failover_timeout_s,
        removed_at_latest=framework.removed_at,
    )


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
    return task_row(task.info, task.status, task.since, task.launched_at)


def alarms(state: MasterState, _question: bytes, _now: Now) -> list[AlarmRow]:
    """What an operator has to look at, the oldest first."""
    rows = [AlarmRow(alarm=name, message=alarm.message, since=alarm.since) for name, alarm in state.alarms.items()]
    return sorted(rows, key=lambda row: (row.since, row.alarm))


def identities(state: MasterState, _question: bytes, _now: Now) -> list[IdentityRow]:
    """Everybody who is let in or was, by name."""
    rows = [
        IdentityRow(
            name=one.name,
            role=one.role,
            public=one.public,
            agent=one.agent,
            since=one.since,
            by=one.by,
            revoked_at=one.revoked_at,
        )
        for one in state.identities.values()
    ]
    return sorted(rows, key=lambda row: (row.name, row.since, row.public))


def tokens(state: MasterState, _question: bytes, _now: Now) -> list[TokenRow]:
    """Join tokens, the oldest first."""
    return [
        TokenRow(id=one.id, name=one.name, role=one.role, expires_at=one.expires_at, by=one.by, used_at=one.used_at)
        for one in state.tokens.values()
    ]


Issue = Callable[..., str]
"""Signs a passport: `bus.authority.Issuer.passport`."""


def passport(issue: Issue, state: MasterState, question: bytes, _now: Now) -> Passport:
    """The passport of the bearer of a key: somebody's, or a join token's. Raises QueryRefused, msgspec.DecodeError."""
    public = msgspec.msgpack.decode(question, type=str)
    one = state.identities.get(public)
    if one is not None and one.live:
        return Passport(
            name=one.name,
            role=one.role,
            passport=issue(one.role, one.name, public, at_s=one.since // second, agent=one.agent),
        )
    for token in state.tokens.values():
        if token.public == public and token.live:
            until_s = token.expires_at // second + expiry_slack_s
            text = issue(Role.JOINER, token.id, public, at_s=0, until_s=until_s)
            return Passport(name=token.id, role=Role.JOINER, passport=text)
    raise QueryRefused("this key is nobody's here")


expiry_slack_s = 60
"""So much longer than the token itself its passport opens the bus: clocks differ, and it is the master who says no."""
QUERIES: Mapping[str, Query] = {
    "agents": agents,
    "frameworks": frameworks,
    "offers": offers,
    "tasks": tasks,
    "alarms": alarms,
    "identities": identities,
    "tokens": tokens,
}
