"""What an app, a pod or a group was: its versions, and the way back to one.

Rule of this room: a way back is a change like any other; what was is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from bus.app_rows import GroupRow, GroupsQuestion, VersionRow, VersionsQuestion
from bus.documents import ROOT, AppSpec, PodSpec, parent
from bus.nouns import AppId
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
        what = f"pod versions {question.pod}" if question.pod is not None else f"app versions {question.app}"
        raise Failure(f"there is no version {version}: the newest is {rows[0].version}", next_=f"busbar {what}")
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
    """The version of what it was before it became what it is: of an app or a pod, of another configuration.

    Found in the versions of the whole tree: what was undone meanwhile is passed over. Raises Failure if there is none.
    """
    name = question.app or question.pod or question.group
    assert name is not None, "something is asked about"
    group = AppId(name if question.group is not None else parent(name))
    roots = await version_rows(asked, VersionsQuestion(group=AppId(ROOT)))
    present: object = None
    for root in roots:
        try:
            tree = await asked.ask(MARATHON, "groups", GroupRow, GroupsQuestion(group=group, version=root.version))
        except Failure:
            break  # it was not there yet
        found = next((each for each in (*tree.apps, *tree.pods) if _named(each) == name), None)
        if question.group is None and found is None:
            break
        what = _content(tree) if found is None else found.config_version
        if present is not None and what != present:
            return root.version if found is None else found.version
        present = what
    room = "app" if question.app is not None else "pod" if question.pod is not None else "group"
    raise Failure(f"{name} has had no other configuration", next_=f"busbar {room} versions {name}")


def _named(row: VersionRow) -> AppId | None:
    spec = _spec(row)
    return None if spec is None else spec.id


def _content(tree: GroupRow) -> tuple[object, ...]:
    """All that is in a group, by its versions."""
    own = tuple((_named(each), each.version) for each in (*tree.apps, *tree.pods))
    return (tree.group, tree.dependencies, own, tuple(map(_content, tree.groups)))
