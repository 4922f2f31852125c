"""`busbar group`: trees of apps that are changed as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import click

from bus.app_rows import AppRow, GroupRow, GroupsQuestion, VersionsQuestion
from bus.documents import ROOT, GroupSpec
from bus.events import Fact
from bus.nouns import AppId, Refusal
from bus.services import (
    DeploymentStarted,
    GroupRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from cli.asking import wait_options
from cli.deploying import deploy, force_option, paused_note
from cli.document import app_id, called, read_document
from cli.numbers import FiniteRange
from cli.output import Failure, Fields, Table
from cli.past import Asked, at_any_time
from cli.plans import show_plan
from cli.session import MARATHON, Session, on_cluster
from cli.versions import show_versions, version_before

wait_s = 300.0
"""How long a deployment of a whole tree is watched unless said otherwise."""
_LIST = {Refusal.NOT_FOUND: "busbar group list"}


@click.group()
def group() -> None:
    """Start, change and look at trees of apps: groups in Marathon's JSON.

    \b
    Example:
        busbar group add examples/group.json
        busbar group show /shop
    """


@group.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the groups and how much is in them.

    \b
    Example:
        busbar group list
        busbar group list --at -2h
    """
    root = await asked.ask(MARATHON, "groups", GroupRow, GroupsQuestion())
    rows = list(_walk(root))
    columns = ("id", "apps", "pods", "groups", "depends on", "version")
    cells = [
        [
            row.group,
            str(sum(len(each.apps) for each in _walk(row))),
            str(sum(len(each.pods) for each in _walk(row))),
            str(len(list(_walk(row))) - 1),
            " ".join(row.dependencies),
            row.version,
        ]
        for row in rows
    ]
    asked.out.show(rows, Table(columns, cells, empty="there is no group"))


def _walk(row: GroupRow) -> Iterator[GroupRow]:
    yield row
    for each in row.groups:
        yield from _walk(each)


@group.command()
@click.argument("id", default=ROOT)
@at_any_time
async def show(asked: Asked, id: str) -> None:
    """Show a group, and every app and pod in it.

    \b
    Example:
        busbar group show /shop
    """
    name = _group_id(id)
    row = await asked.ask(MARATHON, "groups", GroupRow, GroupsQuestion(group=name))
    running = {each.app.id: each.running for each in await asked.ask(MARATHON, "apps", list[AppRow])}
    known = Fields([("id", row.group), ("version", row.version), ("depends on", " ".join(row.dependencies))])
    cells = []
    for each in _walk(row):
        for one in (*each.apps, *each.pods):
            spec = one.app if one.app is not None else one.pod
            assert spec is not None, "a version is of an app or a pod"
            runs = f"{running.get(spec.id, 0)}/{spec.instances}" if one.app is not None else str(spec.instances)
            needs = " ".join(one.app.dependencies) if one.app is not None else ""
            cells.append([spec.id, "app" if one.app is not None else "pod", runs, needs, one.version])
    table = Table(("id", "kind", "running", "depends on", "version"), cells, empty="it is empty")
    asked.out.show(row, known, "", table)


def _group_id(text: str) -> AppId:
    return AppId(ROOT) if text == ROOT else app_id(text)


@group.command()
@click.argument("file", type=click.File("rb"))
@force_option
@wait_options(wait_s)
@on_cluster
async def add(session: Session, file: IO[bytes], force: bool, timeout_s: float, no_wait: bool) -> None:
    """Add the group described in FILE (- for standard input): everything in it by one deployment.

    \b
    Example:
        busbar group add examples/group.json
    """
    spec = _read(file)
    hints = {Refusal.ALREADY_EXISTS: f"busbar group update {called(file)}"}
    await _deploy(session, _named(spec), GroupRequested(group=spec, force=force), hints, timeout_s, no_wait)


@group.command()
@click.argument("file", type=click.File("rb"))
@force_option
@wait_options(wait_s)
@on_cluster
async def update(session: Session, file: IO[bytes], force: bool, timeout_s: float, no_wait: bool) -> None:
    """Make a group what FILE (- for standard input) says: apps that are not in it are removed.

    \b
    Example:
        busbar group plan examples/group.json
        busbar group update examples/group.json
    """
    spec = _read(file)
    wanted = GroupRequested(group=spec, update=True, force=force)
    await _deploy(session, _named(spec), wanted, _LIST, timeout_s, no_wait)


