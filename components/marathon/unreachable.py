"""Instances whose agent cannot be reached: when another takes their place, and when they are given up.

    launched ─ inactiveAfter ─► absent: replaced, and may come back ─ expungeAfter ─► given up: killed if it comes back

Rule of this room: each is due at a moment, and happens at it. With 0 and 0, the default, an instance is given up at
once; if the strategy is disabled, it is waited for without end. (Marathon: `docs/unreachable.md`; its own timers fire
at the next look, 30 s to 10 min later)
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

from bus.documents import UnreachableStrategy
from bus.events import Event
from bus.nouns import Now, TaskId, TaskState, TaskStatus, second
from bus.services import InstanceDeactivated, InstanceExpunged
from components.component import Say, because
from components.marathon.containers import Termination
from components.marathon.instances import Launched
from components.marathon.state import App, MarathonState, expunged_kept_max, terminations_kept_max

overdue_max = 250
"""Instances given up or replaced in one decision."""


def overdue(state: MarathonState, now: Now) -> Iterator[Say]:
    """What has become due of the instances that cannot be reached.

    Not before the master has admitted Marathon: by then everything is heard that was said while nobody led.
    """
    if not state.admitted:
        return
    for _, task in list(islice(state.lost, overdue_max)):
        app_id = state.owners.get(task)
        if app_id is None:
            continue  # its app is gone with what became due before it
        app = state.apps[app_id]
        instance = app.launched.get(task) or app.absent[task]
        if instance.expunge_at is not None and instance.expunge_at <= now:
            fact = InstanceExpunged(app=app_id, task=task, replaced_by=instance.replaced_by)
            yield Say(fact, cause=instance.lost_by, trace=instance.trace)
        elif task in app.launched and instance.inactive_at is not None and instance.inactive_at <= now:
            yield Say(InstanceDeactivated(app=app_id, task=task), cause=instance.lost_by, trace=instance.trace)
        else:
            return


def is_waited_for(app: App, status: TaskStatus) -> bool:
    """Whether an instance that is unreachable now keeps its place for a while."""
    strategy = app.spec.unreachable_strategy
    waits = strategy == "disabled" or strategy.inactive_after_seconds > 0 or strategy.expunge_after_seconds > 0
    return status.state is TaskState.UNREACHABLE and status.task in app.launched and waits


def why_surplus(app: App, task: TaskId) -> str:
    """Why there is an instance too many, and why it is this one, if one came back that had been replaced."""
    if not app.returned:
        return ""
    returned = [name for name in app.launched if name in app.returned]
    who = "it came back" if task in returned else f"{returned[-1]} came back"
    return f"{who} after it had been replaced; killSelection is {app.spec.kill_selection}"


# ---- fold -------------------------------------------------------------------------------------------------------


def lose(state: MarathonState, app: App, task: TaskId, event: Event) -> None:
    """An instance cannot be reached from now on: say when what is due."""
    instance, strategy = app.launched[task], app.spec.unreachable_strategy
    instance.lost_by = event.cause
    if isinstance(strategy, UnreachableStrategy):
        instance.inactive_at = Now(event.at + strategy.inactive_after_seconds * second)
        expunge_s = max(strategy.inactive_after_seconds, strategy.expunge_after_seconds)
        instance.expunge_at = Now(event.at + expunge_s * second)
        insort(state.lost, (instance.inactive_at, task))


def find(state: MarathonState, task: TaskId, instance: Launched) -> None:
    """Nothing is due of an instance any more: it can be reached, or is gone."""
    for at in (instance.inactive_at, instance.expunge_at):
        if at is not None:
            index = bisect_left(state.lost, (at, task))
            if index < len(state.lost) and state.lost[index] == (at, task):
                del state.lost[index]
    instance.inactive_at = instance.expunge_at = instance.lost_by = None


def deactivate(state: MarathonState, app: App, fact: InstanceDeactivated, event: Event) -> None:
    """An instance counts no more, and may come back."""
    instance = app.launched.pop(fact.task)
    app.outdated.pop(fact.task, None)
    app.mark(fact.task)
    app.absent[fact.task] = instance
    app.vacant[fact.task] = because(event)
    expunge_at = instance.expunge_at
    find(state, fact.task, instance)
    if expunge_at is not None:
        instance.expunge_at = expunge_at
        insort(state.lost, (expunge_at, fact.task))


def come_back(app: App, task: TaskId) -> None:
    """An instance that was replaced counts again, by its age."""
    instance = app.absent.pop(task)
    instance.returned = True
    if instance.app_version != app.version:
        app.outdated[task] = None
    every = sorted([*app.launched.items(), (task, instance)], key=lambda item: item[1].launched_at)
    app.launched = dict(every)


def expunge(state: MarathonState, app: App, task: TaskId, cause: Event | None = None) -> None:
    """Give up an instance that cannot be reached."""
    was_wanted = task in app.launched
    forget_containers(state, app, task, "it could not be reached, and was given up", state.at)
    instance = app.launched.pop(task, None) or app.absent.pop(task)
    app.outdated.pop(task, None)
    app.mark(task)
    find(state, task, instance)
    del state.owners[task]
    if was_wanted and cause is not None:
        app.vacant[task] = because(cause)
    remember_expunged(state, task, instance.replaced_by)


def forget_containers(state: MarathonState, app: App, task: TaskId, message: str, at: Now) -> None:
    """An instance ended or is given up; of a pod's it is remembered how, for the latest."""
    instance = app.launched.get(task) or app.dying.get(task) or app.absent[task]
    for container in instance.containers:
        state.unconfirmed.pop(container, None)  # nobody will hear of it any more
    if instance.containers:
        ended = Termination(
            instance=task,
            started_at=instance.launched_at,
            terminated_at=at,
            message=message,
            containers=instance.containers,
        )
        app.terminations = [*app.terminations, ended][-terminations_kept_max:]


def remember_expunged(state: MarathonState, task: TaskId, replaced_by: TaskId | None) -> None:
    """So that it can be said what took its place, should it come back."""
    state.expunged[task] = replaced_by
    while len(state.expunged) > expunged_kept_max:
        del state.expunged[next(iter(state.expunged))]


def forget_absent(state: MarathonState, app: App) -> None:
    """The app is wanted no more: neither is who might come back."""
    for task in list(app.absent):
        expunge(state, app, task)
