"""Moments of history as people write them: a position, a time, so long ago.

Rule of this room: a time without a zone is the reader's. What cannot be meant is refused before anything is read.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

import click

from bus.nouns import Now, Position, second
from cli.session import wall_clock

_AGO = re.compile(r"-(\d{1,9})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_POSITION = re.compile(r"\d{1,19}")
_CLOCK = re.compile(r"(?:(today|yesterday) )?(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?")
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
