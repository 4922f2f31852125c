"""Groups: a tree of apps and pods, changed as a whole.

A group is there because it was asked for, or because something is in it.
Rule of this room: pure, as in `drafting`. Pods are in groups, and are not changed with them.
(Marathon: `GroupUpdate`, `api/v2/GroupsResource.scala`)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from bus.documents import AppSpec, DocumentError, GroupSpec
from bus.documents.ids import parent
from bus.documents.reading import check_document
from bus.nouns import AppId, Refusal
from bus.plans import GroupTraits
from bus.services import GroupRequested
from components.marathon.changing import RunSpec
from components.marathon.planning import Draft, Refused, is_within, scaled
from components.marathon.state import App, MarathonState
from components.marathon.versions import all_at, changed_since, groups_at, groups_changed_since

ROOT = AppId("/")
instances_max = 100_000


def within(state: MarathonState, group: AppId) -> dict[AppId, App]:
    """The apps in a group, however deep. Raises Refused if there is no such group."""
    if not exists(state, group):
        raise Refused(Refusal.NOT_FOUND, f"group {group} does not exist")
    return {app_id: app for app_id, app in _inside(state, group) if isinstance(app.spec, AppSpec)}


def exists(state: MarathonState, group: AppId) -> bool:
    """Whether there is such a group."""
    there = group == ROOT or group in state.groups or any(is_within(other, group) for other in state.groups)
    return there or any(True for _ in _inside(state, group))


def existed(state: MarathonState, group: AppId, version: str) -> bool:
    """Whether there was such a group at a version that is known. (Marathon: only those are its versions)"""
    there = (*(all_at(state, version) or ()), *groups_at(state, version))
    return group == ROOT or any(one == group or is_within(one, group) for one in there)


def _inside(state: MarathonState, group: AppId) -> Iterable[tuple[AppId, App]]:
    return ((app_id, app) for app_id, app in state.apps.items() if not app.removed and is_within(app_id, group))


# ---- a group as it shall be -------------------------------------------------------------------------------------


def draft_group(state: MarathonState, fact: GroupRequested) -> Draft:
    """What a group's document would make of what is there. Raises Refused."""
    spec = fact.group
    if spec.id is None:
        raise Refused(Refusal.INVALID, "expected the id of a group - at `$.id`")
    try:
        check_document(spec)
    except DocumentError as error:
        raise Refused(Refusal.INVALID, str(error)) from None
    known = exists(state, spec.id)
    if known and not fact.update and not _holds_only_groups(state, spec.id):
        message = f"group {spec.id} already exists: ask for an update of it"
        raise Refused(Refusal.ALREADY_EXISTS, message)
    if spec.version is not None:
        return draft_group_rollback(state, spec.id, spec.version)
    if spec.scale_by is not None:
        return draft_scaled_group(state, spec.id, spec.scale_by)
    tree = _Tree(state)
    tree.apply(spec, spec.id)
    return Draft(changed="updated" if known else "created", targets=tree.targets, groups=tree.groups, group=spec.id)


def _holds_only_groups(state: MarathonState, group: AppId) -> bool:
    """Whether it is there only because groups below it were asked for: then it may still be created."""
    return group != ROOT and group not in state.groups and not any(True for _ in _inside(state, group))


