"""When a cron fires next, read in an IANA time zone.

Rule of this room: local time is not a line, and each place where it is not has one stated outcome. (Vixie cron 3.0)

- A cron that names hours means times of the day. Of those that are skipped when clocks go forward, it fires once, at
  the first instant after the gap; of those that come twice when clocks go back, only the first time. So a daily job
  runs on every day, and never twice.
- A cron that leaves the hour open (all 24) means "every so many minutes" and goes by the minutes that really pass: what
  is skipped is skipped, and what comes twice fires twice. So `*/15 * * * *` has a firing every 15 minutes, always.

Vixie makes the same distinction, but counts an open minute (`* 2 * * *`) as the second kind; here the hour decides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from bus.nouns import Now
from components.metronome.cron import Cron

years_max = 41
"""How far ahead a firing can lie: 29 February on one weekday comes at least once in 40 years."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_minute = timedelta(minutes=1)
_day = timedelta(days=1)
_widest = timedelta(days=2)
"""A local date, wherever, lies within this of the same date in UTC."""


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
    return None if found is None else Now((found - _EPOCH) // timedelta(microseconds=1))


def _by_time_of_day(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Local times in their order; each stands for its first instant, and those never go back."""
    local = after.astimezone(zone).replace(tzinfo=None)
    for day in _dates(cron, local.date()):
        for hour in cron.hours:
            for minute in cron.minutes:
                wall = datetime(day.year, day.month, day.day, hour, minute)
                if wall > local and (instant := _first_instant(wall, zone)) > after:
                    return instant
    return None


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


def _by_passing_minutes(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime | None:
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
    return None


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
    years = cron.years or range(first.year, min(first.year + years_max, MAXYEAR))
    for year in years:
        for month in cron.months:
            if (year, month) == (first.year, first.month):
                yield from cron.days_in(year, month, first.day)
            elif (year, month) > (first.year, first.month):
                yield from cron.days_in(year, month)
