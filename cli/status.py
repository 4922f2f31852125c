"""`busbar status`: what is up, who leads, how far everybody is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import click

from bus.queries import AgentRow, FrameworkRow, Summary
from bus.subjects import Author, Kind, everything
from cli.output import Failure, Table, date
from cli.session import MARATHON, METRONOME, THE_MASTER, NotThere, Session, agent, on_cluster, title


class Look(NamedTuple):
    """One component, and what it said about itself; None if it did not answer."""

    author: Author
    summary: Summary | None


@click.command()
@on_cluster
async def status(session: Session) -> None:
    """Show every component: whether it is up, its term, how far its log is. Exit code 1 if one is down.

    \b
    Example:
        busbar status
    """
    looks = await asyncio.gather(*(look(session, author) for author in await members(session)))
    newest = await session.bus.last(everything(session.cluster))
    position = newest.position if newest else 0
    content = {
        "cluster": session.cluster,
        "position": position,
        "components": [
            {"by": str(each.author), "up": each.summary is not None, "summary": each.summary} for each in looks
        ],
    }
    session.out.show(content, f"cluster {session.cluster}, {position} events", "", _table(looks))
    down = [title(each.author) for each in looks if each.summary is None]
    if down:
        raise Failure(
            f"not running: {', '.join(down)}", next_="busbar up, or busbar run for one of them: ops/runbook.md"
        )


async def members(session: Session) -> list[Author]:
    """The master, and the schedulers and agents it knows; the built-in schedulers in any case."""
    known = {THE_MASTER, MARATHON, METRONOME}
    try:
        agents = await session.ask(THE_MASTER, "agents", list[AgentRow])
        frameworks = await session.ask(THE_MASTER, "frameworks", list[FrameworkRow])
    except NotThere:
        return sorted(known)
    known |= {agent(row.agent) for row in agents}
    known |= {Author(Kind.FRAMEWORK, row.framework) for row in frameworks}
    return sorted(known, key=lambda author: (author != THE_MASTER, author))


async def look(session: Session, author: Author) -> Look:
    """Ask one component how it is."""
    try:
        return Look(author, await session.ask(author, "summary", Summary))
    except NotThere:
        return Look(author, None)


def _table(looks: Sequence[Look]) -> Table:
    columns = ("component", "state", "term", "events", "position", "heard", "pid", "rss mb", "since", "node")
    return Table(columns, [_cells(each) for each in looks])


def _cells(each: Look) -> list[str]:
    summary = each.summary
    if summary is None:
        return [str(each.author), "down", *[""] * 8]
    return [
        str(each.author),
        "up",
        str(summary.epoch),
        str(summary.n),
        str(summary.position),
        str(summary.heard),
        str(summary.pid),
        str(summary.rss_kb // 1024),
        date(summary.started_at),
        summary.node,
    ]
