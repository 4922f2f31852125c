"""Events as bytes and back: MessagePack maps, typed by the classes of `bus.events`.

Rule of this room: bytes from the bus are not trusted; whatever is wrong with them is one of two errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from hashlib import sha256
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType

import bus.access
import bus.services
import bus.vouching  # noqa: F401  likewise
from bus.events import FACTS, UPCASTS, Event, Fact
from bus.nouns import Glimpse, Now, Position, RequestId, TraceId
from bus.subjects import Author, SubjectError, parse_author, subject_of

event_bytes_max = 512 * 1024
"""One event, encoded."""


class Foreign(ValueError):
    """A message that is nobody's event: garbage, or a body that does not belong to its subject."""


class Unreadable(ValueError):
    """An event whose type, version or fields this release does not know. What could be read of it is in `event`."""

    def __init__(self, message: str, event: Event, type_: str, version: int) -> None:
        super().__init__(message)
        self.event, self.type, self.version = event, type_, version


_Name = Annotated[str, Meta(max_length=255)]
"""Actor, trace and request: whoever acts on an event repeats them, so they must not fill one."""


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    type: str
    by: str
    to: str
    at: Now
    data: msgspec.Raw
    """Read by the class of its type, once that is known."""
    n: int = 0
    prev: bytes = b""
    epoch: int = 0
    last: bool = False
    heard: Position = Position(0)
    cause: Position | None = None
    actor: _Name | None = None
    trace: Annotated[TraceId, Meta(max_length=255)] | None = None
    request: Annotated[RequestId, Meta(max_length=255)] | None = None
    seen: Glimpse | None = None
    epochs: dict[str, int] = {}


class _Written(msgspec.Struct, omit_defaults=True, gc=False):
    """An envelope as it is written: the same fields, those that say nothing left out."""

    v: int
    type: str
    by: str
    to: str
    at: Now
    data: Fact
    n: int | UnsetType
    prev: bytes | UnsetType
    epoch: int | UnsetType
    last: bool | UnsetType
    heard: Position | UnsetType
    cause: Position | None = None
    actor: str | None = None
    trace: TraceId | None = None
    request: RequestId | None = None
    seen: Glimpse | None = None
    epochs: dict[str, int] = {}


_MAPS = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
"""How a map begins. (MessagePack specification: fixmap, map 16, map 32)"""
_open = msgspec.msgpack.Decoder(_Envelope).decode
_write = msgspec.msgpack.Encoder().encode


@cache
def _reader(cls: type[Fact]) -> Callable[[msgspec.Raw], Fact]:
    return msgspec.msgpack.Decoder(cls).decode


class _Unknown(Fact, frozen=True):
    """Stands for a fact that could not be read."""


_Unknown.type, _Unknown.version, _Unknown.said = "event.unknown", 0, ""


def encode(event: Event) -> bytes:
    """The body of an event. Raises ValueError above 512 KiB."""
    fact, owns = event.fact, event.n != 0
    body = _write(
        _Written(
            fact.version,
            fact.type,
            str(event.by),
            event.to,
            event.at,
            fact,
            event.n if owns else UNSET,
            event.prev if owns else UNSET,
            event.epoch if owns else UNSET,
            event.last if owns else UNSET,
            event.heard if owns else UNSET,
            event.cause,
            event.actor,
            event.trace,
            event.request,
            event.seen,
            event.epochs,
        )
    )
    if len(body) > event_bytes_max:
        raise ValueError(f"{event.type} is {len(body)} bytes, at most {event_bytes_max} are allowed")
    return body


def decode(subject: str, body: bytes, position: int) -> Event:
    """The event in a message.

    Raises Foreign if it is none, Unreadable if it is one this release cannot read.
    """
    try:
        envelope = _envelope(body)
        author = parse_author(envelope.by)
        said = f"{envelope.by}.{envelope.type}.{envelope.to}"
        if subject.count(".") != 5 or subject.partition(".")[2] != said:
            raise SubjectError(f"its body says {said}")
        return _event(author, envelope, position)
    except (SubjectError, msgspec.ValidationError) as error:
        raise Foreign(f"{subject} #{position}: {error}") from None
    except _BROKEN as error:
        raise Foreign(f"{subject} #{position}: not MessagePack ({type(error).__name__}: {error})") from None


class Message(Protocol):
    """What is stored at a position: a `bus.port.Record`, or a row of a history."""

    @property
    def position(self) -> Position: ...
    @property
    def subject(self) -> str: ...
    @property
    def body(self) -> bytes: ...


def events_of(messages: Iterable[Message]) -> list[Event]:
    """The events in messages, for who looks back: what is nobody's, or of a release that this one cannot read, tells
    nothing."""
    events = []
    for message in messages:
        with suppress(Foreign, Unreadable):
            events.append(decode(message.subject, message.body, message.position))
    return events


def event_in(message: Message) -> Event | None:
    """The same of one message."""
    return next(iter(events_of((message,))), None)


_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no MessagePack, or no sane one."""


def _envelope(body: bytes) -> _Envelope:
    if len(body) > event_bytes_max:
        raise SubjectError(f"{len(body)} bytes")
    return _open(body)


def _event(author: Author, envelope: _Envelope, position: int) -> Event:
    try:
        return _typed(author, envelope, position, _fact(envelope.type, envelope.v, envelope.data))
    except (_NotKnown, msgspec.ValidationError) as error:
        if memoryview(envelope.data)[0] not in _MAPS:
            raise SubjectError("expected a map - at `$.data`") from None
        event = _typed(author, envelope, position, _Unknown())
        raise Unreadable(str(error), event, envelope.type, envelope.v) from None


def _typed(author: Author, envelope: _Envelope, position: int, fact: Fact) -> Event:
    return Event(
        by=author,
        to=envelope.to,
        fact=fact,
        at=envelope.at,
        n=envelope.n,
        prev=envelope.prev,
        epoch=envelope.epoch,
        last=envelope.last,
        heard=envelope.heard,
        cause=envelope.cause,
        actor=envelope.actor,
        trace=envelope.trace,
        request=envelope.request,
        seen=envelope.seen,
        epochs=envelope.epochs,
        position=Position(position),
    )


class _NotKnown(ValueError):
    """A type or version of a newer release, or of none."""


def _fact(type_: str, version: int, data: msgspec.Raw) -> Fact:
    cls = FACTS.get(type_)
    if cls is None:
        raise _NotKnown(f"{type_!r} is not a type of event this release knows")
    if version > cls.version:
        raise _NotKnown(f"{type_} version {version} was written by a newer release; this one reads up to {cls.version}")
    if version == cls.version:
        return _reader(cls)(data)
    fields = msgspec.msgpack.decode(data, type=dict[str, Any])
    while version < cls.version:
        fields = _climb(type_, version, fields)
        version += 1
    return msgspec.convert(fields, cls)


def _climb(type_: str, version: int, fields: dict[str, Any]) -> dict[str, Any]:
    step = UPCASTS.get((type_, version))
    if step is None:
        raise _NotKnown(f"{type_} version {version} was never written")
    try:
        return step(fields)
    except (LookupError, TypeError, ValueError) as error:  # the step is ours, the fields are not
        raise _NotKnown(f"{type_} version {version} does not have the fields of that version: {error!r}") from None


def subject(cluster: str, event: Event) -> str:
    """Where an event is published."""
    return subject_of(cluster, event.by, event.type, event.to)


def link(body: bytes) -> bytes:
    """What the next event of the same author carries as `prev`."""
    return sha256(body).digest()
