"""`busbar app add`, `update`, `set`, `scale`, `restart`, `remove`, `kill`, `continue`: what changes an app.

Rule of this room: as in `cli.app`, whose commands these are. Each asks for one change and sees its deployment through.
"""

from __future__ import annotations

from typing import IO

import click

from bus.app_rows import AppRow
from bus.documents import AppSpec
from bus.events import Fact
from bus.nouns import AppId, Refusal, TaskId
from bus.services import (
    AppRequested,
    AppSpecified,
    ContinueRequested,
    DeploymentStarted,
    KillsGranted,
    KillsRequested,
    RemovalRequested,
    RestartRequested,
    ScaleRequested,
)
from cli.asking import request_option, wait_options
from cli.deploying import deploy, force_option, paused_note
from cli.document import app_id, called, read_document, read_partial
from cli.output import Failure, wrong_usage
from cli.plans import show_plan
from cli.progress import app_row
from cli.request import conversation
from cli.session import MARATHON, Session, on_cluster

wait_s = 60.0
"""How long a deployment is watched unless said otherwise."""
LIST = {Refusal.NOT_FOUND: "busbar app list"}


@click.command()
@click.argument("file", type=click.File("rb"))
@force_option
@wait_options(wait_s)
@on_cluster
async def add(session: Session, file: IO[bytes], force: bool, timeout_s: float, no_wait: bool) -> None:
    """Add the app described in FILE (- for standard input) and wait until it runs.

    \b
    Example:
        busbar app add examples/web.json
    """
    spec = read_document(file, AppSpec)
    hints = {Refusal.ALREADY_EXISTS: f"busbar app update {called(file)}"}
    await _deploy(session, spec.id, AppRequested(app=spec, force=force), hints, timeout_s, no_wait)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--partial", metavar="ID", help="FILE holds only what changes of app ID: the other fields stay.")
@force_option
@wait_options(wait_s)
@on_cluster
async def update(
    session: Session, file: IO[bytes], partial: str | None, force: bool, timeout_s: float, no_wait: bool
) -> None:
    """Make an app what FILE (- for standard input) says: its instances are replaced.

    \b
    Example:
        busbar app update examples/web.json
        echo '{"instances": 3}' | busbar app update - --partial /web
    """
    hints = {Refusal.NOT_FOUND: f"busbar app add {called(file)}"}
    wanted = _requested(file, partial, force)
    await _deploy(session, wanted.app.id, wanted, hints, timeout_s, no_wait)


def _requested(file: IO[bytes], partial: str | None, force: bool) -> AppRequested:
    if partial is None:
        return AppRequested(app=read_document(file, AppSpec), update=True, force=force)
    given = read_partial(file, app_id(partial))
    return AppRequested(app=given.app, update=True, partial=given.fields, only_existing=True, force=force)


@click.command("set")
@click.argument("id")
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@force_option
@wait_options(wait_s)
@on_cluster
async def set_(
    session: Session, id: str, settings: tuple[str, ...], force: bool, timeout_s: float, no_wait: bool
) -> None:
    """Change some fields of an app: KEY is a path, VALUE is JSON or text, null takes a field away.

    \b
    Example:
        busbar app set /web instances=3 env.LOG_LEVEL=debug
        busbar app set /web upgradeStrategy.minimumHealthCapacity=0.5 labels.owner=null
    """
    from cli.settings import with_settings  # only who changes fields pays for the import

    name = app_id(id)
    row = await app_row(session, name)
    if row is None:
        raise Failure(f"there is no app {name}", next_="busbar app list")
    given = with_settings(row.app, settings)
    wanted = AppRequested(app=given.app, update=True, partial=given.fields, only_existing=True, force=force)
    await _deploy(session, name, wanted, LIST, timeout_s, no_wait)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--partial", metavar="ID", help="FILE holds only what would change of app ID.")
@click.option("--force", is_flag=True, help="As if deployments that hold a lock on it were stopped.")
@on_cluster
async def plan(session: Session, file: IO[bytes], partial: str | None, force: bool) -> None:
    """Show what `busbar app update FILE` would do, and do nothing: what changes, and in which steps.

    \b
    Example:
        busbar app plan examples/web.json
        echo '{"cmd": "serve 2"}' | busbar app plan - --partial /web
    """
    await show_plan(session, _requested(file, partial, force))


