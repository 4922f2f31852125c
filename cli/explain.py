"""Why something waits: every node against every check.

The scheduler knows what it was offered and declined. A node of which nothing was offered, because it is full or away,
only the master knows; it is held against the same checks here.
Rule of this room: where a check failed, what was needed and what was had; where it held, `ok`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bus.nouns import AgentId, Unfit
from bus.queries import AgentRow, fields
from bus.waiting_rows import Check, Explanation, JobExplanation
from cli.output import Part, Table, time_of_day
from cli.session import THE_MASTER, NotThere, Session
from components.matching import Shortfall, fit

CHECKS = {
    "InsufficientCpus": "cpus",
    "InsufficientMemory": "memory",
    "InsufficientDisk": "disk",
    "InsufficientPorts": "ports",
}
"""What a node is held against, under the heading of its column. (Marathon: NoOfferMatchReason)"""


class NotOffered(NamedTuple):
    """A node that waits to be offered, and what one task would lack on it now."""

    agent: AgentId
    state: str
    """As the master has it: ACTIVE or UNREACHABLE."""
    lacks: Sequence[Shortfall]


async def show_explanation(session: Session, answer: Explanation | JobExplanation) -> None:
    """Print why something waits."""
    others = await _not_offered(session, answer)
    told = [one._asdict() | {"lacks": [short._asdict() for short in one.lacks]} for one in others]
    session.out.show(fields(answer) | {"not_offered": told}, *explain_parts(answer, others))


async def _not_offered(session: Session, answer: Explanation | JobExplanation) -> list[NotOffered]:
    """The nodes of which no offer was declined; none while no master can tell."""
    try:
        rows = await session.ask(THE_MASTER, "agents", list[AgentRow]) if answer.waiting else []
    except NotThere:
        return []
    told = {check.unfit.agent for check in answer.checks}
    ports = [0] * _ports(answer)
    return [
        NotOffered(row.agent, row.state, fit(row.total - row.used, answer.needed, ports))
        for row in rows
        if row.agent not in told
    ]


def _ports(answer: Explanation | JobExplanation) -> int:
    return answer.ports if isinstance(answer, Explanation) else 0


def explain_parts(answer: Explanation | JobExplanation, others: Sequence[NotOffered] = ()) -> list[Part]:
    """An explanation for people."""
    name, ports = answer.app if isinstance(answer, Explanation) else answer.job, _ports(answer)
    needs = f"one needs {answer.needed}" + (f"; ports: {ports}" if ports else "")
    delay = f"nothing is launched before {time_of_day(answer.delay_until)}" if answer.delay_until else ""
    said = (f"{name}: {answer.waiting} waiting for an offer", needs, delay, answer.note)
    parts: list[Part] = [line for line in said if line]
    return [*parts, "", matrix(answer.checks, others)] if answer.checks or others else parts


def matrix(checks: Sequence[Check], others: Sequence[NotOffered] = ()) -> Table:
    """Nodes by checks, with the time of the latest offer that was declined for them."""
    lacks = {one.agent: {short.reason: _words(short) for short in one.lacks} for one in others}
    when = {one.agent: "not offered" if one.state == "ACTIVE" else one.state.lower() for one in others}
    for check in checks:
        lacks.setdefault(check.unfit.agent, {})[check.unfit.reason] = _words(check.unfit)
        when[check.unfit.agent] = time_of_day(check.at)
    rows = [[node, *(lacks[node].get(reason, "ok") for reason in CHECKS), when[node]] for node in sorted(lacks)]
    return Table(("node", *CHECKS.values(), "offer declined at"), rows)


def _words(short: Shortfall | Unfit) -> str:
    return f"needs {short.needed}, had {short.had}"
