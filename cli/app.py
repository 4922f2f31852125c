"""`busbar app`: services that are kept running."""

from __future__ import annotations

import click

from bus.app_rows import AppRow, InstanceRow, VersionsQuestion
from bus.nouns import Refusal
from bus.services import RollbackRequested
from bus.waiting_rows import ExplainQuestion, Explanation
from cli.app_changes import (
    add,
    continue_,
    kill,
    plan,
    remove,
    restart,
    scale,
    set_,
    show_change,
    update,
    wait_s,
)
from cli.asking import wait_options
from cli.deploying import deploy, force_option, paused_note
from cli.document import app_id, command_line
from cli.explain import on_option, show_explanation
from cli.output import Failure, Fields, Part, Table, date, pretty, say_status, time_of_day
from cli.past import Asked, Listed, at_any_time
from cli.progress import app_row
from cli.queue import queue, reset
from cli.session import MARATHON, Session, on_cluster
from cli.versions import show_versions, version_before


@click.group()
def app() -> None:
    """Start, change and look at services: apps in Marathon's JSON.

    \b
    Example:
        busbar app add examples/web.json
        busbar app scale /web 5
    """


for _command in (add, update, set_, plan, scale, restart, remove, kill, continue_, queue, reset):
    app.add_command(_command)


@app.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the apps.

    \b
    Example:
        busbar app list
        busbar app list --at 2026-11-22T21:00
    """
    asked.out.show(*await apps(asked))


async def apps(asked: Asked) -> Listed:
    """Every app, for programs and for people."""
    rows = await asked.ask(MARATHON, "apps", list[AppRow])
    columns = ("id", "running", "healthy", "waiting", "cpus", "mem mb", "state", "version", "cmd")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="there is no app"))


def _cells(row: AppRow) -> list[str]:
    spec = row.app
    return [
        spec.id,
        f"{row.running}/{spec.instances}",
        f"{row.healthy}/{row.running}" if spec.health_checks else "",
        str(row.waiting),
        f"{spec.cpus:g}",
        f"{spec.mem:g}",
        _state(row),
        row.app_version,
        command_line(spec.cmd, spec.args),
    ]


def _state(row: AppRow) -> str:
    """What an app does now and what comes next."""
    if row.deployments:
        return f"deploying ({row.deployments[0]})"
    if row.delay_until is not None:
        return f"delayed until {time_of_day(row.delay_until)}"
    if row.running == row.app.instances == len(row.instances):
        return "running" if row.app.instances else "suspended"
    return "waiting for offers" if row.waiting else "deploying"


@app.command()
@click.argument("id")
@on_cluster
async def show(session: Session, id: str) -> None:
    """Show an app, its instances and its last failure.

    \b
    Example:
        busbar app show /web
    """
    row = await app_row(session, app_id(id))
    if row is None:
        raise Failure(f"there is no app {app_id(id)}", next_="busbar app list")
    session.out.show(row, *_details(row))


def _details(row: AppRow) -> list[Part]:
    failed = f"{row.last_failure.task}: {say_status(row.last_failure)}" if row.last_failure else ""
    known = Fields(
        [
            ("id", row.app.id),
            ("state", _state(row)),
            ("running", f"{row.running} of {row.app.instances}"),
            ("version", row.app_version),
            ("last failure", failed),
        ]
    )
    columns = ("instance", "state", "health", "since", "node", "ports", "version", "replaces")
    instances = Table(columns, [_instance(each) for each in row.instances], empty="it has no instance")
    return [known, "", instances, "", pretty(row.app)]


def _health(row: InstanceRow) -> str:
    """What its checks found, and whether it is ready."""
    bad = next((found for found in row.found if found.alive is False), None)
    said = []
    if bad is not None:
        said.append(f"unhealthy, {bad.failures} in a row: {bad.cause}"[:80])
    elif row.found:
        said.append("healthy" if row.healthy else "unknown")
    if row.ready is not None:
        said.append("ready" if row.ready else "not ready")
    return ", ".join(said)


def _instance(row: InstanceRow) -> list[str]:
    return [
        row.task,
        row.state or "waiting",
        _health(row),
        date(row.since),
        row.agent or "",
        " ".join(f"{row.hostname}:{port}" for port in row.ports),
        row.app_version,
        row.replaces or "",
    ]


@app.command()
@click.argument("id")
@on_option
@at_any_time
async def explain(asked: Asked, id: str, on: str | None) -> None:
    """Say why an app's instances wait: every node against every check, needed and had.

    \b
    Example:
        busbar app explain /web
        busbar app explain /web --on a1
        busbar app explain /web --at 'yesterday 14:00'
    """
    answer = await asked.ask(MARATHON, "explain", Explanation, ExplainQuestion(app=app_id(id)))
    await show_explanation(asked, answer, on)


@app.command()
@click.argument("id")
@click.argument("version", required=False)
@at_any_time
async def versions(asked: Asked, id: str, version: str | None) -> None:
    """List the versions of an app and what each changed, or print one of them.

    \b
    Example:
        busbar app versions /web
        busbar app versions /web 2026-11-22T21:00:00.000Z
    """
    await show_versions(asked, VersionsQuestion(app=app_id(id)), version)


@app.command()
@click.argument("id")
@click.argument("version", required=False)
@force_option
@wait_options(wait_s)
@on_cluster
async def rollback(
    session: Session, id: str, version: str | None, force: bool, timeout_s: float, no_wait: bool
) -> None:
    """Make an app again what it was at VERSION; without it, before its configuration was last changed.

    \b
    Example:
        busbar app rollback /web
        busbar app rollback /web 2026-11-22T21:00:00.000Z
    """
    name = app_id(id)
    to = version or await version_before(session, VersionsQuestion(app=name))
    hints = {Refusal.NOT_FOUND: f"busbar app versions {name}"}
    found = await deploy(
        session, RollbackRequested(app=name, to_version=to, force=force), hints, timeout_s, no_wait=no_wait
    )
    await show_change(session, name, found.answer, no_wait, paused_note(found.ended))
