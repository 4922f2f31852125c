"""Questions: answered by who serves them, or at once by nobody."""

from __future__ import annotations

import asyncio

import pytest

from bus.nouns import Position
from bus.port import BusClosed, NoAnswer, NobodyThere
from bus.subjects import Author, Kind, ask, ping, roll
from tests.contract.places import CLUSTER, Place
from tests.contract.speech import AGENT, ALL, LEADER

SUMMARY = ask(CLUSTER, LEADER, "summary")
ROLL = roll(CLUSTER, LEADER)


async def shout(question: bytes) -> bytes:
    return question.upper()


async def test_a_question_is_answered_by_who_serves_it(place: Place) -> None:
    """Also from the same connection, with nothing in it, and with a large answer."""
    asker, server = await place.connect(), await place.connect()
    await server.serve(SUMMARY, shout)
    assert await asker.query(SUMMARY, b"hello", timeout_s=5) == b"HELLO"
    assert await server.query(SUMMARY, b"hello", timeout_s=5) == b"HELLO"
    assert await asker.query(SUMMARY, b"", timeout_s=5) == b""
    large = b"a" * 900_000
    assert await asker.query(SUMMARY, large, timeout_s=5) == large.upper()


async def test_an_answer_may_be_larger_than_a_message(place: Place) -> None:
    """The list of ten thousand tasks is one answer."""
    asker, server = await place.connect(), await place.connect()
    answer = bytes(range(256)) * 40_000

    async def list_all(question: bytes) -> bytes:
        return answer

    await server.serve(SUMMARY, list_all)
    assert await asker.query(SUMMARY, b"", timeout_s=20) == answer


async def test_a_wildcard_serves_many_subjects(place: Place) -> None:
    """One answerer for all pings of a kind; others are still served by nobody."""
    bus = await place.connect()
    await bus.serve(ping(CLUSTER, Author(Kind.AGENT, "*")), shout)
    assert await bus.query(ping(CLUSTER, AGENT), b"up", timeout_s=5) == b"UP"
    with pytest.raises(NobodyThere):
        await bus.query(ping(CLUSTER, LEADER), b"up", timeout_s=5)


async def test_nobody_there_is_known_at_once(place: Place) -> None:
    """A process that is not running is told from one that is slow, long before the timeout."""
    bus = await place.connect()
    async with asyncio.timeout(30):
        with pytest.raises(NobodyThere, match=r"ask\.dc\.master\.main\.summary"):
            await bus.query(SUMMARY, b"", timeout_s=3600)


async def test_no_answer_within_the_time_given(place: Place) -> None:
    """Somebody is there and does not answer."""
    asker, server = await place.connect(), await place.connect()

    async def think(question: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    await server.serve(SUMMARY, think)
    with pytest.raises(NoAnswer, match="no answer within"):
        await asker.query(SUMMARY, b"", timeout_s=0.05)


async def test_a_slow_answer_does_not_hold_up_the_next(place: Place) -> None:
    """Questions under one subject are answered side by side."""
    asker, server = await place.connect(), await place.connect()
    second_came = asyncio.Event()

    async def answer(question: bytes) -> bytes:
        if question == b"first":
            await second_came.wait()
        second_came.set()
        return question

    await server.serve(SUMMARY, answer)
    both = [asker.query(SUMMARY, question, timeout_s=20) for question in (b"first", b"second")]
    assert await asyncio.gather(*both) == [b"first", b"second"]


async def test_a_closed_connection_serves_nobody(place: Place) -> None:
    """A dead process is gone at once."""
    asker, server = await place.connect(), await place.connect()
    await server.serve(SUMMARY, shout)
    await server.close()

    async def gone() -> bool:
        try:
            await asker.query(SUMMARY, b"", timeout_s=0.2)
        except NobodyThere:
            return True
        except NoAnswer:  # asked before the server noticed
            return False
        raise AssertionError("a closed connection answered")

    async with asyncio.timeout(20):
        while not await gone():
            pass


async def test_an_error_in_an_answer_closes_the_connection_with_it(place: Place) -> None:
    """A process whose answers fail must end: nobody swallows the error."""
    asker, server = await place.connect(), await place.connect()

    async def fail(question: bytes) -> bytes:
        raise ZeroDivisionError("a bug")

    await server.serve(SUMMARY, fail)
    waiting = asyncio.create_task(anext(server.follow(ALL, after=Position(0))))
    with pytest.raises((NoAnswer, NobodyThere)):
        await asker.query(SUMMARY, b"", timeout_s=0.2)
    with pytest.raises(BusClosed, match="a bug") as closed:
        await waiting
    assert isinstance(closed.value.__cause__, ZeroDivisionError)
    with pytest.raises(BusClosed, match="a bug"):
        await server.last(ALL)


async def test_the_roll_is_answered_by_everybody(place: Place) -> None:
    """Leader and standby serve the same subject: each answers once, also with an answer of several pieces."""
    asker, one, other = await place.connect(), await place.connect(), await place.connect()
    large = bytes(1_500_000)

    async def answer(question: bytes) -> bytes:
        return question + large

    await one.serve(ROLL, shout)
    await other.serve(ROLL, answer)
    answers = await asker.roll(ROLL, b"who", wait_s=1)
    assert sorted(answers, key=len) == [b"WHO", b"who" + large]


async def test_a_roll_that_nobody_answers_is_over_at_once(place: Place) -> None:
    """No instance runs: that is known long before the wait is over."""
    bus = await place.connect()
    async with asyncio.timeout(30):
        assert await bus.roll(ROLL, b"", wait_s=3600) == []


async def test_the_roll_does_not_wait_for_the_slow(place: Place) -> None:
    """What came within the time is the answer; a stopped instance is not in it."""
    asker, one, other = await place.connect(), await place.connect(), await place.connect()

    async def think(question: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    await one.serve(ROLL, think)
    await other.serve(ROLL, shout)
    assert await asker.roll(ROLL, b"who", wait_s=0.2) == [b"WHO"]
