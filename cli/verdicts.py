"""What came of deciding history again, for people and programs.

Rule of this room: every difference says where, what led to it, what was recorded and what would be said now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bus.nouns import NOBODY
from cli.output import Table, time_of_day
from components.differing import Changed, Difference, Said
from components.histories import Counted

value_chars_max = 200


def counts_table(logs: Sequence[Counted]) -> Table:
    """What was decided again, log by log."""
    columns = ("log", "decisions", "heard", "seen", "woken", "terms and others", "silent inputs", "different")
    return Table(columns, [_row(log) for log in logs], empty="no log could be decided again")


def _row(log: Counted) -> list[str]:
    led = {name: log.decided.get(name, 0) for name in ("heard", "seen", "woken")}
    others = log.decisions - sum(led.values())
    return [log.author, str(log.decisions), *map(str, led.values()), str(others), str(log.silent), str(log.differences)]


def notes_of(logs: Sequence[Counted]) -> Iterator[str]:
    """What could not be decided again, and why."""
    for log in logs:
        if log.why_not:
            yield f"{log.author}: {log.why_not}"
        elif log.untold:
            yield f"{log.author}: {log.untold} decisions not made again: their terms do not say what it was set up with"


def lines_of(found: Difference) -> Iterator[str]:
    """A difference for people."""
    yield f"#{found.position} {time_of_day(found.at)} {found.author} event {found.n}: {found.kind}"
    if found.told:
        yield f"    {found.told}"
    if found.note:
        yield f"    {found.note}"
    yield from _said("recorded", found.recorded)
    if found.computed or found.recorded:
        yield from _said("now", found.computed)
    for change in found.changed:
        yield f"    {_changed(change)}"


def _said(when: str, events: Sequence[Said]) -> Iterator[str]:
    for number, event in enumerate(events, 1):
        to = f" -> {event.to}" if event.to != NOBODY else ""
        yield f"    {when + ':':<10}{number}. {event.type}{to} {_value(event.data)}"
    if not events:
        yield f"    {when + ':':<10}nothing"


def _changed(change: Changed) -> str:
    path = f" {change.path}" if change.path else ""
    return f"event {change.event}{path}: recorded {_value(change.recorded)}, now {_value(change.computed)}"


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= value_chars_max else text[: value_chars_max - 3] + "..."
