"""What was said then and what would be said now, and where exactly the two differ.

Rule of this room: values only; who decided again, and from what, is `components.recomputing`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from bus.events import Event
from bus.nouns import NOBODY, Noun, Now, Position

changes_max = 50
"""Changed fields of one difference that are named."""

SECRET = frozenset({("checkpoint.made", "signature")})
"""Fields that only who has the cluster's key can make again: no part of what was decided."""


class Kind(StrEnum):
    """In what way a decision made again differs from the recorded one."""

    OTHER = "another decision"
    SILENT = "was silent then"
    WOKEN = "was woken then"
    NOT_WOKEN = "was not woken then"
    UNDECIDABLE = "cannot be decided again"
    UNFOLDABLE = "cannot be folded"


class Said(Noun, frozen=True):
    """What of an event its author decided: all but when, and which number it has."""

    type: str
    data: dict[str, Any]
    to: str = NOBODY
    cause: Position | None = None
    request: str | None = None
    trace: str | None = None
    actor: str | None = None


class Changed(Noun, frozen=True):
    """One field that differs: of which event of the decision (from 1), where in it, and what it is."""

    event: int
    path: str
    recorded: Any
    computed: Any


class Difference(Noun, frozen=True):
    """A decision that would be another one now."""

    kind: Kind
    author: str
    position: Position
    """Of the decision's first event; of the input, if it was silent then."""
    n: int
    """The number of the event in its author's log; of the next one, if it was silent then."""
    at: Now
    told: str
    """What led to it."""
    recorded: tuple[Said, ...] = ()
    computed: tuple[Said, ...] = ()
    changed: tuple[Changed, ...] = ()
    note: str = ""


class Checked(NamedTuple):
    """A decision that was made again: where its events are, what led to it, and how it differs, if it does."""

    author: str
    first: Position
    last: Position
    told: str
    difference: Difference | None


def said(event: Event) -> Said:
    """What its author decided of an event."""
    return Said(
        type=event.type,
        data={
            name: value for name, value in msgspec.to_builtins(event.fact).items() if (event.type, name) not in SECRET
        },
        to=event.to,
        cause=event.cause,
        request=event.request,
        trace=event.trace,
        actor=event.actor,
    )


def same(computed: Event, recorded: Event) -> bool:
    """Whether two events say the same. One of them was read from bytes: a list there may have been a tuple."""
    alike = _beside(computed) == _beside(recorded) and type(computed.fact) is type(recorded.fact)
    return alike and (computed.fact == recorded.fact or said(computed) == said(recorded))


def _beside(event: Event) -> tuple[object, ...]:
    return event.to, event.cause, event.request, event.trace, event.actor


def changes(recorded: Sequence[Said], computed: Sequence[Said]) -> tuple[Changed, ...]:
    """Every field in which two decisions differ, event by event, up to a limit."""
    return tuple(change for change, _ in zip(_changes(recorded, computed), range(changes_max), strict=False))


def _changes(recorded: Sequence[Said], computed: Sequence[Said]) -> Iterator[Changed]:
    for number, (then, now) in enumerate(zip_longest(recorded, computed), 1):
        one, other = (None if each is None else msgspec.to_builtins(each) for each in (then, now))
        if one is None or other is None or one["type"] != other["type"]:
            yield Changed(event=number, path="", recorded=one and one["type"], computed=other and other["type"])
        else:
            yield from (Changed(event=number, path=p, recorded=a, computed=b) for p, a, b in _apart("", one, other))


def _apart(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """The innermost places where two values differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in sorted({*one, *other}):
            yield from _apart(f"{path}.{name}" if path else name, one.get(name), other.get(name))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        for index, (a, b) in enumerate(zip_longest(one, other)):
            yield from _apart(f"{path}[{index}]", a, b)
    elif one != other:
        yield path, one, other
