"""`busbar status`: what is up, who leads, how far everybody is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import click

from bus.queries import AgentRow, Foreigners, FrameworkRow, Summary
from bus.subjects import Author, Kind, everything
from cli.output import Failure, Table, date
from cli.session import MARATHON, METRONOME, THE_MASTER, NotThere, Session, agent, executor_of, on_cluster, title


class Look(NamedTuple):
    """One component, and what it said about itself; None if it did not answer."""

    author: Author
    summary: Summary | None
    expected: bool = True
    """False: the master has given it up already."""

    @property
    def state(self) -> str:
        if self.summary is not None:
            return "up"
        return "down" if self.expected else "unreachable"


@click.command()
@on_cluster
async def status(session: Session) -> None:
    """Show every component: whether it is up, its term, how far its log is. Exit code 1 if one is down.

    \b
    Example:
        busbar status
    """
    expected = await members(session)
    looks = await asyncio.gather(*(look(session, author, known) for author, known in expected.items()))
    newest = await session.bus.last(everything(session.cluster))
    position = newest.position if newest else 0
    rows = [{"by": str(each.author), "state": each.state, "summary": each.summary} for each in looks]
    foreign = await _foreign(session)
    content = {"cluster": session.cluster, "position": position, "components": rows, "foreign": foreign}
    session.out.show(content, f"cluster {session.cluster}, {position} events", "", _table(looks), *_alarm(foreign))
    down = [title(each.author) for each in looks if each.state == "down"]
    if down:
        raise Failure(f"not running: {', '.join(down)}", next_="busbar up; for one of them, busbar run")


async def members(session: Session) -> dict[Author, bool]:
    """The master and whom it knows, the built-in schedulers in any case; each with whether it should be up."""
    known = dict.fromkeys((THE_MASTER, MARATHON, METRONOME), True)
    try:
        agents = await session.ask(THE_MASTER, "agents", list[AgentRow])
        frameworks = await session.ask(THE_MASTER, "frameworks", list[FrameworkRow])
    except NotThere:
        return known
    known |= {Author(Kind.FRAMEWORK, row.framework): True for row in frameworks}
    for row in agents:
        known[agent(row.agent)] = known[executor_of(row.agent)] = row.state == "ACTIVE"
    return known


async def _foreign(session: Session) -> Foreigners | None:
    """What somebody put on the stream that is no event; None while no master can tell."""
    try:
        return await session.ask(THE_MASTER, "foreign", Foreigners)
    except Failure:
        return None


def _alarm(foreign: Foreigners | None) -> list[str]:
    if foreign is None or not foreign.count:
        return []
    were = "1 message is" if foreign.count == 1 else f"{foreign.count} messages are"
    return [
        "",
        f"alarm: {were} on the stream that no component wrote as its next event, and that none of them folds;",
        f"the last is #{foreign.position}, {foreign.because}",
    ]


async def look(session: Session, author: Author, expected: bool) -> Look:
    """Ask one component how it is."""
    try:
        return Look(author, await session.ask(author, "summary", Summary), expected)
    except NotThere:
        return Look(author, None, expected)


def _table(looks: Sequence[Look]) -> Table:
    columns = ("component", "state", "term", "events", "position", "heard", "pid", "rss mb", "since", "node")
    return Table(columns, [_cells(each) for each in looks])


def _cells(each: Look) -> list[str]:
    summary = each.summary
    if summary is None:
        return [str(each.author), each.state, *[""] * 8]
    return [
        str(each.author),
        each.state,
        str(summary.epoch),
        str(summary.n),
        str(summary.position),
        str(summary.heard),
        str(summary.pid),
        str(summary.rss_kb // 1024),
        date(summary.started_at),
        summary.node,
    ]
