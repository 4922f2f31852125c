"""From what is and what shall be to a plan: what is removed is stopped, what is new is started, and then the rest, what
others depend on first.

Rule of this room: pure, and the same for what is done and for what is only asked (`plan`).
(Marathon: `DeploymentPlan.scala`)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from bus.documents import AppSpec
from bus.nouns import AppId, Refusal
from bus.plans import Action, Deed, DeploymentId, GroupTraits, Plan, Step
from components.marathon.changing import RunSpec, Specified
from components.marathon.state import App, MarathonState
from components.marathon.versions import next_version

deployments_max = 100
"""At once. (Marathon: max_running_deployments)"""
changed_max = 400
"""Apps and pods in one deployment: it is begun by one decision."""
changed_bytes_max = 4 * 1024 * 1024
"""Of all of them together, likewise."""
groups_bytes_max = 256 * 1024
"""Of all groups in one deployment: they are said in one event."""
message_chars_max = 1000
"""What was asked may be as large as an event; the words of its refusal are not."""
few = 32
"""So many of the largest there may be are never more."""


class Refused(Exception):
    """What was asked will not be done."""

    def __init__(self, reason: Refusal, message: str, held_by: tuple[DeploymentId, ...] = ()) -> None:
        super().__init__(message)
        self.reason, self.message, self.held_by = reason, message, held_by


class Draft(NamedTuple):
    """What a request would make of apps, pods and groups."""

    changed: str
    """As of `DeploymentStarted`."""
    targets: Mapping[AppId, RunSpec | None]
    """None: it is removed."""
    restart: bool = False
    """All of them, even if nothing else changes."""
    back_to: Mapping[AppId, Specified] = {}
    """Versions that are restored with them: their instances are still good."""
    groups: Mapping[AppId, GroupTraits | None] = {}
    group: AppId | None = None
    reverses: DeploymentId | None = None
    one_step: bool = False
    """Without regard to dependencies."""


class Course(NamedTuple):
    """What will be done for a draft."""

    draft: Draft
    plan: Plan
    cancels: tuple[DeploymentId, ...]
    """Deployments that are in the way and are stopped for it."""


def course_of(state: MarathonState, draft: Draft, *, force: bool) -> Course:
    """What will be done. Raises Refused: invalid, locked, too many."""
    deeds = {app_id: deed for app_id, spec in draft.targets.items() if (deed := _deed(state, draft, app_id, spec))}
    blockers = _blockers(state, draft, deeds)
    if blockers and not force:
        raise Refused(Refusal.LOCKED, locked(state, blockers), tuple(dict.fromkeys(blockers.values())))
    cancels = tuple(dict.fromkeys(blockers.values()))
    over = len(state.deployments) - len(cancels) - (draft.reverses is not None)
    if over >= deployments_max:
        raise Refused(Refusal.TOO_MANY, f"{over} deployments go on, at most {deployments_max} may: wait, or cancel one")
    if len(deeds) > changed_max:
        wrong = f"it changes {len(deeds)} apps, at most {changed_max} are allowed in one deployment: change fewer"
        raise Refused(Refusal.INVALID, wrong)
    size = sum(len(msgspec.msgpack.encode(draft.targets[app_id])) for app_id in deeds) if len(deeds) > few else 0
    if size > changed_bytes_max:
        wrong = f"it changes {len(deeds)} apps of {size} bytes, at most {changed_bytes_max} are allowed in one"
        raise Refused(Refusal.INVALID, f"{wrong} deployment: change fewer")
    size = len(msgspec.msgpack.encode(draft.groups))
    if size > groups_bytes_max:
        wrong = f"it changes {len(draft.groups)} groups of {size} bytes, at most {groups_bytes_max} are allowed in one"
        raise Refused(Refusal.INVALID, f"{wrong} deployment: change fewer")
    return Course(draft, _plan(state, draft, deeds), cancels)


def _deed(state: MarathonState, draft: Draft, app_id: AppId, spec: RunSpec | None) -> Deed | None:
    """What is done to an app; None: nothing changes."""
    app = state.apps.get(app_id)
    if app is None or app.removed:
        return Deed.START if spec is not None else None
    if spec is None:
        return Deed.STOP
    back = draft.back_to.get(app_id)
    other = back.version != app.latest.version if back is not None else not same_config(spec, app.latest.spec)
    mixed = app.outdated or app.latest.version != app.version
    if other or draft.restart or (mixed and (app.deployment is None or spec != app.latest.spec)):
        return Deed.RESTART
    if draft.reverses is not None and app.deployment == draft.reverses:
        return Deed.RESTART if mixed else Deed.SCALE
    return Deed.SCALE if spec.instances != app.latest.spec.instances else None


def same_config(one: RunSpec, other: RunSpec) -> bool:
    """Whether they differ in nothing but the number of instances."""
    return scaled(one, other.instances) == other


def scaled(spec: RunSpec, instances: int) -> RunSpec:
    """The same with another number of instances."""
    if isinstance(spec, AppSpec):
        return replace(spec, instances=instances)
    return replace(spec, scaling=replace(spec.scaling, instances=instances))


# ---- locks ------------------------------------------------------------------------------------------------------


def _blockers(state: MarathonState, draft: Draft, deeds: Iterable[AppId]) -> dict[AppId, DeploymentId]:
    found = ((app_id, state.apps[app_id].deployment) for app_id in deeds if app_id in state.apps)
    return {app_id: holder for app_id, holder in found if holder is not None and holder != draft.reverses}


def locked(state: MarathonState, blockers: Mapping[AppId, DeploymentId]) -> str:
    """Who holds the locks: which deployment, of whom, since when, and at which step."""
    holders: dict[DeploymentId, list[AppId]] = {}
    for app_id, holder in blockers.items():
        holders.setdefault(holder, []).append(app_id)
    return "; ".join(_held(state, apps, holder) for holder, apps in holders.items())


def _held(state: MarathonState, apps: list[AppId], holder: DeploymentId) -> str:
    deployment = state.deployments[holder]
    step = deployment.plan.steps[deployment.step]
    doing = ", ".join(f"{one.name} {one.id}" for one in step[:3]) + (" ..." if len(step) > 3 else "")
    what = f"{apps[0]} is" if len(apps) == 1 else f"{apps[0]} and {len(apps) - 1} more are"
    where = f"at step {deployment.step + 1} of {len(deployment.plan.steps)}: {doing}"
    since = next_version(deployment.since, None)
    return f"{what} locked by deployment {holder} of {deployment.by} since {since}, {where}"


# ---- steps ------------------------------------------------------------------------------------------------------


def _plan(state: MarathonState, draft: Draft, deeds: Mapping[AppId, Deed]) -> Plan:
    pods = {app_id for app_id in deeds if _is_pod(state.apps.get(app_id), draft.targets[app_id])}

    def action(deed: Deed, app_id: AppId) -> Action:
        return Action(deed=deed, pod=app_id) if app_id in pods else Action(deed=deed, app=app_id)

    of = {deed: [app_id for app_id, each in deeds.items() if each is deed] for deed in Deed}
    steps: list[Step] = [
        tuple(action(Deed.STOP, app_id) for app_id in of[Deed.STOP]),
        tuple(action(Deed.START, app_id) for app_id in of[Deed.START]),
    ]
    rest = [app_id for app_id, deed in deeds.items() if deed is not Deed.STOP]
    depths = {} if draft.one_step else depths_of(state, draft, rest)
    for depth in sorted({depths.get(app_id, 0) for app_id in rest}):
        there = [app_id for app_id in rest if depths.get(app_id, 0) == depth]
        steps.append(tuple(action(_then(deeds[app_id]), app_id) for app_id in there))
    return Plan(steps=tuple(step for step in steps if step))


def _then(deed: Deed) -> Deed:
    """What is done in its turn to what exists, be it only since this deployment."""
    return Deed.SCALE if deed is Deed.START else deed


def _is_pod(app: App | None, target: RunSpec | None) -> bool:
    spec = target if target is not None else app.latest.spec if app is not None else None
    return spec is not None and not isinstance(spec, AppSpec)


# ---- dependencies -----------------------------------------------------------------------------------------------


def depths_of(state: MarathonState, draft: Draft, changed: Iterable[AppId]) -> dict[AppId, int]:
    """How many others one after the other must be up before each app. Raises Refused if they wait for one another."""
    if not _any_dependencies(state, draft):
        return {}
    everything = {app_id: app.latest.spec for app_id, app in state.apps.items() if not app.removed}
    for app_id, spec in draft.targets.items():
        everything.pop(app_id, None)
        if spec is not None:
            everything[app_id] = spec
    groups = dict(state.groups)
    for group, traits in draft.groups.items():
        groups.pop(group, None)
        if traits is not None:
            groups[group] = traits
    graph = _graph(everything, groups)
    return _longest(graph, list(changed))


def _any_dependencies(state: MarathonState, draft: Draft) -> bool:
    """Whether what is changed can depend on anything."""
    groups = (*state.groups.values(), *draft.groups.values())
    depending = any(traits is not None and traits.dependencies for traits in groups)
    return depending or any(isinstance(spec, AppSpec) and spec.dependencies for spec in draft.targets.values())


def _graph(specs: Mapping[AppId, RunSpec], groups: Mapping[AppId, GroupTraits]) -> dict[AppId, list[AppId]]:
    """Of each app that depends on others: these."""
    given: dict[AppId, list[str]] = {}
    depending = {group: traits.dependencies for group, traits in groups.items() if traits.dependencies}
    for app_id, spec in specs.items():
        named = list(spec.dependencies) if isinstance(spec, AppSpec) else []
        for group in above(app_id) if depending else ():
            named += [name for name in depending.get(group, ()) if not is_within(app_id, name)]
        if named:
            given[app_id] = named
    return {app_id: _members(specs, named, app_id) for app_id, named in given.items()}


def _members(specs: Mapping[AppId, RunSpec], named: Iterable[str], app_id: AppId) -> list[AppId]:
    """The apps that dependencies mean: themselves, or all in a group."""
    found: dict[AppId, None] = {}
    for name in named:
        if AppId(name) in specs:
            found[AppId(name)] = None
        else:
            found |= dict.fromkeys(other for other in specs if is_within(other, name) and other != app_id)
    return list(found)


def _longest(graph: Mapping[AppId, list[AppId]], apps: list[AppId]) -> dict[AppId, int]:
    """Without recursion: chains may be long."""
    depths: dict[AppId, int] = {}
    path: dict[AppId, None] = {}
    todo = [(app_id, False) for app_id in reversed(apps)]
    while todo:
        app_id, looked_at = todo.pop()
        before = graph.get(app_id, [])
        if looked_at:
            depths[app_id] = 1 + max((depths[one] for one in before), default=-1)
            del path[app_id]
        elif app_id in path:
            circle = " -> ".join((*list(path)[list(path).index(app_id) :], app_id))
            raise Refused(Refusal.INVALID, f"apps depend on each other in a circle: {circle} - at `$.dependencies`")
        elif app_id not in depths:
            path[app_id] = None
            todo.append((app_id, True))
            todo += [(one, False) for one in before if one not in depths]
    return depths


# ---- paths ------------------------------------------------------------------------------------------------------


def above(app_id: AppId) -> list[AppId]:
    """The groups that a thing is in, from the innermost to the root."""
    parts = app_id.strip("/").split("/")
    return [AppId("/" + "/".join(parts[:length])) for length in range(len(parts) - 1, -1, -1)]


def is_within(app_id: AppId, group: str) -> bool:
    """Whether a thing is in a group, however deep."""
    return group == "/" or app_id.startswith(group + "/")
