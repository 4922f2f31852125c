"""Where in a store a moment of history is.

Rule of this room: a moment that is not in there is refused with what is.
"""

from __future__ import annotations

from bus.codec import events_of
from bus.events import Event
from bus.nouns import Now, Position
from bus.subjects import Kind
from cli.moments import Moment, Point
from cli.output import date as shown
from cli.output import wrong_usage
from cli.session import wall_clock
from eventstore.store import Reader

looked_back = 100
"""Positions in which the time of a position is looked for."""


async def point_of(reader: Reader, moment: Moment) -> Point:
    """Where in a store a moment is. Raises click.UsageError if it is not in there."""
    end = await reader.last()
    if not end:
        raise wrong_usage("the store is empty: nothing has been said yet")
    if moment.time is not None:
        return await _at_time(reader, moment.time)
    position = end if moment.position is None else moment.position
    if position > end:
        raise wrong_usage(f"there is no event {position} yet; the last one is {end}")
    if position < 1:
        raise wrong_usage("before the first event there was nothing: positions begin at 1")
    return Point(position, await _said_at(reader, position) if moment.position else wall_clock())


async def _at_time(reader: Reader, at: Now) -> Point:
    now = wall_clock()
    if at > now:
        raise wrong_usage(f"{shown(at)} is in the future: it is {shown(now)}")
    position = await reader.position_before(Now(at + 1))
    if not position:
        first = await _said_at(reader, Position(1))
        raise wrong_usage(f"{shown(at)} is before the first event, which was said at {shown(first)}")
    return Point(position, at)


async def _said_at(reader: Reader, position: Position) -> Now:
    """What time it was at a position, by the clocks of those who own a log: a client may write any number."""
    told: list[Event] = []
    async for records in reader.records(after=max(0, position - looked_back), to=position):
        told += events_of(records)
    owners = [event.at for event in told if event.by.kind is not Kind.CLIENT]
    return max(owners or [event.at for event in told], default=Now(0))
