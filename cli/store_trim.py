"""`busbar store trim`: the stream is shortened at its front; the stores keep everything.

Rule of this room: nothing is trimmed that a master has not stored and verified, or that an owner of a log still needs.
Whoever holds it back is named. (Trimming to the recorded position is no hole: bus/trimming.py)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import click

from bus.nouns import Position
from bus.port import Bus, Extent, NotCurrent
from bus.queries import DIVERGED, Instance
from bus.roll import roll_call
from bus.subjects import Author, SubjectError, parse_author
from cli.moments import MOMENT, Moment
from cli.output import Failure, Output, wrong_usage
from cli.points import point_of
from cli.servers import servers
from cli.session import (
    THE_MASTER,
    Session,
    Where,
    in_session,
    json_option,
    keys_directory,
    keys_option,
    the_reach,
    where_options,
)
from cli.store_diff import Peer
from cli.store_file import default_store, refusals, verify_shown
from eventstore.compare import chains_of
from eventstore.holding import Holder, holders
from eventstore.store import open_reader

holders_shown_max = 5


class Owner(click.ParamType[Author]):
    """The author of a log, e.g. `agent.a7`."""

    name = "author"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Author:
        """The author."""
        try:
            return parse_author(str(value))
        except SubjectError as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.option(
    "--before", required=True, type=MOMENT, metavar="WHEN", help="Drop what was said before a position or time."
)
@click.option("--store", "file", metavar="FILE", help="This master's store; else the one in the data directory.")
@click.option(
    "--ended",
    multiple=True,
    type=Owner(),
    metavar="AUTHOR",
    help="Will never come back, e.g. agent.a7.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped, and who holds more back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@keys_option
@where_options
@json_option
def trim(bus: str | None, credentials: str | None, data: str, keys: str | None, as_json: bool, **given: Any) -> None:
    """Shorten the stream at its front, never further than every master has stored and every owner has heard.

    \b
    Example:
        busbar store trim --before 1000000 --dry-run
        busbar store trim --before 'yesterday 00:00'
    """
    reach = the_reach()
    given["file"] = Path(given["file"]) if given["file"] else default_store(Path(data))
    where = Where(bus, credentials, data)
    given["cutter"] = partial(reach.administer, where, keys_directory(keys, data))
    reach.run(in_session(reach, where, Output(as_json), _trim, **given))


async def _trim(
    session: Session,
    before: Moment,
    file: Path,
    ended: tuple[Author, ...],
    dry_run: bool,
    yes: bool,
    cutter: Callable[[], AbstractAsyncContextManager[Bus]],
) -> None:
    with refusals():
        first = await _position(file, before)
        extent = await session.bus.extent()
        _check_extent(first, extent)
        verdict = verify_shown(file, session.out)
        if verdict.finding is not None:
            raise Failure(f"{file}: {verdict.finding}: nothing was trimmed", next_=verdict.remedy)
        if verdict.header.cluster != session.cluster or verdict.header.owner is not None:
            raise Failure(f"{file} is not a copy of the stream of cluster {session.cluster!r}: nothing was trimmed")
        found = holders(file, ended)
        _check_holders(first, found)
        await _check_masters(session, file, first)
    begin = extent.first
    about = f"positions {extent.first} to {first - 1} of the stream; every master's store keeps them"
    if not dry_run:
        if not yes:
            _ask(f"drop {about}?")
        async with cutter() as bus:
            await _cut(bus, first)
        extent = await session.bus.extent()
    content = {
        "first": extent.first,
        "last": extent.last,
        "before": first,
        "dropped": extent.first - begin,
        "trimmed": not dry_run,
        "holders": [{"author": str(each.author), "bound": each.bound, "why": each.why} for each in found],
    }
    held = [f"  {each.why}" for each in found[:holders_shown_max]]
    done = f"would drop {about}" if dry_run else f"the stream begins at position {extent.first} now"
    session.out.show(content, done, "further back it is held by", *held)


async def _position(file: Path, before: Moment) -> Position:
    """The first position to keep."""
    if before.position is not None:
        return before.position
    if before.time is None:
        raise wrong_usage("--before now: name a position, or a time in the past")
    async with open_reader(file) as reader:
        return Position((await point_of(reader, before)).position + 1)


def _check_extent(first: Position, extent: Extent) -> None:
    if first > extent.last:
        raise Failure(f"the stream ends at position {extent.last}: it cannot begin at {first}")
    if first <= extent.first:
        raise Failure(f"the stream begins at position {extent.first} already: there is nothing before {first} to drop")


def _check_holders(first: Position, found: Sequence[Holder]) -> None:
    """Nobody needs what is to be dropped. Raises Failure that names who does."""
    needing = [holder for holder in found if holder.bound < first]
    if needing:
        others = f", and {len(needing) - 1} more" if len(needing) > 1 else ""
        raise Failure(
            f"nothing was trimmed: {needing[0].why}{others}; up to {needing[0].bound} it is possible",
            next_=f"wait until it says more (log.kept), or, if it will never come back: --ended {needing[0].author}",
        )


async def _check_masters(session: Session, file: Path, first: Position) -> None:
    """As many masters as servers keep the stream hold all that is dropped, the same as here. Raises Failure."""
    instances = await roll_call(session.bus, THE_MASTER)
    wanted = max(1, len(await servers(session.bus)))
    if len({instance.node for instance in instances}) < wanted:
        there = ", ".join(instance.node for instance in instances) or "none"
        raise Failure(
            f"nothing was trimmed: {wanted} servers keep the stream, and of as many masters only {there} answered",
            next_="busbar status",
        )
    wrong = [instance for instance in instances if instance.standing == DIVERGED or instance.stored < first - 1]
    if wrong:
        raise Failure(f"nothing was trimmed: {_what_is_wrong(wrong[0], first)}", next_="busbar status")
    last = first - 1
    mine = chains_of(file, [last])
    for instance in instances:
        theirs = await Peer(session, instance.node).chains([last])
        if theirs != mine:
            raise Failure(
                f"nothing was trimmed: the master on {instance.node} has another history up to position {last}",
                next_=f"busbar store diff --peer {instance.node}",
            )


def _what_is_wrong(instance: Instance, first: Position) -> str:
    if instance.standing == DIVERGED:
        return f"the master on {instance.node} is diverged: {instance.message}"
    return f"the master on {instance.node} has stored positions up to {instance.stored}, not up to {first - 1}"


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise Failure("nothing was trimmed: nobody was there to be asked", next_="say --yes")
    if not click.confirm(question, err=True):
        raise Failure("nothing was trimmed")


async def _cut(bus: Bus, first: Position) -> None:
    try:
        await bus.trim(first)
    except (NotCurrent, ValueError) as error:
        raise Failure(f"not trimmed: {error}", next_="busbar status") from None
