"""Moments of history as people write them: a position, a time, so long ago.

Rule of this room: a time without a zone is the reader's. What cannot be meant is refused before anything is read.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import click

from bus.codec import Foreign, Unreadable, decode
from bus.events import Event
from bus.nouns import Now, Position, second
from bus.subjects import Kind
from cli.output import date as shown
from cli.output import wrong_usage
from cli.session import wall_clock
from eventstore.store import Reader

_AGO = re.compile(r"-(\d{1,9})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_POSITION = re.compile(r"\d{1,19}")
_CLOCK = re.compile(r"(?:(today|yesterday) )?(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?")
looked_back = 100
"""Positions in which the time of a position is looked for."""
FORMS = "a position, 2026-11-22T21:00, 21:00, 'yesterday 14:00', -10m or now"


class Moment(NamedTuple):
    """When: at a position, or at a time; neither: now."""

    position: Position | None = None
    time: Now | None = None


NOW = Moment()


class Point(NamedTuple):
    """A moment found in a store: the last event that had been said, and what time it was."""

    position: Position
    at: Now


class MomentType(click.ParamType[Moment]):
    """A moment of history."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """The moment. Raises click.BadParameter."""
        if isinstance(value, Moment):
            return value
        text = str(value)
        try:
            return _moment(text)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is not a moment: expected {FORMS}", param, ctx)


MOMENT = MomentType()


def _moment(text: str) -> Moment:
    if text == "now":
        return NOW
    if _POSITION.fullmatch(text):
        return Moment(position=Position(int(text)))
    ago = _AGO.fullmatch(text)
    if ago:
        return Moment(time=Now(wall_clock() - int(ago[1]) * _UNITS_S[ago[2]] * second))
    return Moment(time=_us(_datetime(text)))


def _datetime(text: str) -> datetime:
    clock = _CLOCK.fullmatch(text)
    if clock:
        day = date.today() - timedelta(days=clock[1] == "yesterday")
        return datetime.combine(day, time(int(clock[2]), int(clock[3]), int(clock[4] or 0)))
    if not _DATE.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _us(moment: datetime) -> Now:
    aware = moment.astimezone()
    return Now(int(aware.replace(microsecond=0).timestamp()) * second + aware.microsecond)


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
        for record in records:
            with suppress(Foreign, Unreadable):
                told.append(decode(record.subject, record.body, record.position))
    owners = [event.at for event in told if event.by.kind is not Kind.CLIENT]
    return max(owners or [event.at for event in told], default=Now(0))