@click.command()
@click.argument("id")
@click.argument("instances", type=click.IntRange(0, 100_000))
@force_option
@wait_options(wait_s)
@on_cluster
async def scale(session: Session, id: str, instances: int, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Give an app another number of instances.

    \b
    Example:
        busbar app scale /web 5
    """
    name = app_id(id)
    await _deploy(session, name, ScaleRequested(app=name, instances=instances, force=force), LIST, timeout_s, no_wait)


@click.command()
@click.argument("id")
@force_option
@wait_options(wait_s)
@on_cluster
async def restart(session: Session, id: str, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Replace every instance of an app.

    \b
    Example:
        busbar app restart /web
    """
    name = app_id(id)
    await _deploy(session, name, RestartRequested(app=name, force=force), LIST, timeout_s, no_wait)


@click.command()
@click.argument("id")
@click.option("--no-force", is_flag=True, help="Refuse if a deployment holds a lock on it, instead of stopping that.")
@wait_options(wait_s)
@on_cluster
async def remove(session: Session, id: str, no_force: bool, timeout_s: float, no_wait: bool) -> None:
    """Remove an app and kill its instances.

    \b
    Example:
        busbar app remove /web
    """
    name = app_id(id)
    wanted = RemovalRequested(app=name, force=not no_force)
    found = await deploy(session, wanted, LIST, timeout_s, no_wait=no_wait)
    session.out.show(found.answer, f"{name} is removed")


@click.command()
@click.argument("id")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--all", "everyone", is_flag=True, help="All instances of the app.")
@click.option("--scale", "fewer", is_flag=True, help="Have so many instances fewer, instead of replacing them.")
@force_option
@wait_options(wait_s)
@on_cluster
async def kill(
    session: Session,
    id: str,
    tasks: tuple[str, ...],
    everyone: bool,
    fewer: bool,
    force: bool,
    timeout_s: float,
    no_wait: bool,
) -> None:
    """Kill instances of an app: they are replaced, or with --scale they are not.

    \b
    Example:
        busbar app kill /web web.instance-17-0._app.1
        busbar app kill /web --all
    """
    if everyone == bool(tasks):
        raise wrong_usage("expected either the instances, or --all")
    name = app_id(id)
    row = await app_row(session, name)
    if row is None:
        raise Failure(f"there is no app {name}", next_="busbar app list")
    known = [each.task for each in row.instances if each.state is not None and not each.dying]
    strange = [task for task in tasks if task not in known]
    if strange:
        raise Failure(f"{strange[0]} is no instance of {name} that runs", next_=f"busbar app show {name}")
    wanted = KillsRequested(tasks=tuple(map(TaskId, tasks)) or tuple(known), scale=fewer, force=force)
    if not wanted.tasks:
        raise Failure(f"{name} has no instance that could be killed", next_=f"busbar app show {name}")
    found = await deploy(session, wanted, {}, timeout_s, no_wait=no_wait)
    killed = found.answer.tasks if isinstance(found.answer, KillsGranted) else wanted.tasks
    what = "killed for good" if fewer else "killed and replaced"
    many = f"{len(killed)} instance{'' if len(killed) == 1 else 's'}"
    session.out.show(found.answer, f"{many} of {name} {'is' if len(killed) == 1 else 'are'} {what}")


@click.command("continue")
@click.argument("id")
@request_option
@on_cluster
async def continue_(session: Session, id: str) -> None:
    """Say that an app's canaries are good: its deployment goes on.

    \b
    Example:
        busbar app continue /web
    """
    name = app_id(id)
    row = await app_row(session, name)
    if row is None or not row.deployments:
        what = f"there is no app {name}" if row is None else f"no deployment changes {name}"
        raise Failure(what, next_="busbar deployment list")
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(ContinueRequested(deployment=row.deployments[0]))).fact
    session.out.show(answer, f"deployment {row.deployments[0]} goes on")


async def _deploy(
    session: Session, name: AppId, fact: Fact, hints: dict[Refusal, str], timeout_s: float, no_wait: bool
) -> None:
    """Ask for a change of an app, and wait until the app is as wanted."""
    found = await deploy(session, fact, hints, timeout_s, no_wait=no_wait)
    await show_change(session, name, found.answer, no_wait, paused_note(found.ended))


async def show_change(session: Session, name: AppId, answer: Fact, no_wait: bool, notes: list[str]) -> None:
    """What became of a change of an app."""
    assert isinstance(answer, DeploymentStarted | AppSpecified), f"marathon answered with {answer.type}"
    if no_wait:
        which = f"deployment {answer.deployment}" if answer.deployment is not None else f"version {_version(answer)}"
        session.out.show(answer, f"{name} is {answer.changed}, {which}")
        return
    row = await app_row(session, name)
    if row is None:
        raise Failure(f"{name} was removed meanwhile", next_="busbar app list")
    did = answer.changed if not _is_idle(answer) else "as it was"
    counts = f"{name} is {did}: {row.running} of {row.app.instances} instances run"
    session.out.show(row, counts, *_ports(row), *notes)


def _is_idle(answer: Fact) -> bool:
    return isinstance(answer, DeploymentStarted) and not answer.plan.steps


def _version(answer: Fact) -> str:
    return answer.app_version if isinstance(answer, AppSpecified) else ""


def _ports(row: AppRow) -> list[str]:
    return [f"  {each.task}  {each.hostname}:{port}" for each in row.instances for port in each.ports]
