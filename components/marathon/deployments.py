"""Deployments as they go: begun, brought from step to step, given up, ended.

Rule of this room: a deployment does nothing to instances itself. It says what apps are to be and when it is their
turn; what follows for instances is `levels`' business, and whether a step is done is seen from the state alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from bus.documents import AppSpec
from bus.nouns import AppId, Now, second
from bus.plans import Deed, DeploymentId, GroupTraits, Outcome
from bus.services import (
    AppRemoved,
    AppSpecified,
    DeploymentAdvanced,
    DeploymentEnded,
    DeploymentStarted,
    GroupsSpecified,
    PodSpecified,
)
from components.component import Say
from components.marathon.changing import Before, RunSpec, Specified
from components.marathon.levels import first_scheduled
from components.marathon.planning import Course, Draft, Refused, course_of, message_chars_max, same_config
from components.marathon.state import App, MarathonState
from components.marathon.versions import next_version

advances_max = 100
"""Steps begun and deployments ended in one decision."""


# ---- how one begins ---------------------------------------------------------------------------------------------


def begin(state: MarathonState, course: Course, said: Say, now: Now) -> Iterator[Say]:
    """Carry out a course; `said` is how its first word is addressed, its fact aside: to whom, and as which answer."""
    name = DeploymentId(f"d-{state.n}")
    plan, draft = course.plan, course.draft
    version = next_version(now, state.version)
    targets = {one.id: draft.targets[one.id] for step in plan.steps for one in step}
    made = {app_id: _made(state, draft, app_id, spec, version) for app_id, spec in targets.items()}
    for other in course.cancels:
        yield end(state, other, Outcome.CANCELLED, f"stopped for deployment {name}")
    if draft.reverses is not None and draft.reverses in state.deployments:
        yield end(state, draft.reverses, Outcome.REVERSED, f"undone by deployment {name}")
    started = DeploymentStarted(
        deployment=name,
        deployment_version=version,
        plan=plan,
        changed=draft.changed,
        group=draft.group,
        reverses=draft.reverses,
        cancels=course.cancels,
    )
    yield replace(said, fact=_with_its_own(state, started, made) if len(made) == 1 else started)
    following = replace(said, request=None)
    if draft.groups:
        yield replace(following, fact=_groups(name, draft))
    if len(made) == 1:
        return
    for app_id, one in made.items():
        if one is None:
            yield replace(following, fact=AppRemoved(app=app_id, deployment=name))
        else:
            yield replace(following, fact=_said(one, draft.changed, name))
    if plan.steps:
        yield replace(following, fact=DeploymentAdvanced(deployment=name, step=0))
    else:
        yield replace(following, fact=DeploymentEnded(deployment=name, outcome=Outcome.SUCCEEDED))


def _groups(name: DeploymentId, draft: Draft) -> GroupsSpecified:
    kept = tuple(traits for traits in draft.groups.values() if traits is not None)
    return GroupsSpecified(
        deployment=name, groups=kept, removed=tuple(group for group, traits in draft.groups.items() if traits is None)
    )


def _with_its_own(
    state: MarathonState, started: DeploymentStarted, made: Mapping[AppId, Specified | None]
) -> DeploymentStarted:
    """The word that begins a deployment of one app or pod, with all that follows from it at once."""
    ((app_id, one),) = made.items()
    if one is None:
        return replace(started, removed=app_id)
    (last,) = started.plan.steps[-1]
    return replace(
        started,
        app=one.app,
        pod=one.pod,
        app_version=one.version,
        change_version=_change(one),
        scheduled=first_scheduled(state, app_id, one.spec) if last.deed is Deed.SCALE else (),
    )


def _made(state: MarathonState, draft: Draft, app_id: AppId, spec: RunSpec | None, version: str) -> Specified | None:
    """Its next version; of a configuration that stays, only the change has a new one. None: it is removed."""
    if spec is None or app_id in draft.back_to:
        return draft.back_to.get(app_id)
    app = state.apps.get(app_id)
    before = app.latest if app is not None and not app.removed else None
    config = before.version if before and not draft.restart and same_config(spec, before.spec) else version
    if isinstance(spec, AppSpec):
        return Specified(app=spec, version=config, change=version)
    return Specified(pod=spec, version=config, change=version)


def _said(made: Specified, changed: str, name: DeploymentId) -> AppSpecified | PodSpecified:
    version, change = made.version, _change(made)
    if made.app is not None:
        return AppSpecified(app=made.app, app_version=version, changed=changed, deployment=name, change_version=change)
    assert made.pod is not None
    return PodSpecified(pod=made.pod, app_version=version, changed=changed, deployment=name, change_version=change)


def _change(made: Specified) -> str | None:
    return made.change if made.change != made.version else None


# ---- how it goes on ---------------------------------------------------------------------------------------------


def advance(state: MarathonState, now: Now) -> Iterator[Say]:
    """Begin the next step where one is done; end what is done, and what has failed.

    Nothing has failed before the master has admitted Marathon, as in `unreachable.overdue`.
    """
    for _ in range(advances_max):
        if state.done:
            yield _next(state, next(iter(state.done)))
        else:
            break
    if state.admitted and state.deadlines and state.deadlines[0][0] <= now:
        yield from _fail(state, state.deadlines[0][1], now)


def _next(state: MarathonState, name: DeploymentId) -> Say:
    deployment = state.deployments[name]
    if deployment.step + 1 == len(deployment.plan.steps):
        return end(state, name, Outcome.SUCCEEDED)
    return _say(state, name, DeploymentAdvanced(deployment=name, step=deployment.step + 1))


def _fail(state: MarathonState, app_id: AppId, now: Now) -> Iterator[Say]:
    """Give a deployment up for one of its apps; go back to what was before if the app says so."""
    app = state.apps[app_id]
    name = app.deployment
    assert name is not None
    message = f"{action_of(app)} {app_id} {_why_failed(app, now)}: {blocked_by(app)}"
    course, by = None, state.deployments[name].by
    if app.spec.rollout.auto_rollback:
        try:
            course = course_of(state, reversal(state, name), force=False)
        except Refused as refused:
            message += f"; it is not undone: {refused.message[:message_chars_max]}"
    said = end(state, name, Outcome.FAILED, message)
    yield said
    if course is not None:
        yield from begin(state, course, replace(said, actor=by), now)


def _why_failed(app: App, now: Now) -> str:
    attempts = app.spec.rollout.max_launch_attempts
    if attempts is not None and app.failures >= attempts:
        return f"failed {app.failures} times, at most {attempts} are allowed"
    return f"came no further for {(now - app.progressed_at) / second:g} s"


def end(state: MarathonState, name: DeploymentId, outcome: Outcome, message: str = "") -> Say:
    """The end of a deployment, said to who asked for it."""
    return _say(state, name, DeploymentEnded(deployment=name, outcome=outcome, message=message))


def _say(state: MarathonState, name: DeploymentId, fact: DeploymentAdvanced | DeploymentEnded) -> Say:
    deployment = state.deployments[name]
    return Say(fact, to=deployment.client, cause=deployment.asked, trace=deployment.trace, actor=deployment.by)


# ---- how it is undone -------------------------------------------------------------------------------------------


def reversal(state: MarathonState, name: DeploymentId) -> Draft:
    """What undoes a deployment: everything it changed as it was before, old instances kept."""
    deployment = state.deployments[name]
    before = state.changes[deployment.version]
    return Draft(
        changed="reversed",
        targets={app_id: was.spec if was is not None else None for app_id, was in before.apps.items()},
        back_to={app_id: was for app_id, was in before.apps.items() if was is not None},
        groups=_groups_before(before),
        group=deployment.group,
        reverses=name,
    )


def _groups_before(before: Before) -> dict[AppId, GroupTraits | None]:
    return dict(before.groups)


# ---- what it waits for, in words --------------------------------------------------------------------------------


def action_of(app: App) -> str:
    """What is done to an app now, as Marathon calls it."""
    kind = "Application" if isinstance(app.spec, AppSpec) else "Pod"
    return f"{app.deed}{kind}" if app.deed is not None else kind


def blocked_by(app: App) -> str:
    """Why an app's action is not done; empty if it is."""
    counts = app.counts
    found = []
    if app.paused:
        found.append("its canaries are up, and it waits for a person's word")
    if app.waiting:
        found.append(f"{_count(len(app.waiting))} for an offer")
    sick = sum(task not in app.up for task in app.launched if task not in app.outdated)
    if sick:
        found.append(f"{_count(sick)} to run, to be healthy, or to be ready")
    if counts.dying:
        found.append(f"{_count(counts.dying)} to end")
    if counts.old and not app.paused:
        found.append(
            f"{counts.old} of the old still to be replaced" if not app.removed else f"{counts.old} to be killed"
        )
    if not found and app.deed is not None and not (app.as_wanted or app.removed):
        found.append(f"{counts.new} of {app.wanted} instances exist")
    up = f"{counts.new_up} of {app.wanted} up" if app.deed is not Deed.STOP else f"{len(app.launched)} left"
    return f"{up}; " + ", ".join(found) if found else ""


def _count(number: int) -> str:
    return "1 instance waits" if number == 1 else f"{number} instances wait"
