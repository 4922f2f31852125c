"""What can be asked of Marathon: its apps, and why an app is not placed.

Rule of this room: answers come from the folded state alone; they look and do not touch.
"""

from __future__ import annotations

import msgspec

from bus.nouns import Now, TaskId, TaskState, Unfit, second
from bus.queries import (
    AppRow,
    Check,
    ExplainQuestion,
    Explanation,
    FoundRow,
    InstanceRow,
    QueryRefused,
    ReadinessRow,
)
from components.marathon.state import App, Found, Launched, MarathonState, Readiness, Verdict, Waiting
from components.matching import amount


def apps(state: MarathonState, _question: bytes, now: Now) -> list[AppRow]:
    """Every app with its instances, by name. An app that was removed wants none and is shown until the last ended."""
    return [_row(app, now) for _, app in sorted(state.apps.items())]


def explain(state: MarathonState, question: bytes, now: Now) -> Explanation:
    """Why an app's instances wait: the latest answer for each node, and what would make it fit."""
    asked = msgspec.msgpack.decode(question, type=ExplainQuestion)
    app = state.apps.get(asked.app)
    if app is None:
        raise QueryRefused(f"app {asked.app} does not exist")
    verdicts = sorted(app.verdicts.items())
    return Explanation(
        app=asked.app,
        waiting=_waiting(app),
        needed=app.spec.resources,
        ports=len(app.spec.wanted_ports),
        checks=tuple(Check(unfit=unfit, at=verdict.at) for _, verdict in verdicts for unfit in verdict.unfit),
        delay_until=_delay_until(app, now),
        note=_note(state, app, now),
    )


# ---- rows -------------------------------------------------------------------------------------------------------


def _row(app: App, now: Now) -> AppRow:
    launched = (_launched_row(app, task, one) for task, one in (*app.launched.items(), *app.dying.items()))
    running = [one.healthy for one in app.launched.values() if one.state is TaskState.RUNNING]
    waiting = (_waiting_row(task, one) for task, one in app.waiting.items())
    return AppRow(
        app=app.spec,
        app_version=app.version,
        running=app.running,
        waiting=_waiting(app),
        instances=(*launched, *waiting),
        healthy=running.count(True),
        unhealthy=running.count(False),
        delay_until=_delay_until(app, now),
        last_failure=app.last_failure,
    )


def _launched_row(app: App, task: TaskId, one: Launched) -> InstanceRow:
    return InstanceRow(
        task=task,
        app_version=one.app_version,
        state=one.state,
        since=one.since,
        agent=one.agent,
        hostname=one.hostname or None,
        ports=one.ports,
        replaces=one.replaces,
        healthy=one.healthy,
        found=tuple(_found_row(found) for found in one.found),
        ready=one.ready,
        readiness=_readiness_row(app, one.readiness) if one.readiness is not None else None,
    )


def _found_row(found: Found) -> FoundRow:
    return FoundRow(
        alive=found.alive,
        failures=found.failures,
        first_success=found.first_success,
        last_success=found.last_success,
        last_failure=found.last_failure,
        cause=found.cause,
    )


def _readiness_row(app: App, one: Readiness) -> ReadinessRow:
    name = next((check.name for check in app.spec.readiness_checks), "")
    return ReadinessRow(name=name, ready=one.ready, status=one.status, content_type=one.content_type, body=one.body)


def _waiting_row(task: TaskId, one: Waiting) -> InstanceRow:
    return InstanceRow(task=task, app_version=one.app_version, state=None, since=one.since, replaces=one.replaces)


def _waiting(app: App) -> int:
    return len(app.waiting) + max(0, app.missing)


def _delay_until(app: App, now: Now) -> Now | None:
    until = app.backoff.until
    return until if until is not None and until > now else None


# ---- why an app waits, in words ---------------------------------------------------------------------------------


def _note(state: MarathonState, app: App, now: Now) -> str:
    until = _delay_until(app, now)
    if not _waiting(app):
        return "nothing waits: every wanted instance is launched"
    if until is not None:
        why = f": {app.last_failure.state} {app.last_failure.message}".rstrip() if app.last_failure else ""
        return f"launches nothing for another {(until - now) / second:.1f} s after a failure{why}"
    if not state.admitted:
        return "the master has not admitted marathon yet"
    if not app.verdicts:
        return "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    return _shortage(list(app.verdicts.values()))


def _shortage(verdicts: list[Verdict]) -> str:
    """Per failed check on how many nodes; and the node that lacks least."""
    nearest = min(verdicts, key=lambda verdict: (len(verdict.unfit), _lack(verdict), verdict.unfit[0].agent))
    reasons = sorted({unfit.reason for verdict in verdicts for unfit in verdict.unfit})
    failed = "; ".join(_most(reason, verdicts) for reason in reasons)
    more = " and ".join(_more(unfit) for unfit in nearest.unfit)
    return f"{failed}. It would fit on {nearest.unfit[0].agent} with {more}"


def _most(reason: str, verdicts: list[Verdict]) -> str:
    """`InsufficientCpus on 2 of 3 nodes: needs 64 cpus, none offered more than 4 cpus`."""
    unfits = [unfit for verdict in verdicts for unfit in verdict.unfit if unfit.reason == reason]
    most = max(unfits, key=lambda unfit: (amount(unfit.had) or 0.0, unfit.agent))
    limit = (
        f", none offered more than {most.had}" if len(unfits) == len(verdicts) else f", the most of these is {most.had}"
    )
    return f"{reason} on {len(unfits)} of {len(verdicts)} nodes: needs {most.needed}{limit}"


def _lack(verdict: Verdict) -> float:
    """The largest share of what is needed that is not there."""
    return max(_missing_share(unfit) for unfit in verdict.unfit)


def _missing_share(unfit: Unfit) -> float:
    needed, had = amount(unfit.needed), amount(unfit.had)
    return 1.0 if needed is None or had is None else 1 - had / needed


def _more(unfit: Unfit) -> str:
    needed, had = amount(unfit.needed), amount(unfit.had)
    if needed is None or had is None:
        return f"{unfit.needed} free"
    more = f"{needed - had:.3f}".rstrip("0").rstrip(".")
    return f"{more} {unfit.needed.partition(' ')[2]} more"
