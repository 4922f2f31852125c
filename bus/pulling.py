"""How a log is read from outside the stream's account: a consumer that is asked for more, again and again.

A consumer that pushes would have to be told where to, and inside the stream's account that is anywhere.
(nats-server: consumer.go processNextMsgReq; ADR-13)

Rule of this room: one request at a time, which asks for no more than may wait here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from bus.following import Misplaced, Reader, heartbeat_s, sequences
from bus.nouns import Position
from bus.port import NoAnswer, Record
from bus.replies import Parcel, Send
from bus.stream import SlotTaken, Stream, retry_pause_s

batch_messages = 1000
wary_messages = 100
"""Behind an empty message, that are asked for one by one."""
batch_bytes = 16 * 1024 * 1024
"""Of one request: that much may wait for a slow reader."""
request_s = 30
"""How long the server keeps a request for messages that are still to be said."""
consumer_idle_s = 10
"""After the last request: the consumer's name is free again."""
last_s = 2.0
"""How long one message that is there may take to come."""
tries_max = 40
"""Consumers that may be made until one is where the stream is led (of three servers every third), under a name that
no other process of the identity has, and lives until it has told."""
_GO_ON = ("404", "408", "409 Batch Completed", "409 Message Size Exceeds MaxBytes")
"""How the server says that a request is over. (nats-server: consumer.go)"""


class Pull(Reader):
    """Asked for, batch by batch."""

    def __init__(self, stream: Stream, log: str, after: Position) -> None:
        super().__init__(stream, log, after)
        self._open = 0
        """Messages that may still come for the last request."""

    def _config(self) -> dict[str, object]:
        return super()._config() | {"inactive_threshold": consumer_idle_s * 1_000_000_000, "max_waiting": 8}

    async def _ask_for_more(self) -> None:
        if self._wants_more():
            await self._ask(self._batch, _WAITING)

    @property
    def _batch(self) -> int:
        """How many are asked for that may still have to be said."""
        return batch_messages

    async def _ask(self, batch: int, how: Mapping[str, object]) -> None:
        self._open = 1 if self._stream.wary else batch
        self._heard_at = asyncio.get_running_loop().time()  # before, nobody was to say anything: that was no silence
        what = {"batch": self._open, "max_bytes": batch_bytes, **how}
        await ask_next(self._stream, self._name, self._inbox, what)

    def _wants_more(self) -> bool:
        return self._open == 0 and not self._buffer and not self._broken

    def _count(self, records: list[Record], parcel: Parcel, stream_seq: int, consumer_seq: int) -> None:
        super()._count(records, parcel, stream_seq, consumer_seq)
        self._open = max(0, self._open - 1)
        self._stream.wary = max(0, self._stream.wary - 1)
        if not parcel.body:
            self._ended_by_nothing()

    def _ended_by_nothing(self) -> None:
        """An empty message is, to the border between the accounts, the end of the answers to a request: what was to
        come behind it is lost. Where there is one there may be many, so what follows is asked for one by one.
        (nats-server: client.go processServiceImport)"""
        self._broken = self._broken or self._open > 0
        self._open = 0
        self._stream.wary = wary_messages

    def _control(self, parcel: Parcel) -> None:
        if self._is_heartbeat(parcel):
            self._beat(parcel, stalled=False)
        elif f"{parcel.headers.get('Status')} {parcel.headers.get('Description')}".startswith(_GO_ON):
            self._open = 0
        else:
            self._broken = True


_WAITING: dict[str, object] = {
    "expires": request_s * 1_000_000_000,
    "idle_heartbeat": round(heartbeat_s * 1_000_000_000),
}


async def ask_next(stream: Stream, name: str, to: str, what: dict[str, object]) -> None:
    """Ask a consumer for messages. Raises NoAnswer, BusClosed."""
    where = stream.where(f"CONSUMER.MSG.NEXT.{stream.name}.{name}")
    await stream.link.send(Send(where, json.dumps(what).encode()), reply=to)


class _Ended(NoAnswer):
    """The consumer is gone before it told: who trims the stream ends every reader."""


async def pull_last(stream: Stream, log: str) -> Record | None:
    """The newest message under a log. Raises NoAnswer."""
    return await _pull_one(stream, log, {"deliver_policy": "last"})


async def pull_from(stream: Stream, log: str, position: Position) -> Record | None:
    """The first message under a log that is at a position or behind it. Raises NoAnswer."""
    return await _pull_one(stream, log, {"deliver_policy": "by_start_sequence", "opt_start_seq": position})


async def _pull_one(stream: Stream, log: str, begin: Mapping[str, object]) -> Record | None:
    """The first message of a consumer that begins so."""
    why = NoAnswer("silence")
    for _ in range(tries_max):
        try:
            return await _pulled(stream, log, begin)
        except Misplaced:
            why = NoAnswer(f"{log}: no reader was placed where the stream is led")
        except SlotTaken as error:
            why = error
        except _Ended as error:
            why = error
            await asyncio.sleep(retry_pause_s)  # who trims waits until there is no reader
    raise why


async def _pulled(stream: Stream, log: str, begin: Mapping[str, object]) -> Record | None:
    config = {
        **begin,
        "ack_policy": "none",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": consumer_idle_s * 1_000_000_000,
    }
    with stream.reader() as name:
        made = await stream.make_reader(name, log, config)
        try:
            leader = (await stream.info())["cluster"]["leader"]
            if made.get("cluster", {}).get("leader", leader) != leader:
                raise Misplaced
            return await _one(stream, name) if made["num_pending"] else None
        finally:
            await stream.end_reader(name)


async def _one(stream: Stream, name: str) -> Record:
    inbox, came = stream.link.new_inbox(), asyncio.get_running_loop().create_future()

    def hear(parcel: Parcel) -> None:
        if not came.done():
            came.set_result(parcel)

    unsubscribe = await stream.link.subscribe(inbox, hear)
    try:
        await ask_next(stream, name, inbox, {"batch": 1, "expires": round(last_s * 1_000_000_000)})
        async with asyncio.timeout(last_s):
            parcel: Parcel = await came
    except TimeoutError:
        raise _Ended(f"{name}: the message does not come") from None
    finally:
        await unsubscribe()
    found = sequences(parcel.reply)
    if found is None:
        raise _Ended(f"{name}: {parcel.headers.get('Status', 'no message')}")
    return Record(Position(found[0]), parcel.subject, parcel.body)
