"""Questions: answered by who serves them, or at once by nobody."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from bus.nouns import Position
from bus.permits import Role
from bus.port import BusClosed, NoAnswer, NobodyThere, rest_s
from bus.subjects import ask, ask_instance, ping, roll
from tests.contract.places import CLUSTER, JetStreamPlace, Place
from tests.contract.speech import AGENT, AGENTS, bare, fence


def summary(place: Place) -> str:
    """Where the place's author is asked."""
    return ask(CLUSTER, place.author, "summary")


def all_of(place: Place) -> str:
    """Where all instances of it are."""
    return roll(CLUSTER, place.author)


async def shout(question: bytes) -> bytes:
    return question.upper()


async def test_a_question_is_answered_by_who_serves_it(asked: Place) -> None:
    """Also from the same connection, with nothing in it, and with a large answer."""
    asker, server = await asked.look(), await asked.connect()
    await server.serve(summary(asked), shout)
    assert await asker.query(summary(asked), b"hello", timeout_s=5) == b"HELLO"
    assert await asker.query(summary(asked), b"", timeout_s=5) == b""
    large = b"a" * 600_000
    assert await asker.query(summary(asked), large, timeout_s=5) == large.upper()


async def test_an_answer_may_be_larger_than_a_message(asked: Place) -> None:
    """The list of ten thousand tasks is one answer."""
    asker, server = await asked.look(), await asked.connect()
    answer = bytes(range(256)) * 40_000

    async def list_all(question: bytes) -> bytes:
        return answer

    await server.serve(summary(asked), list_all)
    assert await asker.query(summary(asked), b"", timeout_s=20) == answer


async def test_a_wildcard_serves_many_subjects(asked: Place) -> None:
    """One answerer for all questions to an author; its pings are still served by nobody."""
    asker, server = await asked.look(), await asked.connect()
    await server.serve(f"ask.{CLUSTER}.{asked.author}.>", shout)
    assert await asker.query(summary(asked), b"up", timeout_s=5) == b"UP"
    assert await asker.query(ask(CLUSTER, asked.author, "tasks"), b"up", timeout_s=5) == b"UP"
    with pytest.raises(NobodyThere):
        await asker.query(ping(CLUSTER, asked.author), b"up", timeout_s=5)


async def test_an_answerer_is_told_which_subject_was_asked(asked: Place) -> None:
    """What a question may be about is in its subject, which the border looks at."""
    asker, server = await asked.look(), await asked.connect()

    async def repeat(subject: str, question: bytes) -> bytes:
        return subject.encode() + question

    await server.serve_each(ask_instance(CLUSTER, asked.author, "*", "page.*.*"), repeat)
    subject = ask_instance(CLUSTER, asked.author, "n1", "page.agent.a1")
    assert await asker.query(subject, b"?", timeout_s=5) == subject.encode() + b"?"


async def test_what_is_no_question_is_not_answered(nats: JetStreamPlace) -> None:
    """A reader may have its messages delivered to where somebody is asked, and outside the stream's account that is one
    question for each message of a log: none of them costs an answer."""
    server, asker = await nats.connect(), await nats.connect()
    answered: list[bytes] = []

    async def note(question: bytes) -> bytes:
        answered.append(question)
        return question

    await server.serve(summary(nats), note)
    agent = nats.issued(Role.AGENT, "a1")
    bus = await nats.join(agent)
    await bus.append([bare(AGENT, b"word")] * 100, fence(AGENT, 0))
    config = {"name": "a1_0", "filter_subject": AGENTS, "ack_policy": "none", "deliver_subject": summary(nats)}
    request = json.dumps({"stream_name": "LOG-DC", "config": config, "action": "create"}).encode()
    made = json.loads(await bus.query(f"log.dc.create.a1_0.{AGENTS}", request, timeout_s=5))
    assert made["push_bound"]
    while json.loads(await nats.api("CONSUMER.INFO.LOG-DC.a1_0"))["delivered"]["stream_seq"] < 100:
        await asyncio.sleep(0.01)  # between two looks at a condition
    assert await asker.query(summary(nats), b"a question", timeout_s=5) == b"a question"
    assert answered == [b"a question"]


async def test_nobody_there_is_known_at_once(asked: Place) -> None:
    """A process that is not running is told from one that is slow, long before the timeout."""
    bus = await asked.look()
    async with asyncio.timeout(30):
        with pytest.raises(NobodyThere, match=re.escape(summary(asked))):
            await bus.query(summary(asked), b"", timeout_s=3600)


