"""What can be asked of Marathon about deployments: which go on, what a request would lead to, versions, groups.

Rule of this room: as in `queries`; what would happen is found by the same functions that make it happen.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from bus.app_rows import (
    ActionRow,
    ChangeRow,
    DeploymentRow,
    GroupRow,
    GroupsQuestion,
    PlanQuestion,
    PlanRow,
    VersionRow,
    VersionsQuestion,
)
from bus.documents import AppSpec
from bus.events import FACTS, Fact
from bus.nouns import AppId, Now
from bus.plans import Action, Deed, DeploymentId, GroupTraits
from bus.queries import QueryRefused
from components.marathon.changing import Deployment, Specified
from components.marathon.deployments import blocked_by
from components.marathon.drafting import draft_of, forced
from components.marathon.groups import ROOT, existed
from components.marathon.planning import Course, Refused, above, course_of, is_within
from components.marathon.state import MarathonState
from components.marathon.versions import all_at, group_versions, groups_at

# ---- deployments ------------------------------------------------------------------------------------------------


def deployments(state: MarathonState, _question: bytes, _now: Now) -> list[DeploymentRow]:
    """Those that go on, oldest first."""
    return [_deployment_row(state, name, one) for name, one in state.deployments.items()]


def _deployment_row(state: MarathonState, name: DeploymentId, one: Deployment) -> DeploymentRow:
    step = one.plan.steps[one.step]
    return DeploymentRow(
        deployment=name,
        version=one.version,
        plan=one.plan,
        step=one.step,
        actions=tuple(_action_row(state, one, action) for action in step),
        changed=one.changed,
        by=one.by,
        since=one.since,
        step_since=one.step_since,
        group=one.group,
        reverses=one.reverses,
    )


def _action_row(state: MarathonState, deployment: Deployment, action: Action) -> ActionRow:
    app = state.apps.get(action.id)
    if app is None or action.deed is Deed.START:
        return ActionRow(action=action, done=True, wanted=0, up=0, old=0)
    done = action.id not in deployment.unfinished
    counts = app.counts
    left = counts.new if app.removed else counts.old
    return ActionRow(
        action=action,
        done=done,
        wanted=app.wanted,
        up=counts.new_up,
        old=left + counts.dying,
        blocked_by="" if done else blocked_by(app),
        paused=app.paused,
        fails_at=app.deadline,
    )


# ---- what a request would lead to -------------------------------------------------------------------------------


def plan(state: MarathonState, question: bytes, _now: Now) -> PlanRow:
    """What a request would lead to; nothing is changed."""
    asked = msgspec.msgpack.decode(question, type=PlanQuestion)
    fact = _request(asked)
    try:
        draft = draft_of(state, fact)
        if draft is None:
            raise QueryRefused(f"{asked.type} leads to no deployment")
        course = course_of(state, draft, force=forced(fact))
    except Refused as refused:
        return PlanRow(refused=refused.reason, message=refused.message, held_by=refused.held_by)
    changes = tuple(_change_row(state, course, one) for one in (*course.plan.apps, *course.plan.pods))
    return PlanRow(plan=course.plan, changes=changes, cancels=course.cancels)


def _request(asked: PlanQuestion) -> Fact:
    if asked.type not in FACTS:
        raise QueryRefused(f"there is no request {asked.type}")
    try:
        return msgspec.convert(asked.fields, FACTS[asked.type])
    except msgspec.ValidationError as error:
        raise QueryRefused(str(error)) from None


def _change_row(state: MarathonState, course: Course, app_id: AppId) -> ChangeRow:
    app, after = state.apps.get(app_id), course.draft.targets[app_id]
    before = app.latest if app is not None and not app.removed else None
    return ChangeRow(
        id=app_id,
        app_before=before.app if before else None,
        pod_before=before.pod if before else None,
        app_after=after if isinstance(after, AppSpec) else None,
        pod_after=after if not isinstance(after, AppSpec) else None,
    )


# ---- versions ---------------------------------------------------------------------------------------------------


def versions(state: MarathonState, question: bytes, _now: Now) -> list[VersionRow]:
    """The versions of an app, a pod or a group that are known, newest first."""
    asked = msgspec.msgpack.decode(question, type=VersionsQuestion)
    if asked.group is not None:
        known = [version for version in group_versions(state) if existed(state, asked.group, version)]
        return [VersionRow(version=version) for version in known]
    name = asked.app if asked.app is not None else asked.pod
    app = state.apps.get(name) if name is not None else None
    if app is None or app.removed or (app.latest.app is None) != (asked.app is None):
        raise QueryRefused(f"{'app' if asked.app is not None else 'pod'} {name} does not exist")
    return [_version_row(one) for one in reversed(app.history.values())]


def _version_row(one: Specified) -> VersionRow:
    return VersionRow(version=one.change, config_version=one.version, app=one.app, pod=one.pod)


# ---- groups -----------------------------------------------------------------------------------------------------


def groups(state: MarathonState, question: bytes, _now: Now) -> GroupRow:
    """A group with all that is in it, now or at a version."""
    asked = msgspec.msgpack.decode(question, type=GroupsQuestion) if question else GroupsQuestion()
    there = all_at(state, asked.version)
    if there is None:
        raise QueryRefused(f"group {asked.group} has no version {asked.version}")
    inside = {app_id: one for app_id, one in there.items() if is_within(app_id, asked.group)}
    traits = groups_at(state, asked.version)
    known = {one for one in traits if one == asked.group or is_within(one, asked.group)}
    if asked.group != ROOT and not inside and not known:
        raise QueryRefused(f"group {asked.group} does not exist")
    return _Forest(inside, traits, asked.version or state.version or "").row(asked.group)


class _Forest:
    """All that is in a group, and the rows made of it."""

    def __init__(
        self,
        apps: dict[AppId, Specified],
        traits: dict[AppId, GroupTraits],
        version: str,
    ) -> None:
        self.traits, self.version = traits, version
        self.things: dict[AppId, list[Specified]] = {}
        self.inner: dict[AppId, dict[AppId, None]] = {}
        for app_id in sorted(apps):
            self.things.setdefault(above(app_id)[0], []).append(apps[app_id])
            self.link(above(app_id))
        for group in sorted(traits):
            if group != ROOT:
                self.link([group, *above(group)])

    def link(self, path: list[AppId]) -> None:
        """Each group of a path, innermost first, is in the next."""
        for inner, outer in pairwise(path):
            self.inner.setdefault(outer, {})[inner] = None

    def row(self, group: AppId) -> GroupRow:
        traits = self.traits.get(group, GroupTraits(group=group))
        things = self.things.get(group, [])
        return GroupRow(
            group=group,
            version=self.version,
            dependencies=traits.dependencies,
            enforce_role=traits.enforce_role,
            apps=tuple(_version_row(one) for one in things if one.app is not None),
            pods=tuple(_version_row(one) for one in things if one.pod is not None),
            groups=tuple(self.row(inner) for inner in sorted(self.inner.get(group, {}))),
        )
