"""Why something waits: every node against every check, now or at any past moment.

The scheduler knows what it was offered and declined. A node of which nothing was offered, because it is full, away or
kept for others, only the master knows; it is held against the same checks here.
Rule of this room: where a check failed, what was needed and what was had; where it held, `ok`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
from msgspec.structs import replace

from bus.nouns import AgentId, Offer, OfferId, Unfit, second
from bus.queries import AgentRow, fields
from bus.waiting_rows import Check, Explanation, JobExplanation, Wants
from cli.output import Failure, Part, Table, time_of_day
from cli.past import Asked
from cli.session import THE_MASTER, NotThere
from components.matching import (
    CONSTRAINT,
    CPUS,
    DISK,
    GPUS,
    MEMORY,
    NODE_BACKOFF,
    PORTS,
    ROLE,
    Shortfall,
    fit,
    wrong_role,
)

CHECKS = {
    ROLE: "role",
    CONSTRAINT: "constraints",
    NODE_BACKOFF: "failures there",
    CPUS: "cpus",
    MEMORY: "memory",
    DISK: "disk",
    GPUS: "gpus",
    PORTS: "ports",
}
"""What a node is held against, under the heading of its column. (Marathon: NoOfferMatchReason)"""
ALWAYS = (CPUS, MEMORY, DISK, PORTS)
"""Columns that are there even if every node is ok."""
Answer = Explanation | JobExplanation


def on_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--on`."""
    return click.option("--on", metavar="NODE", help="Only about this node.")(command)


class NotOffered(NamedTuple):
    """A node that waits to be offered, and what one task would lack on it now."""

    agent: AgentId
    state: str
    """As the master has it: ACTIVE or UNREACHABLE."""
    lacks: Sequence[Shortfall]


async def show_explanation(asked: Asked, answer: Answer, on: str | None = None) -> None:
    """Print why something waits; `on` one node, if it is named. Raises Failure if there is no such node."""
    others = await _not_offered(asked, answer) if answer.waiting or on is not None else []
    if on is not None:
        answer, others = _only(answer, others, on)
    told = [one._asdict() | {"lacks": [short._asdict() for short in one.lacks]} for one in others]
    asked.out.show(fields(answer) | {"not_offered": told}, *explain_parts(answer, others))


async def _not_offered(asked: Asked, answer: Answer) -> list[NotOffered]:
    """The nodes of which no offer was declined; none while no master can tell."""
    try:
        rows = await asked.ask(THE_MASTER, "agents", list[AgentRow])
    except NotThere:
        return []
    told = {check.unfit.agent for check in answer.checks}
    return [NotOffered(row.agent, row.state, _lacks(answer, row)) for row in rows if row.agent not in told]


def _lacks(answer: Answer, row: AgentRow) -> list[Shortfall]:
    """The same checks that its scheduler would make."""
    ports = answer.ports if isinstance(answer, Explanation) else 0
    wants = answer.wants or Wants(resources=answer.needed, ports=ports)
    offer = Offer(
        offer=OfferId(""),
        agent=row.agent,
        hostname=row.hostname,
        resources=row.total - row.used,
        attributes=row.attributes,
        role=row.role,
        region=row.region,
        zone=row.zone,
    )
    from components.constraints import Tally, unmet  # only who is told why pays for the imports

    tally = Tally.told(wants.constraints, wants.placed, wants.places)
    short = [*wrong_role(wants.roles, row.role), *unmet(wants.constraints, offer, tally), *_avoided(answer, row.agent)]
    numbers = (*wants.port_numbers, *[0] * (wants.ports - len(wants.port_numbers)))
    return short + fit(offer.resources, wants.resources, numbers, required=bool(wants.port_numbers), gpus=wants.gpus)


def _avoided(answer: Answer, agent: AgentId) -> list[Shortfall]:
    nodes = answer.avoided if isinstance(answer, Explanation) else ()
    return [
        Shortfall(
            NODE_BACKOFF,
            f"no failure of the app there for {(one.until - one.failed_at) / second:g} s",
            f"{one.failures} in a row, the last at {time_of_day(one.failed_at)}",
        )
        for one in nodes
        if one.agent == agent
    ]


def _only(answer: Answer, others: Sequence[NotOffered], node: str) -> tuple[Answer, list[NotOffered]]:
    """What is told of one node, with what it alone would need."""
    checks = tuple(check for check in answer.checks if check.unfit.agent == node)
    here = [one for one in others if one.agent == node]
    if not checks and not here:
        known = sorted({*(one.agent for one in others), *(check.unfit.agent for check in answer.checks)})
        raise Failure(f"no node is called {node!r}; there are: {', '.join(known) or 'none'}", next_="busbar node list")
    unfit = [check.unfit for check in checks]
    unfit += [Unfit(agent=one.agent, offer=OfferId(""), **short._asdict()) for one in here for short in one.lacks]
    from components.explaining import shortage

    note = shortage([unfit]) if unfit else f"nothing speaks against {node}"
    return replace(answer, checks=checks, note=note), here


def explain_parts(answer: Answer, others: Sequence[NotOffered] = ()) -> list[Part]:
    """An explanation for people."""
    name = answer.app if isinstance(answer, Explanation) else answer.job
    delay = f"nothing is launched before {time_of_day(answer.delay_until)}" if answer.delay_until else ""
    said = (f"{name}: {answer.waiting} waiting for an offer", _needs(answer), delay, answer.note, *_kept_away(answer))
    parts: list[Part] = [line for line in said if line]
    return [*parts, "", matrix(answer.checks, others)] if answer.checks or others else parts


def _kept_away(answer: Answer) -> list[str]:
    """Nodes that are not used while others are, and until when."""
    nodes = answer.avoided if isinstance(answer, Explanation) else ()
    return [
        f"it keeps away from {one.agent} until {time_of_day(one.until)}: failures there in a row: {one.failures}"
        for one in nodes
    ]


def _needs(answer: Answer) -> str:
    """`one needs cpus:1; mem:128; ports: 1; constraints: hostname UNIQUE`."""
    needs = [f"one needs {answer.needed}"]
    if isinstance(answer, Explanation) and answer.ports:
        needs.append(f"ports: {answer.ports}")
    if answer.wants is not None and answer.wants.roles:
        needs.append(f"roles: {', '.join(answer.wants.roles)}")
    if answer.wants is not None and answer.wants.constraints:
        needs.append("constraints: " + ", ".join(" ".join(each) for each in answer.wants.constraints))
    return "; ".join(needs)


def matrix(checks: Sequence[Check], others: Sequence[NotOffered] = ()) -> Table:
    """Nodes by checks, with the time of the latest offer that was declined for them."""
    lacks: dict[str, dict[str, list[str]]] = {one.agent: {} for one in others}
    when: dict[str, str] = {one.agent: "not offered" if one.state == "ACTIVE" else one.state.lower() for one in others}
    for one in others:
        for short in one.lacks:
            lacks[one.agent].setdefault(short.reason, []).append(_words(short))
    for check in checks:
        lacks.setdefault(check.unfit.agent, {}).setdefault(check.unfit.reason, []).append(_words(check.unfit))
        when[check.unfit.agent] = time_of_day(check.at)
    shown = [reason for reason in CHECKS if reason in ALWAYS or any(reason in row for row in lacks.values())]
    rows = [
        [node, *("; ".join(lacks[node].get(reason, ["ok"])) for reason in shown), when[node]] for node in sorted(lacks)
    ]
    return Table(("node", *(CHECKS[reason] for reason in shown), "offer declined at"), rows)


def _words(short: Shortfall | Unfit) -> str:
    return f"needs {short.needed}, had {short.had}"
