"""`busbar capture`: a slice of history as a file, with all that is needed to make its decisions again elsewhere.

Rule of this room: a store is read, never written; what a decision depended on is in the file or the file is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click

from bus.codec import event_in
from bus.events import Event, Term
from bus.nouns import Position
from bus.port import Record, batch_events_max
from bus.subjects import Author, Kind
from cli.captured import Capture, Start, write
from cli.minds import mind_of
from cli.moments import FORMS, MOMENT, Moment
from cli.output import Failure, Fields, Output, date, wrong_usage
from cli.past import local_store, store_option
from cli.points import point_of
from cli.recompute import settings_in
from cli.session import Where, json_option, the_reach, wall_clock, where_options
from cli.then import reading
from components.histories import TERMS, Settings
from components.past import mind_at
from components.snapshots import Snapshots, snapshots_of
from eventstore.store import Reader

records_max = 2_000_000
whole_max = 20_000
"""Positions before what is captured above which its logs begin with a folded state instead of their first events."""
mentions_page = 10_000
_START = Position(0)


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
    settings: Settings
    """What each of them was ever set up with."""


class Slice(NamedTuple):
    """The part of one log that is captured: all of it, or from a folded state on."""

    after: Position = _START
    """Of the log: the last event that is folded."""
    heard: Position = _START
    """Of what was said to its author: the last that is decided on."""
    starts: tuple[Start, ...] = ()


@click.command()
@click.option("--task", metavar="ID", help="What happened to this task.")
@click.option("--app", metavar="ID", help="What happened to this app.")
@click.option("--agent", metavar="ID", help="What happened to this agent.")
@click.option("--from", "from_", type=MOMENT, metavar="MOMENT", help=f"Not what was before: {FORMS}.")
@click.option("--to", type=MOMENT, metavar="MOMENT", help="Not what was behind.")
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False), metavar="FILE", help="Where it is written."
)
@click.option(
    "--whole", is_flag=True, help="All logs from their first events: also for a release that folds otherwise."
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
    whole: bool,
    as_json: bool,
    **things: str | None,
) -> None:
    """Write a slice of history to a file; `busbar replay` makes its decisions again, on any machine.

    In the file are the logs of all who had to do with the thing, and what they heard; of a long history only from there
    on, with what they remembered then. Commands and environments of
    tasks are in it as they are in the log.

    \b
    Example:
        busbar capture --task web.7f3a -o web.capture
        busbar capture --from 'yesterday 14:00' --to 'yesterday 15:00' -o incident.capture
    """
    wanted = _wanted(things, from_, to)
    the_reach().run(_capture(Where(bus, credentials, data), store, wanted, Path(output), whole, Output(as_json)))


def _wanted(things: dict[str, str | None], from_: Moment | None, to: Moment | None) -> Wanted:
    named = [(noun, id_) for noun, id_ in things.items() if id_ is not None]
    if len(named) > 1:
        raise wrong_usage("--task, --app and --agent exclude each other")
    if not named and from_ is None and to is None:
        raise wrong_usage("name what to capture: --task, --app, --agent, or --from and --to")
    noun, id_ = named[0] if named else ("", "")
    return Wanted(noun, id_, from_, to)


async def _capture(where: Where, store: str | None, wanted: Wanted, output: Path, whole: bool, out: Output) -> None:
    path = Path(store) if store is not None else await local_store(where)
    async with reading(path) as reader:
        extent = await _extent(reader, wanted)
        slices = {author: Slice() for author in extent.authors}
        if extent.first > whole_max and not whole:
            slices = {author: await _slice(reader, path, author, extent) for author in extent.authors}
        records = await _records(reader, slices, extent.last)
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
            starts=tuple(start for each in slices.values() for start in each.starts),
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
        return Extent(first, await _whole(reader, last), sorted(settings), settings)
    told = [event async for event in _mentions(reader, wanted, first, last)]
    if not told:
        raise Failure(
            f"no event of {wanted.noun} {wanted.id} is between {first} and {last}", next_=f"busbar {wanted.noun} list"
        )
    involved = {event.by for event in told if event.by.kind is not Kind.CLIENT}
    ids = {event.to for event in told}
    authors = [author for author in sorted(settings) if author in involved or author.id in ids]
    return Extent(told[0].position, await _whole(reader, told[-1].position), authors, settings)


async def _mentions(reader: Reader, wanted: Wanted, first: Position, last: Position) -> AsyncIterator[Event]:
    after = int(first) - 1
    while records := await reader.mentions(wanted.noun, wanted.id, after=after, limit=mentions_page):
        for record in records:
            if record.position > last:
                return
            event = event_in(record)
            if event is not None:
                yield event
        after = records[-1].position


async def _whole(reader: Reader, last: Position) -> Position:
    """`last`, or the end of the decision that lies over it."""
    for position in range(last, last + batch_events_max):
        record = await reader.at_position(position)
        event = event_in(record) if record is not None else None
        if event is None or event.last or event.by.kind is Kind.CLIENT:
            return Position(max(last, position if record is not None else position - 1))
    return last


async def _slice(reader: Reader, store: Path, author: Author, extent: Extent) -> Slice:
    """A log from where the capture begins, with what its author remembered there for each of its settings."""
    before = Position(extent.first - 1)
    settings, later = await _settings_from(reader, author, before, extent.last)
    if not settings or not all((settings, *later)):
        return Slice()  # it begins later, or an older release wrote it: from its first event
    starts, state = [], None
    for each in dict.fromkeys((settings, *later)):
        component = mind_of(each)
        snapshots = Snapshots(component, snapshots_of(store))
        mind = await mind_at(component, reader, snapshots, before)
        state = state or mind.state
        packed = snapshots.pack(mind.state, before, mind.prev)
        starts.append(Start(author=str(author), settings=each, position=before, content=packed.content))
    assert state is not None
    return Slice(await _position_of(reader, author, state.n, before), state.heard, tuple(starts))


async def _position_of(reader: Reader, author: Author, n: int, before: Position) -> Position:
    """Where an author's event of this number is: it ends the author's last whole decision up to a position."""
    newest = [
        event.position
        async for records in reader.records(author=author, after=max(0, before - batch_events_max), to=before)
        for event in filter(None, map(event_in, records))
        if event.n == n
    ]
    return Position(newest[-1] if newest else before)


async def _settings_from(reader: Reader, author: Author, before: Position, last: Position) -> tuple[str, Sequence[str]]:
    """The settings of an author's term at a position, and those of its terms from there on."""
    now, later = "", []
    for noun, participle in TERMS:
        async for records in reader.records(author=author, noun=noun, participle=participle, to=last):
            for event in filter(None, map(event_in, records)):
                if isinstance(event.fact, Term):
                    if event.position > before:
                        later.append(event.fact.settings)
                    else:
                        now = event.fact.settings
    return now, later


async def _records(reader: Reader, slices: Mapping[Author, Slice], last: Position) -> list[Record]:
    """The logs of those involved, and all that was said to them."""
    found: dict[Position, Record] = {}
    for author, each in slices.items():
        await _add(found, reader.records(author=author, after=each.after, to=last))
        await _add(found, reader.records(to_whom=author.id, after=each.heard, to=last))
    return [found[position] for position in sorted(found)]


async def _add(found: dict[Position, Record], groups: AsyncIterator[Iterable[Record]]) -> None:
    async for records in groups:
        for record in records:
            found[record.position] = record
        if len(found) > records_max:
            raise Failure(f"more than {records_max:,} events are needed for it", next_="name an earlier --to")
