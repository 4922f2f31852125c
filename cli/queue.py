"""`busbar app queue` and `busbar app reset`: what waits for an offer, and how offers fared.

Rule of this room: as in `cli.app`, whose commands these are.
"""

from __future__ import annotations

import click

from bus.nouns import Refusal
from bus.services import ResetRequested
from bus.waiting_rows import QueueRow
from cli.document import app_id
from cli.output import Table, time_of_day
from cli.past import Asked, at_any_time
from cli.request import conversation
from cli.session import MARATHON, Session, on_cluster


@click.command()
@at_any_time
async def queue(asked: Asked) -> None:
    """List what waits for an offer: since when, how many offers came, and why they were of no use.

    \b
    Example:
        busbar app queue
        busbar app queue --at 'yesterday 14:00'
    """
    rows = await asked.ask(MARATHON, "queue", list[QueueRow])
    columns = ("id", "waiting", "since", "delayed until", "offers", "unused", "last unused", "last used", "rejected by")
    asked.out.show(rows, Table(columns, [_cells(row) for row in rows], empty="nothing waits"))


def _cells(row: QueueRow) -> list[str]:
    """(DC/OS: `dcos marathon debug list`)"""
    return [
        row.app,
        str(row.count),
        time_of_day(row.since),
        time_of_day(row.delay_until) if row.delay_until is not None else "",
        str(row.processed),
        str(row.unused),
        time_of_day(row.last_unused_at) if row.last_unused_at is not None else "",
        time_of_day(row.last_used_at) if row.last_used_at is not None else "",
        ", ".join(f"{one.reason} {one.declined}" for one in row.launch_attempt if one.declined),
    ]


@click.command()
@click.argument("id")
@on_cluster
async def reset(session: Session, id: str) -> None:
    """Forgive an app's failures: what waits is launched at once, wherever it failed.

    \b
    Example:
        busbar app reset /web
    """
    name = app_id(id)
    async with conversation(session, MARATHON) as talk:
        answer = (await talk.ask(ResetRequested(app=name), hints={Refusal.NOT_FOUND: "busbar app queue"})).fact
    session.out.show(answer, f"{name} is launched as soon as an offer fits")
