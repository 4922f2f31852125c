"""Groups as Marathon shows them.

Rule of this room: as in `components.gateway.shapes`. (Marathon: `types/group.raml`, `appinfo/GroupInfo.scala`)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from bus.app_rows import AppRow, GroupRow, VersionRow
from components.gateway.shapes.apps import app_row, app_spec
from components.gateway.shapes.pods import pod_spec

USUAL = ("group.apps", "group.groups", "group.pods")
"""What is embedded unless something is named."""


class Embed(NamedTuple):
    """How much of a group is shown."""

    apps: bool
    groups: bool
    pods: bool
    of_apps: tuple[str, ...]
    """Of each app, as `embed=` of apps has it."""

    @classmethod
    def of(cls, named: Collection[str]) -> Embed:
        """As it was asked for."""
        wanted = set(named) or set(USUAL)
        of_apps = tuple(each.removeprefix("group.").replace("apps.", "app.", 1) for each in wanted if "apps." in each)
        return cls(
            apps="group.apps" in wanted or bool(of_apps),
            groups="group.groups" in wanted,
            pods="group.pods" in wanted,
            of_apps=of_apps,
        )


def group(row: GroupRow, embed: Embed, live: Mapping[str, AppRow]) -> dict[str, object]:
    """A group and what is in it."""
    shown: dict[str, object] = {"id": row.group}
    if embed.apps:
        shown["apps"] = [_app(each, embed, live) for each in row.apps if each.app is not None]
    if embed.pods:
        shown["pods"] = [pod_spec(each.pod, each.version) for each in row.pods if each.pod is not None]
    if embed.groups:
        shown["groups"] = [group(each, embed, live) for each in row.groups]
    shown |= {"dependencies": list(row.dependencies), "version": row.version}
    if row.enforce_role:
        shown["enforceRole"] = True
    return shown


def _app(each: VersionRow, embed: Embed, live: Mapping[str, AppRow]) -> dict[str, object]:
    assert each.app is not None, "an app"
    known = live.get(each.app.id)
    if embed.of_apps and known is not None:
        return app_row(known, embed.of_apps)
    return app_spec(each.app, each.version, each.config_version)


def every_app(row: GroupRow) -> list[VersionRow]:
    """All apps in a group, however deep."""
    return [*row.apps, *(each for inner in row.groups for each in every_app(inner))]
