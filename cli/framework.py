"""`busbar framework`: the schedulers that get offers."""

from __future__ import annotations

import click

from bus.queries import FrameworkRow
from cli.output import Table, cpus, date
from cli.past import Asked, Listed, at_any_time
from cli.session import THE_MASTER


@click.group()
def framework() -> None:
    """Look at the schedulers that are registered with the master.

    \b
    Example:
        busbar framework list
    """


@framework.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the schedulers with what they use and their dominant share.

    A disconnected one is removed, and its tasks are killed, at the time in the last column unless it comes back.

    \b
    Example:
        busbar framework list
        busbar framework list --at -10m
    """
    asked.out.show(*await frameworks(asked))


async def frameworks(asked: Asked) -> Listed:
    """Every scheduler, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "frameworks", list[FrameworkRow])
    columns = ("id", "name", "role", "state", "tasks", "offers", "cpus", "mem mb", "share", "registered", "removed at")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="no framework is registered"))


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
