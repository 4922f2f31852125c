"""`busbar store diff`: where two copies of one history part, and which of them is right.

Rule of this room: the first difference is searched by running hashes; who verifies and who does not is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import click

from bus.codec import link
from bus.nouns import Position
from bus.port import NoAnswer, NobodyThere
from bus.queries import (
    DIVERGED,
    ChainQuestion,
    ChainRow,
    HistoryRow,
    Instance,
    PageQuestion,
    QueryRefused,
    pack,
    unpack,
)
from bus.roll import roll_call
from bus.subjects import ask_instance
from cli.output import Failure, Fields, Output, Table, wrong_usage
from cli.session import THE_MASTER, NotThere, Session, Where, in_session, json_option, query_s, the_reach, where_options
from cli.store_file import default_store, refusals, verify_shown
from eventstore.compare import Difference, Side, chains_of, difference, row_of, side_of
from eventstore.readonly import header_of, readonly
from eventstore.verify import Verdict

looks_at_once = 64
"""Positions that a peer is asked about in one question."""


@click.command()
@click.argument("one", required=False, type=click.Path(dir_okay=False))
@click.argument("other", required=False, type=click.Path(dir_okay=False))
@click.option("--peer", metavar="NODE", help="Compare with the store of the master on this node, e.g. n2.")
@where_options
@json_option
def diff(
    one: str | None,
    other: str | None,
    peer: str | None,
    bus: str | None,
    credentials: str | None,
    data: str,
    as_json: bool,
) -> None:
    """Find the first position at which two stores differ. Exit code 1 if they do.

    \b
    Example:
        busbar store diff .busbar/master/events.db backup.db
        busbar store diff --peer n2
    """
    out = Output(as_json)
    if (other is None) == (peer is None):
        raise wrong_usage("name two files, or one file and --peer NODE")
    file = Path(one) if one else default_store(Path(data))
    if peer is not None:
        reach = the_reach()
        reach.run(in_session(reach, Where(bus, credentials, data), out, _with_peer, file=file, node=peer))
        return
    assert other is not None, "checked above"
    with refusals():
        _between(file, Path(other), out)


# ---- two files -------------------------------------------------------------------------------------------------------


def _between(one: Path, other: Path, out: Output) -> None:
    difference(one, other)  # refused at once, if they are not of one stream
    verdicts = verify_shown(one, out), verify_shown(other, out)
    suspects = tuple(each.finding.position for each in verdicts if each.finding and each.finding.position)
    found = difference(one, other, suspects=suspects)
    content = {
        "position": found.position,
        "one": _content(found.one, verdicts[0]),
        "other": _content(found.other, verdicts[1]),
        "right": _right(found, verdicts),
    }
    out.show(content, *_told(found, verdicts))
    if found.position is not None or not all(each.good for each in verdicts):
        raise Failure(in_words(found), next_=next((each.remedy for each in verdicts if not each.good), ""))


def _content(side: Side, verdict: Verdict) -> dict[str, object]:
    return side._asdict() | {"good": verdict.good, "finding": str(verdict.finding) if verdict.finding else None}


def _right(found: Difference, verdicts: tuple[Verdict, Verdict]) -> str | None:
    """The one of two that verifies, where the other does not."""
    good = [side.path for side, verdict in zip((found.one, found.other), verdicts, strict=True) if verdict.good]
    return good[0] if len(good) == 1 else None


def _told(found: Difference, verdicts: tuple[Verdict, Verdict]) -> list[Table | Fields | str]:
    rows = [
        [side.path, str(side.last), side.subject or "nothing", side.digest[:16], _verdict(verdict)]
        for side, verdict in zip((found.one, found.other), verdicts, strict=True)
    ]
    right = _right(found, verdicts)
    conclusion = ["", f"{right} verifies, the other does not: it is the one that is right"] if right else []
    return [in_words(found), "", Table(("store", "last", "has there", "body", "verdict"), rows), *conclusion]


def _verdict(verdict: Verdict) -> str:
    return "verifies" if verdict.good else str(verdict.finding)


def in_words(found: Difference) -> str:
    """A difference in one line."""
    if found.position is not None:
        return f"the first difference is at position {found.position}"
    if found.one.last == found.other.last:
        return f"both hold the same {found.one.last} positions"
    longer, shorter = sorted((found.one, found.other), key=lambda side: -side.last)
    return f"the same up to {shorter.last}; {longer.path} goes on to {longer.last}"


# ---- a file and a peer -----------------------------------------------------------------------------------------------


T = TypeVar("T")


class Chains(Protocol):
    """A store somewhere else."""

    async def chains(self, positions: Sequence[int]) -> dict[int, str]:
        """The running hashes (hex) after some positions; empty where it has none."""


class Peer(NamedTuple):
    """The store of the master on another node, asked over the bus."""

    session: Session
    node: str

    async def chains(self, positions: Sequence[int]) -> dict[int, str]:
        """The running hashes after some positions; empty where it has none."""
        question = ChainQuestion(positions=tuple(Position(position) for position in positions))
        return {row.position: row.chain for row in await self._ask("chain", question, list[ChainRow])}

    async def row(self, position: Position) -> HistoryRow | None:
        """What it has at a position."""
        rows = await self._ask("page", PageQuestion(after=Position(position - 1), limit=1), list[HistoryRow])
        return rows[0] if rows and rows[0].position == position else None

    async def _ask(self, query: str, question: object, shape: type[T]) -> T:
        where = ask_instance(self.session.cluster, THE_MASTER, self.node, query)
        try:
            return unpack(await self.session.bus.query(where, pack(question), timeout_s=query_s), shape)
        except NobodyThere:
            raise NotThere(f"no master runs on {self.node}", next_="busbar status") from None
        except NoAnswer:
            raise NotThere(f"the master on {self.node} did not answer within {query_s:g} s") from None
        except QueryRefused as refused:
            raise Failure(f"the master on {self.node} cannot tell: {refused}") from None


async def _with_peer(session: Session, file: Path, node: str) -> None:
    instance = await _instance(session, node)
    peer = Peer(session, node)
    with refusals():
        with readonly(file) as connection:
            header = header_of(connection, file)
        if header.cluster != session.cluster or header.owner is not None:
            raise Failure(f"{file} is not a copy of the stream of cluster {session.cluster!r}")
        verdict = verify_shown(file, session.out)
        parted = await first_difference_with(file, peer, Position(min(verdict.last, instance.stored)))
        suspect = verdict.finding.position if verdict.finding else None
        if suspect and suspect <= instance.stored and (parted is None or suspect < parted):
            row = await peer.row(suspect)
            parted = suspect if row is None or row_of(file, suspect) != (row.subject, row.body) else parted
        found = Difference(parted, side_of(file, parted), await _side(peer, instance, parted))
    _show_peer(session.out, found, verdict, instance)


async def _instance(session: Session, node: str) -> Instance:
    instances = {instance.node: instance for instance in await roll_call(session.bus, THE_MASTER)}
    if node not in instances:
        there = ", ".join(sorted(instances)) or "none"
        raise NotThere(f"no master runs on {node}; there are: {there}", next_="busbar status")
    return instances[node]


async def first_difference_with(file: Path, peer: Chains, end: Position) -> Position | None:
    """The first position up to `end` after which a peer has another running hash; None if there is none."""
    if not end or chains_of(file, [end]) == await peer.chains([end]):
        return None
    same, differs = 0, int(end)
    while differs - same > 1:
        parts = {same + (differs - same) * part // (looks_at_once + 1) for part in range(1, looks_at_once + 1)}
        looks = sorted(parts - {same, differs})
        mine, theirs = chains_of(file, looks), await peer.chains(looks)
        differs = next((look for look in looks if mine[look] != theirs.get(look)), differs)
        same = max((look for look in looks if look < differs), default=same)
    return Position(differs)


async def _side(peer: Peer, instance: Instance, position: Position | None) -> Side:
    row = await peer.row(position) if position is not None else None
    if row is None:
        return Side(f"the master on {peer.node}", instance.stored, "")
    return Side(f"the master on {peer.node}", instance.stored, row.subject, link(row.body).hex())


def _show_peer(out: Output, found: Difference, verdict: Verdict, instance: Instance) -> None:
    """What was found. A peer verifies its newest events at its start, all of them only by its own `store verify`."""
    diverged = instance.standing == DIVERGED
    content = {
        "position": found.position,
        "one": _content(found.one, verdict),
        "other": found.other._asdict() | {"standing": instance.standing, "message": instance.message},
        "right": found.one.path if verdict.good and diverged else None,
    }
    rows = [
        [found.one.path, str(found.one.last), found.one.subject or "nothing", found.one.digest[:16], _verdict(verdict)],
        [
            found.other.path,
            str(found.other.last),
            found.other.subject or "nothing",
            found.other.digest[:16],
            instance.message if diverged else instance.standing,
        ],
    ]
    columns = ("store", "last", "has there", "body", "verdict")
    out.show(content, in_words(found), "", Table(columns, rows))
    if found.position is not None or not verdict.good:
        way_on = verdict.remedy if not verdict.good else f"busbar store verify, on {instance.node}"
        raise Failure(in_words(found), next_=way_on)
