"""The bus in memory: one event loop, the same promises as `bus.jetstream`, and faults on request.

Rule of this room: no clock, no thread, no chance of its own; the same run comes out the same way every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from bus.gathering import gathered
from bus.kept import Kept, falls_under
from bus.nouns import Now, Position, second
from bus.port import (
    Answerer,
    BusClosed,
    EachAnswerer,
    Extent,
    Fence,
    Fenced,
    Gather,
    Message,
    NoAnswer,
    NobodyThere,
    OutcomeUnknown,
    Record,
    StreamDiverged,
    StreamFull,
    StreamTrimmed,
    answers_all_alike,
    check_append,
    same_request_s,
)

T = TypeVar("T")


class Fate(NamedTuple):
    """What becomes of one append: when it lands, and how long after that its author is told. None is never."""

    lands_after_s: float | None = 0.0
    told_after_s: float | None = 0.0


LOST = Fate(lands_after_s=None, told_after_s=None)
"""The request never reaches the stream."""
UNTOLD = Fate(told_after_s=None)
"""The append lands, its answer is lost."""


def late(lands_after_s: float) -> Fate:
    """The author gives up first, then the append lands after all."""
    return Fate(lands_after_s=lands_after_s, told_after_s=None)


class Faults:
    """What goes wrong on one connection: nothing, unless a test says otherwise. Each hook may wait."""

    async def append(self, messages: Sequence[Message]) -> Fate:  # noqa: ARG002  # a hook
        """What becomes of an append."""
        return Fate()

    async def deliver(self, records: Sequence[Record]) -> int:
        """How many of the records that are due, from the first on, come as the next group: at least one."""
        return len(records)

    async def ask(self, subject: str) -> bool:  # noqa: ARG002  # a hook
        """Whether a question reaches the one who serves the subject."""
        return True


class _Served(NamedTuple):
    subject: str
    bus: MemoryBus
    answerer: EachAnswerer


class _Waiting(NamedTuple):
    log: str
    arrived: asyncio.Future[Position]


class _Requested(NamedTuple):
    position: Position
    at: Now


class MemoryServer(Kept):
    """The one log that all connections share."""

    def __init__(self, cluster: str, clock: Callable[[], Now], *, bytes_max: int | None = None) -> None:
        super().__init__(bytes_max)
        self.cluster, self.clock = cluster, clock
        self._requests: dict[str, _Requested] = {}
        self._waiting: list[_Waiting] = []
        self._served: list[_Served] = []

    def inject(self, subject: str, body: bytes) -> Position:
        """Store a message that nobody fenced: garbage, a replay, a foreign voice."""
        return self._store([Message(subject, body)])

    def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        """What the server does with one append, at once. Raises Fenced, StreamFull."""
        request = messages[0].request if fence is None else None
        known = self._known(request)
        if known is not None:
            return known
        if fence is not None and self.newest(fence.log) != fence.last:
            raise Fenced(f"{fence.log}: last position is {self.newest(fence.log)}, not {fence.last}")
        position = self._store(messages)
        if request is not None:
            self._requests[request] = _Requested(position, self.newest_at)
        return position

    def _known(self, request: str | None) -> Position | None:
        known = self._requests.get(request) if request is not None else None
        if known is None or known.at + same_request_s * second <= self.clock():
            return None
        return known.position

    def _store(self, messages: Sequence[Message]) -> Position:
        before = self.last
        self.keep(messages, self.clock())
        self._wake({message.subject for message in messages}, before)
        return self.last

    def wait(self, log: str, arrived: asyncio.Future[Position]) -> None:
        """Complete `arrived` as soon as something is stored under `log`, with a position that is before it."""
        self._waiting.append(_Waiting(log, arrived))

    def _wake(self, subjects: set[str], before: Position) -> None:
        still: list[_Waiting] = []
        for waiting in self._waiting:
            if waiting.arrived.done():
                continue
            if any(falls_under(waiting.log, subject) for subject in subjects):
                waiting.arrived.set_result(before)
            else:
                still.append(waiting)
        self._waiting = still

    def serve(self, served: _Served) -> None:
        """Send questions under a subject to a connection."""
        self._served.append(served)

    def unserve(self, bus: MemoryBus) -> None:
        """Send no more questions to a connection."""
        self._served = [served for served in self._served if served.bus is not bus]

    def server_of(self, subject: str) -> _Served | None:
        """Who answers questions under a subject: of several, the first who offered."""
        return next(iter(self.servers_of(subject)), None)

    def servers_of(self, subject: str) -> list[_Served]:
        """Everybody who answers questions under a subject, in the order they offered."""
        return [served for served in self._served if falls_under(served.subject, subject)]


class MemoryBus:
    """One connection of one process to a `MemoryServer`; a `bus.port.Bus`."""

    def __init__(self, server: MemoryServer, faults: Faults | None = None) -> None:
        self.server, self.cluster, self.faults = server, server.cluster, faults or Faults()
        self.me = ""
        self._closed: BusClosed | None = None
        self._pending: dict[asyncio.Future[Any], None] = {}
        self._answering: dict[asyncio.Task[None], None] = {}

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        check_append(messages, fence)
        self._check()
        fate = await self.faults.append(messages)
        self._check()
        if fate.told_after_s is None:
            self._send(messages, fence, fate.lands_after_s, None)
            raise OutcomeUnknown("no answer to the append")
        landed: asyncio.Future[Position] = self._expect()
        self._send(messages, fence, fate.lands_after_s, landed)
        position = await landed
        if fate.told_after_s:
            await self._pass(fate.told_after_s)
        return position

    def _send(
        self,
        messages: Sequence[Message],
        fence: Fence | None,
        after_s: float | None,
        landed: asyncio.Future[Position] | None,
    ) -> None:
        """The request is on its way: it lands even if its author dies now."""

        def land() -> None:
            try:
                position = self.server.append(messages, fence)
            except (Fenced, StreamFull) as error:
                if landed and not landed.done():
                    landed.set_exception(error)
            else:
                if landed and not landed.done():
                    landed.set_result(position)

        if after_s is not None:
            asyncio.get_running_loop().call_later(after_s, land)

    def follow(
        self, log: str, *, after: Position, gather: Gather | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        groups = self._follow(log, after)
        return groups if gather is None else gathered(groups, gather)

    async def _follow(self, log: str, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        self._check()
        if after > self.server.last:
            raise StreamDiverged(f"the stream ends at position {self.server.last}, position {after} was in it")
        while True:
            self._check_begin(after)
            due = self.server.behind(log, after)
            after = self.server.last
            while due:
                count = await self._deliver(due)
                yield due[:count]
                self._check()
                due = due[count:]
            if after == self.server.last:
                arrived: asyncio.Future[Position] = self._expect()
                self.server.wait(log, arrived)
                after = await arrived

    def _check_begin(self, after: Position) -> None:
        self.server.check_whole()
        first = self.server.first
        if after + 1 < first:
            raise StreamTrimmed(f"the stream begins at position {first}, position {after + 1} was trimmed away", first)

    async def _deliver(self, due: Sequence[Record]) -> int:
        await asyncio.sleep(0)
        count = await self.faults.deliver(due)
        self._check()
        return count

    async def last(self, log: str) -> Record | None:
        await self._pass(0)
        position = self.server.newest(log)
        return self.server.behind(log, Position(position - 1))[0] if position else None

    async def count(self, log: str) -> int:
        await self._pass(0)
        return self.server.count(log)

    async def extent(self) -> Extent:
        await self._pass(0)
        return self.server.extent()

    async def trim(self, first: Position) -> None:
        await self._pass(0)
        self.server.trim(first)

    async def first_since(self, at: Now) -> Position:
        await self._pass(0)
        return self.server.first_since(at)

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        await self._pass(0)
        served = self.server.server_of(subject)
        if served is None:
            raise NobodyThere(f"{subject} is served by nobody")
        answered: asyncio.Future[bytes] = self._expect()
        try:
            async with asyncio.timeout(timeout_s):
                if await self.faults.ask(subject):
                    served.bus._answer(served.answerer(subject, question), answered)
                return await answered
        except TimeoutError:
            raise NoAnswer(f"{subject}: no answer within {timeout_s:g} s") from None

    async def roll(
        self, subject: str, question: bytes, *, wait_s: float, expected: int | None = None
    ) -> Sequence[bytes]:
        await self._pass(0)
        asked: list[asyncio.Future[bytes]] = []
        for served in self.server.servers_of(subject):
            asked.append(self._expect())
            if await self.faults.ask(subject):
                served.bus._answer(served.answerer(subject, question), asked[-1])
        if asked and expected is not None and len(asked) >= expected:
            await asyncio.wait(asked, timeout=wait_s)
        elif asked:
            await self._pass(wait_s)
        return [answered.result() for answered in asked if answered.done()]

    async def serve(self, subject: str, answerer: Answerer) -> None:
        await self.serve_each(subject, answers_all_alike(answerer))

    async def serve_each(self, subject: str, answerer: EachAnswerer) -> None:
        self._check()
        self.server.serve(_Served(subject, self, answerer))

    def _answer(self, answering: Awaitable[bytes], answered: asyncio.Future[bytes]) -> None:
        async def answer() -> None:
            answer = await answering
            if not answered.done():
                answered.set_result(answer)

        task = asyncio.get_running_loop().create_task(answer())
        self._answering[task] = None
        task.add_done_callback(self._answer_ended)

    def _answer_ended(self, task: asyncio.Task[None]) -> None:
        self._answering.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._closed is None:
            self._end(f"an answer failed: {error!r}", error)

    async def close(self) -> None:
        if self._closed is None:
            self._end("closed", None)

    def _end(self, why: str, cause: BaseException | None) -> None:
        self._closed = BusClosed(why)
        self._closed.__cause__ = cause
        self.server.unserve(self)
        for task in list(self._answering):
            task.cancel()
        for pending in list(self._pending):
            if not pending.done():
                pending.set_exception(self._closed)

    def _check(self) -> None:
        if self._closed is not None:
            raise BusClosed(str(self._closed)) from self._closed.__cause__

    def _expect(self) -> asyncio.Future[T]:
        """Something this connection waits for: ends with BusClosed when the connection does."""
        self._check()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending[future] = None
        future.add_done_callback(self._forget)
        return future

    def _forget(self, future: asyncio.Future[Any]) -> None:
        self._pending.pop(future, None)
        if not future.cancelled():
            future.exception()

    async def _pass(self, delay_s: float) -> None:
        """Let time pass, but not beyond the end of the connection."""
        passed: asyncio.Future[None] = self._expect()
        asyncio.get_running_loop().call_later(delay_s, _done, passed)
        await passed


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
