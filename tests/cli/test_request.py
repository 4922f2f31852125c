"""How a request is said, and how its answer is told from everything else."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from bus.events import RequestRefused
from bus.memory import LOST, UNTOLD, Faults, MemoryBus
from bus.nouns import Position, Refusal, RequestId
from bus.port import NoQuorum, OutcomeUnknown
from bus.queries import DIVERGED, STANDBY, Instance, answer_ok
from bus.services import RestartRequested, SchedulerLocated
from bus.subjects import Author, Kind, inbox, roll
from cli import request as requests
from cli.output import Failure, Output
from cli.request import Inbox, conversation
from cli.session import MARATHON, THE_MASTER, Session
from tests.cli.mouth import Mouth, known, playing

ALICE = Author(Kind.CLIENT, "u-alice")


def session(mouth, faults=None, request=None):
    return Session(MemoryBus(mouth.server, faults), ALICE, "alice", Output(as_json=True), request)


def fact():
    return RestartRequested(app="/web")


def refusing(event):
    if not isinstance(event.fact, SchedulerLocated):
        yield RequestRefused(reason=Refusal.NOT_FOUND, message="no")


class Unlucky(Faults):
    """Each append suffers the next fate, then none."""

    def __init__(self, *fates):
        self.fates = list(fates)

    async def append(self, messages):
        return self.fates.pop(0) if self.fates else await super().append(messages)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("fates", [(LOST,), (UNTOLD,), (UNTOLD, LOST, UNTOLD)])
async def test_a_request_whose_outcome_is_unknown_is_said_again_and_stored_once(fates, monkeypatch):
    """The same request id; the stream keeps it once."""
    monkeypatch.setattr(requests, "again_s", 0)
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        playing(mouth, MARATHON, {}, refusing),
        conversation(session(mouth, Unlucky(*fates)), MARATHON) as talk,
    ):
        with pytest.raises(Failure, match="not_found: no"):
            await talk.ask(fact())
    assert [event.type for event in mouth.said()] == ["scheduler.located", "restart.requested"]


@pytest.mark.timeout(20)
async def test_two_commands_of_one_person_do_not_take_each_others_answers():
    """Answers are matched on the request, news on the trace."""
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        conversation(session(mouth), MARATHON) as mine,
        conversation(session(mouth), MARATHON) as other,
    ):
        mouth.say(MARATHON, RequestRefused(reason=Refusal.INVALID, message="x"), "u-alice", trace=other.trace)
        mouth.say(MARATHON, RequestRefused(reason=Refusal.INVALID, message="y"), "u-alice", trace=mine.trace)
        assert (await mine.news(1)).fact.message == "y"
        assert (await other.news(1)).fact.message == "x"
        assert await mine.news(0) is None


@pytest.mark.timeout(20)
async def test_an_unanswered_request_says_where_it_stands(monkeypatch):
    """The wait is bounded; the request is in the log and may still be done."""
    monkeypatch.setattr(requests, "answer_s", 0.1)
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        conversation(session(mouth), MARATHON) as talk,
    ):
        with pytest.raises(Failure) as failed:
            await talk.ask(fact())
    assert failed.value.message == "marathon did not answer within 0.1 s; the request stands as event 2"
    [request] = [event.request for event in mouth.said() if event.type == "restart.requested"]
    assert failed.value.next == f"ask again with --request {request}: it is done once; busbar events show 2"


class Away(Faults):
    """After the first append the bus says so and so, always."""

    def __init__(self, *errors):
        self.errors = [None, *errors]

    async def append(self, messages):
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error
        return await super().append(messages)


@pytest.mark.timeout(20)
async def test_a_request_that_nobody_acknowledged_names_the_id_to_ask_again_with(monkeypatch):
    """It may land later; asked for again under its id it is done once."""
    monkeypatch.setattr(requests, "answer_s", 0.1)
    monkeypatch.setattr(requests, "again_s", 0.01)
    mouth = Mouth()
    unknown = (NoQuorum("no majority"), OutcomeUnknown("silence"), NoQuorum("no majority"))
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        conversation(session(mouth, Away(*unknown), RequestId("r-1")), MARATHON) as talk,
    ):
        with pytest.raises(Failure, match="outcome unknown: silence") as failed:
            await talk.ask(fact())
    assert failed.value.next == "ask again with --request r-1: it is done once"


@pytest.mark.timeout(20)
async def test_a_request_that_nobody_took_is_refused_for_want_of_a_quorum(monkeypatch):
    """No server stored it: there is nothing to ask again for."""
    monkeypatch.setattr(requests, "answer_s", 0.1)
    monkeypatch.setattr(requests, "again_s", 0.01)
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        conversation(session(mouth, Away(NoQuorum("no majority"))), MARATHON) as talk,
    ):
        with pytest.raises(NoQuorum):
            await talk.ask(fact())


@pytest.mark.timeout(20)
async def test_asked_again_under_its_id_a_request_has_the_answer_it_had():
    """It is stored once, and its answer is found where it is."""
    mouth = Mouth()
    async with (
        playing(mouth, THE_MASTER, {"frameworks": [known("marathon")]}),
        playing(mouth, MARATHON, {}, refusing),
    ):
        for _ in range(2):
            async with conversation(session(mouth, request=RequestId("r-1")), MARATHON) as talk:
                with pytest.raises(Failure, match="not_found: no"):
                    await talk.ask(fact())
    assert [event.type for event in mouth.said()].count("restart.requested") == 1


async def test_an_id_to_ask_again_with_has_a_form():
    """It travels in a header; what cannot be one is a mistake of typing."""
    result = await Mouth()("app", "restart", "web", "--request", "two words")
    assert result.exit_code == 2
    assert "--request 'two words': expected the id that a command named" in result.stderr


@pytest.mark.timeout(20)
async def test_a_question_waits_for_who_is_just_being_elected():
    """The leader is gone and a standby is there: the command is answered by the next leader, not refused."""
    mouth = Mouth()
    async with standing_by(mouth, MARATHON):
        asking = asyncio.ensure_future(session(mouth).ask(MARATHON, "apps", list))
        await asyncio.sleep(0)
        async with playing(mouth, MARATHON, {"apps": []}):
            assert await asking == []


@pytest.mark.timeout(20)
async def test_nobody_waits_for_an_instance_that_may_not_lead():
    """One whose store and stream disagree only answers questions."""
    mouth = Mouth()
    async with standing_by(mouth, MARATHON, DIVERGED):
        with pytest.raises(Failure, match="marathon is not running"):
            await session(mouth).ask(MARATHON, "apps", list)


@asynccontextmanager
async def standing_by(mouth, author, standing=STANDBY):
    bus = MemoryBus(mouth.server)
    row = Instance(by=str(author), node="n2", instance="i", standing=standing, epoch=1, n=1, position=Position(1))

    async def answer(_question):
        return answer_ok(row)

    await bus.serve(roll("dc", author), answer)
    yield
    await bus.close()


@pytest.mark.timeout(20)
async def test_garbage_in_the_inbox_is_no_answer():
    """It is passed over; the event behind it is read."""
    mouth = Mouth()
    mouth.server.inject("dc.master.main.task.updated.u-alice", b"garbage")
    mouth.say(MARATHON, RequestRefused(reason=Refusal.INVALID, message="real"), "u-alice")
    heard = Inbox(MemoryBus(mouth.server).follow(inbox("dc", "u-alice"), after=Position(0)))
    assert (await heard.next(1)).fact.message == "real"
    assert await heard.next(0.05) is None
    await heard.close()
