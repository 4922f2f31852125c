"""`busbar capture`: a slice of history as a file, with all that is needed to make its decisions again elsewhere.

Rule of this room: a store is read, never written; what a decision depended on is in the file or the file is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click

from bus.codec import Foreign, Unreadable, decode
from bus.events import Event
from bus.nouns import Position
from bus.port import Record, batch_events_max
from bus.subjects import Author, Kind
from cli.captured import Capture, write
from cli.moments import FORMS, MOMENT, Moment, point_of
from cli.output import Failure, Fields, Output, date, wrong_usage
from cli.past import local_store, reading, store_option
from cli.recompute import settings_in
from cli.session import Where, json_option, the_reach, wall_clock, where_options
from eventstore.store import Reader

records_max = 2_000_000
mentions_page = 10_000


class Wanted(NamedTuple):
    """What of a history: a thing, or everything, between two moments."""

    noun: str
    id: str
    from_: Moment | None
    to: Moment | None


class Extent(NamedTuple):
    """Where it is in a store, and whose decisions made it."""

    first: Position
    last: Position
    authors: Sequence[Author]


@click.command()
@click.option("--task", metavar="ID", help="What happened to this task.")
@click.option("--app", metavar="ID", help="What happened to this app.")
@click.option("--agent", metavar="ID", help="What happened to this agent.")
@click.option("--from", "from_", type=MOMENT, metavar="MOMENT", help=f"Not what was before: {FORMS}.")
@click.option("--to", type=MOMENT, metavar="MOMENT", help="Not what was behind.")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Where it is written."
)
@store_option
@where_options
@json_option
def capture(
    bus: str | None,
    credentials: str | None,
    data: str,
    store: str | None,
    output: str,
    from_: Moment | None,
    to: Moment | None,
    as_json: bool,
    **things: str | None,
) -> None:
    """Write a slice of history to a file; `busbar replay` makes its decisions again, on any machine.

    In the file are the logs of all who had to do with the thing, and what they heard. Commands and environments of
    tasks are in it as they are in the log.

    \b
    Example:
        busbar capture --task web.7f3a -o web.capture
        busbar capture --from 'yesterday 14:00' --to 'yesterday 15:00' -o incident.capture
    """
    wanted = _wanted(things, from_, to)
    the_reach().run(_capture(Where(bus, credentials, data), store, wanted, Path(output), Output(as_json)))


def _wanted(things: dict[str, str | None], from_: Moment | None, to: Moment | None) -> Wanted:
    named = [(noun, id_) for noun, id_ in things.items() if id_ is not None]
    if len(named) > 1:
        raise wrong_usage("--task, --app and --agent exclude each other")
    if not named and from_ is None and to is None:
        raise wrong_usage("name what to capture: --task, --app, --agent, or --from and --to")
    noun, id_ = named[0] if named else ("", "")
    return Wanted(noun, id_, from_, to)


async def _capture(where: Where, store: str | None, wanted: Wanted, output: Path, out: Output) -> None:
    path = Path(store) if store is not None else await local_store(where)
    async with reading(path) as reader:
        extent = await _extent(reader, wanted)
        records = await _records(reader, extent)
        captured = Capture(
            cluster=reader.header().cluster,
            release=version("busbar-os"),
            made_at=wall_clock(),
            first=extent.first,
            last=extent.last,
            authors=tuple(map(str, extent.authors)),
            records=tuple((record.position, record.subject, record.body) for record in records),
            noun=wanted.noun,
            id=wanted.id,
        )
    try:
        size = write(captured, output)
    except OSError as error:
        raise Failure(f"{output}: {error.strerror}", next_="name another file with -o FILE") from None
    _show(captured, output, size, out)


def _show(captured: Capture, output: Path, size: int, out: Output) -> None:
    told: dict[str, Any] = {
        "file": str(output),
        "bytes": size,
        "events": len(captured.records),
        "first": captured.first,
        "last": captured.last,
        "logs": captured.authors,
    }
    fields = [(name, ", ".join(value) if name == "logs" else str(value)) for name, value in told.items()]
    out.show(told, Fields([*fields, ("made", date(captured.made_at))]), "", f"busbar replay {output}")


# ---- what belongs to it -----------------------------------------------------------------------------------------


async def _extent(reader: Reader, wanted: Wanted) -> Extent:
    """Raises Failure if there is nothing of it in the store."""
    end = await reader.last()
    first = (await point_of(reader, wanted.from_)).position if wanted.from_ else Position(1)
    last = (await point_of(reader, wanted.to)).position if wanted.to else end
    if first > last:
        raise wrong_usage(f"--from is behind --to: {first} is behind {last}")
    settings = await settings_in(reader, to=last)
    if not wanted.noun:
        return Extent(first, await _whole(reader, last), sorted(settings))
    told = [event async for event in _mentions(reader, wanted, first, last)]
    if not told:
        raise Failure(
            f"no event of {wanted.noun} {wanted.id} is between {first} and {last}", next_=f"busbar {wanted.noun} list"
        )
    involved = {event.by for event in told if event.by.kind is not Kind.CLIENT}
    ids = {event.to for event in told}
    authors = [author for author in sorted(settings) if author in involved or author.id in ids]
    return Extent(told[0].position, await _whole(reader, told[-1].position), authors)


async def _mentions(reader: Reader, wanted: Wanted, first: Position, last: Position) -> AsyncIterator[Event]:
    after = int(first) - 1
    while records := await reader.mentions(wanted.noun, wanted.id, after=after, limit=mentions_page):
        for record in records:
            if record.position > last:
                return
            event = _event(record)
            if event is not None:
                yield event
        after = records[-1].position


def _event(record: Record) -> Event | None:
    try:
        return decode(record.subject, record.body, record.position)
    except (Foreign, Unreadable):
        return None


async def _whole(reader: Reader, last: Position) -> Position:
    """`last`, or the end of the decision that lies over it."""
    for position in range(last, last + batch_events_max):
        record = await reader.at_position(position)
        event = _event(record) if record is not None else None
        if event is None or event.last or event.by.kind is Kind.CLIENT:
            return Position(max(last, position if record is not None else position - 1))
    return last


async def _records(reader: Reader, extent: Extent) -> list[Record]:
    """The logs of those involved from their beginnings, and all that was said to them."""
    found: dict[Position, Record] = {}
    for author in extent.authors:
        await _add(found, reader.records(author=author, to=extent.last))
        await _add(found, reader.records(to_whom=author.id, to=extent.last))
    return [found[position] for position in sorted(found)]


async def _add(found: dict[Position, Record], groups: AsyncIterator[Iterable[Record]]) -> None:
    async for records in groups:
        for record in records:
            found[record.position] = record
        if len(found) > records_max:
            raise Failure(f"more than {records_max:,} events are needed for it", next_="name an earlier --to")