async def test_no_answer_within_the_time_given(asked: Place) -> None:
    """Somebody is there and does not answer."""
    asker, server = await asked.look(), await asked.connect()

    async def think(question: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    await server.serve(summary(asked), think)
    with pytest.raises(NoAnswer, match="no answer within"):
        await asker.query(summary(asked), b"", timeout_s=0.05)


async def test_a_slow_answer_does_not_hold_up_the_next(asked: Place) -> None:
    """Questions under one subject are answered side by side."""
    asker, server = await asked.look(), await asked.connect()
    second_came = asyncio.Event()

    async def answer(question: bytes) -> bytes:
        if question == b"first":
            await second_came.wait()
        second_came.set()
        return question

    await server.serve(summary(asked), answer)
    both = [asker.query(summary(asked), question, timeout_s=20) for question in (b"first", b"second")]
    assert await asyncio.gather(*both) == [b"first", b"second"]


async def test_a_closed_connection_serves_nobody(asked: Place) -> None:
    """A dead process is gone at once."""
    asker, server = await asked.look(), await asked.connect()
    await server.serve(summary(asked), shout)
    await server.close()

    async def gone() -> bool:
        try:
            await asker.query(summary(asked), b"", timeout_s=0.2)
        except NobodyThere:
            return True
        except NoAnswer:  # asked before the server noticed
            return False
        raise AssertionError("a closed connection answered")

    async with asyncio.timeout(20):
        while not await gone():
            pass


async def test_an_error_in_an_answer_closes_the_connection_with_it(asked: Place) -> None:
    """A process whose answers fail must end: nobody swallows the error."""
    asker, server = await asked.look(), await asked.connect()

    async def fail(question: bytes) -> bytes:
        raise ZeroDivisionError("a bug")

    await server.serve(summary(asked), fail)
    waiting = asyncio.create_task(anext(server.follow(asked.all, after=Position(0))))
    with pytest.raises((NoAnswer, NobodyThere)):
        await asker.query(summary(asked), b"", timeout_s=0.2)
    with pytest.raises(BusClosed, match="a bug") as closed:
        await waiting
    assert isinstance(closed.value.__cause__, ZeroDivisionError)
    with pytest.raises(BusClosed, match="a bug"):
        await server.last(asked.all)


async def test_the_roll_is_answered_by_everybody(asked: Place) -> None:
    """Leader and standby serve the same subject: each answers once, also with an answer of several pieces."""
    asker, one, other = await asked.look(), await asked.connect(), await asked.connect()
    large = bytes(1_500_000)

    async def answer(question: bytes) -> bytes:
        return question + large

    await one.serve(all_of(asked), shout)
    await other.serve(all_of(asked), answer)
    answers = await asker.roll(all_of(asked), b"who", wait_s=1)
    assert sorted(answers, key=len) == [b"WHO", b"who" + large]


async def test_a_roll_that_nobody_answers_is_over_at_once(asked: Place) -> None:
    """No instance runs: that is known long before the wait is over."""
    bus = await asked.look()
    async with asyncio.timeout(30):
        assert await bus.roll(all_of(asked), b"", wait_s=3600) == []


async def test_the_roll_is_over_when_all_that_are_expected_have_answered(asked: Place) -> None:
    """Also when one more answers than there should be; nobody waits for an hour."""
    asker, one, other = await asked.look(), await asked.connect(), await asked.connect()
    await one.serve(all_of(asked), shout)
    await other.serve(all_of(asked), shout)
    async with asyncio.timeout(30):
        assert await asker.roll(all_of(asked), b"who", wait_s=3600, expected=1) == [b"WHO", b"WHO"]
        assert await asker.roll(all_of(asked), b"who", wait_s=3600, expected=2) == [b"WHO", b"WHO"]


async def test_the_roll_gives_a_silent_one_that_is_expected_its_time(asked: Place) -> None:
    """It answers late, behind the rest, and is in the answer."""
    asker, one, other = await asked.look(), await asked.connect(), await asked.connect()
    answered = asyncio.Event()

    async def at_once(question: bytes) -> bytes:
        answered.set()
        return b"first"

    async def late(question: bytes) -> bytes:
        await answered.wait()
        await asyncio.sleep(4 * rest_s)
        return b"last"

    await one.serve(all_of(asked), at_once)
    await other.serve(all_of(asked), late)
    assert await asker.roll(all_of(asked), b"", wait_s=30, expected=2) == [b"first", b"last"]


async def test_the_roll_does_not_wait_for_the_slow(asked: Place) -> None:
    """What came within the time is the answer; a stopped instance is not in it."""
    asker, one, other = await asked.look(), await asked.connect(), await asked.connect()

    async def think(question: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    await one.serve(all_of(asked), think)
    await other.serve(all_of(asked), shout)
    assert await asker.roll(all_of(asked), b"who", wait_s=0.2) == [b"WHO"]
