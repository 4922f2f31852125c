"""`busbar status`: what is up, who leads and who stands by, how far everybody is, and what is wrong.

Rule of this room: it looks and never waits for things to get better; what is wrong is in the last line, and in the exit
code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import click

from bus.nouns import Position
from bus.permits import GATEWAYS, Role
from bus.port import ClusterRow
from bus.queries import DIVERGED, LEADER, AgentRow, AlarmRow, Foreigners, FrameworkRow, IdentityRow, Instance, Summary
from bus.roll import roll_call
from bus.subjects import Author, Kind, everything
from cli.output import Failure, Part, Table, date
from cli.servers import servers
from cli.session import (
    MARATHON,
    METRONOME,
    SINGLETONS,
    THE_MASTER,
    NotThere,
    Session,
    agent,
    executor_of,
    on_cluster,
    title,
)


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


class Picture(NamedTuple):
    """Everything that status shows."""

    position: Position
    looks: Sequence[Look]
    instances: Sequence[Instance]
    servers: Sequence[ClusterRow]
    alarms: Sequence[AlarmRow]
    foreign: Foreigners | None
    gateways: Sequence[Instance] = ()

    @property
    def wrong(self) -> list[str]:
        """What an operator has to look at, in words."""
        led = {each.by for each in self.instances if each.standing == LEADER}
        standing_by = {each.by for each in self.instances} - led
        down = [each.author for each in self.looks if each.state == "down"]
        leaderless = [author for author in down if str(author) in standing_by]
        return [
            *_named("not running: ", [title(author) for author in down if author not in leaderless]),
            *_named("no leader: ", [title(author) for author in leaderless]),
            *_named(
                "diverged: ", [f"{each.by} on {each.node}" for each in self.instances if each.standing == DIVERGED]
            ),
            *_named("standbys are missing: ", self._short_of_standbys()),
            *_named("bus servers that are not current: ", [each.name for each in self.servers if not each.current]),
            *_named("alarms: ", [each.alarm for each in self.alarms]),
        ]

    def _short_of_standbys(self) -> list[str]:
        """Where there are several servers each has a master, and each scheduler somebody who stands by."""
        nodes, wanted = len(self.servers), instances_of(len(self.servers))
        there = {author: sum(each.by == str(author) for each in self.instances) for author in wanted}
        return [
            f"{title(author)} has {there[author]} of {count} instances"
            for author, count in wanted.items()
            if nodes > 1 and 0 < there[author] < count
        ]


def instances_of(nodes: int) -> dict[Author, int]:
    """How many instances of each singleton there should be: a master beside each server, and who stands by."""
    return {THE_MASTER: nodes, MARATHON: min(nodes, 2), METRONOME: min(nodes, 2)}


def _named(what: str, which: Sequence[str]) -> list[str]:
    return [what + ", ".join(which)] if which else []


@click.command()
@on_cluster
async def status(session: Session) -> None:
    """Show every component: whether it is up, its term, how far its log is; who leads and who stands by; the servers
    of the bus; alarms. Exit code 1 if anything is wrong, and the last line says what.

    \b
    Example:
        busbar status
    """
    seen = await _picture(session)
    session.out.show(
        _content(session, seen),
        f"cluster {session.cluster}, {seen.position} events",
        "",
        _table(seen.looks),
        *_of_several(seen),
        *_gateways(seen.gateways),
        *_alarm(seen.foreign),
        *(f"alarm {each.alarm}, since {date(each.since)}: {each.message}" for each in seen.alarms),
    )
    if wrong := seen.wrong:
        gone = wrong[0].startswith("not running")
        raise Failure("; ".join(wrong), next_="busbar up; for one of them, busbar run" if gone else "")


async def _picture(session: Session) -> Picture:
    """Everything at once: one that does not answer costs its time only once."""
    expected, (kept, instances), gateways, alarms, foreign, newest = await asyncio.gather(
        members(session),
        _kept_and_led(session),
        _present_gateways(session),
        _alarms(session),
        _foreign(session),
        session.bus.last(everything(session.cluster)),
    )
    looks = await asyncio.gather(*(look(session, author, known) for author, known in expected.items()))
    return Picture(
        position=newest.position if newest else Position(0),
        looks=looks,
        instances=instances,
        servers=kept,
        alarms=alarms,
        foreign=foreign,
        gateways=gateways,
    )


async def _kept_and_led(session: Session) -> tuple[list[ClusterRow], list[Instance]]:
    """The servers, and of each singleton the instances that answer: as many as there should be are not waited for."""
    kept = await servers(session.bus)
    wanted = instances_of(len(kept))
    called = (roll_call(session.bus, each, wanted[each] or None) for each in SINGLETONS)
    return kept, [instance for those in await asyncio.gather(*called) for instance in those]


async def _present_gateways(session: Session) -> list[Instance]:
    """Who speaks HTTP, of as many as the master has let in for that; nobody else knows of them."""
    try:
        known = await session.look(THE_MASTER, "identities", list[IdentityRow])
    except Failure:
        known = []
    let_in = sum(each.role == Role.GATEWAY and each.revoked_at is None for each in known)
    return await roll_call(session.bus, GATEWAYS, let_in or None)


def _content(session: Session, seen: Picture) -> object:
    return {
        "cluster": session.cluster,
        "position": seen.position,
        "components": [{"by": str(each.author), "state": each.state, "summary": each.summary} for each in seen.looks],
        "instances": seen.instances,
        "gateways": seen.gateways,
        "servers": [each._asdict() for each in seen.servers],
        "alarms": seen.alarms,
        "foreign": seen.foreign,
        "wrong": seen.wrong,
    }


async def members(session: Session) -> dict[Author, bool]:
    """The master and whom it knows, the built-in schedulers in any case; each with whether it should be up."""
    known = dict.fromkeys((THE_MASTER, MARATHON, METRONOME), True)
    try:
        agents = await session.look(THE_MASTER, "agents", list[AgentRow])
        frameworks = await session.look(THE_MASTER, "frameworks", list[FrameworkRow])
    except NotThere:
        return known
    known |= {Author(Kind.FRAMEWORK, row.framework): True for row in frameworks}
    for row in agents:
        known[agent(row.agent)] = known[executor_of(row.agent)] = row.state == "ACTIVE"
    return known


async def _foreign(session: Session) -> Foreigners | None:
    """What somebody put on the stream that is no event; None while no master can tell."""
    try:
        return await session.look(THE_MASTER, "foreign", Foreigners)
    except Failure:
        return None


async def _alarms(session: Session) -> Sequence[AlarmRow]:
    """What stands in the master's eyes; nothing while no master can tell."""
    try:
        return await session.look(THE_MASTER, "alarms", list[AlarmRow])
    except Failure:
        return []


