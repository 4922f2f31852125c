"""`busbar offer`: what is promised and not yet answered."""

from __future__ import annotations

import click

from bus.nouns import Now
from bus.queries import OfferRow
from cli.output import Table, span
from cli.session import THE_MASTER, Session, on_cluster, wall_clock


@click.group()
def offer() -> None:
    """Look at the outstanding offers.

    \b
    Example:
        busbar offer list
    """


@offer.command("list")
@on_cluster
async def list_(session: Session) -> None:
    """List the offers that no scheduler has answered yet.

    \b
    Example:
        busbar offer list
    """
    rows = await session.ask(THE_MASTER, "offers", list[OfferRow])
    now = wall_clock()
    columns = ("id", "framework", "node", "age", "expires in", "resources")
    session.out.show(rows, Table(columns, [_cells(row, now) for row in rows], empty="no offer is outstanding"))


def _cells(row: OfferRow, now: Now) -> list[str]:
    return [
        row.offer,
        row.framework,
        row.agent,
        span(now - row.made_at),
        span(row.expires_at - now),
        str(row.resources),
    ]