@dataclass(slots=True)
class _Tree:
    """The changes that a group's document brings, while it is gone through."""

    state: MarathonState
    targets: dict[AppId, RunSpec | None] = field(default_factory=dict)
    groups: dict[AppId, GroupTraits | None] = field(default_factory=dict)

    def apply(self, spec: GroupSpec, group: AppId) -> None:
        """A group shall be like this."""
        self._traits(spec, group)
        if spec.apps is not None:
            self._apps(spec.apps, group)
        if spec.groups is not None:
            named = [one.id for one in spec.groups if one.id is not None]
            for other in self._groups_in(group):
                if other not in named:
                    self.remove(other)
            for one in spec.groups:
                assert one.id is not None
                self.apply(one, one.id)

    def _traits(self, spec: GroupSpec, group: AppId) -> None:
        before = self.state.groups.get(group)
        known = before or GroupTraits(group=group)
        needs = known.dependencies if spec.dependencies is None else tuple(map(AppId, spec.dependencies))
        enforce = known.enforce_role if spec.enforce_role is None else spec.enforce_role
        traits = GroupTraits(group=group, dependencies=needs, enforce_role=enforce)
        if traits != before:
            self.groups[group] = traits

    def _apps(self, apps: Iterable[AppSpec], group: AppId) -> None:
        named: dict[AppId, RunSpec | None] = {app.id: app for app in apps}
        for app_id, app in _inside(self.state, group):
            if parent(app_id) == group and app_id not in named and isinstance(app.spec, AppSpec):
                self.targets[app_id] = None
        for app_id, spec in named.items():
            known = self.state.apps.get(app_id)
            if known is not None and not known.removed and not isinstance(known.spec, AppSpec):
                raise Refused(Refusal.INVALID, f"{app_id} is a pod: pods are not changed through groups - at `$.apps`")
            self.targets[app_id] = spec

    def _groups_in(self, group: AppId) -> list[AppId]:
        """The groups directly in one."""
        inner = [app_id for app_id, _ in _inside(self.state, group) if parent(app_id) != group]
        inner += [one for one in self.state.groups if is_within(one, group)]
        prefix = "" if group == ROOT else group
        names = (one[len(prefix) + 1 :].partition("/")[0] for one in inner)
        return [AppId(f"{prefix}/{name}") for name in dict.fromkeys(names)]

    def remove(self, group: AppId) -> None:
        """A group shall be no more."""
        for app_id, app in _inside(self.state, group):
            if not isinstance(app.spec, AppSpec):
                wrong = f"{app_id} is a pod in {group}, which is not named: pods are not changed through groups"
                raise Refused(Refusal.INVALID, f"{wrong} - at `$.groups`")
            self.targets[app_id] = None
        self.groups |= dict.fromkeys(one for one in self.state.groups if one == group or is_within(one, group))


# ---- other changes of a whole group -----------------------------------------------------------------------------


def draft_scaled_group(state: MarathonState, group: AppId, factor: float) -> Draft:
    """Every app in a group with so many times as many instances, rounded up. (Marathon: scaleBy)"""
    if not 0 <= factor <= 1000:
        raise Refused(Refusal.INVALID, f"Expected `float` from 0 to 1000, found {factor} - at `$.scaleBy`")
    targets: dict[AppId, RunSpec | None] = {}
    for app_id, app in within(state, group).items():
        instances = math.ceil(round(app.latest.spec.instances * factor, 9))
        if instances > instances_max:
            raise Refused(Refusal.INVALID, f"{app_id} would have {instances} instances, at most {instances_max}")
        targets[app_id] = scaled(app.latest.spec, instances)
    return Draft(changed="scaled", targets=targets, group=group)


def draft_group_removal(state: MarathonState, group: AppId) -> Draft:
    """A group, and all that is in it, pods too, is no more. (Marathon: DELETE /v2/groups)"""
    within(state, group)
    targets: dict[AppId, RunSpec | None] = dict.fromkeys(app_id for app_id, _ in _inside(state, group))
    groups = dict.fromkeys(one for one in state.groups if one == group or is_within(one, group))
    return Draft(changed="removed", targets=targets, groups=groups, group=group)


def draft_group_rollback(state: MarathonState, group: AppId, version: str) -> Draft:
    """A group as it was at a version of the root group: new versions of the old configurations."""
    since = changed_since(state, version)
    if since is None:
        raise Refused(Refusal.NOT_FOUND, f"group {group} has no version {version}")
    if not existed(state, group, version):
        message = f"group {group} did not exist at version {version}: roll back to a later one, or remove it"
        raise Refused(Refusal.NOT_FOUND, message)
    targets: dict[AppId, RunSpec | None] = {
        app_id: was.spec if was is not None else None for app_id, was in since.items() if is_within(app_id, group)
    }
    changed = groups_changed_since(state, version).items()
    groups = {one: was for one, was in changed if one == group or is_within(one, group)}
    return Draft(changed="rolled back", targets=targets, groups=groups, group=group)
