"""How a reader follows a log: a consumer, checked message by message.

Rule of this room: every message is counted as it is taken; one that is missing makes a new consumer behind the last
one taken. (nats-py's ordered consumer counts before it queues, and so loses what its queue drops)
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from bus import fitness
from bus.nouns import Position
from bus.port import NoAnswer, Record, StreamDiverged, StreamTrimmed
from bus.replies import Parcel, Send
from bus.stream import Stream
from bus.subjects import everything

heartbeat_s = 1.4
silence_s = 3.0
"""Without even a heartbeat: the consumer is gone. Two heartbeats come within that time; each wakes the server and the
reader, a fifth of what they take while nothing is said."""
buffer_bytes_max = 64 * 1024 * 1024
"""Of messages that wait for a slow reader. The server sends at most 32 MiB before a flow control message is answered,
and it is answered when what came before it is taken; what exceeds the bound is dropped and asked for again."""
idle_heartbeats_min = 2
"""In a row, until it is believed that the server has no more to send."""
_message_overhead_bytes = 512
_consumer_idle_s = 30


def sequences(reply: str) -> tuple[int, int] | None:
    """Stream and consumer sequence from the reply subject of a pushed message.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`; from version 2 on with two
    more tokens in front of the stream. (ADR-15)
    """
    tokens = reply.split(".")
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    first = 5 if len(tokens) == 9 else 7
    return int(tokens[first]), int(tokens[first + 1])


class Misplaced(Exception):
    """The consumer is on a server that does not lead the stream: what it lacks would be skipped without a word."""


class _Due(NamedTuple):
    """How many messages of the log were to come, at least, up to a position: a server that cannot read one leaves it
    out without a word, but it has counted it. (nats-server: consumer.go streamNumPending, getNextMsg)"""

    messages: int
    end: Position


class Reader(ABC):
    """What the server sends to one reader, in the order of arrival, until it is taken: how it is asked for is left to
    `Push` and `Pull`."""

    def __init__(self, stream: Stream, log: str, after: Position) -> None:
        self._stream, self._log, self._position = stream, log, after
        self._whole = log == everything(stream.cluster)
        self._link, self._links = stream.link, 0
        self._inbox = stream.link.new_inbox()
        self._name = ""
        self._naming = ExitStack()
        self._taken = 0
        self._due = _Due(0, after)
        self._idle = 0
        self._broken = False
        self._buffer: deque[Parcel] = deque()
        self._buffer_bytes = 0
        self._changed = asyncio.Event()
        self._heard_at = 0.0
        """When anything came, on the loop's clock."""
        self._silence: asyncio.TimerHandle | None = None
        self._unsubscribe: Callable[[], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Make the consumer. Raises NoAnswer, Misplaced, StreamTrimmed, StreamDiverged, StreamUnfit, NotPermitted,
        BusClosed."""
        await self._link.connected()
        self._links = self._link.links
        await self._check_begin()
        self._link.watchers[self._changed] = None
        self._unsubscribe = await self._link.subscribe(self._inbox, self._hear)
        self._name = self._naming.enter_context(self._stream.reader())
        made = await self._stream.make_reader(self._name, self._log, self._config())
        found = await self._check_begin()
        leader = found["cluster"]["leader"]
        if made.get("cluster", {}).get("leader", leader) != leader:
            raise Misplaced
        count = made["num_pending"] + made["delivered"]["consumer_seq"]
        self._due = _Due(count, self._stream.whole(found).last)

    async def _check_begin(self) -> dict[str, Any]:
        """What is behind the reader's position is there, all of it; as the stream's leader says."""
        found = await self._stream.reaching(self._position)
        if fitness.is_frozen(found["config"]):
            raise NoAnswer(f"stream {self._stream.name} is being trimmed")
        first = self._stream.whole(found).first
        if self._position + 1 < first:
            text = f"the stream begins at position {first}, position {self._position + 1} was trimmed away"
            raise StreamTrimmed(text, first)
        return found

    def _config(self) -> dict[str, object]:
        """Of the consumer."""
        return {
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._position + 1,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
        }

    async def stop(self) -> None:
        """End the consumer, without waiting for the server to say so."""
        self._link.watchers.pop(self._changed, None)
        if self._silence is not None:
            self._silence.cancel()
        if self._unsubscribe is not None:
            await self._unsubscribe()
        if self._name:
            await self._stream.end_reader(self._name)
        self._naming.close()

    def _hear(self, parcel: Parcel) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not self._buffer and self._is_old_news(parcel):
            return
        size = len(parcel.body) + _message_overhead_bytes
        if self._buffer_bytes + size > buffer_bytes_max:
            return  # the next one that is taken, or the next heartbeat, shows that it is missing
        if self._is_heartbeat(parcel) and self._buffer and self._is_heartbeat(self._buffer[-1]):
            self._buffer_bytes -= len(self._buffer.pop().body) + _message_overhead_bytes
        self._buffer.append(parcel)
        self._buffer_bytes += size
        self._changed.set()

    def _is_old_news(self, parcel: Parcel) -> bool:
        """A heartbeat that says what is known: nobody has to be woken for it."""
        if not self._is_heartbeat(parcel) or "Nats-Consumer-Stalled" in parcel.headers:
            return False
        return self._taken >= self._due.messages and parcel.headers["Nats-Last-Consumer"] == str(self._taken)

    async def next(self) -> Sequence[Record] | None:
        """Everything that came since the last call; None if a new consumer must be made. Raises StreamDiverged."""
        while True:
            self._link.check()
            try:
                await self._ask_for_more()
            except NoAnswer:
                return None
            records = self._take()
            if records:
                return records
            if self._wants_more():
                continue
            if self._broken or self._links != self._link.links or not await self._wait():
                return None

    async def _wait(self) -> bool:
        """Whether anything is to be looked at before it was silent for too long."""
        self._changed.clear()
        if self._silence is None:
            self._heard_at = asyncio.get_running_loop().time()
            self._await_silence()
        await self._changed.wait()
        return self._silence is not None

    def _await_silence(self) -> None:
        """One alarm as long as it is not silent, and not another one for each message."""
        loop = asyncio.get_running_loop()
        if self._heard_at + silence_s > loop.time():
            self._silence = loop.call_at(self._heard_at + silence_s, self._await_silence)
        else:
            self._silence = None
            self._changed.set()

    @abstractmethod
    async def _ask_for_more(self) -> None:
        """What came before this is taken: the server may send more. Raises NoAnswer."""

    @abstractmethod
    def _wants_more(self) -> bool:
        """Whether the server waits to be asked."""

    def _take(self) -> list[Record]:
        records: list[Record] = []
        while self._buffer and not self._broken:
            parcel = self._buffer.popleft()
            self._buffer_bytes -= len(parcel.body) + _message_overhead_bytes
            if parcel.subject == self._inbox:  # a message of the log keeps its own subject
                self._control(parcel)
                continue
            found = sequences(parcel.reply)
            if found is not None:
                self._count(records, parcel, *found)
        return records

    def _count(self, records: list[Record], parcel: Parcel, stream_seq: int, consumer_seq: int) -> None:
        if consumer_seq != self._taken + 1 or (not self._taken and stream_seq <= self._position):
            self._broken = True  # the second is another consumer under its name, of somebody with the same identity
            return
        if stream_seq <= self._position or (self._whole and stream_seq != self._position + 1):
            raise StreamDiverged(f"{self._log}: position {stream_seq} follows position {self._position}")
        if stream_seq > self._due.end:
            self._check_due()
        self._idle = 0
        self._taken, self._position = consumer_seq, Position(stream_seq)
        records.append(Record(self._position, parcel.subject, parcel.body))

    def _control(self, parcel: Parcel) -> None:
        """What the server says that is no message of the log."""
        if self._is_heartbeat(parcel):
            self._beat(parcel, stalled=False)
        else:
            self._broken = True

    def _beat(self, heartbeat: Parcel, *, stalled: bool) -> None:
        if int(heartbeat.headers["Nats-Last-Consumer"]) != self._taken:
            self._broken = True
        self._idle = 0 if stalled else self._idle + 1
        if self._idle >= idle_heartbeats_min:
            self._check_due()

    def _check_due(self) -> None:
        """Everything that was there when the consumer was made has come, or something between is damaged."""
        if self._taken < self._due.messages and not self._broken:
            missing = (
                f"{self._due.messages - self._taken} of {self._due.messages} messages up to position {self._due.end}"
            )
            raise StreamDiverged(f"{self._log}: {missing} are missing")

    def _is_heartbeat(self, parcel: Parcel) -> bool:
        return parcel.subject == self._inbox and "Nats-Last-Consumer" in parcel.headers


class Push(Reader):
    """Pushed by the server, which waits now and then until what it sent is taken: for the stream's own account."""

    def __init__(self, stream: Stream, log: str, after: Position) -> None:
        super().__init__(stream, log, after)
        self._flow: list[str] = []

    def _config(self) -> dict[str, object]:
        return super()._config() | {
            "deliver_subject": self._inbox,
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": round(heartbeat_s * 1_000_000_000),
            "inactive_threshold": _consumer_idle_s * 1_000_000_000,
        }

    async def _ask_for_more(self) -> None:
        while self._flow:
            await self._link.send(Send(self._flow.pop(), b""))

    def _wants_more(self) -> bool:
        return bool(self._flow)

    def _control(self, parcel: Parcel) -> None:
        stalled = parcel.headers.get("Nats-Consumer-Stalled")
        if self._is_heartbeat(parcel):
            self._beat(parcel, stalled=bool(stalled))
            if stalled:
                self._flow.append(stalled)
        elif parcel.headers.get("Status") == "100" and parcel.reply:
            self._flow.append(parcel.reply)
        else:
            self._broken = True
