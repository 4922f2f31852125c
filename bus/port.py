"""What a bus promises, whoever keeps the promise: `bus.jetstream` or `bus.memory`.

One stream of messages in one order. A batch is appended whole or not at all, under a fence; a reader starts behind
any position and misses nothing; queries and pings are answered by who serves them or at once by nobody.
The contract tests in `tests/contract` hold every binding to this page.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from bus.nouns import Now, Position

batch_events_max = 1000
"""Messages in one append. (nats-server: atomic batch limit, error 10199 above)"""
batch_bytes_max = 8 * 1024 * 1024
"""Bytes in one append."""
message_bytes_max = 1_000_000
"""Bytes in one message or question. (nats-server: max_payload 1 MiB, headers included)"""
same_request_s = 120
"""How long the same request id is stored once. (nats-server: duplicate_window)"""


class Message(msgspec.Struct, frozen=True, gc=False):
    """What is appended: a subject, the bytes of an event, and for a client's event its request id."""

    subject: str
    body: bytes
    request: str | None = None


class Record(NamedTuple):
    """A message that is in the stream."""

    position: Position
    subject: str
    body: bytes


class Fence(NamedTuple):
    """The condition of an append: the last message under `log` is at position `last` (0: there is none)."""

    log: str
    last: Position


class Gather(NamedTuple):
    """What a group of messages is, for who stores them and is in no hurry."""

    pause_s: float
    """It ends when nothing more was said for so long,"""
    within_s: float
    """or so long after its first message,"""
    enough: int
    """or with so many."""


class Extent(NamedTuple):
    """What the stream holds: positions `first` to `last` (first = last + 1: nothing)."""

    first: Position
    last: Position
    size: int
    """Bytes."""
    room: int
    """Bytes it may hold at most; 0: its disk is the only bound."""


class ClusterRow(NamedTuple):
    """One of the servers that keep the stream."""

    name: str
    leader: bool
    current: bool
    """Seen of late, with everything applied."""
    lag: int
    """Operations it is behind."""


class Remains(NamedTuple):
    """What is left of a stream that may have lost messages."""

    first: Position
    last: Position
    messages: int
    missing: tuple[Position, ...]
    """Those between first and last that are known to be lost."""


class Fenced(Exception):
    """The append was refused: the log has moved on. Whoever moved it owns it now; rebuild from the log or exit."""


class OutcomeUnknown(Exception):
    """Nobody answered: the append may have landed, may still land, or never. Only a read-back tells."""


class NoQuorum(OutcomeUnknown):
    """No majority of the bus's servers answers: nothing is written until one comes back."""


class Overloaded(OutcomeUnknown):
    """The bus has more to store than it takes on, and did not take this: say it again later, and not all at once."""


class StreamFull(Exception):
    """The bus refused to store more: its disk or the stream's bound is full. Free space, then start again."""


class NobodyThere(Exception):
    """A query or ping has no responder: the process is not running."""


class NoAnswer(Exception):
    """A query or ping was not answered in time."""


class NoMajority(NoAnswer):
    """No majority of the bus's servers answers: nothing is sure to be read, nor written, until one is back."""


class StreamDiverged(Exception):
    """The stream lacks a position that existed: it is damaged or another. Stop; nothing may be decided on it."""


class StreamTrimmed(Exception):
    """What a reader asks for was trimmed away: the stream begins at `first`. The masters' stores have it."""

    def __init__(self, message: str, first: Position) -> None:
        super().__init__(message)
        self.first = first


class NotCurrent(Exception):
    """A server of the bus lags or is away; the text names it. Ask again when all are current."""


class StreamUnfit(Exception):
    """The cluster's stream lacks a property the log needs; the text names each. Mend its configuration, start again."""


class TrimUnfinished(StreamUnfit):
    """Trimming the stream was begun and not finished: it takes nothing. Trim it again."""


class NotPermitted(Exception):
    """The bus does not let this identity say, ask or hear that; the text says who may not do what."""


class BusUnreachable(Exception):
    """No connection: the text names the address, what went wrong there, and what to check."""


class BusClosed(Exception):
    """The connection to the bus is closed for good; the process must exit and be started again."""


