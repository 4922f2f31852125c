"""`busbar framework`: the schedulers that get offers."""

from __future__ import annotations

import click

from bus.queries import FrameworkRow
from cli.output import Table, cpus, date
from cli.session import THE_MASTER, Session, on_cluster


@click.group()
def framework() -> None:
    """Look at the schedulers that are registered with the master.

    \b
    Example:
        busbar framework list
    """


@framework.command("list")
@on_cluster
async def list_(session: Session) -> None:
    """List the schedulers with what they use and their dominant share.

    A disconnected one is removed, and its tasks are killed, at the time in the last column unless it comes back.

    \b
    Example:
        busbar framework list
    """
    rows = await session.ask(THE_MASTER, "frameworks", list[FrameworkRow])
    columns = ("id", "name", "role", "state", "tasks", "offers", "cpus", "mem mb", "share", "registered", "removed at")
    session.out.show(rows, Table(columns, [_cells(row) for row in rows], empty="no framework is registered"))


def _cells(row: FrameworkRow) -> list[str]:
    return [
        row.framework,
        row.name,
        row.role,
        row.state,
        str(row.tasks),
        str(row.offers),
        cpus(row.used),
        str(row.used.mem_mb),
        f"{row.share_milli / 10:g} %",
        date(row.registered_at),
        date(row.removed_at_latest),
    ]
