"""One value out of an event's bytes, by its path: `epoch`, `data.status.state`, `data.offers[offer=o-12-0].agent`.

What an event leaves out because it is the default is there all the same. Rule of this room: what cannot be read, or is
not there, is NULL; a history holds events of every release.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

import msgspec

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.events import Event, Fact

Value = str | int | float | bytes | None
"""What SQLite knows."""
paths_known_max = 4096
_STEP = re.compile(r"\.?(?P<name>[A-Za-z0-9_$-]+)|\[(?P<index>\d{1,6})\]|\[(?P<key>\w+)=(?P<wanted>[^\]]*)\]")


class _Named(msgspec.Struct, frozen=True):
    """As much of a body as says where it was published."""

    by: str
    type: str
    to: str


class _Loose(msgspec.Struct, frozen=True):
    """An event of any release: its fields as they are."""

    data: object = None


_named = msgspec.msgpack.Decoder(_Named).decode
_loose = msgspec.msgpack.Decoder(_Loose).decode
Step = Callable[[object], object]


def field_reader() -> Callable[[object, object], Value]:
    """The SQL function `field(body, path)`, for one connection: it remembers the last body, for the next column."""
    before: bytes | None = None
    event: object = None

    def field(body: object, path: object) -> Value:
        nonlocal before, event
        if not isinstance(path, str):
            return None
        if isinstance(body, str):
            return _sql(_follow(_json(body), path))
        if not isinstance(body, bytes):
            return None
        if body != before:
            before, event = body, _read(body)
        return _sql(_follow(event, path)) if event is not None else None

    return field


def _json(text: str) -> object:
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found


def _read(body: bytes) -> object:
    """The event in a body; with its fields as they are, where this release does not know its type."""
    try:
        named = _named(body)
        return codec.decode(f"-.{named.by}.{named.type}.{named.to}", body, 0)
    except Unreadable as unreadable:
        return {"data": _loose(body).data, **_envelope(unreadable.event)}
    except (Foreign, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _envelope(event: Event) -> dict[str, object]:
    return {name: getattr(event, name) for name in event.__struct_fields__ if name != "fact"}


def _follow(value: object, path: str) -> object:
    for step in _steps(path):
        if value is None:
            return None
        value = step(value)
    return value


@lru_cache(maxsize=paths_known_max)
def _steps(path: str) -> tuple[Step, ...]:
    """What to do to follow a path; a path that is none leads to nothing."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return (_nothing,)
        steps.append(_step(found))
        at = found.end()
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    name, index, key, wanted = found["name"], found["index"], found["key"], found["wanted"]
    if name is not None:
        return lambda value: _member(value, name)
    if index is not None:
        return lambda value: value[int(index)] if isinstance(value, tuple | list) and int(index) < len(value) else None
    return lambda value: next((each for each in _many(value) if str(_member(each, key)) == wanted), None)


def _nothing(_value: object) -> object:
    return None


def _many(value: object) -> tuple[object, ...] | list[object]:
    return value if isinstance(value, tuple | list) else ()


def _member(value: object, name: str) -> object:
    """A field by its name, in Python's form or in that of the documents (`requirePorts`)."""
    match value:
        case Event():
            return value.fact if name == "data" else getattr(value, name, None) if name in _ENVELOPE else None
        case msgspec.Struct():
            return getattr(value, _names(type(value)).get(name, ""), None)
        case dict():
            return value.get(name)
        case _:
            return None


_ENVELOPE = frozenset(Event.__struct_fields__) - {"fact", "position", "by", "prev"}


@lru_cache(maxsize=1024)
def _names(cls: type[msgspec.Struct]) -> dict[str, str]:
    """A class's fields, by each name they go by."""
    return dict(zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True)) | {
        name: name for name in cls.__struct_fields__
    }


def _sql(value: object) -> Value:
    match value:
        case None | bytes() | float():
            return value
        case bool():
            return int(value)
        case str():
            return str(value)
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case Fact() | msgspec.Struct() | dict() | tuple() | list():
            return msgspec.json.encode(value).decode()
        case _:
            return str(value)
