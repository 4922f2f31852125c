"""What an app, a pod or a group was: its versions, and the way back to one.

Rule of this room: a way back is a change like any other; what was is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from bus.documents import AppSpec, PodSpec
from bus.nouns import AppId
from bus.queries import VersionRow, VersionsQuestion
from cli.output import Failure, Part, Table, pretty
from cli.past import Asked
from cli.plans import changed_fields
from cli.session import MARATHON


async def version_rows(asked: Asked, question: VersionsQuestion) -> list[VersionRow]:
    """The versions of an app, a pod or a group, newest first. Raises Failure if there is none."""
    rows = await asked.ask(MARATHON, "versions", list[VersionRow], question)
    if not rows:
        name = question.app or question.pod or question.group
        raise Failure(f"there is no {name}, nor was there one whose versions are kept")
    return rows


async def show_versions(asked: Asked, question: VersionsQuestion, version: str | None) -> None:
    """Print all versions, or one of them. Raises Failure if there is no such version."""
    rows = await version_rows(asked, question)
    if version is None:
        asked.out.show(rows, version_table(rows))
        return
    row = next((each for each in rows if each.version == version), None)
    if row is None:
        raise Failure(f"there is no version {version}: the newest is {rows[0].version}")
    asked.out.show(row, pretty(_spec(row)))


def version_table(rows: Sequence[VersionRow]) -> Part:
    """Versions, newest first, with what each changed."""
    if all(_spec(row) is None for row in rows):
        return Table(("version",), [[row.version] for row in rows], empty="there is no version")
    cells = []
    for row, before in zip(rows, [*rows[1:], None], strict=True):
        spec, was = _spec(row), _spec(before) if before is not None else None
        assert spec is not None, "an app's or a pod's version says what it was"
        what = "created" if was is None else ", ".join(changed_fields(was, spec)) or "restarted"
        cells.append([row.version, row.config_version or "", str(spec.instances), what])
    return Table(("version", "configuration", "instances", "changed"), cells, empty="there is no version")


def _spec(row: VersionRow) -> AppSpec | PodSpec | None:
    return row.app if row.app is not None else row.pod


async def version_before(asked: Asked, question: VersionsQuestion) -> str:
    """The newest version of another configuration than the present one. Raises Failure if there is none."""
    rows = await version_rows(asked, question)
    for row in rows[1:]:
        if rows[0].config_version is None or row.config_version != rows[0].config_version:
            return row.version
    name: AppId | None = question.app or question.pod or question.group
    raise Failure(f"{name} has had no other configuration", next_=f"busbar app versions {name}")
