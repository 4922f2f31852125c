"""What is asked about apps that wait: why they are not placed, and the queue they wait in.

Rule of this room: as in `queries`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bus.documents import AppSpec
from bus.nouns import Now, Unfit, second
from bus.queries import QueryRefused
from bus.waiting_rows import (
    AvoidedNode,
    Check,
    ExplainQuestion,
    Explanation,
    QueueRow,
    Rejected,
    UnusedOffer,
    Wants,
)
from components.explaining import shortage
from components.marathon.deployments import blocked_by
from components.marathon.offers import tally_of
from components.marathon.state import App, MarathonState
from components.matching import CONSTRAINT, NODE_BACKOFF, REASONS


def explain(state: MarathonState, question: bytes, now: Now) -> Explanation:
    """Why an app's instances wait: the latest answer for each node, and what would make it fit."""
    asked = msgspec.msgpack.decode(question, type=ExplainQuestion)
    app = state.apps.get(asked.app)
    if app is None:
        raise QueryRefused(f"app {asked.app} does not exist")
    verdicts = sorted(app.verdicts.items())
    return Explanation(
        app=asked.app,
        waiting=waiting(app),
        needed=app.spec.resources,
        ports=len(app.spec.wanted_ports),
        checks=tuple(Check(unfit=unfit, at=verdict.at) for _, verdict in verdicts for unfit in verdict.unfit),
        delay_until=delay_until(app, now),
        note=_note(state, app, now),
        wants=_wants(app),
        avoided=_avoided(app, now),
    )


def queue(state: MarathonState, _question: bytes, now: Now) -> list[QueueRow]:
    """Every app of which instances wait, by name, with how offers fared. (Marathon: GET /v2/queue)"""
    return [_queued(app, now) for _, app in sorted(state.apps.items()) if app.waiting]


def waiting(app: App) -> int:
    """How many instances wait, or are about to."""
    return len(app.waiting) + max(0, app.missing)


def delay_until(app: App, now: Now) -> Now | None:
    """Until when a failure keeps the app from being launched, if it does."""
    until = app.backoff.until
    return until if until is not None and until > now else None


# ---- why it waits ------------------------------------------------------------------------------------------------


def _wants(app: App) -> Wants:
    spec = app.spec
    tally = tally_of(app)
    return Wants(
        resources=spec.resources,
        ports=len(spec.wanted_ports),
        port_numbers=tuple(port.port for port in spec.wanted_ports if port.port) if spec.require_ports else (),
        gpus=spec.gpus,
        roles=spec.accepted_resource_roles,
        constraints=spec.constraints,
        placed=tally.total,
        places={
            field: {value: count for value, count in counts.items() if value is not None}
            for field, counts in tally.counts.items()
        },
    )


def _avoided(app: App, now: Now) -> tuple[AvoidedNode, ...]:
    return tuple(
        AvoidedNode(agent=agent, failures=node.failures, failed_at=node.failed_at, until=node.until)
        for agent, node in sorted(app.avoided.items())
        if node.until > now
    )


def _note(state: MarathonState, app: App, now: Now) -> str:
    until = delay_until(app, now)
    if not waiting(app):
        return f"nothing waits: {_not_yet(state, app) or 'every wanted instance is launched'}"
    if until is not None:
        why = f": {app.last_failure.state} {app.last_failure.message}".rstrip() if app.last_failure else ""
        return f"launches nothing for another {(until - now) / second:.1f} s after a failure{why}"
    if not state.admitted:
        return "the master has not admitted marathon yet"
    if not app.verdicts:
        return "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    return shortage([verdict.unfit for _, verdict in sorted(app.verdicts.items())])


def _not_yet(state: MarathonState, app: App) -> str:
    """Why nothing waits though not all is as wanted: a deployment has not come so far."""
    deployment = state.deployments.get(app.deployment) if app.deployment is not None else None
    if deployment is None:
        return ""
    at = f"deployment {app.deployment} is at step {deployment.step + 1} of {len(deployment.plan.steps)}"
    if app.deed is not None:
        blocked = blocked_by(app)
        return f"{at}: {blocked}" if blocked else ""
    return f"{at} and has not come to it" if app.pending is not None or app.unopened else ""


# ---- the queue ---------------------------------------------------------------------------------------------------


def _queued(app: App, now: Now) -> QueueRow:
    tries, verdicts = app.tries, sorted(app.verdicts.items())
    latest: dict[str, int] = {}
    for _, verdict in verdicts:
        latest[verdict.unfit[0].reason] = latest.get(verdict.unfit[0].reason, 0) + 1
    return QueueRow(
        app=app.spec.id,
        pod=not isinstance(app.spec, AppSpec),
        count=waiting(app),
        since=min(one.since for one in app.waiting.values()),
        delay_until=delay_until(app, now),
        processed=tries.processed,
        unused=tries.unused,
        last_used_at=tries.last_used,
        last_unused_at=tries.last_unused,
        last_offers=_funnel(latest, len(verdicts)),
        launch_attempt=_funnel(tries.rejected, tries.processed),
        unused_offers=tuple(
            UnusedOffer(
                offer=verdict.unfit[0].offer,
                agent=agent,
                at=verdict.at,
                reasons=_reasons(verdict.unfit),
                unfit=verdict.unfit,
            )
            for agent, verdict in verdicts
        ),
    )


def _funnel(rejected: Mapping[str, int], processed: int) -> tuple[Rejected, ...]:
    """Every reason there is, in the order offers are held against them: each sees what the ones before let through."""
    rows = []
    for reason in REASONS:
        declined = rejected.get(reason, 0) + (rejected.get(NODE_BACKOFF, 0) if reason == CONSTRAINT else 0)
        rows.append(Rejected(reason=reason, declined=declined, processed=processed))
        processed -= declined
    return tuple(rows)


def _reasons(unfit: Sequence[Unfit]) -> tuple[str, ...]:
    """Each once, as Marathon's clients know them."""
    return tuple(dict.fromkeys(CONSTRAINT if one.reason == NODE_BACKOFF else one.reason for one in unfit))
