"""History told again: from the bus, or from a store file with nothing else running.

Rule of this room: the pace is that of the events' own times, divided by `--speed`; nothing is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

import click

from bus.nouns import Now, Position, second
from bus.port import Record
from bus.subjects import everything
from cli.numbers import FiniteRange
from cli.output import Failure, Output, wrong_usage
from cli.session import Session, Where, in_session, json_option, the_reach, where_options
from cli.story import each, tell

POSITION = click.IntRange(min=1)


class Span(NamedTuple):
    """Which part of history, how fast."""

    first: int
    last: int | None
    speed: float


class Pace:
    """Waits so that events are told as far apart as they happened, divided by the speed."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._began: tuple[Now, float] | None = None

    async def keep(self, at: Now) -> None:
        """Wait until the moment of an event has come; not at all at speed 0."""
        if not self.speed:
            return
        if self._began is None:
            self._began = (at, time.monotonic())
        first_at, began_s = self._began
        await asyncio.sleep(began_s + (at - first_at) / second / self.speed - time.monotonic())


@click.command()
@click.option("--from", "from_", type=POSITION, default=1, show_default=True, metavar="N", help="Begin with event N.")
@click.option("--to", type=POSITION, metavar="N", help="End with event N; without it, with the last there is now.")
@click.option(
    "--speed",
    type=FiniteRange(0, 1_000_000),
    default=1.0,
    show_default=True,
    metavar="X",
    help="So many times as fast as it happened; 0: as fast as it can be read.",
)
@click.option(
    "--store",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Read a store file; nothing need run.",
)
@where_options
@json_option
def replay(
    bus: str | None,
    credentials: str | None,
    data: str,
    as_json: bool,
    from_: int,
    to: int | None,
    speed: float,
    store: str | None,
) -> None:
    """Tell history again at the pace at which it happened, or another.

    \b
    Example:
        busbar events replay --from 1 --to 200 --speed 10
        busbar events replay --store .busbar/master/events.db --speed 0
    """
    if to is not None and to < from_:
        raise wrong_usage(f"--to {to} is before --from {from_}")
    reach, out, span = the_reach(), Output(as_json), Span(from_, to, speed)
    if store is None:
        reach.run(in_session(reach, Where(bus, credentials, data), out, _from_bus, span=span))
    else:
        reach.run(_from_store(store, out, span))


async def _from_bus(session: Session, span: Span) -> None:
    newest = await session.bus.last(everything(session.cluster))
    end = newest.position if newest else 0
    if span.first <= end:
        following = session.bus.follow(everything(session.cluster), after=Position(span.first - 1))
        async with aclosing(following):
            await _tell(following, session.out, span._replace(last=min(span.last or end, end)))


async def _from_store(store: str, out: Output, span: Span) -> None:
    from eventstore.errors import StoreFailed, StoreRefused  # only who asks a store pays for the imports
    from eventstore.store import open_reader

    try:
        async with open_reader(store) as reader:
            await _tell(reader.records(after=span.first - 1, to=span.last), out, span)
    except (StoreRefused, StoreFailed) as error:
        raise Failure(str(error), next_="name the file of a store with --store") from None


async def _tell(groups: AsyncIterator[Sequence[Record]], out: Output, span: Span) -> None:
    pace = Pace(span.speed)
    async for record in each(groups):
        told = tell(record)
        if told.event is not None:
            await pace.keep(told.event.at)
        out.line(told.content, told.text)
        if record.position == span.last:
            return
