"""A process's connection to the bus in a simulation, exposed to the weather: at everything it waits for the process may
be slow or die, its appends are lost, late or doubled, and its cables are cut, both ways or one way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from contextvars import Context, copy_context
from typing import NamedTuple, Protocol

from bus.gathering import gathered
from bus.memory import Faults, MemoryBus, MemoryServer
from bus.nouns import Now, Position
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
    OutcomeUnknown,
    Record,
    StreamDiverged,
    StreamFull,
    answers_all_alike,
    check_append,
)
from tests.simulation.clock import virtual_now
from tests.simulation.server import FragileServer, Restarted

answer_s = 5.0
"""How long an answer of the bus is awaited. (`bus.jetstream`)"""
_WORLD = copy_context()
"""Where nobody's turns are taken away: what is on its way arrives, whatever becomes of its sender."""


class Crash(Exception):
    """The process died here."""


class Fate(NamedTuple):
    """What becomes of one append: when each copy of the request lands, and whether the answers come back."""

    lands_after_s: tuple[float, ...] = (0.0,)
    told: bool = True
    lie: bool = False
    """Acknowledged, and never stored: a planted bug."""


TOLD = Fate()
SILENT = Fate((), told=False)


class Weather(Protocol):
    """What befalls one process at everything it waits for."""

    who: str
    mute: bool
    """Nothing it sends arrives."""
    deaf: bool
    """Nothing reaches it."""
    die: Callable[[], None]
    """Set by the process that runs: what a kill does to it."""

    async def at(self, where: str) -> None:
        """Wait as long as this takes today; raises Crash where the process dies."""

    def fate(self) -> Fate:
        """What becomes of one append."""

    def reaches_bus(self) -> bool:
        """Whether a question to the bus itself is answered."""

    async def hears_bus(self) -> None:
        """Wait until the stream reaches it."""

    async def meets_again(self) -> None:
        """Wait until the server that was started again is found."""

    def now(self) -> Now:
        """What its clock says."""

    def context(self) -> Context:
        """Where the next process runs."""


class Calm:
    """Nothing ever happens."""

    who = ""
    mute = deaf = False

    def __init__(self) -> None:
        self.die: Callable[[], None] = lambda: None

    async def at(self, where: str) -> None:
        """Go on at once."""

    def fate(self) -> Fate:
        return TOLD

    def reaches_bus(self) -> bool:
        return True

    async def hears_bus(self) -> None:
        """Go on at once."""

    async def meets_again(self) -> None:
        """Go on at once."""

    def now(self) -> Now:
        return virtual_now()

    def context(self) -> Context:
        return copy_context()


class _Reached(Faults):
    """The cables of one connection, as far as questions of others are concerned."""

    def __init__(self, server: MemoryServer, weather: Weather) -> None:
        self.server, self.weather = server, weather

    async def ask(self, subject: str) -> bool:
        served = self.server.server_of(subject)
        there = served.bus.faults if served else None
        return not self.weather.mute and not (isinstance(there, _Reached) and there.weather.deaf)


def who_serves(bus: MemoryBus) -> str:
    """The process whose connection this is."""
    assert isinstance(bus.faults, _Reached)
    return bus.faults.weather.who


