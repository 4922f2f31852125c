"""Which days and times a schedule means: five cron fields, and a sixth for the year.

    minute 0-59   hour 0-23   day of month 1-31   month 1-12, jan-dec   day of week 0-7, sun-sat (0 and 7: Sunday)
    year 1970-2099, may be left out

Each field is `*`, a number or name, a range `1-5`, a step `*/15`, `10-40/5`, `5/15`, or a list of those. Besides

    day of month   L the last, L-2 two before it, 15W the Monday to Friday that is nearest to the 15th in the same
                   month, LW the last Monday to Friday
    day of week    5L or friL the last Friday of the month, 5#2 or fri#2 the second

Day of month *and* day of week must both match. (Metronome: `CronSpec.scala`, cron-utils; unlike crontab's OR)

Rule of this room: no clock and no zone; what would never fire is refused.
"""

from __future__ import annotations

import re
from calendar import isleap, monthrange
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import NamedTuple

_Some = tuple[int, ...]
LAST = 0
"""In place of a number: the last one."""


class Cron(NamedTuple):
    """Cron fields as the numbers they allow, ascending; weekdays from 0, Sunday."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    before_last: tuple[int, ...] = ()
    """How many days before the last of the month: L is 0."""
    workdays: tuple[int, ...] = ()
    """The days to which the nearest Monday to Friday is meant; LW is LAST."""
    nths: tuple[tuple[int, int], ...] = ()
    """Weekdays, and which of the month; 5L is 5, LAST."""
    years: tuple[int, ...] = ()
    """None at all: every year."""

    @property
    def any_hour(self) -> bool:
        """Whether the hour is left open, so that the cron goes by minutes that pass."""
        return len(self.hours) == 24

    def allows(self, day: date) -> bool:
        """Whether it can fire on a day."""
        return (
            (not self.years or day.year in self.years)
            and day.month in self.months
            and self._allows_weekday(day)
            and self._allows_day(day)
        )

    def _allows_day(self, day: date) -> bool:
        if day.day in self.days:
            return True
        if not self.before_last and not self.workdays:
            return False
        last = _length(day)
        return last - day.day in self.before_last or any(
            day.day == _nearest_workday(day.year, day.month, wanted or last) for wanted in self.workdays
        )

    def _allows_weekday(self, day: date) -> bool:
        weekday = day.isoweekday() % 7
        if weekday in self.weekdays:
            return True
        last = self.nths and day.day + 7 > _length(day)
        return (weekday, (day.day + 6) // 7) in self.nths or bool(last and (weekday, LAST) in self.nths)

    def days_in(self, year: int, month: int, first: int = 1) -> Iterator[date]:
        """The days of a month it can fire on, from one day of it on."""
        days = range(first, monthrange(year, month)[1] + 1)
        return (found for day in days if self.allows(found := date(year, month, day)))


def _length(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _nearest_workday(year: int, month: int, wanted: int) -> int | None:
    """The Monday to Friday of the month that is nearest to a day; none if the month has no such day. (Quartz)"""
    last = monthrange(year, month)[1]
    if wanted > last:
        return None
    weekday = date(year, month, wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else 3
    if weekday == 7:
        return wanted + 1 if wanted < last else last - 2
    return wanted


# ---- reading ----------------------------------------------------------------------------------------------------


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    besides: str = ""

    @property
    def allowed(self) -> str:
        numbers = f"{self.low} to {self.high}"
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"expected {numbers}{names}, *, ranges (1-5), steps (*/2){self.besides} and lists of them (1,3)"


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = _Field("day of month", 1, 31, (), ", the last day (L, L-2, LW), nearest weekdays (15W)")
_WEEKDAY = _Field("day of week", 0, 7, _WEEKDAYS, ", the last (5L) or second (5#2) of the month")
_YEAR = _Field("year", 1970, 2099)
_FIELDS = (_Field("minute", 0, 59), _Field("hour", 0, 23), _DAY, _Field("month", 1, 12, _MONTHS), _WEEKDAY, _YEAR)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(
    r"(?:(?P<all>\*)|(?P<low>[a-z]+|[0-9]{1,4})(?:-(?P<high>[a-z]+|[0-9]{1,4}))?)(?:/(?P<step>[0-9]{1,4}))?"
)
_LAST_DAY = re.compile(r"l(?:-(?P<before>[0-9]{1,2}))?")
_WORKDAY = re.compile(r"(?P<day>l|[0-9]{1,2})w")
_NTH = re.compile(r"(?P<day>[a-z]{3}|[0-9]{1,2})(?:l|#(?P<nth>[0-9]{1,2}))")


@lru_cache(maxsize=4096)
def parse_cron(text: str) -> Cron:
    """The cron in `text`. Raises ValueError that names the field, what was wrong and what is allowed."""
    fields = text.lower().split()
    if len(fields) not in (len(_FIELDS) - 1, len(_FIELDS)):
        expected = ", ".join(field.name for field in _FIELDS[:-1])
        many = "field" if len(fields) == 1 else "fields"
        raise ValueError(f"{text!r} has {len(fields)} {many}: expected five, {expected}, and a year if you like")
    days, before_last, workdays = _days(fields[2])
    weekdays, nths = _weekdays(fields[4])
    cron = Cron(
        minutes=_numbers(_FIELDS[0], fields[0].split(",")),
        hours=_numbers(_FIELDS[1], fields[1].split(",")),
        days=days,
        months=_numbers(_FIELDS[3], fields[3].split(",")),
        weekdays=weekdays,
        before_last=before_last,
        workdays=workdays,
        nths=nths,
        years=_numbers(_YEAR, fields[5].split(",")) if fields[5:] not in ([], ["*"]) else (),
    )
    _check(cron, text.split())
    return cron


def _check(cron: Cron, fields: list[str]) -> None:
    """Whether it ever fires: of all years there are fourteen kinds."""
    plain = not (cron.before_last or cron.workdays)
    if plain and cron.days[0] > max(_LONGEST[month - 1] for month in cron.months):
        raise ValueError(f"day of month: {fields[2]!r} does not exist in month {fields[3]!r}, so it would never fire")
    kinds = {(date(year, 1, 1).weekday(), isleap(year)): year for year in (cron.years or range(2000, 2028))}
    some = cron._replace(years=())
    if not any(True for year in kinds.values() for month in cron.months for _ in some.days_in(year, month)):
        raise ValueError(f"no day there is matches {' '.join(fields[2:])!r} in all of its fields: it would never fire")


def _days(text: str) -> tuple[_Some, _Some, _Some]:
    """The days, the days before the last, the days whose nearest workday is meant."""
    numbers, before_last, workdays = [], set(), set()
    for part in text.split(","):
        if match := _LAST_DAY.fullmatch(part):
            before_last.add(_within(_DAY, part, match["before"] or "0", 0, 30))
        elif match := _WORKDAY.fullmatch(part):
            workdays.add(LAST if match["day"] == "l" else _within(_DAY, part, match["day"], 1, 31))
        else:
            numbers.append(part)
    return _numbers(_DAY, numbers), tuple(sorted(before_last)), tuple(sorted(workdays))


def _weekdays(text: str) -> tuple[_Some, tuple[tuple[int, int], ...]]:
    """The weekdays, and those of which only one in a month is meant."""
    numbers, nths = [], set()
    for part in text.split(","):
        if part == "l":
            raise ValueError(f"{_WEEKDAY.name}: 'L' alone names no weekday: 5L is the last Friday of the month")
        if match := _NTH.fullmatch(part):
            nth = LAST if match["nth"] is None else _within(_WEEKDAY, part, match["nth"], 1, 5)
            nths.add((_number(_WEEKDAY, part, match["day"]) % 7, nth))
        else:
            numbers.append(part)
    found = {day % 7 for day in _numbers(_WEEKDAY, numbers)}
    return tuple(sorted(found)), tuple(sorted(nths))


def _within(field: _Field, part: str, text: str, low: int, high: int) -> int:
    if not low <= int(text) <= high:
        raise ValueError(f"{field.name}: {text!r} in {part!r} is not allowed: expected {low} to {high}")
    return int(text)


def _numbers(field: _Field, parts: list[str]) -> tuple[int, ...]:
    return tuple(sorted({number for part in parts for number in _part(field, part)}))


def _part(field: _Field, part: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{field.name}: {part!r} is not understood: {field.allowed}")
    low, high = _bounds(field, part, match)
    step = int(match["step"]) if match["step"] else 1
    widest = field.high - field.low if field is _YEAR else field.high
    if not 1 <= step <= widest:
        raise ValueError(f"{field.name}: {part!r} has the step {step}: expected 1 to {widest}")
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
