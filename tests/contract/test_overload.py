"""A bus that many speak on at the same moment: what it does not take on is said again, later, and comes in once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from random import Random

import pytest

from bus import configuration
from bus.append import append_surely, unknown_s
from bus.jetstream import append_s
from bus.memory import UNTOLD, Fate, Faults, MemoryBus, MemoryServer
from bus.nouns import Now, Position
from bus.port import Fence, Message, OutcomeUnknown, Overloaded, Record
from bus.subjects import Author, Kind
from tests.contract.places import CLUSTER, LEADER, JetStreamPlace, Place, read
from tests.contract.speech import ALL, chain, fence
from tests.simulation.clock import run_virtually

authors = [Author(Kind.AGENT, f"a{number}") for number in range(1, 1001)]
store_s, refuse_s, waiting_max = 0.01, 0.001, 200
"""What one message costs a server that is busy, one that it refuses, and how many may wait for the first."""


class _BusyServer:
    """It stores one message after the other; what comes while many wait is refused, and that takes its time, too."""

    def __init__(self) -> None:
        self.log = MemoryServer(CLUSTER, lambda: Now(0))
        self.busy_until = 0.0
        self.tries: Counter[float] = Counter()
        """How many came, by tenth of a second."""

    async def take(self, messages: Sequence[Message], under: Fence) -> Position:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.tries[round(now, 1)] += 1
        if self.busy_until > now + waiting_max * store_s:
            self.busy_until += refuse_s
            raise Overloaded("too many requests")
        self.busy_until = max(now, self.busy_until) + store_s
        landed: asyncio.Future[Position] = loop.create_future()
        loop.call_at(self.busy_until, self._land, messages, under, landed)
        try:
            async with asyncio.timeout(append_s):
                return await asyncio.shield(landed)
        except TimeoutError:
            raise OutcomeUnknown("no answer") from None

    def _land(self, messages: Sequence[Message], under: Fence, landed: asyncio.Future[Position]) -> None:
        try:
            landed.set_result(self.log.append(messages, under))
        except Exception as error:
            landed.set_exception(error)
            landed.exception()  # perhaps nobody waits any more


class _Busy(MemoryBus):
    """A connection to it."""

    def __init__(self, server: _BusyServer) -> None:
        super().__init__(server.log)
        self.busy = server

    async def append(self, messages: Sequence[Message], fence: Fence | None) -> Position:
        assert fence is not None
        return await self.busy.take(messages, fence)


def test_a_thousand_who_speak_at_once_are_all_heard() -> None:
    """The bus is not busy with refusing: in twice the time that storing takes all is in."""

    async def speak() -> tuple[float, _BusyServer]:
        server, chance = _BusyServer(), Random(1).random
        told = [append_surely(_Busy(server), chain(each, "hello"), fence(each, 0), chance=chance) for each in authors]
        positions = await asyncio.gather(*told)
        assert sorted(positions) == list(range(1, len(authors) + 1))
        return asyncio.get_running_loop().time(), server

    took_s, server = run_virtually(speak())
    assert len(server.log.records()) == len(authors), "each is in the log once"
    assert took_s < 2 * store_s * len(authors) < unknown_s
    assert server.tries.total() < 10 * len(authors)
    assert all(count < len(authors) / 4 for at, count in server.tries.items() if at), "they come back together"


class _Unread(MemoryBus):
    """Where nobody may follow: each reader is work for the server."""

    def follow(self, log: str, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        raise AssertionError(f"{log} is followed from {after}")


class _Untold(Faults):
    """The first append lands, its author is not told."""

    fate = UNTOLD

    async def append(self, messages: Sequence[Message]) -> Fate:
        fate, self.fate = self.fate, Fate()
        return fate


@pytest.mark.parametrize("size", [1, 7], ids=["single", "batch"])
def test_what_is_the_newest_of_its_log_is_found_without_a_reader(size: int) -> None:
    """Nearly always it is: a thousand authors who look at the same moment ask for one message each."""

    async def speak() -> Position:
        bus = _Unread(MemoryServer(CLUSTER, lambda: Now(0)), _Untold())
        return await append_surely(bus, chain(LEADER, *"abcdefg"[:size]), fence(LEADER, 0))

    assert run_virtually(speak()) == size


async def test_what_a_server_does_not_take_on_is_said_again(
    monkeypatch: pytest.MonkeyPatch, nats: JetStreamPlace
) -> None:
    """Ten messages may wait to be stored, five hundred come: some are refused in so many words, all are in once."""
    monkeypatch.setattr(configuration, "buffered_max", 10)
    await nats.server.stop()
    await nats.server.start()
    bus = await nats.connect()
    some = authors[:500]
    told = await asyncio.gather(
        *(bus.append(chain(each, "first"), fence(each, 0)) for each in some), return_exceptions=True
    )
    assert any(isinstance(each, Overloaded) for each in told), "the server takes them all: the test says nothing"
    last = await asyncio.gather(*(append_surely(bus, chain(each, "first"), fence(each, 0)) for each in some))
    assert sorted(last) == list(range(1, len(some) + 1))
    assert len({record.subject for record in await read(bus, ALL, len(some))}) == len(some)


async def test_more_than_a_thousand_read_at_once(nats: Place) -> None:
    """Each component has two readers: five hundred of them are a small datacenter. (nats-server 2.15: 1,000)"""
    bus = await nats.connect()
    await bus.append(chain(LEADER, "word"), fence(LEADER, 0))
    readers = [bus.follow(ALL, after=Position(0)) for _ in range(1100)]
    for reader in readers:
        [record] = await anext(reader)
        assert record.position == 1
    for reader in readers:
        await reader.aclose()
