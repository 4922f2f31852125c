"""Why something waits, for people: every node against every check.

Rule of this room: where a check failed, what was needed and what was had; where it held, `ok`.
"""

from __future__ import annotations

from bus.nouns import AgentId
from bus.queries import Check, Explanation, JobExplanation
from cli.output import Part, Table, time_of_day

CHECKS = {
    "InsufficientCpus": "cpus",
    "InsufficientMemory": "memory",
    "InsufficientDisk": "disk",
    "InsufficientPorts": "ports",
    "UnfulfilledRole": "role",
}
"""What a node is held against, under the heading of its column. (Marathon: NoOfferMatchReason)"""


def explain_parts(answer: Explanation | JobExplanation) -> list[Part]:
    """An explanation for people."""
    name, ports = (answer.app, answer.ports) if isinstance(answer, Explanation) else (answer.job, 0)
    needs = f"one needs {answer.needed}" + (f"; ports: {ports}" if ports else "")
    delay = f"nothing is launched before {time_of_day(answer.delay_until)}" if answer.delay_until else ""
    said = (f"{name}: {answer.waiting} waiting for an offer", needs, delay, answer.note)
    parts: list[Part] = [line for line in said if line]
    return [*parts, "", matrix(answer.checks)] if answer.checks else parts


def matrix(checks: tuple[Check, ...]) -> Table:
    """Nodes by checks, with the time of the latest offer that was declined for them."""
    failed = {(check.unfit.agent, check.unfit.reason): check for check in checks}
    reasons = [*CHECKS, *sorted({reason for _, reason in failed} - set(CHECKS))]
    nodes = sorted({agent for agent, _ in failed})
    columns = ("node", *(CHECKS.get(reason, reason) for reason in reasons), "offer declined at")
    return Table(columns, [_row(node, [failed.get((node, reason)) for reason in reasons]) for node in nodes])


def _row(node: AgentId, checks: list[Check | None]) -> list[str]:
    cells = [f"needs {check.unfit.needed}, had {check.unfit.had}" if check else "ok" for check in checks]
    return [node, *cells, time_of_day(max(check.at for check in checks if check))]
