"""How deployments, and what they change, are remembered.

Rule of this room: part of the fold. What an app is to be is written down at once; what its instances are made from
changes when its step begins.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from bus.events import Event
from bus.nouns import AppId, Now, second
from bus.plans import Action, Deed, DeploymentId
from bus.services import (
    AppSpecified,
    DeploymentAdvanced,
    DeploymentContinued,
    DeploymentEnded,
    DeploymentStarted,
    GroupsSpecified,
    PodSpecified,
)
from components.component import because
from components.marathon.changing import Before, Deployment, Specified
from components.marathon.state import App, Backoff, MarathonState, Tries

versions_kept_max = 50
"""Of each app, and of the root group. (Marathon: zk_max_versions)"""

# ---- what apps and groups are to be -----------------------------------------------------------------------------


def to_be(fact: AppSpecified | PodSpecified) -> Specified:
    """What an app or a pod is to be."""
    change = fact.change_version or fact.app_version
    if isinstance(fact, AppSpecified):
        return Specified(app=fact.app, version=fact.app_version, change=change)
    return Specified(pod=fact.pod, version=fact.app_version, change=change)


def specified(state: MarathonState, app_id: AppId, to_be: Specified, by: DeploymentId | None, event: Event) -> App:
    """An app or a pod is to be like this; without a deployment it is, at once."""
    app = state.apps.get(app_id)
    _remember(state, app_id, app, by)
    if app is None:
        app = App(given=to_be, client=event.to, asked=because(event))
        app = state.apps[app_id] = app
        app.unopened = by is not None
    elif app.removed:
        _become(app, to_be)
        app.removed, app.unopened, app.last_failure, app.history = False, by is not None, None, {}
    elif by is not None:
        app.pending = to_be
    else:
        _become(app, to_be)
    app.at_once = by is None and bool(app.outdated)
    _asked(app, by, event)
    _write_history(app, to_be)
    state.version = max(state.version or "", to_be.change)
    return app


def removed(state: MarathonState, app_id: AppId, by: DeploymentId | None, event: Event) -> App:
    """An app is wanted no more, at once: what is removed is stopped first."""
    app = state.apps[app_id]
    _remember(state, app_id, app, by)
    app.removed, app.pending, app.unopened = True, None, False
    _asked(app, by, event)
    return app


def groups_specified(state: MarathonState, fact: GroupsSpecified) -> None:
    """Groups exist like this, or are no more."""
    before = state.changes[state.deployments[fact.deployment].version].groups
    for traits in fact.groups:
        before.setdefault(traits.group, state.groups.get(traits.group))
        state.groups[traits.group] = traits
    for group in fact.removed:
        before.setdefault(group, state.groups.pop(group, None))


def _remember(state: MarathonState, app_id: AppId, app: App | None, by: DeploymentId | None) -> None:
    """What was before, to go back to."""
    if by is not None:
        before = state.changes[state.deployments[by].version].apps
        before.setdefault(app_id, None if app is None or app.removed else app.latest)


def _asked(app: App, by: DeploymentId | None, event: Event) -> None:
    app.deployment, app.deed = by, None
    app.client, app.asked = event.to, because(event)


def _write_history(app: App, to_be: Specified) -> None:
    app.history[to_be.change] = to_be
    while len(app.history) > versions_kept_max:
        del app.history[next(iter(app.history))]


def _become(app: App, to_be: Specified) -> None:
    """From now on its instances are made from this; those of another version are outdated."""
    other = app.version != to_be.version
    app.given, app.pending = to_be, None
    if not other:
        return
    there = {task: one.app_version for task, one in app.waiting.items()}
    there |= {task: one.app_version for task, one in app.launched.items()}
    app.outdated = dict.fromkeys(task for task, version in there.items() if version != to_be.version)
    app.old_up = dict.fromkeys(task for task in app.up if task in app.outdated)
    app.backoff, app.canaries_good, app.paused = Backoff(), False, False
    app.avoided.clear()
    no_tries(app)


def no_tries(app: App) -> None:
    """How offers fared is told only of what waits."""
    app.verdicts.clear()
    if app.tries.processed:
        app.tries = Tries()


# ---- deployments ------------------------------------------------------------------------------------------------


def started(state: MarathonState, fact: DeploymentStarted, event: Event) -> None:
    """A deployment begins, and with it a version of the root group."""
    version = fact.deployment_version
    state.version = version
    state.changes[version] = Before()
    state.deployments[fact.deployment] = Deployment(
        version=version,
        plan=fact.plan,
        changed=fact.changed,
        by=event.actor or event.to,
        client=event.to,
        trace=event.trace,
        asked=event.cause,
        since=event.at,
        step_since=event.at,
        group=fact.group,
        reverses=fact.reverses,
    )
    _prune(state)


def _prune(state: MarathonState) -> None:
    """Old versions of the root group, but not of a deployment that may still be undone."""
    going_on = {deployment.version for deployment in state.deployments.values()}
    surplus = len(state.changes) - versions_kept_max
    for version in [version for version in state.changes if version not in going_on][: max(0, surplus)]:
        del state.changes[version]


def advanced(state: MarathonState, fact: DeploymentAdvanced, at: Now) -> list[AppId]:
    """A step begins; the apps that it ends and begins with."""
    deployment = state.deployments[fact.deployment]
    held = _held(state, fact.deployment, deployment)
    before = [one.id for step in deployment.plan.steps[: fact.step] for one in step if one.id in held]
    for app_id in before:
        held[app_id].deed = None
    deployment.step, deployment.step_since = fact.step, at
    actions = [one for one in deployment.plan.steps[fact.step] if one.id in held]
    for action in actions:
        _open(held[action.id], action, deployment, at)
    deployment.unfinished = dict.fromkeys(one.id for one in actions if one.deed is not Deed.START)
    _is_due(state, fact.deployment, deployment)
    return list(dict.fromkeys((*before, *(one.id for one in actions))))


def _held(state: MarathonState, name: DeploymentId, deployment: Deployment) -> dict[AppId, App]:
    """The apps that a deployment still has: what it stopped may be gone, and there again as another's."""
    ids = (*deployment.plan.apps, *deployment.plan.pods)
    return {one: state.apps[one] for one in ids if one in state.apps and state.apps[one].deployment == name}


