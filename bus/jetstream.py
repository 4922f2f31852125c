"""The bus on NATS JetStream: one stream per cluster, fenced atomic batches, raw push consumers.

Rule of this room: what the server did not say plainly is unknown. (ADR-50; nats-server `jetstream_batching.go`)
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from bus import trimming
from bus.connection import Connection
from bus.credentials import Credentials
from bus.following import Misplaced, Push, Reader
from bus.gathering import Gathering, gathered
from bus.nouns import Now, Position
from bus.permits import body_max
from bus.port import (
    Answerer,
    ClusterRow,
    EachAnswerer,
    Extent,
    Fence,
    Fenced,
    Gather,
    Message,
    NoAnswer,
    NobodyThere,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    Record,
    Remains,
    StreamDiverged,
    StreamFull,
    answers_all_alike,
    check_append,
    message_bytes_max,
)
from bus.pulling import Pull, pull_from, pull_last
from bus.replies import Parcel, Send
from bus.stream import LEADERLESS, Stream, no_quorum, retry_pause_s

append_s, append_alone_s = 5.0, 12.0
"""How long the answer to an append is awaited: from several servers, between which a message may be lost; and from one
that keeps the stream alone. That one answers each as long as the link holds, but stores all that wait before it answers
the first, and as many wait again by then: 1.5 ms of the disk for each. (nats-server: stream.go internalLoop;
`bus.configuration.buffered_max`) Less than a leader waits for the outcome. (`components.standing.leader_unknown_s`)"""
answers_at_once_max = 32
"""Questions under one subject that are being answered."""
questions_bytes_max = 128 * 1024 * 1024
"""Questions under one subject that wait: what comes above is dropped."""
message_overhead_bytes = 512
echo_s = 5.0
_REFUSED_BY_FENCE = (10071, 10164)
_FULL = (10077, 10047, 10023)
"""Store failed (its bounds, its disk), insufficient storage, insufficient resources."""
_TOO_MANY = 10167
"""Too many requests: more messages wait to be stored than may. (`bus.configuration.buffered_max`)"""
_FROZEN = 10054
"""Message size exceeds maximum allowed: nothing is as small as a stream allows that is being trimmed."""
_INBOXES = ("_INBOX", "_R_.")
"""Where answers go. Another reply subject would launder an answer into somebody's log."""


class Statistics(NamedTuple):
    """Counters of one connection."""

    links: int
    """Links to the server made, the first included."""
    consumers: int
    """Consumers made: one for each follower, and one more for each gap, silence and new link."""


async def connect(
    known: Credentials,
    *,
    name: str = "busbar",
    on_lost: Callable[[str], None] | None = None,
    connect_s: float = 10.0,
    make_stream: bool = True,
    room: int | None = None,
    mend: bool = False,
) -> JetStreamBus:
    """A connection to a cluster's bus; its stream is made if there is none, unless others are to make it.

    The credentials name one server or several: the first is preferred at the start, and each is tried when the one in
    use is gone. A new stream is kept by as many servers as they say and holds at most `room` bytes: 16 GiB, or the
    first half, quarter ... of that which the server has. Only who is in the stream's account makes it. `mend` is for an
    administrator: it finishes a trim that was left half done, which everybody else is refused for.
    `on_lost` is told in words whenever the link is lost, and when the connection is closed for good.
    Raises BusUnreachable, StreamUnfit, NotPermitted.
    """
    link = Connection(known, on_lost)
    await link.open(name=name, connect_s=connect_s)
    stream = Stream(link, known.cluster)
    try:
        if mend:
            await trimming.mend(stream)
        make = make_stream and link.in_kernel
        await stream.ensure(connect_s, make=make, replicas=known.replicas, room=room)
    except BaseException:
        await link.close()
        raise
    return JetStreamBus(link, stream)


