"""What the master says of tasks: each real change goes to the client, once.

Rule of this room: a live status that is no move from what is known is old or said again, and yields nothing; an end
always counts. A live task that is not ours any more is killed.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import KillRequested, TaskUpdated
from bus.nouns import MASTER, MOVES, TERMINAL, AppId, Now, TaskId, TaskState, TaskStatus
from bus.services import AppUpdated
from components.component import Say
from components.marathon.avoiding import avoided_until
from components.marathon.backoff import next_delay_us
from components.marathon.health import hear_health
from components.marathon.instances import ENDED, Launched, as_instance, is_failure
from components.marathon.state import App, MarathonState, instance_with

_ALIVE = frozenset({TaskState.STAGING, TaskState.STARTING, TaskState.RUNNING})


def hear_update(state: MarathonState, fact: TaskUpdated, now: Now) -> Iterator[Say]:
    """What follows from a task's status."""
    task, state_now = fact.status.task, fact.status.state
    key = instance_with(state, task)
    app_id = state.owners.get(key)
    if app_id is None:
        if state_now in _ALIVE:  # it was unreachable and replaced, and is back. (Marathon: expunge)
            yield Say(KillRequested(task=task, reason=why_killed(state, task)), to=MASTER)
        return
    app = state.apps[app_id]
    instance = app.launched.get(key) or app.dying.get(key) or app.absent.get(key)
    known = _known(instance, key, task)
    if instance is None or known is None or known in TERMINAL:
        return
    if state_now is known is TaskState.UNREACHABLE:
        return  # it is waited for already
    if state_now in ENDED or state_now in MOVES[known]:
        yield _updated(app_id, app, instance, fact, as_instance(key, instance, fact.status), now)
    elif state_now is known is TaskState.RUNNING:
        yield from hear_health(app_id, instance, fact.status)


def _known(instance: Launched | None, key: TaskId, task: TaskId) -> TaskState | None:
    """What is known of a task: an instance, or one container of it."""
    if instance is None or (task == key and not instance.containers):
        return instance.state if instance is not None else None
    return instance.containers[task].state if task in instance.containers else None


def why_killed(state: MarathonState, task: TaskId) -> str:
    """Why an instance that no app has is killed, and which one survives in its place."""
    if task not in state.expunged:
        return "no app has this instance any more"
    replaced_by = state.expunged[task]
    given_up = "it came back after it was given up as unreachable"
    return f"{given_up}: {replaced_by} took its place and stays" if replaced_by else f"{given_up}: it is wanted no more"


def _updated(app_id: AppId, app: App, instance: Launched, fact: TaskUpdated, whole: TaskStatus, now: Now) -> Say:
    """`whole` is what the instance is with this."""
    delay_until = _delay_until(app, whole, now)
    updated = AppUpdated(
        app=app_id,
        status=fact.status,
        agent=fact.agent or instance.agent,
        instances=app.spec.instances,
        running=_running(app, instance, whole),
        delay_until=delay_until,
        avoided_until=avoided_until(app, instance.agent, now) if delay_until is not None else None,
    )
    return Say(updated, to=app.client, trace=instance.trace)


def _running(app: App, instance: Launched, status: TaskStatus) -> int:
    if status.task in app.dying:
        return app.running
    return app.running - (instance.state is TaskState.RUNNING) + (status.state is TaskState.RUNNING)


def _delay_until(app: App, status: TaskStatus, now: Now) -> Now | None:
    """When the app may launch again, if this is its failure: a wanted instance of its present version ended."""
    if not is_failure(status) or not _counts(app, status.task):
        return None
    delay_us = next_delay_us(app.spec, app.backoff, now)
    return Now(now + delay_us) if delay_us else None


def _counts(app: App, task: TaskId) -> bool:
    return task in app.launched and task not in app.outdated
