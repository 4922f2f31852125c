"""`busbar pod`: services of several containers that run together or not at all."""

from __future__ import annotations

from typing import IO

import click

from bus.app_rows import VersionsQuestion
from bus.documents import PodSpec
from bus.events import Fact
from bus.nouns import AppId, Refusal, TaskId
from bus.pod_rows import PodInstanceRow, PodRow
from bus.services import (
    DeploymentStarted,
    KillsRequested,
    PodRequested,
    RemovalRequested,
    RestartRequested,
    RollbackRequested,
    ScaleRequested,
)
from bus.waiting_rows import ExplainQuestion, Explanation
from cli.asking import wait_options
from cli.deploying import deploy, force_option, paused_note
from cli.document import app_id, called, read_document
from cli.explain import on_option, show_explanation
from cli.output import Failure, Fields, Part, Table, date, pretty, say_status, time_of_day, wrong_usage
from cli.past import Asked, at_any_time
from cli.plans import show_plan
from cli.session import MARATHON, Session, on_cluster
from cli.versions import show_versions, version_before

wait_s = 60.0
"""How long a deployment is watched unless said otherwise."""
_LIST = {Refusal.NOT_FOUND: "busbar pod list"}


@click.group()
def pod() -> None:
    """Start, change and look at pods in Marathon's JSON: containers that share a life.

    \b
    Example:
        busbar pod add examples/pod.json
        busbar pod show /paper
    """


@pod.command()
@click.argument("file", type=click.File("rb"))
@force_option
@wait_options(wait_s)
@on_cluster
async def add(session: Session, file: IO[bytes], force: bool, timeout_s: float, no_wait: bool) -> None:
    """Add the pod described in FILE (- for standard input) and wait until it runs.

    \b
    Example:
        busbar pod add examples/pod.json
    """
    spec = read_document(file, PodSpec)
    hints = {Refusal.ALREADY_EXISTS: f"busbar pod update {called(file)}"}
    await _deploy(session, spec.id, PodRequested(pod=spec, force=force), hints, timeout_s, no_wait)


@pod.command()
@click.argument("file", type=click.File("rb"))
@force_option
@wait_options(wait_s)
@on_cluster
async def update(session: Session, file: IO[bytes], force: bool, timeout_s: float, no_wait: bool) -> None:
    """Make a pod what FILE (- for standard input) says: its instances are replaced.

    \b
    Example:
        busbar pod update examples/pod.json
    """
    spec = read_document(file, PodSpec)
    wanted = PodRequested(pod=spec, update=True, force=force)
    await _deploy(session, spec.id, wanted, {Refusal.NOT_FOUND: f"busbar pod add {called(file)}"}, timeout_s, no_wait)


@pod.command()
@click.argument("file", type=click.File("rb"))
@click.option("--force", is_flag=True, help="As if deployments that hold a lock on it were stopped.")
@on_cluster
async def plan(session: Session, file: IO[bytes], force: bool) -> None:
    """Show what `busbar pod update FILE` would do, and do nothing: what changes, and in which steps.

    \b
    Example:
        busbar pod plan examples/pod.json
    """
    await show_plan(session, PodRequested(pod=read_document(file, PodSpec), update=True, force=force))


