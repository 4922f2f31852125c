"""`busbar deployment`: changes of apps, pods and groups that go on."""

from __future__ import annotations

import click

from bus.app_rows import DeploymentRow
from bus.nouns import Refusal
from bus.plans import DeploymentId, Outcome
from bus.services import CancelRequested, ContinueRequested, DeploymentEnded
from cli.asking import request_option, wait_options
from cli.deploying import deploy, deployment_rows, follow, newest, paused_note, say_action, say_progress
from cli.output import Failure, Table, date
from cli.past import Asked, at_any_time
from cli.request import conversation
from cli.session import MARATHON, Session, on_cluster

wait_s = 3600.0
"""How long a deployment is watched unless said otherwise: it may go on for ever."""
_LIST = {Refusal.NOT_FOUND: "busbar deployment list"}


@click.group()
def deployment() -> None:
    """Watch, continue and undo what Marathon is changing.

    \b
    Example:
        busbar deployment list
        busbar deployment watch d-17
    """


@deployment.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the deployments that go on: who wanted them, since when, and what they wait for.

    \b
    Example:
        busbar deployment list
        busbar deployment list --at 'yesterday 14:00'
    """
    rows = await asked.ask(MARATHON, "deployments", list[DeploymentRow])
    columns = ("id", "by", "since", "step", "doing", "waits for")
    asked.out.show(rows, Table(columns, [_cells(row) for row in rows], empty="no deployment goes on"))


def _cells(row: DeploymentRow) -> list[str]:
    waits = [each.blocked_by for each in row.actions if each.blocked_by]
    return [
        row.deployment,
        row.by,
        date(row.since),
        f"{row.step + 1}/{len(row.plan.steps)}",
        "; ".join(map(say_action, row.actions[:3])) + (" ..." if len(row.actions) > 3 else ""),
        waits[0] if waits else "",
    ]


@deployment.command()
@click.argument("id")
@wait_options(wait_s)
@on_cluster
async def watch(session: Session, id: str, timeout_s: float, no_wait: bool) -> None:
    """Watch a deployment until it ends. To stop watching changes nothing.

    \b
    Example:
        busbar deployment watch d-17
    """
    name, after = DeploymentId(id), await newest(session)
    row = next((each for each in await deployment_rows(session) if each.deployment == name), None)
    if row is None:
        raise Failure(f"no deployment {name} goes on: it ended, or never was", next_="busbar deployment list")
    if no_wait:
        session.out.show(row, say_progress(row))
        return
    ended = await follow(session, name, after, timeout_s)
    if isinstance(ended, DeploymentEnded) and ended.outcome is not Outcome.SUCCEEDED:
        raise Failure(f"deployment {name} {_how(ended)}", next_="busbar app list")
    what = f"deployment {name} {_how(ended)}" if isinstance(ended, DeploymentEnded) else f"deployment {name} waits"
    session.out.show(ended, what, *paused_note(ended))


def _how(ended: DeploymentEnded) -> str:
    return ended.outcome.lower() + (f": {ended.message}" if ended.message else "")


@deployment.command()
@click.argument("id")
@wait_options(wait_s)
@on_cluster
async def rollback(session: Session, id: str, timeout_s: float, no_wait: bool) -> None:
    """Undo a deployment that goes on, by another one, and wait until everything is as before.

    \b
    Example:
        busbar deployment rollback d-17
    """
    found = await deploy(session, CancelRequested(deployment=DeploymentId(id)), _LIST, timeout_s, no_wait=no_wait)
    by = getattr(found.answer, "deployment", None)
    done = "is undone" if found.ended is not None else f"is being undone by deployment {by}"
    session.out.show(found.answer, f"deployment {id} {done}")


@deployment.command()
@click.argument("id")
@request_option
@on_cluster
async def cancel(session: Session, id: str) -> None:
    """Stop a deployment where it is: what it has done stays, what it has not done is left. `rollback` undoes it.

    \b
    Example:
        busbar deployment cancel d-17
    """
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(CancelRequested(deployment=DeploymentId(id), force=True), hints=_LIST)).fact
    session.out.show(answer, f"deployment {id} is stopped; its apps are as far as they came")


@deployment.command("continue")
@click.argument("id")
@request_option
@on_cluster
async def continue_(session: Session, id: str) -> None:
    """Say that a deployment's canaries are good: it goes on.

    \b
    Example:
        busbar deployment continue d-17
    """
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(ContinueRequested(deployment=DeploymentId(id)), hints=_LIST)).fact
    session.out.show(answer, f"deployment {id} goes on")
