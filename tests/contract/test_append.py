"""Appending: whole or not at all, in one order, under a fence."""

from __future__ import annotations

import asyncio

import pytest

from bus.nouns import Position
from bus.permits import body_max
from bus.port import Bus, Fence, Fenced, Message, NobodyThere, StreamFull, batch_bytes_max, message_bytes_max
from bus.subjects import Kind, matches
from tests.contract.places import LEADER, JetStreamPlace, Place, read
from tests.contract.speech import AGENT, AGENTS, ALL, CLIENT, asks, bare, chain, fence, says


async def test_messages_lie_in_the_order_in_which_they_were_acknowledged(place: Place) -> None:
    """Positions count from 1, and each append lies behind the one acknowledged before it."""
    bus = await place.connect()
    sent = chain(place.author, *(f"word {i}" for i in range(20)))
    for index, message in enumerate(sent):
        assert await bus.append([message], fence(place.author, index)) == index + 1
    found = await read(bus, place.all, 20)
    assert [record.position for record in found] == list(range(1, 21))
    assert [record.body for record in found] == [message.body for message in sent]


async def test_a_batch_of_a_thousand_lies_whole_and_contiguous(place: Place) -> None:
    """The position given back is the last one's, the others lie just before it."""
    bus = await place.connect()
    sent = chain(place.author, *(f"word {i}" for i in range(1000)))
    assert await bus.append(sent, fence(place.author, 0)) == 1000
    found = await read(bus, place.log, 1000)
    assert [record.position for record in found] == list(range(1, 1001))
    assert [(record.subject, record.body) for record in found] == [(m.subject, m.body) for m in sent]


async def test_a_batch_of_eight_mebibytes_is_taken(place: Place) -> None:
    """The bytes allowed in one append really fit through the wire."""
    bus = await place.connect()
    size = batch_bytes_max // 16
    sent = [bare(place.author, bytes([i]) * size) for i in range(16)]
    assert await bus.append(sent, fence(place.author, 0)) == 16
    assert [record.body for record in await read(bus, place.all, 16)] == [message.body for message in sent]


async def _write(bus: Bus, author_log: str, messages: list[Message], size: int) -> None:
    last = 0
    for start in range(0, len(messages), size):
        last = await bus.append(messages[start : start + size], Fence(author_log, last))  # type: ignore[arg-type]


async def test_batches_of_two_writers_never_mix(place: Place) -> None:
    """Each batch is contiguous, whoever else appends at the same time."""
    one, other = await place.connect(), await place.connect(AGENT)
    mine, theirs = ([says(author, str(i)) for i in range(500)] for author in (place.author, AGENT))
    await asyncio.gather(_write(one, place.log, mine, 25), _write(other, AGENTS, theirs, 25))
    found = await read(await place.look(), ALL, 1000)
    for start in range(0, 1000, 25):
        assert len({record.subject for record in found[start : start + 25]}) == 1
    assert [record.body for record in found if matches(place.log, record.subject)] == [message.body for message in mine]


async def test_an_append_behind_a_moved_fence_is_refused_whole(place: Place) -> None:
    """Nothing of a refused batch is ever stored, and the log goes on with the right fence."""
    bus = await place.connect()
    first, second, *rest = chain(place.author, "a", "b", "c", "d", "e")
    await bus.append([first, second], fence(place.author, 0))
    for last in (0, 1, 3, 99):
        with pytest.raises(Fenced):
            await bus.append(rest, fence(place.author, last))
        with pytest.raises(Fenced):
            await bus.append(rest[:1], fence(place.author, last))
    assert await bus.append(rest, fence(place.author, 2)) == 5
    assert len(await read(bus, place.all, 5)) == 5


async def test_the_fence_of_an_empty_log_is_zero(place: Place) -> None:
    """Of two who begin the same log, one is refused; a longer stream makes no difference."""
    one, other, agent = await place.connect(), await place.connect(), await place.connect(AGENT)
    await agent.append(chain(AGENT, "a", "b"), fence(AGENT, 0))
    assert await one.append(chain(place.author, "first"), fence(place.author, 0)) == 3
    with pytest.raises(Fenced):
        await other.append(chain(place.author, "also first"), fence(place.author, 0))


