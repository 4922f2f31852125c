"""As many instances of each app as are wanted, all of its present version.

Rule of this room: what an app lacks or has too much of is seen from the state alone, whatever brought it about;
what does not fit into one decision stays due.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.events import KillRequested
from bus.nouns import MASTER, AppId, TaskId, TaskState
from bus.services import InstanceDismissed, InstanceScheduled
from components.component import Say
from components.marathon.state import DELETING, OVER_CAPACITY, UPGRADING, App, MarathonState
from components.marathon.tasks import task_id
from components.marathon.unreachable import why_surplus

changes_max = 250
"""Instances scheduled or dismissed in one decision; each is at most two events."""


def level(state: MarathonState) -> Iterator[Say]:
    """Schedule what is missing and dismiss what is too much, of the app that became uneven first."""
    n = state.n
    for k in range(changes_max):
        app_id = next(iter(state.uneven), None)
        if app_id is None:
            return
        app = state.apps[app_id]
        if app.outdated:
            yield from _dismiss(app_id, app, next(iter(app.outdated)), UPGRADING)
        elif app.missing > 0:
            yield _schedule(app_id, app, task_id(app_id, n, k))
        else:
            yield from _dismiss(app_id, app, _surplus(app), DELETING if app.removed else OVER_CAPACITY)


def _schedule(app_id: AppId, app: App, task: TaskId) -> Say:
    """One more instance; it takes the place of the one that went first."""
    replaces, cause = next(iter(app.vacant.items()), (None, app.asked))
    fact = InstanceScheduled(app=app_id, task=task, app_version=app.version, replaces=replaces)
    return Say(fact, cause=cause, trace=app.trace)


def _dismiss(app_id: AppId, app: App, task: TaskId, reason: str) -> Iterator[Say]:
    launched, why = task in app.launched, why_surplus(app, task) if reason == OVER_CAPACITY else ""
    fact = InstanceDismissed(app=app_id, task=task, reason=reason, why=why)
    yield Say(fact, cause=app.asked, trace=app.trace)
    if launched:
        grace_s = app.spec.task_kill_grace_period_seconds
        kill = KillRequested(task=task, grace_s=grace_s, reason=why)
        yield Say(kill, to=MASTER, cause=app.asked, trace=app.trace)


def _surplus(app: App) -> TaskId:
    """Who goes first: what waits, what cannot be reached, then the youngest. (Marathon: killSelection)"""
    if app.waiting:
        return next(reversed(app.waiting))
    if app.running < len(app.launched):
        for task, one in app.launched.items():
            if one.state is TaskState.UNREACHABLE:
                return task
    return next(iter(app.launched) if app.spec.kill_selection == "OLDEST_FIRST" else reversed(app.launched))
