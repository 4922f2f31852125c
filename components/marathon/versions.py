"""Versions: what they are called, and what was at them.

Rule of this room: the latest 50 are known, of each app and of the root group; what a group was at one of them is found
by undoing what changed since.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bus.nouns import AppId, Now
from bus.plans import GroupTraits
from components.marathon.changing import Specified
from components.marathon.state import MarathonState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT = "%Y-%m-%dT%H:%M:%S.%f"
_millisecond = timedelta(milliseconds=1)


def next_version(now: Now, before: str | None) -> str:
    """The time as a version, in milliseconds; later than the one before. (Marathon: VersionInfo)"""
    at = _EPOCH + timedelta(milliseconds=now // 1000)
    if before is not None:
        at = max(at, datetime.fromisoformat(before) + _millisecond)
    return at.strftime(_FORMAT)[:-3] + "Z"


def group_versions(state: MarathonState) -> list[str]:
    """Those of the root group that are known, newest first."""
    return list(reversed(state.changes))


def changed_since(state: MarathonState, version: str) -> dict[AppId, Specified | None] | None:
    """What each app that was changed after a version of the root group was at it; None: the version is not known."""
    if version not in state.changes:
        return None
    found: dict[AppId, Specified | None] = {}
    for later in reversed(state.changes):
        if later <= version:
            break
        found |= state.changes[later].apps
    return found


def groups_changed_since(state: MarathonState, version: str) -> dict[AppId, GroupTraits | None]:
    """What each group that was changed after a version was at it; None: there was none."""
    found: dict[AppId, GroupTraits | None] = {}
    for later in reversed(state.changes):
        if later <= version:
            break
        found |= state.changes[later].groups
    return found


def all_at(state: MarathonState, version: str | None) -> dict[AppId, Specified] | None:
    """Every app and pod as it was at a version; None: the version is not known."""
    since = changed_since(state, version) if version is not None and version != state.version else {}
    if since is None:
        return None
    there = {app_id: app.latest for app_id, app in state.apps.items() if not app.removed}
    for app_id, was in since.items():
        there.pop(app_id, None)
        if was is not None:
            there[app_id] = was
    return there


def groups_at(state: MarathonState, version: str | None) -> dict[AppId, GroupTraits]:
    """Every group that was asked for, as it was at a version that is known."""
    there = dict(state.groups)
    for group, was in (groups_changed_since(state, version) if version is not None else {}).items():
        there.pop(group, None)
        if was is not None:
            there[group] = was
    return there
