"""What can be asked of Marathon: its apps. What waits is asked in `waiting`.

Rule of this room: answers come from the folded state alone; they look and do not touch.
"""

from __future__ import annotations

from msgspec.structs import replace

from bus.app_rows import AppRow, FoundRow, InstanceRow, ReadinessRow
from bus.documents import AppSpec
from bus.nouns import Now, TaskId, TaskState
from components.marathon.instances import Found, Launched, Readiness, Waiting
from components.marathon.state import App, MarathonState
from components.marathon.waiting import delay_until, waiting


def apps(state: MarathonState, _question: bytes, now: Now) -> list[AppRow]:
    """Every app with its instances, by name. An app that was removed wants none and is shown until the last ended."""
    specs = ((app, app.latest.spec) for _, app in sorted(state.apps.items()))
    return [_row(app, spec, now) for app, spec in specs if isinstance(spec, AppSpec)]


def _row(app: App, spec: AppSpec, now: Now) -> AppRow:
    latest = app.latest
    launched = (
        _launched_row(app, task, one) for task, one in (*app.launched.items(), *app.dying.items(), *app.absent.items())
    )
    running = [one.healthy for one in app.launched.values() if one.state is TaskState.RUNNING]
    queued = (_waiting_row(task, one) for task, one in app.waiting.items())
    return AppRow(
        app=replace(spec, instances=0) if app.removed else spec,
        app_version=latest.version,
        change_version=latest.change if latest.change != latest.version else None,
        deployments=(app.deployment,) if app.deployment is not None else (),
        staged=sum(one.state in (TaskState.STAGING, TaskState.STARTING) for one in app.launched.values()),
        running=app.running,
        waiting=waiting(app),
        instances=(*launched, *queued),
        healthy=running.count(True),
        unhealthy=running.count(False),
        delay_until=delay_until(app, now),
        last_failure=app.last_failure,
        failed_at=app.backoff.failed_at,
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
        checked=one.checked,
        up=task in app.up,
        dying=task in app.dying,
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
    checks = app.spec.readiness_checks if isinstance(app.spec, AppSpec) else ()
    name = next((check.name for check in checks), "")
    return ReadinessRow(name=name, ready=one.ready, status=one.status, content_type=one.content_type, body=one.body)


def _waiting_row(task: TaskId, one: Waiting) -> InstanceRow:
    return InstanceRow(task=task, app_version=one.app_version, state=None, since=one.since, replaces=one.replaces)
