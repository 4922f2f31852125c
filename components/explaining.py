"""Why something is not placed, in words: which check failed on how many nodes, and what would make it fit.

Rule of this room: the words are made of what was written down when an offer was declined, so the past says the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from bus.nouns import Unfit
from components.matching import CONSTRAINT, NODE_BACKOFF, PORTS, ROLE, amount

Verdict = Sequence[Unfit]
"""Every check that failed on one node."""


def shortage(verdicts: Sequence[Verdict]) -> str:
    """Per failed check on how many nodes; then the node that lacks least, and what it would need."""
    nearest = min(verdicts, key=lambda verdict: (len(verdict), max(map(_missing_share, verdict)), verdict[0].agent))
    kinds = dict.fromkeys(_kind(unfit) for verdict in verdicts for unfit in verdict)
    failed = "; ".join(_failed(kind, verdicts) for kind in sorted(kinds))
    further = " or on another node that meets its constraints" if any(_is_about_others(one) for one in nearest) else ""
    return f"{failed}. It would fit on {nearest[0].agent} {_remedy(nearest)}{further}"


def _kind(unfit: Unfit) -> tuple[str, str]:
    """Which check it is: amounts are one for each reason, of constraints each is its own."""
    counted = amount(unfit.needed) is not None or unfit.reason in (PORTS, NODE_BACKOFF)
    return unfit.reason, "" if counted else unfit.needed.partition(": ")[0]


def _failed(kind: tuple[str, str], verdicts: Sequence[Verdict]) -> str:
    """`InsufficientCpus on 2 of 3 nodes: needs 64 cpus, none offered more than 4 cpus`."""
    unfits = [unfit for verdict in verdicts for unfit in verdict if _kind(unfit) == kind]
    most = max(unfits, key=lambda unfit: (amount(unfit.had) or 0.0, unfit.agent))
    if unfits[0].reason in (ROLE, CONSTRAINT, NODE_BACKOFF):
        had = f", {most.agent} has {most.had}"
    elif len(unfits) == len(verdicts):
        had = f", none offered more than {most.had}"
    else:
        had = f", the most of these is {most.had}"
    return f"{most.reason} on {len(unfits)} of {len(verdicts)} nodes: needs {most.needed}{had}"


def _missing_share(unfit: Unfit) -> float:
    """The share of what is needed that is not there; all of what is no amount."""
    needed, had = amount(unfit.needed), amount(unfit.had)
    return 1.0 if not needed or had is None else 1 - had / needed


def _remedy(verdict: Verdict) -> str:
    """What would make it fit on a node."""
    more = [_more(unfit) for unfit in verdict if unfit.reason not in (ROLE, CONSTRAINT, NODE_BACKOFF)]
    conditions = [_condition(unfit) for unfit in verdict if unfit.reason in (ROLE, CONSTRAINT, NODE_BACKOFF)]
    parts = [f"with {' and '.join(more)}"] if more else []
    return ", ".join([*parts, *conditions])


def _more(unfit: Unfit) -> str:
    needed, had = amount(unfit.needed), amount(unfit.had)
    if needed is None or had is None:
        return f"{unfit.needed} free"
    more = f"{needed - had:.3f}".rstrip("0").rstrip(".")
    return f"{more} {unfit.needed.partition(' ')[2]} more"


def _condition(unfit: Unfit) -> str:
    if unfit.reason == ROLE:
        return f"if acceptedResourceRoles had {unfit.had.removeprefix('role ')}"
    if unfit.reason == NODE_BACKOFF:
        return f"after {unfit.needed}"
    return f"if the constraint {unfit.needed.partition(': ')[0]} allowed {unfit.had}"


def _is_about_others(unfit: Unfit) -> bool:
    return unfit.reason == CONSTRAINT
