"""When a schedule fires: five cron fields, read in an IANA time zone.

    minute 0-59   hour 0-23   day of month 1-31   month 1-12, jan-dec   day of week 0-7, sun-sat (0 and 7: Sunday)

Each field is `*`, a number or name, a range `1-5`, a step `*/15`, `10-40/5`, `5/15`, or a list of those. Day of month
*and* day of week must both match. (Metronome: cron-utils, unlike crontab's OR)

Rule of this room: local time is not a line, and each place where it is not has one stated outcome. (Vixie cron 3.0)

- A cron that names hours means times of the day. Of those that are skipped when clocks go forward, it fires once, at
  the first instant after the gap; of those that come twice when clocks go back, only the first time. So a daily job
  runs on every day, and never twice.
- A cron that leaves the hour open (all 24) means "every so many minutes" and goes by the minutes that really pass: what
  is skipped is skipped, and what comes twice fires twice. So `*/15 * * * *` has a firing every 15 minutes, always.

Vixie makes the same distinction, but counts an open minute (`* 2 * * *`) as the second kind; here the hour decides.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from bus.nouns import Now

years_max = 41
"""How far ahead a firing can lie: 29 February on one weekday comes at least once in 40 years."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_minute = timedelta(minutes=1)
_day = timedelta(days=1)
_widest = timedelta(days=2)
"""A local date, wherever, lies within this of the same date in UTC."""