def _of_several(seen: Picture) -> list[Part]:
    """Instances and servers, where there is more to say than that each is the only one."""
    parts: list[Part] = []
    if len(seen.servers) > 1 or any(each.standing != LEADER for each in seen.instances):
        parts += ["", _instances(seen.instances)]
        parts += [f"{each.by} on {each.node}: {each.message}" for each in seen.instances if each.standing == DIVERGED]
    if len(seen.servers) > 1:
        rows = [[each.name, _yes(each.leader), _yes(each.current), str(each.lag)] for each in seen.servers]
        parts += ["", Table(("bus server", "leader", "current", "lag"), rows)]
    return parts


def _gateways(gateways: Sequence[Instance]) -> list[Part]:
    """Who speaks HTTP, and where. Nobody else knows of them, so none is missed."""
    if not gateways:
        return []
    rows = [
        [each.by.partition(".")[2], each.node, each.message, str(each.pid), date(each.started_at)] for each in gateways
    ]
    return ["", Table(("gateway", "node", "listens at", "pid", "since"), rows)]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _instances(instances: Sequence[Instance]) -> Table:
    newest: dict[str, int] = {}
    for each in instances:
        newest[each.by] = max(each.position, newest.get(each.by, 0))
    columns = ("instance of", "node", "standing", "term", "position", "behind", "pid")
    rows = [
        [
            each.by,
            each.node,
            each.standing,
            *map(str, (each.epoch, each.position, newest[each.by] - each.position)),
            str(each.pid),
        ]
        for each in instances
    ]
    return Table(columns, rows)


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
        return Look(author, await session.look(author, "summary", Summary), expected)
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
