"""Cron fields, and when they fire: tables, the stated outcomes where local time is not a line, and brute force."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.nouns import Now
from components.metronome.cron import Cron, parse_cron
from components.metronome.firings import next_after, parse_zone

ALL = {"minute": range(60), "hour": range(24), "day": range(1, 32), "month": range(1, 13), "weekday": range(7)}
BERLIN, NEW_YORK, LORD_HOWE, ST_JOHNS, CAIRO = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Cairo",
)


def utc(text: str) -> Now:
    """`2026-03-29 01:00` in UTC."""
    return Now(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000)


def firings(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next firings as local times with their offset: `2026-03-29 03:00 +0200`."""
    at, found = utc(after), []
    for _ in range(count):
        following = next_after(parse_cron(cron), zone, at)
        assert following is not None, f"{cron} fires no more after {at}"
        at = following
        local = datetime.fromtimestamp(at / 1_000_000, ZoneInfo(zone))
        found.append(local.strftime("%Y-%m-%d %H:%M %z"))
    return found


# ---- fields -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "field", "numbers"),
    [
        ("* * * * *", "minutes", list(range(60))),
        ("*/15 * * * *", "minutes", [0, 15, 30, 45]),
        ("5 * * * *", "minutes", [5]),
        ("05 * * * *", "minutes", [5]),
        ("10-14 * * * *", "minutes", [10, 11, 12, 13, 14]),
        ("10-40/15 * * * *", "minutes", [10, 25, 40]),
        ("50/4 * * * *", "minutes", [50, 54, 58]),
        ("3,1,2,1 * * * *", "minutes", [1, 2, 3]),
        ("1,10-12,*/30 * * * *", "minutes", [0, 1, 10, 11, 12, 30]),
        ("0 */6 * * *", "hours", [0, 6, 12, 18]),
        ("0 0 */10 * *", "days", [1, 11, 21, 31]),
        ("0 0 1 jan,MAR-may *", "months", [1, 3, 4, 5]),
        ("0 0 1 */3 *", "months", [1, 4, 7, 10]),
        ("0 0 * * *", "weekdays", list(range(7))),
        ("0 0 * * 0", "weekdays", [0]),
        ("0 0 * * 7", "weekdays", [0]),
        ("0 0 * * 0-7", "weekdays", list(range(7))),
        ("0 0 * * 5-7", "weekdays", [0, 5, 6]),
        ("0 0 * * fri-sun", "weekdays", [0, 5, 6]),
        ("0 0 * * sun-tue", "weekdays", [0, 1, 2]),
        ("0 0 * * Mon,wed", "weekdays", [1, 3]),
        ("0 0 * * */2", "weekdays", [0, 2, 4, 6]),
        ("0 0 * * 1/2", "weekdays", [1, 3, 5]),
        ("0 0 * * 7/2", "weekdays", [0]),
        ("  0\t0  * * *  ", "hours", [0]),
        ("0 0 L * *", "before_last", [0]),
        ("0 0 1,L-2,l * *", "before_last", [0, 2]),
        ("0 0 1,L-2,l * *", "days", [1]),
        ("0 0 15w,LW,1W * *", "workdays", [0, 1, 15]),
        ("0 0 15w,LW,1W * *", "days", []),
        ("0 0 * * friL,0#2,Mon#5,7L", "nths", [(0, 0), (0, 2), (1, 5), (5, 0)]),
        ("0 0 * * friL,2-3", "weekdays", [2, 3]),
        ("0 0 * * * *", "years", []),
        ("0 0 * * * 2026-2030/2,2099", "years", [2026, 2028, 2030, 2099]),
    ],
)
def test_a_field_allows_these_numbers(text: str, field: str, numbers: list[int]) -> None:
    """Stars, numbers, names, ranges, steps and lists."""
    assert list(getattr(parse_cron(text), field)) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 fields: expected five, minute, hour, day of month, month, day of week"),
        ("* * * *", "has 4 fields"),
        ("* * * * * * *", "has 7 fields: expected five, minute"),
        ("@daily", "has 1 field: expected five"),
        ("60 * * * *", "minute: '60' is not allowed: expected 0 to 59, *, ranges"),
        ("* 24 * * *", "hour: '24' is not allowed: expected 0 to 23"),
        ("* * 0 * *", "day of month: '0' is not allowed: expected 1 to 31"),
        ("* * 32 * *", "day of month: '32' is not allowed"),
        ("* * * 13 *", "month: '13' is not allowed: expected 1 to 12 or jan to dec"),
        ("* * * juni *", "month: 'juni' is not allowed"),
        ("* * * * 8", "day of week: '8' is not allowed: expected 0 to 7 or sun to sat"),
        ("* * * * jan", "day of week: 'jan' is not allowed"),
        ("1-70 * * * *", "minute: '70' in '1-70' is not allowed"),
        ("30-10 * * * *", "minute: '30-10' ends before it begins"),
        ("* * * * sat-mon", "day of week: 'sat-mon' ends before it begins"),
        ("*/0 * * * *", "minute: '*/0' has the step 0: expected 1 to 59"),
        ("* */24 * * *", "hour: '*/24' has the step 24: expected 1 to 23"),
        ("*/ * * * *", "minute: '*/' is not understood"),
        ("1,,2 * * * *", "minute: '' is not understood"),
        ("-1 * * * *", "minute: '-1' is not understood"),
        ("1.5 * * * *", "minute: '1.5' is not understood"),
        ("L * * * *", "minute: 'l' is not allowed"),
        ("* 15W * * *", "hour: '15w' is not understood"),
        ("* * 32W * *", "day of month: '32' in '32w' is not allowed: expected 1 to 31"),
        ("* * 0W * *", "day of month: '0' in '0w' is not allowed"),
        ("* * 1-5W * *", "day of month: '1-5w' is not understood"),
        ("* * L-31 * *", "day of month: '31' in 'l-31' is not allowed: expected 0 to 30"),
        ("* * 5#2 * *", "day of month: '5#2' is not understood"),
        ("* * 5L * *", "day of month: '5l' is not understood"),
        ("* * * * L", "day of week: 'L' alone names no weekday: 5L is the last Friday of the month"),
        ("* * * * 5W", "day of week: '5w' is not understood"),
        ("* * * * 5#6", "day of week: '6' in '5#6' is not allowed: expected 1 to 5"),
        ("* * * * 5#0", "day of week: '0' in '5#0' is not allowed"),
        ("* * * * 8#1", "day of week: '8' in '8#1' is not allowed: expected 0 to 7"),
        ("* * * * mon-fri#1", "day of week: 'mon-fri#1' is not understood"),
        ("* * * * * 1969", "year: '1969' is not allowed: expected 1970 to 2099"),
        ("* * * * * 2100", "year: '2100' is not allowed"),
        ("* * * * * */130", "year: '*/130' has the step 130: expected 1 to 129"),
        ("0 0 29 2 * 2027", "no day there is matches '29 2 * 2027' in all of its fields: it would never fire"),
        ("0 0 29 2 * 2027,2030-2031", "it would never fire"),
        ("0 0 1-7 * fri#2", "no day there is matches '1-7 * fri#2' in all of its fields"),
        ("0 0 L 2 5#1", "it would never fire"),
        ("0 0 15W * sat", "it would never fire"),
        ("0 0 LW * sun", "it would never fire"),
        ("0 0 30W 2 *", "it would never fire"),
        ("0 0 L-30 2 *", "it would never fire"),
        ("0 0 * 2 mon#5 2027", "it would never fire"),
        ("* * ? * *", "day of month: '?' is not understood"),
        ("²  * * * *", "minute: '²' is not understood"),
        ("* * 30 2 *", "day of month: '30' does not exist in month '2', so it would never fire"),
        ("* * 31 4,6,sep,11 *", "day of month: '31' does not exist in month '4,6,sep,11'"),
        ("* * 30-31 feb *", "day of month: '30-31' does not exist in month 'feb'"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(text: str, message: str) -> None:
    """The field, what was wrong, what may stand there."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_cron(text)


@pytest.mark.parametrize(
    "zone", ["Europe/Berln", "", "america/new_york", "localtime", "posix/UTC", "../UTC", "America", "a\0b", "CEST"]
)
def test_an_unknown_zone_is_refused(zone: str) -> None:
    """Only IANA names, exactly spelt; nothing that means another time on another host."""
    with pytest.raises(ValueError, match="is not a time zone: expected an IANA name such as UTC or Europe/Berlin"):
        parse_zone(zone)


# ---- ordinary days ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        ("* * * * *", "UTC", "2026-11-22 18:30:00", ["2026-11-22 18:31 +0000", "2026-11-22 18:32 +0000"]),
        ("* * * * *", "UTC", "2026-11-22 18:30:59", ["2026-11-22 18:31 +0000"]),
        ("30 18 * * *", "UTC", "2026-11-22 18:30:00", ["2026-11-23 18:30 +0000"]),
        ("30 18 * * *", "UTC", "2026-11-22 18:29:59", ["2026-11-22 18:30 +0000"]),
        ("0 9 * * 1-5", NEW_YORK, "2026-11-20 15:00", ["2026-11-23 09:00 -0500", "2026-11-24 09:00 -0500"]),
        (
            "0 0 13 * fri",
            "UTC",
            "2026-01-01",
            ["2026-02-13 00:00 +0000", "2026-03-13 00:00 +0000", "2026-11-13 00:00 +0000"],
        ),
        ("0 0 31 * *", "UTC", "2026-01-31", ["2026-03-31 00:00 +0000", "2026-05-31 00:00 +0000"]),
        ("0 0 29 2 *", "UTC", "2026-01-01", ["2028-02-29 00:00 +0000", "2032-02-29 00:00 +0000"]),
        ("0 0 29 2 *", "UTC", "2096-03-01", ["2104-02-29 00:00 +0000"]),
        ("0 0 29 2 mon", "UTC", "2026-01-01", ["2044-02-29 00:00 +0000", "2072-02-29 00:00 +0000"]),
        ("* * 29 2 mon", "UTC", "2026-01-01", ["2044-02-29 00:00 +0000", "2044-02-29 00:01 +0000"]),
        ("0 0 29 2 wed", "UTC", "2072-01-01", ["2096-02-29 00:00 +0000", "2108-02-29 00:00 +0000"]),
        ("0 9 L * *", "UTC", "2027-12-31 10:00", ["2028-01-31 09:00 +0000", "2028-02-29 09:00 +0000"]),
        ("0 9 L 2 *", "UTC", "2026-01-01", ["2026-02-28 09:00 +0000", "2027-02-28 09:00 +0000"]),
        ("0 9 L-1 * *", "UTC", "2026-02-01", ["2026-02-27 09:00 +0000", "2026-03-30 09:00 +0000"]),
        ("0 9 L-30 * *", "UTC", "2026-02-01", ["2026-03-01 09:00 +0000", "2026-05-01 09:00 +0000"]),
        # 1 August 2026 is a Saturday, 15 August too, 31 May a Sunday, 28 February 2026 a Saturday
        ("0 9 1W 8 *", "UTC", "2026-01-01", ["2026-08-03 09:00 +0000", "2027-08-02 09:00 +0000"]),
        ("0 9 15W 8 *", "UTC", "2026-01-01", ["2026-08-14 09:00 +0000"]),
        ("0 9 31W 5 *", "UTC", "2026-01-01", ["2026-05-29 09:00 +0000"]),
        ("0 9 31W * *", "UTC", "2026-03-31 10:00", ["2026-05-29 09:00 +0000", "2026-07-31 09:00 +0000"]),
        ("0 9 LW * *", "UTC", "2026-02-01", ["2026-02-27 09:00 +0000", "2026-03-31 09:00 +0000"]),
        ("0 9 * * 5L", "UTC", "2026-02-01", ["2026-02-27 09:00 +0000", "2026-03-27 09:00 +0000"]),
        ("0 9 * * sun#1", "UTC", "2026-02-01 09:00", ["2026-03-01 09:00 +0000", "2026-04-05 09:00 +0000"]),
        ("0 9 * * 7#5", "UTC", "2026-02-01", ["2026-03-29 09:00 +0000", "2026-05-31 09:00 +0000"]),
        ("0 9 L * mon#5", "UTC", "2026-01-01", ["2026-08-31 09:00 +0000", "2026-11-30 09:00 +0000"]),
        ("0 9 1,LW * *", "UTC", "2026-02-02", ["2026-02-27 09:00 +0000", "2026-03-01 09:00 +0000"]),
        ("0 0 1 1 * 2030,2035", "UTC", "2026-01-01", ["2030-01-01 00:00 +0000", "2035-01-01 00:00 +0000"]),
        ("0 0 L * * 2027", BERLIN, "2026-06-01", ["2027-01-31 00:00 +0100", "2027-02-28 00:00 +0100"]),
        ("30 2 L 3 sunL", BERLIN, "2026-01-01", ["2030-03-31 03:00 +0200"]),
        ("45 * * * *", "Asia/Kathmandu", "2026-01-01", ["2026-01-01 06:45 +0545"]),
        ("0 12 1 1 *", "Pacific/Kiritimati", "2026-01-01", ["2027-01-01 12:00 +1400"]),
    ],
)
def test_the_next_firings_are(cron: str, zone: str, after: str, expected: list[str]) -> None:
    """Ordinary days, month ends, leap years; day of month and day of week must both match."""
    assert firings(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize("cron", ["0 0 1 1 * 2025", "*/5 * * * * 1970-2025", "59 23 31 12 * 2026"])
def test_once_its_years_are_over_it_fires_no_more(cron: str) -> None:
    """Neither by times of the day nor by minutes."""
    assert next_after(parse_cron(cron), "UTC", utc("2026-12-31 23:59")) is None


def test_the_year_is_that_of_the_zone() -> None:
    """In Kiritimati 2027 begins ten hours before it ends in UTC."""
    assert firings("0 0 1 1 * 2027", "Pacific/Kiritimati", "2026-12-31", 1) == ["2027-01-01 00:00 +1400"]
    assert next_after(parse_cron("* * * * * 2026"), "Pacific/Kiritimati", utc("2026-12-31 09:59")) is None


@pytest.mark.parametrize("cron", ["0 0 1 1 *", "* * * * *", "0 0 29 2 mon"])
def test_the_end_of_the_calendar_is_no_error(cron: str) -> None:
    """Nothing fires after it."""
    after = utc("9999-12-29")
    assert next_after(parse_cron(cron), "UTC", after) is None or cron == "* * * * *"


def test_no_29_february_is_further_away_than_the_bound() -> None:
    """The longest wait of any cron, across the missing leap year 2100, is found."""
    for weekday in range(7):
        for year in range(2060, 2105):
            at = next_after(parse_cron(f"0 0 29 2 {weekday}"), "UTC", utc(f"{year}-03-01"))
            assert at is not None
            assert datetime.fromtimestamp(at / 1_000_000, UTC).date().isoweekday() % 7 == weekday


# ---- where local time is not a line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # 29 March 2026, Berlin: 02:00 becomes 03:00
        (
            "30 2 * * *",
            BERLIN,
            "2026-03-28 00:00",
            ["2026-03-28 02:30 +0100", "2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"],
        ),
        ("0,20,40 2 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00 +0200", "2026-03-30 02:00 +0200"]),
        ("30 2,3 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00 +0200", "2026-03-29 03:30 +0200"]),
        ("0 2,3 * * *", BERLIN, "2026-03-28 12:00", ["2026-03-29 03:00 +0200", "2026-03-30 02:00 +0200"]),
        ("30 * * * *", BERLIN, "2026-03-29 00:00", ["2026-03-29 01:30 +0100", "2026-03-29 03:30 +0200"]),
        # 8 March 2026, New York: 02:00 becomes 03:00
        ("15 2 * * sun", NEW_YORK, "2026-03-07 12:00", ["2026-03-08 03:00 -0400", "2026-03-15 02:15 -0400"]),
        # 4 October 2026, Lord Howe: 02:00 becomes 02:30
        ("15 2 * * *", LORD_HOWE, "2026-10-03 00:00", ["2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"]),
        ("45 2 * * *", LORD_HOWE, "2026-10-03 00:00", ["2026-10-04 02:45 +1100"]),
        ("15 * * * *", LORD_HOWE, "2026-10-03 15:00", ["2026-10-04 03:15 +1100"]),
        # 24 April 2026, Cairo: 00:00 becomes 01:00
        ("0 0 * * *", CAIRO, "2026-04-23 00:00", ["2026-04-24 01:00 +0300", "2026-04-25 00:00 +0300"]),
        # 30 December 2011 did not exist in Apia
        ("0 12 * * *", "Pacific/Apia", "2011-12-29 12:00", ["2011-12-29 12:00 -1000", "2011-12-31 00:00 +1400"]),
    ],
)
def test_a_time_of_day_that_is_skipped_fires_once_after_the_gap(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    """At the first instant after the gap, however many were skipped; an open hour makes nothing up."""
    assert firings(cron, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # 25 October 2026, Berlin: 03:00 becomes 02:00
        ("30 2 * * *", BERLIN, "2026-10-24 12:00", ["2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"]),
        ("0,30 2,3 * * *", BERLIN, "2026-10-25 00:15", ["2026-10-25 02:30 +0200", "2026-10-25 03:00 +0100"]),
        (
            "30 * * * *",
            BERLIN,
            "2026-10-25 00:00",
            ["2026-10-25 02:30 +0200", "2026-10-25 02:30 +0100", "2026-10-25 03:30 +0100"],
        ),
        # 1 November 2026, New York: 02:00 becomes 01:00
        ("5 1 * * *", NEW_YORK, "2026-11-01 00:00", ["2026-11-01 01:05 -0400", "2026-11-02 01:05 -0500"]),
        ("*/20 * 1 11 *", NEW_YORK, "2026-11-01 05:30", ["2026-11-01 01:40 -0400", "2026-11-01 01:00 -0500"]),
        # 5 April 2026, Lord Howe: 02:00 becomes 01:30
        ("45 1 * * *", LORD_HOWE, "2026-04-04 00:00", ["2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"]),
        ("45 * * * *", LORD_HOWE, "2026-04-04 14:00", ["2026-04-05 01:45 +1100", "2026-04-05 01:45 +1030"]),
        # 7 November 2010, St. John's: 00:01 became 23:01 of the day before
        ("59 * 6 11 *", ST_JOHNS, "2010-11-07 02:20", ["2010-11-06 23:59 -0230", "2010-11-06 23:59 -0330"]),
        ("59 23 6 11 *", ST_JOHNS, "2010-11-07 02:20", ["2010-11-06 23:59 -0230"]),
    ],
)
def test_a_time_of_day_that_comes_twice_fires_the_first_time(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    """Named hours: the first time only. An open hour goes by the minutes that pass, so it fires both times."""
    assert firings(cron, zone, after, len(expected)) == expected


# ---- brute force ------------------------------------------------------------------------------------------------

EVES = (
    (BERLIN, "2026-03-28"),
    (BERLIN, "2026-10-24"),
    (NEW_YORK, "2026-03-07"),
    (NEW_YORK, "2026-10-31"),
    (LORD_HOWE, "2026-04-04"),
    (LORD_HOWE, "2026-10-03"),
    (ST_JOHNS, "2010-11-06"),
    (ST_JOHNS, "2011-03-12"),
    (CAIRO, "2026-04-23"),
    (CAIRO, "2026-10-29"),
    ("America/Santiago", "2026-04-04"),
    ("America/Santiago", "2026-09-05"),
    ("Africa/Casablanca", "2026-02-14"),
    ("Pacific/Apia", "2011-12-29"),
    ("Asia/Kolkata", "2026-02-28"),
    ("UTC", "2028-02-28"),
)


def brute(cron: Cron, zone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """Every minute of UTC, shown on a local clock: the rule in its own words.

    An open hour: each shown minute that matches. Named hours: as soon as the clock has first shown, or passed, one
    that matches.
    """
    local_zone, at = ZoneInfo(zone), start - timedelta(days=2)
    shown = (at - timedelta(minutes=1)).astimezone(local_zone).replace(tzinfo=None, second=0)
    while at <= end:
        local = at.astimezone(local_zone).replace(tzinfo=None, second=0)
        passed = [local] if cron.any_hour else _minutes(shown, local)
        shown = max(shown, local)
        if at > start and any(_matches(cron, wall) for wall in passed):
            yield at
        at += timedelta(minutes=1)


def _minutes(after: datetime, until: datetime) -> Iterator[datetime]:
    while after < until:
        after += timedelta(minutes=1)
        yield after


def _matches(cron: Cron, wall: datetime) -> bool:
    weekday = date(wall.year, wall.month, wall.day).weekday()
    return (
        wall.minute in cron.minutes
        and wall.hour in cron.hours
        and wall.day in cron.days
        and wall.month in cron.months
        and (weekday + 1) % 7 in cron.weekdays
    )


def some(numbers: range, most: int) -> st.SearchStrategy[str]:
    return st.one_of(
        st.just("*"),
        st.integers(1, numbers[-1]).map(lambda step: f"*/{step}"),
        st.lists(st.sampled_from(numbers), min_size=1, max_size=most).map(lambda found: ",".join(map(str, found))),
    )


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(
    eve=st.sampled_from(EVES),
    minute=some(ALL["minute"], 4),
    hour=st.one_of(st.just("*"), st.sampled_from(["1-3", "0,23", "2", "1", "*/2"]), some(ALL["hour"], 5)),
    weekday=st.one_of(st.just("*"), some(ALL["weekday"], 4)),
    day=st.one_of(st.just("*"), st.sampled_from(["*/2", "6-8", "28-30", "1,29,30,31"])),
    start_minute=st.integers(0, 1440),
)
def test_firings_are_those_of_brute_force(
    eve: tuple[str, str], minute: str, hour: str, weekday: str, day: str, start_minute: int
) -> None:
    """Around every kind of change of clocks, exactly the firings that a walk over all minutes finds."""
    zone, eve_day = eve
    cron = parse_cron(f"{minute} {hour} {day} * {weekday}")
    start = datetime.fromisoformat(eve_day).replace(tzinfo=UTC) + timedelta(minutes=start_minute)
    end = start + timedelta(days=2)
    found, at = [], start
    while True:
        after = Now(int(at.timestamp()) * 1_000_000)
        following = next_after(cron, zone, after)
        assert following is not None
        at = datetime.fromtimestamp(following / 1_000_000, UTC)
        if at > end:
            break
        found.append(at)
    assert found == list(brute(cron, zone, start, end))
