"""Which things an event is about: found by the types of its fields, so a new fact needs nothing here.

Rule of this room: an id is known by its type (`TaskId`, `OfferId` ...), never by a field's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import msgspec

from bus.events import Event
from bus.nouns import AgentId, AppId, FrameworkId, JobId, OfferId, RequestId, RunId, TaskId, TraceId
from bus.plans import DeploymentId

Mention = tuple[str, str]
"""A noun and the id of one such thing, e.g. `("task", "web.7f3a")`."""

NOUNS: dict[object, str] = {
    TaskId: "task",
    AppId: "app",
    JobId: "job",
    RunId: "run",
    FrameworkId: "framework",
    AgentId: "agent",
    OfferId: "offer",
    TraceId: "trace",
    RequestId: "request",
    DeploymentId: "deployment",
}
"""What can be mentioned, by the type of its id."""

_Collect = Callable[[object, list[Mention]], None]


def mentions_of(event: Event) -> list[Mention]:
    """The things an event mentions, each once: those of its fact's fields, its trace and its request."""
    found: list[Mention] = []
    if event.trace is not None:
        found.append(("trace", event.trace))
    if event.request is not None:
        found.append(("request", event.request))
    for name, collect in compiled(type(event.fact)):
        collect(getattr(event.fact, name), found)
    return list(dict.fromkeys(found))


@cache
def compiled(cls: type[msgspec.Struct]) -> tuple[tuple[str, _Collect], ...]:
    """The fields of a class that can hold mentions, each with what finds them."""
    hints = get_type_hints(cls)
    found = ((name, _collector(hints[name])) for name in cls.__struct_fields__)
    return tuple((name, collect) for name, collect in found if collect is not None)


def _collector(hint: object) -> _Collect | None:
    """What finds the mentions in a value of this type; None if it can hold none."""
    if hint in NOUNS:
        return _of_id(NOUNS[hint])
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _of_struct(hint)
    inner = [collect for collect in map(_collector, get_args(hint)) if collect is not None]
    if not inner:
        return None
    assert len(inner) == 1, f"{hint}: which of its types holds the id?"
    if get_origin(hint) in (Union, UnionType):
        return _of_optional(inner[0])
    assert get_origin(hint) is tuple, f"{hint}: ids are found in fields, optionals and tuples"
    return _of_tuple(inner[0])


def _of_id(noun: str) -> _Collect:
    return lambda value, found: found.append((noun, str(value)))


def _of_optional(collect: _Collect) -> _Collect:
    def collected(value: object, found: list[Mention]) -> None:
        if value is not None:
            collect(value, found)

    return collected


def _of_tuple(collect: _Collect) -> _Collect:
    def collected(value: object, found: list[Mention]) -> None:
        assert isinstance(value, tuple)
        for one in value:
            collect(one, found)

    return collected


_open: set[type[msgspec.Struct]] = set()
"""Classes whose fields are being looked through: one that holds itself, as a group does, is met again."""


def _of_struct(cls: type[msgspec.Struct]) -> _Collect | None:
    if cls in _open:
        return _of_itself(cls)
    _open.add(cls)
    try:
        fields = compiled(cls)
    finally:
        _open.discard(cls)
    if not fields:
        return None

    def collected(value: object, found: list[Mention]) -> None:
        for name, collect in fields:
            collect(getattr(value, name), found)

    return collected


def _of_itself(cls: type[msgspec.Struct]) -> _Collect:
    def collected(value: object, found: list[Mention]) -> None:
        for name, collect in compiled(cls):
            collect(getattr(value, name), found)

    return collected