class WeatheredBus:
    """A connection that is exposed to the weather."""

    def __init__(self, server: FragileServer, weather: Weather) -> None:
        self.bus = MemoryBus(server, _Reached(server, weather))
        self.server, self.weather, self.cluster = server, weather, server.cluster
        self._context = copy_context()
        self._awaited: dict[asyncio.Future[Position], None] = {}
        self._killed = False

    def plug(self) -> None:
        """The process that runs here now is the one that uses this connection."""
        self._context = copy_context()
        self.weather.die = self.kill

    # ---- append ---------------------------------------------------------------------------------------------------

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        check_append(messages, fence)
        await self.weather.at("before append")
        if self._killed:
            raise BusClosed("killed")
        fate = SILENT if self.weather.mute else self.weather.fate()
        if fate.lie:
            return Position((fence.last if fence else 0) + len(messages))
        position = await self._answer(messages, fence, fate)
        await self.weather.at("after append")
        return position

    async def _answer(self, messages: Sequence[Message], fence: Fence | None, fate: Fate) -> Position:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Position] = loop.create_future()
        self._awaited[answer] = None
        for after_s in fate.lands_after_s:
            loop.call_later(after_s, self._land, messages, fence, answer if fate.told else None, context=_WORLD)
        try:
            async with asyncio.timeout(answer_s):
                return await answer
        except TimeoutError:
            raise OutcomeUnknown("no answer to the append") from None
        finally:
            del self._awaited[answer]

    def _land(self, messages: Sequence[Message], fence: Fence | None, answer: asyncio.Future[Position] | None) -> None:
        """What the server does with the request, and with the answer, if its author is still to be told."""
        told = answer is not None and not self.weather.deaf
        try:
            position = self.server.append(messages, fence)
        except (Fenced, StreamFull) as error:
            if answer is not None and told and not answer.done():
                answer.set_exception(error)
        else:
            if answer is not None and told and not answer.done():
                answer.set_result(position)

    # ---- read -----------------------------------------------------------------------------------------------------

    def follow(
        self, log: str, *, after: Position, gather: Gather | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        groups = self._follow(log, after)
        return groups if gather is None else gathered(groups, gather)

    async def _follow(self, log: str, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        await self.weather.at("before follow")
        taken: Record | None = None
        while True:
            await self._connected()
            if taken is not None and self.server.at(taken.position) != taken:
                raise StreamDiverged(f"position {taken.position} is another one now")
            starts = self.server.starts
            with suppress(Restarted):
                async with aclosing(self.bus.follow(log, after=after)) as groups:
                    async for records in groups:
                        await self.weather.hears_bus()
                        await self.weather.at("before group")
                        yield records
                        taken, after = records[-1], records[-1].position
                        await self.weather.at("after group")
                        if starts != self.server.starts:
                            break
            await self.weather.meets_again()

    async def _connected(self) -> None:
        while not self.weather.reaches_bus():
            await asyncio.sleep(0.5)  # virtual

    async def _ask_bus(self, where: str) -> None:
        await self.weather.at(where)
        if not self.weather.reaches_bus():
            await asyncio.sleep(answer_s)
            raise NoAnswer("the bus does not answer")

    async def last(self, log: str) -> Record | None:
        await self._ask_bus("before last")
        newest = await self.bus.last(log)
        await self.weather.at("after last")
        return newest

    async def first_since(self, at: Now) -> Position:
        await self._ask_bus("before first since")
        return await self.bus.first_since(at)

    async def extent(self) -> Extent:
        await self._ask_bus("before extent")
        return await self.bus.extent()

    async def count(self, log: str) -> int:
        await self._ask_bus("before count")
        return await self.bus.count(log)

    async def trim(self, first: Position) -> None:
        await self.bus.trim(first)

    # ---- questions ------------------------------------------------------------------------------------------------

    async def query(self, subject: str, question: bytes, *, timeout_s: float) -> bytes:
        await self.weather.at("before query")
        if self.weather.deaf:
            await asyncio.sleep(timeout_s)
            raise NoAnswer(f"{subject}: no answer within {timeout_s:g} s")
        return await self.bus.query(subject, question, timeout_s=timeout_s)

    async def roll(
        self, subject: str, question: bytes, *, wait_s: float, expected: int | None = None
    ) -> Sequence[bytes]:
        await self.weather.at("before roll")
        return await self.bus.roll(subject, question, wait_s=wait_s, expected=expected)

    async def serve(self, subject: str, answerer: Answerer) -> None:
        await self.serve_each(subject, answers_all_alike(answerer))

    async def serve_each(self, subject: str, answerer: EachAnswerer) -> None:
        await self.weather.at("before serve")
        await self.bus.serve_each(subject, self._here(answerer))

    def _here(self, answerer: EachAnswerer) -> EachAnswerer:
        """Answers in this process, where they wait while it is stopped."""

        async def answered(asked: str, question: bytes) -> bytes:
            answering = answerer(asked, question)
            task = asyncio.get_running_loop().create_task(answering, context=self._context.copy())
            answer = await task
            if self.weather.mute:
                await asyncio.Event().wait()  # the answer is lost, and the one who asked gives up
            return answer

        return answered

    # ---- the end --------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """The process is no more: nothing it waits for comes, nothing it says is heard."""
        self._killed = True
        self.bus._end("killed", None)
        for answer in list(self._awaited):
            if not answer.done():
                answer.set_exception(BusClosed("killed"))

    async def close(self) -> None:
        self.kill()