@pod.command()
@click.argument("id")
@click.argument("instances", type=click.IntRange(0, 100_000))
@force_option
@wait_options(wait_s)
@on_cluster
async def scale(session: Session, id: str, instances: int, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Give a pod another number of instances.

    \b
    Example:
        busbar pod scale /paper 5
    """
    name = app_id(id)
    wanted = ScaleRequested(pod=name, instances=instances, force=force)
    await _deploy(session, name, wanted, _LIST, timeout_s, no_wait)


@pod.command()
@click.argument("id")
@force_option
@wait_options(wait_s)
@on_cluster
async def restart(session: Session, id: str, force: bool, timeout_s: float, no_wait: bool) -> None:
    """Replace every instance of a pod.

    \b
    Example:
        busbar pod restart /paper
    """
    name = app_id(id)
    await _deploy(session, name, RestartRequested(pod=name, force=force), _LIST, timeout_s, no_wait)


@pod.command()
@click.argument("id")
@click.option("--no-force", is_flag=True, help="Refuse if a deployment holds a lock on it, instead of stopping that.")
@wait_options(wait_s)
@on_cluster
async def remove(session: Session, id: str, no_force: bool, timeout_s: float, no_wait: bool) -> None:
    """Remove a pod and kill its instances.

    \b
    Example:
        busbar pod remove /paper
    """
    name = app_id(id)
    wanted = RemovalRequested(pod=name, force=not no_force)
    found = await deploy(session, wanted, _LIST, timeout_s, no_wait=no_wait)
    session.out.show(found.answer, f"{name} is removed")


@pod.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the pods.

    \b
    Example:
        busbar pod list
        busbar pod list --at -2h
    """
    rows = await asked.ask(MARATHON, "pods", list[PodRow])
    columns = ("id", "status", "instances", "waiting", "containers", "since", "version")
    asked.out.show(rows, Table(columns, [_cells(row) for row in rows], empty="there is no pod"))


def _cells(row: PodRow) -> list[str]:
    up = sum(each.up for each in row.instances)
    status = row.status if row.delay_until is None else f"{row.status}, delayed until {time_of_day(row.delay_until)}"
    names = " ".join(container.name for container in row.pod.containers)
    return [row.pod.id, status, f"{up}/{row.pod.instances}", str(row.waiting), names, date(row.since), row.app_version]


@pod.command()
@click.argument("id")
@at_any_time
async def show(asked: Asked, id: str) -> None:
    """Show a pod, its instances with their containers, and its last failure.

    \b
    Example:
        busbar pod show /paper
    """
    row = await _row(asked, app_id(id))
    asked.out.show(row, *_details(row))


@pod.command()
@click.argument("id")
@on_option
@at_any_time
async def explain(asked: Asked, id: str, on: str | None) -> None:
    """Say why a pod's instances wait: every node against every check, needed and had.

    \b
    Example:
        busbar pod explain /paper
        busbar pod explain /paper --on a1 --at 21:00
    """
    name = (await _row(asked, app_id(id))).pod.id
    answer = await asked.ask(MARATHON, "explain", Explanation, ExplainQuestion(app=name))
    await show_explanation(asked, answer, on)


async def _row(asked: Asked, name: AppId) -> PodRow:
    rows = await asked.ask(MARATHON, "pods", list[PodRow])
    row = next((each for each in rows if each.pod.id == name), None)
    if row is None:
        raise Failure(f"there is no pod {name}", next_="busbar pod list")
    return row


def _details(row: PodRow) -> list[Part]:
    failed = f"{row.last_failure.task}: {say_status(row.last_failure)}" if row.last_failure else ""
    known = Fields(
        [
            ("id", row.pod.id),
            ("status", f"{row.status} {row.message}".strip()),
            ("instances", f"{sum(each.up for each in row.instances)} of {row.pod.instances} up"),
            ("version", row.app_version),
            ("deployment", " ".join(row.deployments)),
            ("last failure", failed),
        ]
    )
    columns = ("instance", "container", "status", "since", "node", "endpoints", "message")
    cells = [line for each in row.instances for line in _instance(each)]
    return [known, "", Table(columns, cells, empty="it has no instance"), "", pretty(row.pod)]


def _instance(row: PodInstanceRow) -> list[list[str]]:
    lines = [[row.instance, "", row.status, date(row.since), row.agent or "", "", row.message]]
    for each in row.containers:
        served = " ".join(f"{one.name}={row.hostname}:{one.host_port}" for one in each.endpoints if one.host_port)
        lines.append(["", each.name, each.state, date(each.since), "", served, each.message])
    return lines


@pod.command()
@click.argument("id")
@click.argument("instances", nargs=-1, metavar="[INSTANCE]...")
@click.option("--all", "everyone", is_flag=True, help="All instances of the pod.")
@force_option
@wait_options(wait_s)
@on_cluster
async def kill(
    session: Session,
    id: str,
    instances: tuple[str, ...],
    everyone: bool,
    force: bool,
    timeout_s: float,
    no_wait: bool,
) -> None:
    """Kill instances of a pod, each with all its containers: they are replaced.

    \b
    Example:
        busbar pod kill /paper --all
    """
    if everyone == bool(instances):
        raise wrong_usage("expected either the instances, or --all")
    row = await _row(session, app_id(id))
    known = [each.instance for each in row.instances if each.containers and not each.dying]
    strange = [each for each in instances if each not in known]
    if strange or not known:
        what = f"{strange[0]} is no instance of {row.pod.id} that runs" if strange else f"{row.pod.id} has no instance"
        raise Failure(what, next_=f"busbar pod show {row.pod.id}")
    wanted = KillsRequested(tasks=tuple(map(TaskId, instances)) or tuple(known), force=force)
    found = await deploy(session, wanted, {}, timeout_s, no_wait=no_wait)
    many = f"{len(wanted.tasks)} instance{'' if len(wanted.tasks) == 1 else 's'}"
    session.out.show(found.answer, f"{many} of {row.pod.id} killed and replaced")


@pod.command()
@click.argument("id")
@click.argument("version", required=False)
@at_any_time
async def versions(asked: Asked, id: str, version: str | None) -> None:
    """List the versions of a pod and what each changed, or print one of them.

    \b
    Example:
        busbar pod versions /paper
    """
    await show_versions(asked, VersionsQuestion(pod=app_id(id)), version)


@pod.command()
@click.argument("id")
@click.argument("version", required=False)
@force_option
@wait_options(wait_s)
@on_cluster
async def rollback(
    session: Session, id: str, version: str | None, force: bool, timeout_s: float, no_wait: bool
) -> None:
    """Make a pod again what it was at VERSION; without it, before its configuration was last changed.

    \b
    Example:
        busbar pod rollback /paper
    """
    name = app_id(id)
    to = version or await version_before(session, VersionsQuestion(pod=name))
    hints = {Refusal.NOT_FOUND: f"busbar pod versions {name}"}
    wanted = RollbackRequested(pod=name, to_version=to, force=force)
    await _deploy(session, name, wanted, hints, timeout_s, no_wait)


async def _deploy(
    session: Session, name: AppId, fact: Fact, hints: dict[Refusal, str], timeout_s: float, no_wait: bool
) -> None:
    found = await deploy(session, fact, hints, timeout_s, no_wait=no_wait)
    answer = found.answer
    assert isinstance(answer, DeploymentStarted), f"marathon answered {fact.type} with {answer.type}"
    if no_wait:
        session.out.show(answer, f"{name} is {answer.changed}, deployment {answer.deployment}")
        return
    row = await _row(session, name)
    up = sum(each.up for each in row.instances)
    counts = f"{name} is {answer.changed}: {up} of {row.pod.instances} instances up"
    session.out.show(row, counts, *paused_note(found.ended))