def _open(app: App, action: Action, deployment: Deployment, at: Now) -> None:
    if action.deed is Deed.START:
        return
    if app.pending is not None:
        _become(app, app.pending)
    app.unopened, app.deed, app.progressed_at, app.most_up, app.failures = False, action.deed, at, 0, 0
    app.canaries_good = app.canaries_good or deployment.reverses is not None or not app.outdated


def continued(state: MarathonState, fact: DeploymentContinued, at: Now) -> list[AppId]:
    """The canaries of these apps are good."""
    apps = [app for app in fact.apps if app in state.apps]
    for app_id in apps:
        app = state.apps[app_id]
        app.canaries_good, app.paused, app.progressed_at = True, False, at
    return apps


def ended(state: MarathonState, fact: DeploymentEnded) -> list[AppId]:
    """A deployment is over; the apps it had. What did not begin yet begins now, without replacing anything."""
    deployment = state.deployments.pop(fact.deployment)
    state.done.pop(fact.deployment, None)
    freed = _held(state, fact.deployment, deployment)
    for app in freed.values():
        if app.pending is not None:
            _become(app, app.pending)
        app.deployment = app.deed = None
        app.unopened = app.paused = False
    return list(freed)


def came_further(state: MarathonState, app_id: AppId, app: App, *, gone: bool) -> None:
    """Whatever changed of an app: whether its deployment is done with it, and until when it must come further."""
    if app.deployment is None and app.deadline is None:
        return
    deployment = state.deployments.get(app.deployment) if app.deployment is not None else None
    if deployment is not None and app.deed is not None:
        assert app.deployment is not None
        up = len(app.up) - len(app.old_up)
        if up > app.most_up:
            app.most_up, app.progressed_at = up, state.at
        if gone or (app.deed is not Deed.STOP and app.as_wanted):
            deployment.unfinished.pop(app_id, None)
        else:
            deployment.unfinished[app_id] = None
        _is_due(state, app.deployment, deployment)
    _place_deadline(state, app_id, app, _fails_at(app, deployment) if app_id in _unfinished_of(deployment) else None)


def _unfinished_of(deployment: Deployment | None) -> Sequence[AppId] | dict[AppId, None]:
    return deployment.unfinished if deployment is not None else ()


def _is_due(state: MarathonState, name: DeploymentId, deployment: Deployment) -> None:
    if deployment.unfinished:
        state.done.pop(name, None)
    else:
        state.done[name] = None


def _fails_at(app: App, deployment: Deployment | None) -> Now | None:
    """When the app has failed: at once after too many failures. Going back never fails, it would go on for ever."""
    rollout = app.spec.rollout
    if deployment is None or deployment.reverses is not None or app.deed in (None, Deed.STOP):
        return None
    if rollout.max_launch_attempts is not None and app.failures >= rollout.max_launch_attempts:
        return app.progressed_at
    if rollout.progress_deadline_seconds is None or app.paused:
        return None
    return Now(app.progressed_at + rollout.progress_deadline_seconds * second)


def _place_deadline(state: MarathonState, app_id: AppId, app: App, until: Now | None) -> None:
    if until == app.deadline:
        return
    if app.deadline is not None:
        del state.deadlines[bisect_left(state.deadlines, (app.deadline, app_id))]
    if until is not None:
        insort(state.deadlines, (until, app_id))
    app.deadline = until