class Cron(NamedTuple):
    """Five cron fields as the numbers they allow, ascending; weekdays from 0, Sunday."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    @property
    def any_hour(self) -> bool:
        """Whether the hour is left open, so that the cron goes by minutes that pass."""
        return len(self.hours) == 24

    def allows(self, day: date) -> bool:
        """Whether it can fire on a day."""
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays


# ---- reading ----------------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        numbers = f"{self.low} to {self.high}"
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"expected {numbers}{names}, *, ranges (1-5), steps (*/2) and lists of them (1,3)"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(
    r"(?:(?P<all>\*)|(?P<low>[a-z]+|[0-9]{1,2})(?:-(?P<high>[a-z]+|[0-9]{1,2}))?)(?:/(?P<step>[0-9]{1,2}))?"
)


def parse_cron(text: str) -> Cron:
    """The cron in `text`. Raises ValueError that names the field, what was wrong and what is allowed."""
    fields = text.split()
    if len(fields) != len(_FIELDS):
        expected = ", ".join(field.name for field in _FIELDS)
        many = "field" if len(fields) == 1 else "fields"
        raise ValueError(f"{text!r} has {len(fields)} {many}: expected five, {expected}")
    minutes, hours, days, months, weekdays = (
        _numbers(field, written) for field, written in zip(_FIELDS, fields, strict=True)
    )
    if days[0] > max(_LONGEST[month - 1] for month in months):
        raise ValueError(f"day of month: {fields[2]!r} does not exist in month {fields[3]!r}, so it would never fire")
    return Cron(minutes, hours, days, months, tuple(sorted({day % 7 for day in weekdays})))


def _numbers(field: _Field, text: str) -> tuple[int, ...]:
    found = {number for part in text.lower().split(",") for number in _part(field, part)}
    return tuple(sorted(found))


def _part(field: _Field, part: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{field.name}: {part!r} is not understood: {field.allowed}")
    low, high = _bounds(field, part, match)
    step = int(match["step"]) if match["step"] else 1
    if not 1 <= step <= field.high:
        raise ValueError(f"{field.name}: {part!r} has the step {step}: expected 1 to {field.high}")
    return range(low, high + 1, step)


def _bounds(field: _Field, part: str, match: re.Match[str]) -> tuple[int, int]:
    end = 6 if field.names == _WEEKDAYS else field.high
    if match["all"]:
        return field.low, end
    low = _number(field, part, match["low"])
    if match["high"]:
        high = _number(field, part, match["high"])
        if match["high"] == "sun":
            high = 7  # fri-sun ends the week
    else:
        high = max(low, end) if match["step"] else low
    if low > high:
        raise ValueError(f"{field.name}: {part!r} ends before it begins: {field.allowed}")
    return low, high


def _number(field: _Field, part: str, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if text.isdecimal() and field.low <= int(text) <= field.high:
        return int(text)
    where = "" if text == part else f" in {part!r}"
    raise ValueError(f"{field.name}: {text!r}{where} is not allowed: {field.allowed}")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "posixrules", "Factory"}


@lru_cache(maxsize=1024)
def parse_zone(text: str) -> ZoneInfo:
    """The zone of that name. Raises ValueError."""
    if text not in _zones():
        raise ValueError(f"{text!r} is not a time zone: expected an IANA name such as UTC or Europe/Berlin")
    return ZoneInfo(text)


# ---- the next firing --------------------------------------------------------------------------------------------


def next_after(cron: Cron, zone: str, after: Now) -> Now | None:
    """The first firing after a moment; None if there is none any more. Raises ValueError for an unknown zone."""
    start = _EPOCH + timedelta(microseconds=after)
    find = _by_passing_minutes if cron.any_hour else _by_time_of_day
    found = find(cron, parse_zone(zone), start)
    return Now((found - _EPOCH) // timedelta(microseconds=1))


def _by_time_of_day(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """Local times in their order; each stands for its first instant, and those never go back."""
    local = after.astimezone(zone).replace(tzinfo=None)
    for day in _dates(cron, local.date()):
        for hour in cron.hours:
            for minute in cron.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute)
                if wall > local and (instant := _first_instant(wall, zone)) > after:
                    return instant
    raise ValueError(f"no firing in {years_max} years after {after}")


def _first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """When clocks first show a local time, or the end of the gap in which they never do. (PEP 495)"""
    instant = wall.replace(tzinfo=zone).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return _transition(zone, before, instant)


def _transition(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The second at which the offset becomes that of `high`."""
    offset = high.astimezone(zone).utcoffset()
    while (seconds := (high - low) // timedelta(seconds=1)) > 1:
        middle = low + timedelta(seconds=seconds // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return high


def _by_passing_minutes(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    """Minutes as they pass, whatever clocks show, with hops over those that cannot match."""
    at = _whole_minute(after + _minute, zone)
    for day in _dates(cron, at.astimezone(zone).date() - _day):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        at = max(at, _whole_minute(midnight - _widest, zone))
        while at < midnight + _day + _widest:
            local = at.astimezone(zone)
            if cron.allows(local.date()) and local.minute in cron.minutes:
                return at
            at = _hop(cron, zone, at, local)
    raise ValueError(f"no firing in {years_max} years after {after}")


def _whole_minute(at: datetime, zone: ZoneInfo) -> datetime:
    """The beginning of the local minute; some old offsets are not whole minutes."""
    local = at.astimezone(zone)
    return at - timedelta(seconds=local.second, microseconds=local.microsecond)


def _hop(cron: Cron, zone: ZoneInfo, at: datetime, local: datetime) -> datetime:
    """On to the next minute that may match; by one minute where clocks change on the way."""
    if cron.allows(local.date()):
        index = bisect_right(cron.minutes, local.minute)
        following = cron.minutes[index] if index < len(cron.minutes) else cron.minutes[0] + 60
        hop = timedelta(minutes=following - local.minute)
    else:
        hop = _day - timedelta(hours=local.hour, minutes=local.minute)
    if (at + hop).astimezone(zone).utcoffset() == local.utcoffset():
        return at + hop
    return _whole_minute(at + _minute, zone)


def _dates(cron: Cron, first: date) -> Iterator[date]:
    """The days it can fire on, from `first` on, for a bounded number of years."""
    for year in range(first.year, min(first.year + years_max, MAXYEAR)):
        for month in cron.months:
            if (year, month) < (first.year, first.month):
                continue
            for day in cron.days:
                if (
                    day <= monthrange(year, month)[1]
                    and first <= (found := date(year, month, day))
                    and cron.allows(found)
                ):
                    yield found
