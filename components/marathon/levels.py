"""As many instances of each app as are wanted; while it is replaced, a few of the old and a few of the new.

Rule of this room: what an app lacks or has too much of is seen from the state alone, whatever brought it about;
what does not fit into one decision stays due.
"""

from __future__ import annotations

from collections.abc import Iterator

from bus.documents.constraints import GROUP_BY
from bus.events import Fact
from bus.nouns import MASTER, NOBODY, AppId, TaskId, TaskState
from bus.services import DeploymentPaused, InstanceDismissed, InstanceScheduled
from components.component import Because, Say
from components.marathon.changing import RunSpec
from components.marathon.instances import Launched, kill_of
from components.marathon.offers import tally_of
from components.marathon.pods import key_of
from components.marathon.state import DELETING, OVER_CAPACITY, UPGRADING, App, MarathonState
from components.marathon.unreachable import why_surplus

changes_max = 250
"""Instances scheduled or dismissed in one decision; each is at most two events."""


def level(state: MarathonState, changes: int = changes_max) -> Iterator[Say]:
    """Schedule what is missing and dismiss what is too much, of the app that became uneven first."""
    n = state.n
    for k in range(changes):
        app_id = next(iter(state.uneven), None)
        if app_id is None:
            return
        app = state.apps[app_id]
        moves = app.moves
        if moves.kill:
            yield from _dismiss(app_id, app, _old(app), UPGRADING)
        elif moves.start:
            yield _schedule(app_id, app, key_of(app.spec, n, k))
        elif moves.surplus:
            yield from _dismiss(app_id, app, _surplus(app), DELETING if app.removed else OVER_CAPACITY)
        else:
            yield _pause(app_id, app)


def first_scheduled(state: MarathonState, app_id: AppId, spec: RunSpec) -> tuple[TaskId, ...]:
    """The instances that an app has more of as soon as it is to be like this, to be said with that.

    None where others of it are still to be dismissed, or went and are to be replaced: that is seen once it is so.
    """
    app = state.apps.get(app_id)
    if app is not None and (app.removed or app.vacant):
        return ()
    there = len(app.waiting) + len(app.launched) if app is not None else 0
    return tuple(key_of(spec, state.n, k) for k in range(min(spec.instances - there, changes_max)))


def _pause(app_id: AppId, app: App) -> Say:
    """Its canaries are up."""
    assert app.deployment is not None
    assert app.canaries is not None
    fact = DeploymentPaused(deployment=app.deployment, app=app_id, canaries=min(app.canaries, app.wanted))
    return _for(app.asked, fact, app.client)


def _schedule(app_id: AppId, app: App, task: TaskId) -> Say:
    """One more instance; it takes the place of the one that went first."""
    replaces, why = next(iter(app.vacant.items()), (None, app.asked))
    fact = InstanceScheduled(app=app_id, task=task, app_version=app.version, replaces=replaces)
    return _for(why._replace(trace=app.asked.trace), fact)


def _dismiss(app_id: AppId, app: App, task: TaskId, reason: str) -> Iterator[Say]:
    instance, why = app.launched.get(task), why_surplus(app, task) if reason == OVER_CAPACITY else ""
    fact = InstanceDismissed(app=app_id, task=task, reason=reason, why=why)
    yield _for(app.asked, fact)
    if instance is not None:
        kill = kill_of(task, instance, app.spec.task_kill_grace_period_seconds, why)
        yield _for(app.asked, kill, MASTER)


def _for(why: Because, fact: Fact, to: str = NOBODY) -> Say:
    return Say(fact, to=to, cause=why.cause, trace=why.trace, actor=why.actor)


def _old(app: App) -> TaskId:
    """Which of the old goes first: what waits, then what is not up, then by age."""
    for task in app.outdated:
        if task in app.waiting:
            return task
        break  # those that wait come first
    if len(app.old_up) < len(app.outdated):
        return next(task for task in _by_age(app, app.outdated) if task not in app.old_up)
    return next(iter(_by_age(app, app.outdated)))


def _surplus(app: App) -> TaskId:
    """Who goes first: what is of another version, what waits, what cannot be reached, what is not up, then by age."""
    if app.outdated:
        return _old(app)
    if app.waiting:
        return next(reversed(app.waiting))
    if len(app.up) < len(app.launched):
        down = [task for task in _by_age(app, app.launched) if task not in app.up]
        return next((task for task in down if app.launched[task].state is TaskState.UNREACHABLE), down[0])
    return _of_the_fullest(app, _by_age(app, app.launched))


def _of_the_fullest(app: App, tasks: Iterator[TaskId]) -> TaskId:
    """The first of the largest group: what spreads evenly stays even. (Marathon: `Constraints.selectTasksToKill`)"""
    fields = [each[0] for each in app.spec.constraints if each[1] == GROUP_BY]
    if not fields:
        return next(tasks)
    tally = tally_of(app)

    def crowd(task: TaskId) -> tuple[int, ...]:
        one = app.launched[task]
        return tuple(tally.beside(field, one.hostname, one.place) for field in fields)

    return max(tasks, key=crowd)


def _by_age(app: App, tasks: dict[TaskId, Launched] | dict[TaskId, None]) -> Iterator[TaskId]:
    """As the app says. (Marathon: killSelection)"""
    return iter(tasks) if app.spec.kill_selection == "OLDEST_FIRST" else reversed(tasks)
