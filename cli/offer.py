"""`busbar offer`: what is promised and not yet answered."""

from __future__ import annotations

import click

from bus.nouns import Now
from bus.queries import OfferRow
from cli.output import Table, span
from cli.past import Asked, Listed, at_any_time
from cli.session import THE_MASTER


@click.group()
def offer() -> None:
    """Look at the outstanding offers.

    \b
    Example:
        busbar offer list
    """


@offer.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the offers that no scheduler has answered yet.

    \b
    Example:
        busbar offer list
        busbar offer list --at 812
    """
    asked.out.show(*await offers(asked))


async def offers(asked: Asked) -> Listed:
    """The outstanding offers, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "offers", list[OfferRow])
    now = asked.now()
    columns = ("id", "framework", "node", "age", "expires in", "resources")
    return Listed(rows, Table(columns, [_cells(row, now) for row in rows], empty="no offer is outstanding"))


def _cells(row: OfferRow, now: Now) -> list[str]:
    return [
        row.offer,
        row.framework,
        row.agent,
        span(now - row.made_at),
        span(row.expires_at - now),
        str(row.resources),
    ]