async def test_a_fence_sees_its_own_log_only(place: Place) -> None:
    """Other authors move the stream, not my fence; any subject of my own log moves it."""
    bus = await place.connect()
    assert await bus.append([says(place.author, "a", to="a1")], fence(place.author, 0)) == 1
    assert await (await place.connect(AGENT)).append([says(AGENT, "b", to="main")], fence(AGENT, 0)) == 2
    await (await place.connect(CLIENT)).append([asks("c", "r1")], None)
    assert await bus.append([says(place.author, "d", to="marathon")], fence(place.author, 1)) == 4
    with pytest.raises(Fenced):
        await bus.append([says(place.author, "e", to="a1")], fence(place.author, 1))


async def test_one_of_two_who_append_under_the_same_fence_is_refused(place: Place) -> None:
    """At the same moment, from two connections, ten times."""
    one, other = await place.connect(), await place.connect()
    last = 0
    for _ in range(10):
        both = [bus.append([says(place.author, str(bus))], fence(place.author, last)) for bus in (one, other)]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(result) for result in results if not isinstance(result, int)) == [Fenced]
        last = next(result for result in results if isinstance(result, int))


async def test_the_same_request_is_stored_once(place: Place) -> None:
    """A client that repeats its request gets the position of the first; another request is another event."""
    one, other = await place.connect(CLIENT), await place.connect(CLIENT)
    assert await one.append([asks("create", "r1")], None) == 1
    assert await other.append([asks("create", "r1")], None) == 1
    assert await one.append([asks("create", "r2")], None) == 2
    assert len(await read(await place.look(), ALL, 2)) == 2


@pytest.mark.parametrize(
    ("messages", "under", "why"),
    [
        ([], fence(LEADER, 0), "0 messages"),
        ([says(LEADER, "a")] * 1001, fence(LEADER, 0), "1001 messages"),
        ([says(LEADER, "a")], None, "request id"),
        ([asks("a", "1"), asks("b", "2")], None, "exactly one message"),
        ([says(AGENT, "a")], fence(LEADER, 0), "not under the fenced log"),
        ([bare(LEADER, bytes(message_bytes_max + 1))], fence(LEADER, 0), "at most "),
        ([bare(LEADER, bytes(600_000))] * 14, fence(LEADER, 0), "at most 8388608"),
    ],
    ids=["none", "too many", "no request", "two unfenced", "another log", "too large", "too much"],
)
async def test_an_append_that_breaks_the_limits_is_an_error_of_its_author(
    place: Place, messages: list[Message], under: Fence | None, why: str
) -> None:
    """It is refused with the numbers before anything is sent."""
    bus = await place.connect()
    with pytest.raises(ValueError, match=why):
        await bus.append(messages, under)
    assert await bus.last(place.all) is None


async def test_what_is_too_large_for_ones_account_is_refused_before_it_is_sent(real: JetStreamPlace) -> None:
    """The server would throw out who sends it; the largest that is allowed is taken, said and asked."""
    bus, asker = await real.connect(), await real.look()
    largest = message_bytes_max if real.author.kind is Kind.MASTER else body_max
    with pytest.raises(ValueError, match=f"at most {largest} are allowed"):
        await bus.append([bare(real.author, bytes(largest + 1))], fence(real.author, 0))
    with pytest.raises(ValueError, match=f"at most {largest} are allowed"):
        await asker.query("ask.dc.master.main.summary", bytes(largest + 1), timeout_s=5)
    with pytest.raises(NobodyThere):
        await asker.query("ask.dc.master.main.summary", bytes(largest), timeout_s=5)
    assert await bus.append([bare(real.author, bytes(largest))], fence(real.author, 0)) == 1
    assert (bus.statistics().links, asker.statistics().links) == (1, 1)


async def test_a_full_stream_takes_nothing_more_and_loses_nothing(place: Place) -> None:
    """Beyond its bound the stream refuses; what it holds stays."""
    bus = await place.connect()
    body = bytes(1000)
    await bus.append([bare(place.author, body)], fence(place.author, 0))
    await place.limit(5000)
    message, last = bare(place.author, body), Position(1)
    with pytest.raises(StreamFull):  # noqa: PT012  # which of them is refused first is the server's arithmetic
        while last < 20:
            last = await bus.append([message], fence(place.author, last))
    with pytest.raises(StreamFull):
        await bus.append([message] * 5, fence(place.author, last))
    assert len(await read(bus, place.all, last)) == last
