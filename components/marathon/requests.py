"""What clients ask of Marathon: one answer each.

Rule of this room: a request either changes what an app is to be, or is refused and changes nothing. What follows
for instances is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import replace

from bus.documents import AppSpec, DocumentError, check_document
from bus.events import Event, KillRequested
from bus.nouns import MASTER, AppId, Now, Refusal
from bus.services import (
    AppRemoved,
    AppRequested,
    AppSpecified,
    DelayReset,
    InstanceDismissed,
    RemovalRequested,
    ResetRequested,
    RestartRequested,
    ScaleRequested,
    SchedulerLocated,
)
from components.component import Say, answer, refuse
from components.marathon.state import USER_REQUEST, App, MarathonState
from components.marathon.tasks import largest_task_bytes
from components.referring import unknown_secret

instances_max = 100_000
app_bytes_max = 128 * 1024
"""An app, and each of its tasks, on the bus."""
grace_s_max = 31_536_000
message_chars_max = 1000
"""What was asked may be as large as an event; the words of its refusal are not."""


def hear_request(state: MarathonState, event: Event, now: Now) -> Iterator[Say]:
    """The answer to a client."""
    match event.fact:
        case AppRequested() as fact:
            yield _create_or_update(state, event, fact, now)
        case ScaleRequested() as fact:
            yield _scale(state, event, fact)
        case RestartRequested() as fact:
            yield _restart(state, event, fact.app, now)
        case RemovalRequested() as fact:
            yield _remove(state, event, fact)
        case KillRequested() as fact:
            yield from _kill(state, event, fact)
        case ResetRequested() as fact:
            yield _reset(state, event, fact.app)
        case SchedulerLocated():
            return
        case _ if event.request is not None:
            yield _refuse(event, Refusal.INVALID, f"marathon knows nothing of {event.type}")


def _create_or_update(state: MarathonState, event: Event, fact: AppRequested, now: Now) -> Say:
    wrong = _wrong(state, fact.app)
    if wrong is not None:
        return _refuse(event, Refusal.INVALID, wrong)
    app = state.apps.get(fact.app.id)
    if app is None or app.removed:
        version = next_version(now, app.version if app else None)
        return answer(event, AppSpecified(app=fact.app, app_version=version, changed="created"))
    if not fact.update:
        return _refuse(event, Refusal.ALREADY_EXISTS, f"an app with id {fact.app.id} already exists")
    only_scaled = replace(fact.app, instances=app.spec.instances) == app.spec
    version = app.version if only_scaled else next_version(now, app.version)
    return answer(event, AppSpecified(app=fact.app, app_version=version, changed="updated"))


def _wrong(state: MarathonState, spec: AppSpec) -> str | None:
    try:
        check_document(spec)
    except DocumentError as error:
        return str(error)
    unknown = unknown_secret(spec, state.secrets, "$")
    if unknown is not None:
        return unknown
    size = max(len(msgspec.msgpack.encode(spec)), largest_task_bytes(spec))
    if size > app_bytes_max:
        return f"the app makes messages of {size} bytes, at most {app_bytes_max} are allowed - at `$`"
    return None


def _scale(state: MarathonState, event: Event, fact: ScaleRequested) -> Say:
    app = _wanted(state, fact.app)
    if app is None:
        return _not_found(event, fact.app)
    if not 0 <= fact.instances <= instances_max:
        wrong = f"Expected `int` from 0 to {instances_max}, found {fact.instances} - at `$.instances`"
        return _refuse(event, Refusal.INVALID, wrong)
    spec = replace(app.spec, instances=fact.instances)
    return answer(event, AppSpecified(app=spec, app_version=app.version, changed="scaled"))


def _restart(state: MarathonState, event: Event, app_id: AppId | None, now: Now) -> Say:
    app = _wanted(state, app_id)
    if app is None:
        return _not_found(event, app_id)
    version = next_version(now, app.version)
    return answer(event, AppSpecified(app=app.spec, app_version=version, changed="restarted"))


def _remove(state: MarathonState, event: Event, fact: RemovalRequested) -> Say:
    if fact.app is None:
        return _refuse(event, Refusal.INVALID, "expected the id of an app - at `$.app`")
    if _wanted(state, fact.app) is None:
        return _not_found(event, fact.app)
    return answer(event, AppRemoved(app=fact.app))


def _kill(state: MarathonState, event: Event, fact: KillRequested) -> Iterator[Say]:
    wrong = _kill_refused(state, fact)
    if wrong is not None:
        yield _refuse(event, *wrong)
        return
    app_id = state.owners[fact.task]
    grace_s = fact.grace_s
    if grace_s is None:
        grace_s = state.apps[app_id].spec.task_kill_grace_period_seconds
    yield answer(event, InstanceDismissed(app=app_id, task=fact.task, reason=USER_REQUEST))
    yield Say(KillRequested(task=fact.task, grace_s=grace_s), to=MASTER)


def _reset(state: MarathonState, event: Event, app_id: AppId) -> Say:
    """Forgive failures of what waits. (Marathon: DELETE /v2/queue/ID/delay, 404 for what is not in the queue)"""
    app = state.apps.get(app_id)
    if app is None or not app.waiting:
        return _refuse(event, Refusal.NOT_FOUND, f"{app_id} does not wait in the queue")
    return answer(event, DelayReset(app=app_id))


def _kill_refused(state: MarathonState, fact: KillRequested) -> tuple[Refusal, str] | None:
    app_id = state.owners.get(fact.task)
    if app_id is None:
        return Refusal.NOT_FOUND, f"no instance {fact.task}"
    if fact.task in state.apps[app_id].waiting:
        return Refusal.NOT_RUNNING, f"{fact.task} waits for an offer"
    if fact.grace_s is not None and not 0 <= fact.grace_s <= grace_s_max:
        return Refusal.INVALID, f"Expected `float` from 0 to {grace_s_max}, found {fact.grace_s} - at `$.grace_s`"
    return None


def _wanted(state: MarathonState, app_id: AppId | None) -> App | None:
    app = state.apps.get(app_id) if app_id is not None else None
    return None if app is None or app.removed else app


def _refuse(event: Event, reason: Refusal, message: str) -> Say:
    return refuse(event, reason, message[:message_chars_max])


def _not_found(event: Event, app_id: AppId | None) -> Say:
    return _refuse(event, Refusal.NOT_FOUND, f"app {app_id} does not exist")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = "%Y-%m-%dT%H:%M:%S.%f"
_millisecond = timedelta(milliseconds=1)


def next_version(now: Now, before: str | None) -> str:
    """The time as a version, in milliseconds; later than the one before. (Marathon: VersionInfo)"""
    at = _EPOCH + timedelta(milliseconds=now // 1000)
    if before is not None:
        at = max(at, datetime.strptime(before + "+0000", _FORMAT + "Z%z") + _millisecond)
    return at.strftime(_FORMAT)[:-3] + "Z"