def check_append(messages: Sequence[Message], fence: Fence | None, *, body_max: int = message_bytes_max) -> None:
    """Raises ValueError for an append that no bus takes, or not from who may send less in one message."""
    if not 1 <= len(messages) <= batch_events_max:
        raise ValueError(f"{len(messages)} messages in one append, 1 to {batch_events_max} are allowed")
    if fence is None and (len(messages) > 1 or not messages[0].request):
        raise ValueError("without a fence exactly one message with a request id is taken")
    log = fence.log.removesuffix(">") if fence else ""
    size = 0
    for message in messages:
        size += len(message.body)
        if len(message.body) > body_max:
            raise ValueError(f"{message.subject} is {len(message.body)} bytes, at most {body_max} are allowed")
        if not message.subject.startswith(log):
            raise ValueError(f"{message.subject} is not under the fenced log {log}>")
    if size > batch_bytes_max:
        raise ValueError(f"{size} bytes in one append, at most {batch_bytes_max} are allowed")


Answerer = Callable[[bytes], Awaitable[bytes]]
"""Answers one query: the question's bytes in, the answer's bytes out."""
EachAnswerer = Callable[[str, bytes], Awaitable[bytes]]
"""The same of queries under many subjects: with the one that was asked, which says what the asker may ask."""


def answers_all_alike(answerer: Answerer) -> EachAnswerer:
    """Whatever the subject, the same answer."""

    async def answered(_subject: str, question: bytes) -> bytes:
        return await answerer(question)

    return answered


rest_s = 0.05
"""How long the answers of a roll call may be apart that are not expected: of one more than there should be."""


class Bus(Protocol):
    """One connection of one process to one cluster's bus."""

    cluster: str
    me: str
    """As whom the bus knows this connection; empty where it knows nobody by name."""

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        """Append 1 to 1000 messages whole or not at all; the position of the last one, the others just before it.

        Without a fence (clients only) exactly one message with a request id is taken; the same request id within two
        minutes is stored once. Tries once. Raises Fenced, OutcomeUnknown, NoQuorum, Overloaded, StreamFull, BusClosed.
        `bus.append.append_surely` settles an unknown outcome.
        """

    def follow(
        self, log: str, *, after: Position, gather: Gather | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """Every message under `log` behind `after`, in order, in groups of at least one; then as they come, for ever:
        at once, or gathered.

        Survives restarts of the server. For the whole stream (`<cluster>.>`) positions have no gap. Raises
        StreamTrimmed if messages behind `after` may have been trimmed away, StreamDiverged, BusClosed. Close it with
        `aclose()`.
        """

    async def last(self, log: str) -> Record | None:
        """The newest message under `log`, as the stream's leader knows it. Raises NoAnswer, BusClosed."""

    async def count(self, log: str) -> int:
        """How many messages there are under `log`, as the stream's leader knows it. Raises NoAnswer, BusClosed."""

    async def extent(self) -> Extent:
        """Where the stream begins and ends, and how much of its room is taken. Raises StreamDiverged, NoAnswer."""

    async def trim(self, first: Position) -> None:
        """Drop the messages before `first`, at the front and nowhere else: an administrator's act.

        Some of them may stay. Raises ValueError for a position behind the last, NotCurrent, NoAnswer.
        """

    async def first_since(self, at: Now) -> Position:
        """The position of the first message stored at or after a time; last + 1 if there is none."""

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        """Ask the one who serves `subject`. Raises NobodyThere, NoAnswer, BusClosed."""

    async def roll(
        self, subject: str, question: bytes, *, wait_s: float, expected: int | None = None
    ) -> Sequence[bytes]:
        """Ask everybody who serves `subject`: the answers that come within `wait_s`, none if nobody serves it.

        Over as soon as `expected` have answered, and nobody else within `rest_s`.
        """

    async def serve(self, subject: str, answerer: Answerer) -> None:
        """Answer queries under `subject` (may hold wildcards) until the bus is closed.

        The answerer gets no more than the question; an exception in it closes the bus with that error.
        """

    async def serve_each(self, subject: str, answerer: EachAnswerer) -> None:
        """The same with wildcards in `subject`: the answerer is told which subject was asked."""

    async def close(self) -> None:
        """Leave the bus. Safe to call twice."""
