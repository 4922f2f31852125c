"""`busbar app`: services that are kept running."""

from __future__ import annotations

from typing import IO

import click

from bus.documents import AppSpec
from bus.events import Fact
from bus.nouns import AppId, Refusal
from bus.queries import AppRow, InstanceRow
from bus.services import AppRequested, AppSpecified, RemovalRequested, RestartRequested, ScaleRequested
from bus.waiting_rows import ExplainQuestion, Explanation
from cli.document import app_id, called, command_line, read_document
from cli.explain import on_option, show_explanation
from cli.output import Failure, Fields, Part, Table, date, pretty, time_of_day
from cli.past import Asked, Listed, at_any_time
from cli.progress import app_row, say_status, wait_app, wait_gone
from cli.queue import queue, reset
from cli.request import conversation, wait_options
from cli.session import MARATHON, Session, on_cluster

wait_s = 60.0
"""How long a deployment is watched unless said otherwise."""


@click.group()
def app() -> None:
    """Start, change and look at services: apps in Marathon's JSON.

    \b
    Example:
        busbar app add examples/web.json
        busbar app scale /web 5
    """


@app.command()
@click.argument("file", type=click.File("rb"))
@wait_options(wait_s)
@on_cluster
async def add(session: Session, file: IO[bytes], timeout_s: float, no_wait: bool) -> None:
    """Add the app described in FILE (- for standard input) and wait until it runs.

    \b
    Example:
        busbar app add examples/web.json
    """
    spec = read_document(file, AppSpec)
    hints = {Refusal.ALREADY_EXISTS: f"busbar app update {called(file)}"}
    await _deploy(session, spec.id, AppRequested(app=spec), hints, timeout_s, no_wait)


@app.command()
@click.argument("file", type=click.File("rb"))
@wait_options(wait_s)
@on_cluster
async def update(session: Session, file: IO[bytes], timeout_s: float, no_wait: bool) -> None:
    """Make an app what FILE (- for standard input) says: its instances are replaced.

    \b
    Example:
        busbar app update examples/web.json
    """
    spec = read_document(file, AppSpec)
    hints = {Refusal.NOT_FOUND: f"busbar app add {called(file)}"}
    await _deploy(session, spec.id, AppRequested(app=spec, update=True), hints, timeout_s, no_wait)


@app.command()
@click.argument("id")
@click.argument("instances", type=click.IntRange(0, 100_000))
@wait_options(wait_s)
@on_cluster
async def scale(session: Session, id: str, instances: int, timeout_s: float, no_wait: bool) -> None:
    """Give an app another number of instances.

    \b
    Example:
        busbar app scale /web 5
    """
    name = app_id(id)
    await _deploy(session, name, ScaleRequested(app=name, instances=instances), _LIST, timeout_s, no_wait)


@app.command()
@click.argument("id")
@wait_options(wait_s)
@on_cluster
async def restart(session: Session, id: str, timeout_s: float, no_wait: bool) -> None:
    """Replace every instance of an app.

    \b
    Example:
        busbar app restart /web
    """
    name = app_id(id)
    await _deploy(session, name, RestartRequested(app=name), _LIST, timeout_s, no_wait)


_LIST = {Refusal.NOT_FOUND: "busbar app list"}


async def _deploy(
    session: Session, name: AppId, fact: Fact, hints: dict[Refusal, str], timeout_s: float, no_wait: bool
) -> None:
    """Ask for a change of an app, and wait until the app is as wanted."""
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(fact, hints=hints)).fact
        assert isinstance(answer, AppSpecified), f"marathon answered {fact.type} with {answer.type}"
        if no_wait:
            session.out.show(answer, f"{name} is {answer.changed}, version {answer.app_version}")
            return
        row = await wait_app(talk, name, timeout_s)
    session.out.show(
        row, f"{name} is {answer.changed}: {row.running} of {row.app.instances} instances run", *_ports(row)
    )


def _ports(row: AppRow) -> list[str]:
    return [f"  {each.task}  {each.hostname}:{port}" for each in row.instances for port in each.ports]


@app.command()
@click.argument("id")
@wait_options(wait_s)
@on_cluster
async def remove(session: Session, id: str, timeout_s: float, no_wait: bool) -> None:
    """Remove an app and kill its instances.

    \b
    Example:
        busbar app remove /web
    """
    name = app_id(id)
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(RemovalRequested(app=name), hints=_LIST)).fact
        if not no_wait:
            await wait_gone(talk, name, timeout_s)
    session.out.show(answer, f"{name} is removed")


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
    columns = ("id", "running", "waiting", "cpus", "mem mb", "state", "version", "cmd")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="there is no app"))


def _cells(row: AppRow) -> list[str]:
    spec = row.app
    return [
        spec.id,
        f"{row.running}/{spec.instances}",
        str(row.waiting),
        f"{spec.cpus:g}",
        f"{spec.mem:g}",
        _state(row),
        row.app_version,
        command_line(spec.cmd, spec.args),
    ]


def _state(row: AppRow) -> str:
    """What an app does now and what comes next."""
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
    columns = ("instance", "state", "since", "node", "ports", "version", "replaces")
    instances = Table(columns, [_instance(each) for each in row.instances], empty="it has no instance")
    return [known, "", instances, "", pretty(row.app)]


def _instance(row: InstanceRow) -> list[str]:
    return [
        row.task,
        row.state or "waiting",
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


app.add_command(queue)
app.add_command(reset)