class JetStreamBus:
    """One connection of one process to a NATS server; a `bus.port.Bus`."""

    def __init__(self, link: Connection, stream: Stream) -> None:
        self.cluster, self.me = stream.cluster, link.known.name
        self._link, self._stream = link, stream
        self._body_max = message_bytes_max if link.in_kernel else body_max
        self._consumers = 0
        self._answering: set[asyncio.Task[None]] = set()

    def statistics(self) -> Statistics:
        """How the connection fared so far."""
        return Statistics(self._link.links, self._consumers)

    async def servers(self) -> list[ClusterRow]:
        """Which servers keep the stream, by name. Raises NoAnswer, BusClosed."""
        return await self._stream.servers()

    # ---- append ---------------------------------------------------------------------------------------------------

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        check_append(messages, fence, body_max=self._body_max)
        wait_s = append_alone_s if self._stream.alone else append_s
        try:
            answer = await self._link.ask(*_sends(messages, fence, self._link.known.seed), timeout_s=wait_s)
        except NobodyThere:  # only the stream's leader listens (nats-server: stream.go subscribeToStream)
            raise NoQuorum(no_quorum) from None
        except NoAnswer as error:
            raise OutcomeUnknown(str(error)) from None
        position = _landed(answer.body)
        if fence is not None:
            self._stream.know(fence.log, position)
        return position

    # ---- read -----------------------------------------------------------------------------------------------------

    def follow(
        self, log: str, *, after: Position, gather: Gather | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        if gather is not None and self._link.in_kernel:  # what is pushed comes anyway
            return gathered(self._follow(log, after), gather)
        return self._follow(log, after, gather)

    async def _follow(
        self, log: str, after: Position, gather: Gather | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        taken: Record | None = None
        while True:
            reader = self._reader(log, after, gather)
            try:
                await reader.start()
                await self._check_still(log, taken)
                self._consumers += 1
                while (records := await reader.next()) is not None:
                    yield records
                    taken, after = records[-1], records[-1].position
            except NoAnswer:
                await asyncio.sleep(retry_pause_s)
            except Misplaced:
                continue  # the server places it by chance (nats-server: jetstream_cluster.go createGroupForConsumer)
            finally:
                await reader.stop()

    def _reader(self, log: str, after: Position, gather: Gather | None) -> Reader:
        if gather is not None:
            return Gathering(self._stream, log, after, gather)
        return (Push if self._link.in_kernel else Pull)(self._stream, log, after)

    async def _check_still(self, log: str, taken: Record | None) -> None:
        """What a reader took last is still where it was: on a stream that lost its end and has grown again since, it
        would skip what was said in between. Raises StreamDiverged."""
        if taken is None:
            return
        found = await self._from(log, taken.position)
        if found != taken and taken.position >= (await self._stream.extent()).first:
            raise StreamDiverged(f"position {taken.position} was {taken.subject}, and is not that any more")

    async def _from(self, log: str, position: Position) -> Record | None:
        """What is at a position, or under the log behind it."""
        return await (self._stream.at(position) if self._stream.may_get else pull_from(self._stream, log, position))

    async def last(self, log: str) -> Record | None:
        return await self._stream.newest(log, self._newest)

    async def _newest(self, log: str) -> Record | None:
        return await (self._stream.get_newest(log) if self._stream.may_get else pull_last(self._stream, log))

    async def count(self, log: str) -> int:
        return await self._stream.count(log)

    async def extent(self) -> Extent:
        return await self._stream.extent()

    async def remains(self) -> Remains:
        """What is left of the stream, whole or not: for who repairs it. Raises NoAnswer."""
        return await self._stream.remains()

    async def at(self, position: Position) -> Record | None:
        """The message at a position, whatever is missing elsewhere; None if there is none. Raises NoAnswer."""
        return await self._stream.at(position)

    async def trim(self, first: Position) -> None:
        await trimming.trim(self._stream, first)

    async def first_since(self, at: Now) -> Position:
        return await self._stream.first_since(at)

    # ---- questions ------------------------------------------------------------------------------------------------

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        if len(question) > self._body_max:
            raise ValueError(f"a question of {len(question)} bytes, at most {self._body_max} are allowed")
        try:
            async with asyncio.timeout(timeout_s):
                await self._link.connected()
                return (await self._link.ask(Send(subject, question), timeout_s=timeout_s)).body
        except TimeoutError:
            raise NoAnswer(f"{subject}: no answer within {timeout_s:g} s") from None

    async def roll(
        self, subject: str, question: bytes, *, wait_s: float, expected: int | None = None
    ) -> Sequence[bytes]:
        await self._link.connected()
        answers = await self._link.ask_all(Send(subject, question), wait_s=wait_s, expected=expected)
        return [parcel.body for parcel in answers]

    async def serve(self, subject: str, answerer: Answerer) -> None:
        await self.serve_each(subject, answers_all_alike(answerer))

    async def serve_each(self, subject: str, answerer: EachAnswerer) -> None:
        desk = _Desk(lambda parcel: self._answer(answerer, parcel), self._answering, self._failed)
        await self._link.subscribe(subject, desk.ask)
        while True:
            await self._link.connected()
            with suppress(NoAnswer):
                return await self._link.echo(timeout_s=echo_s)

    async def _answer(self, answerer: EachAnswerer, parcel: Parcel) -> None:
        answer = await answerer(parcel.subject, parcel.body)
        with suppress(NoAnswer):  # no link, and nobody who waits at its other end
            await self._link.answer(parcel.reply, answer)

    def _failed(self, error: BaseException) -> None:
        self._link.end(f"an answer failed: {error!r}", error)
        closing = asyncio.get_running_loop().create_task(self.close())
        self._answering.add(closing)
        closing.add_done_callback(self._answering.discard)

    async def close(self) -> None:
        for task in self._answering - {asyncio.current_task()}:
            task.cancel()
        await self._link.close()


class _Desk:
    """Where questions under one subject wait for their turn."""

    def __init__(
        self,
        answer: Callable[[Parcel], Coroutine[None, None, None]],
        answering: set[asyncio.Task[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._answer, self._answering, self._failed = answer, answering, failed
        self._waiting: deque[Parcel] = deque()
        self._waiting_bytes = 0
        self._turns = answers_at_once_max

    def ask(self, parcel: Parcel) -> None:
        """A question came; one that finds too many before it is not answered."""
        if not parcel.reply.startswith(_INBOXES):
            return  # nobody waits for it: a reader's messages, which somebody has delivered here
        size = _size(parcel)
        if self._waiting_bytes + size <= questions_bytes_max:
            self._waiting.append(parcel)
            self._waiting_bytes += size
            self._begin()

    def _begin(self) -> None:
        while self._waiting and self._turns:
            self._turns -= 1
            parcel = self._waiting.popleft()
            self._waiting_bytes -= _size(parcel)
            task = asyncio.get_running_loop().create_task(self._answer(parcel))
            self._answering.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._turns += 1
        self._answering.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)
        elif not task.cancelled():
            self._begin()


def _size(parcel: Parcel) -> int:
    return len(parcel.body) + message_overhead_bytes


def _sends(messages: Sequence[Message], fence: Fence | None, seed: str) -> list[Send]:
    """One message as a plain publish, more as one atomic batch; the fence is on the first."""
    headers: list[dict[str, str]] = [{} for _ in messages]
    if fence is not None:
        headers[0]["Nats-Expected-Last-Subject-Sequence"] = str(fence.last)
        headers[0]["Nats-Expected-Last-Subject-Sequence-Subject"] = fence.log
    elif messages[0].request is not None:
        headers[0]["Nats-Msg-Id"] = _own_id(messages[0].request, seed)
    if len(messages) > 1:
        batch = secrets.token_hex(8)
        for index, header in enumerate(headers):
            header["Nats-Batch-Id"], header["Nats-Batch-Sequence"] = batch, str(index + 1)
        headers[-1]["Nats-Batch-Commit"] = "1"
    return [Send(message.subject, message.body, header) for message, header in zip(messages, headers, strict=True)]


def _own_id(request: str, seed: str) -> str:
    """How the server knows that a request was said before. It forgets whose: so nobody else may know the id, and say
    something else under it first."""
    return hmac.new(seed.encode(), request.encode(), "sha256").hexdigest()[:32]


class _Refusal(msgspec.Struct):
    description: str = ""
    err_code: int = 0


class _Outcome(msgspec.Struct):
    """Of an append. (nats-server: JSPubAckResponse)"""

    error: _Refusal | None = None
    seq: Position = Position(0)


_outcome = msgspec.json.Decoder(_Outcome).decode


def _landed(answer: bytes) -> Position:
    """What the server's answer to an append says."""
    try:
        found = _outcome(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise OutcomeUnknown(f"the answer to an append is none: {answer[:100]!r}") from None
    if found.error is None:
        if not found.seq:
            raise OutcomeUnknown(f"the answer to an append names no position: {answer[:100]!r}")
        return found.seq
    text, code = found.error.description, found.error.err_code
    if code in _REFUSED_BY_FENCE:
        raise Fenced(text)
    if code in _FULL:
        raise StreamFull(f"{text} ({code})")
    if code == _TOO_MANY:
        raise Overloaded(f"the bus takes no more at this moment: {text} ({code})")
    if code == _FROZEN:
        raise OutcomeUnknown(f"the stream is being trimmed: {text} ({code})")
    if code in LEADERLESS:
        raise NoQuorum(f"{no_quorum}: {text} ({code})")
    raise OutcomeUnknown(f"the server says: {text} ({code})")
