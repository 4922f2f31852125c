"""How a request is said, and how its answer is told from everything else."""

import pytest

from bus.events import RequestRefused
from bus.memory import LOST, UNTOLD, Faults, MemoryBus
from bus.nouns import Position, Refusal
from bus.services import RestartRequested, SchedulerLocated
from bus.subjects import Author, Kind, inbox
from cli import request as requests
from cli.output import Failure, Output
from cli.request import Inbox, conversation
from cli.session import MARATHON, THE_MASTER, Session
from tests.cli.mouth import Mouth, known, playing

ALICE = Author(Kind.CLIENT, "u-alice")


def session(mouth, faults=None):
    return Session(MemoryBus(mouth.server, faults), ALICE, "alice", Output(as_json=True))


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
    assert failed.value.next == "busbar events tail --from 2 -f"


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
