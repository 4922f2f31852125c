"""Times and numbers as the originals wrote them.

Rule of this room: as in `components.gateway.shapes`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bus.nouns import Now

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _at(now: Now) -> datetime:
    return _EPOCH + timedelta(microseconds=now)


def zulu(now: Now) -> str:
    """`2020-01-31T12:00:00.123Z`; whole seconds have no `.000`. (Marathon: `Timestamp`)"""
    return _at(now).isoformat(timespec="milliseconds").removesuffix("+00:00").removesuffix(".000") + "Z"


def offset(now: Now) -> str:
    """`2020-01-31T12:00:00.123+0000`. (Metronome: `DateTimeFormatter`)"""
    return _at(now).isoformat(timespec="milliseconds").removesuffix("+00:00") + "+0000"


def number(value: float) -> float | int:
    """A whole number without a point, as JSON of Scala has it."""
    return int(value) if value == int(value) else value


def present(**fields: object) -> dict[str, object]:
    """The fields that are something: None and empty collections are left out, `False`, 0 and "" stay."""
    return {name: value for name, value in fields.items() if value is not None and value not in ((), [], {})}