@group.command()
@click.argument("file", type=click.File("rb"))
@click.option("--force", is_flag=True, help="As if deployments that hold a lock on it were stopped.")
@on_cluster
async def plan(session: Session, file: IO[bytes], force: bool) -> None:
    """Show what `busbar group update FILE` would do, and do nothing: what changes, and in which steps.

    \b
    Example:
        busbar group plan examples/group.json
    """
    await show_plan(session, GroupRequested(group=_read(file), update=True, force=force))


def _read(file: IO[bytes]) -> GroupSpec:
    spec = read_document(file, GroupSpec)
    if spec.id is None:
        raise Failure(f"{called(file)}: Object missing required field `id`", next_="say which group it is")
    return spec


def _named(spec: GroupSpec) -> AppId:
    assert spec.id is not None, "looked at where it was read"
    return spec.id


@group.command()
@click.argument("id")
@click.argument("factor", type=FiniteRange(min=0, max=1000))
@force_option
@wait_options(wait_s)
@on_cluster
async def scale(session: Session, id: str, factor: float, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Give every app in a group FACTOR times as many instances.

    \b
    Example:
        busbar group scale /shop 1.5
    """
    name = _group_id(id)
    wanted = ScaleRequested(group=name, factor=factor, force=force)
    await _deploy(session, name, wanted, _LIST, timeout_s, no_wait)


@group.command()
@click.argument("id")
@force_option
@wait_options(wait_s)
@on_cluster
async def restart(session: Session, id: str, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Replace every instance of every app in a group.

    \b
    Example:
        busbar group restart /shop
    """
    name = _group_id(id)
    await _deploy(session, name, RestartRequested(group=name, force=force), _LIST, timeout_s, no_wait)


@group.command()
@click.argument("id")
@force_option
@wait_options(wait_s)
@on_cluster
async def remove(session: Session, id: str, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Remove a group with everything in it.

    \b
    Example:
        busbar group remove /shop
    """
    name = _group_id(id)
    await _deploy(session, name, RemovalRequested(group=name, force=force), _LIST, timeout_s, no_wait)


@group.command()
@click.argument("id", default=ROOT)
@at_any_time
async def versions(asked: Asked, id: str) -> None:
    """List the versions to which groups can be rolled back.

    \b
    Example:
        busbar group versions /shop
    """
    await show_versions(asked, VersionsQuestion(group=_group_id(id)), None)


@group.command()
@click.argument("id")
@click.argument("version", required=False)
@force_option
@wait_options(wait_s)
@on_cluster
async def rollback(
    session: Session, id: str, version: str | None, force: bool, timeout_s: float, no_wait: bool
) -> None:
    """Make a group again what it was at VERSION; without it, at the one before.

    \b
    Example:
        busbar group rollback /shop 2026-11-22T21:00:00.000Z
    """
    name = _group_id(id)
    to = version or await version_before(session, VersionsQuestion(group=name))
    hints = {Refusal.NOT_FOUND: f"busbar group versions {name}"}
    wanted = RollbackRequested(group=name, to_version=to, force=force)
    await _deploy(session, name, wanted, hints, timeout_s, no_wait)


async def _deploy(
    session: Session, name: AppId, fact: Fact, hints: dict[Refusal, str], timeout_s: float, no_wait: bool
) -> None:
    found = await deploy(session, fact, hints, timeout_s, no_wait=no_wait)
    answer = found.answer
    assert isinstance(answer, DeploymentStarted), f"marathon answered {fact.type} with {answer.type}"
    changed = f"{len(answer.plan.apps)} app{'' if len(answer.plan.apps) == 1 else 's'} changed"
    if no_wait:
        changed = f"deployment {answer.deployment} in {len(answer.plan.steps)} steps"
    session.out.show(answer, f"{name} is {answer.changed}: {changed}", *paused_note(found.ended))
