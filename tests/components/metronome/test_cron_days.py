"""Which days a cron means: against an independent library where the semantics agree, and in other words where not."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bus.nouns import Now
from components.metronome.cron import Cron, parse_cron
from components.metronome.firings import next_after

NAMES = {
    "month": ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    "weekday": ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
}
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(lambda at: at.replace(microsecond=0))


def terms(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """One field as both read it the same way; croniter takes 0-0 for all."""
    number = st.integers(low, high).map(str)
    if names:
        number |= st.sampled_from(names)
    pair = st.tuples(st.integers(low, high), st.integers(low, high)).filter(lambda two: two[0] != two[1]).map(sorted)
    ranges = pair.map(lambda two: f"{two[0]}-{two[1]}")
    steps = st.tuples(pair, st.integers(1, high)).map(lambda one: f"{one[0][0]}-{one[0][1]}/{one[1]}")
    stars = st.integers(1, high).map(lambda step: f"*/{step}")
    lists = st.lists(number | ranges | steps | stars, min_size=1, max_size=4).map(",".join)
    return st.just("*") | number | lists


def read(text: str) -> Cron | str:
    """A cron, or what is wrong with it."""
    try:
        return parse_cron(text)
    except ValueError as error:
        return str(error)


DAYS = terms(1, 31) | st.just("L") | st.tuples(terms(1, 31), st.just("L")).map(",".join)
WEEKDAYS = terms(0, 6, NAMES["weekday"]) | st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 5)).map(lambda one: f"{one[0]}#{one[1]}"), min_size=1, max_size=3
).map(",".join)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(terms(0, 59), terms(0, 23), DAYS, terms(1, 12, NAMES["month"]), WEEKDAYS, MOMENTS)
def test_firings_are_those_of_croniter(
    minute: str, hour: str, day: str, month: str, weekday: str, after: datetime
) -> None:
    """In UTC, day of month and day of week both: the next three firings of any cron after any moment."""
    text = f"{minute} {hour} {day} {month} {weekday}"
    cron = read(text)
    assume(isinstance(cron, Cron) or "it would never fire" not in cron)
    assert isinstance(cron, Cron), cron
    theirs = croniter(text, after.replace(tzinfo=UTC), day_or=False, max_years_between_matches=60)
    at = Now(int(after.replace(tzinfo=UTC).timestamp()) * 1_000_000)
    for _ in range(3):
        following = next_after(cron, "UTC", at)
        assert following is not None
        at = following
        assert datetime.fromtimestamp(at / 1_000_000, UTC) == theirs.get_next(datetime), text


def test_the_last_weekday_is_that_of_croniter() -> None:
    """Which writes it the other way round: L5."""
    for weekday in range(7):
        after = datetime(2026, 1, 1, tzinfo=UTC)
        theirs, at = croniter(f"0 9 * * L{weekday}", after), Now(int(after.timestamp()) * 1_000_000)
        for _ in range(30):
            following = next_after(parse_cron(f"0 9 * * {weekday}L"), "UTC", at)
            assert following is not None
            at = following
            assert datetime.fromtimestamp(at / 1_000_000, UTC) == theirs.get_next(datetime)


# ---- in other words ---------------------------------------------------------------------------------------------


def month_of(year: int, month: int) -> list[date]:
    return [date(year, month, day) for day in range(1, monthrange(year, month)[1] + 1)]


def nearest(days: list[date], wanted: int) -> list[date]:
    """Of the Mondays to Fridays of a month the one least far from a day, if the month has that."""
    workdays = [day for day in days if day.weekday() < 5]
    return [min(workdays, key=lambda day: abs(day.day - wanted))] if wanted <= len(days) else []


SPECIAL = st.one_of(
    st.integers(0, 30).map(lambda n: (f"L-{n} * *", lambda days: days[len(days) - 1 - n :][: n < len(days)])),
    st.integers(1, 31).map(lambda n: (f"{n}W * *", lambda days: nearest(days, n))),
    st.just(("LW * *", lambda days: [[day for day in days if day.weekday() < 5][-1]])),
    st.integers(0, 6).map(
        lambda weekday: (f"* * {weekday}L", lambda days: [day for day in days if day.isoweekday() % 7 == weekday][-1:])
    ),
    st.tuples(st.integers(0, 7), st.integers(1, 5)).map(
        lambda one: (
            f"* * {one[0]}#{one[1]}",
            lambda days: [day for day in days if day.isoweekday() % 7 == one[0] % 7][one[1] - 1 : one[1]],
        )
    ),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(SPECIAL, st.integers(1970, 2099), st.integers(1, 12))
def test_last_nearest_and_nth_days_are_what_their_words_say(special, year: int, month: int) -> None:  # type: ignore[no-untyped-def]
    """Of every month of every year."""
    text, expected = special
    assert list(parse_cron(f"0 0 {text}").days_in(year, month)) == expected(month_of(year, month))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(SPECIAL, SPECIAL, st.integers(1, 12), st.integers(1970, 2090), st.integers(0, 9))
def test_what_is_refused_as_never_firing_never_fires(  # type: ignore[no-untyped-def]
    one, other, month: int, first: int, more: int
) -> None:
    """Two rules that may exclude each other, in one month of some years."""
    fields = [two[0] if two[0] != "*" else two[1] for two in zip(one[0].split(), other[0].split(), strict=True)]
    assume("*" not in (fields[0], fields[2]))
    months = [month_of(year, month) for year in range(first, first + more + 1)]
    ever = any(set(one[1](days)) & set(other[1](days)) for days in months)
    text = f"0 0 {fields[0]} {month} {fields[2]} {first}-{first + more}"
    if ever:
        assert any(list(parse_cron(text).days_in(days[0].year, month)) for days in months)
    else:
        with pytest.raises(ValueError, match="never fire"):
            parse_cron(text)


# ---- giant and strange --------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(
    st.text(max_size=255)
    | st.lists(st.text("0123456789*/,-#LWlw janfri\u00b2\u0664\u212a", max_size=12), min_size=5, max_size=6).map(
        " ".join
    )
)
def test_any_text_is_a_cron_or_says_what_is_wrong(text: str) -> None:
    """Whatever is written: a firing, or none any more, or a ValueError; never anything else, never for long."""
    cron = read(text)
    if isinstance(cron, str):
        return
    after = Now(int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000)
    at = next_after(cron, "Europe/Berlin", after)
    assert at is None or after < at < after + timedelta(days=366 * 75) // timedelta(microseconds=1)


def test_a_field_may_be_as_long_as_a_cron() -> None:
    """It is read, and fires."""
    cron = parse_cron(",".join(["*/7", "1-59/2", "13"] * 20) + " * * * *")
    assert next_after(cron, "UTC", Now(0)) == 60 * 1_000_000
