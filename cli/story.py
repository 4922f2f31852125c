"""One event as one line for people, or as an object for programs.

Rule of this room: lines are made from the fields of the fact, so a new type of event needs nothing here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.documents import AppSpec, JobSpec
from bus.events import Event, Fact
from bus.nouns import NOBODY, HeldTask, Noun, Offer, Resources, TaskInfo, TaskStatus, Unfit
from bus.port import Record
from cli.output import say_status, time_of_day

values_shown_max = 4
"""Members of a list that a line shows."""
value_chars_max = 160
_TIMES = ("_at", "_until", "_since", "nominal")


class Told(NamedTuple):
    """One message of the stream, told both ways; `event` is None if it is nobody's."""

    event: Event | None
    content: dict[str, object]
    text: str


def tell(record: Record) -> Told:
    """Tell one message, whatever it is."""
    try:
        event = codec.decode(record.subject, record.body, record.position)
    except Foreign as foreign:
        content: dict[str, object] = {"position": record.position, "subject": record.subject, "foreign": str(foreign)}
        return Told(None, content, f"#{record.position} {record.subject} is foreign: {foreign}")
    except Unreadable as unreadable:
        content = fields_of(unreadable.event) | {"type": unreadable.type, "unreadable": str(unreadable)}
        return Told(
            unreadable.event, content, f"{_head(unreadable.event, unreadable.type)} is unreadable: {unreadable}"
        )
    return Told(event, fields_of(event), line_of(event))


def line_of(event: Event) -> str:
    """`#812 18:30:01.123 master.main offer.made -> marathon framework=marathon ...`"""
    return " ".join([_head(event, event.type), *words_of(event.fact)])


def _head(event: Event, type_: str) -> str:
    to = f" -> {event.to}" if event.to != NOBODY else ""
    return f"#{event.position} {time_of_day(event.at)} {event.by} {type_}{to}"


def words_of(fact: Fact) -> Iterator[str]:
    """The fields of a fact that hold more than their default, as `name=value`."""
    for name, default in _fields(type(fact)):
        value = getattr(fact, name)
        if value not in (None, "", (), {}, default):
            yield f"{name}={_short(name, value)}"


@cache
def _fields(kind: type[Fact]) -> tuple[tuple[str, object], ...]:
    """The fields of a type of fact with their defaults: msgspec reads all its annotations to tell them."""
    return tuple((field.name, field.default) for field in msgspec.structs.fields(kind))


def _short(name: str, value: object) -> str:
    text = time_of_day(value) if name.endswith(_TIMES) and isinstance(value, int) else _value(value)  # type: ignore[arg-type]  # Now is an int
    return text if len(text) <= value_chars_max else text[: value_chars_max - 3] + "..."


def _value(value: object) -> str:
    match value:
        case Noun():
            return _noun(value)
        case AppSpec() | JobSpec():
            return value.id
        case tuple() | list():
            shown = [_value(member) for member in value[:values_shown_max]]
            more = [f"+{len(value) - values_shown_max}"] if len(value) > values_shown_max else []
            return ",".join(shown + more)
        case dict():
            return ",".join(f"{key}:{_value(member)}" for key, member in value.items())
        case str():
            return f'"{value}"' if " " in value else value
        case _:
            return str(value)


def _noun(noun: Noun) -> str:
    match noun:
        case Resources():
            return "nothing" if noun.empty else str(noun).replace("; ", ";")
        case Offer():
            return f"{noun.offer}@{noun.agent}({_noun(noun.resources)})"
        case TaskInfo():
            return noun.task
        case TaskStatus():
            return f"{noun.task}:{say_status(noun)}"
        case Fact():
            return noun.type
        case HeldTask():
            return f"{noun.info.task}:{noun.status.state}"
        case Unfit():
            return f"{noun.app or noun.job}@{noun.agent}:{noun.reason}({noun.needed}>{noun.had})"
        case _:
            return str(msgspec.to_builtins(noun))


def fields_of(event: Event) -> dict[str, object]:
    """An event for programs."""
    return {
        "position": event.position,
        "type": event.type,
        "version": event.fact.version,
        "by": str(event.by),
        "to": event.to,
        "at": event.at,
        "n": event.n,
        "epoch": event.epoch,
        "last": event.last,
        "heard": event.heard,
        "cause": event.cause,
        "actor": event.behind,
        "trace": event.trace,
        "request": event.request,
        "seen": msgspec.to_builtins(event.seen),
        "prev": event.prev.hex(),
        "data": msgspec.to_builtins(event.fact),
    }


async def each(groups: AsyncIterator[Sequence[Record]]) -> AsyncIterator[Record]:
    """The messages of a stream one by one."""
    async for records in groups:
        for record in records:
            yield record
