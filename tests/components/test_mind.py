"""What a component folds of its own log when others have written under it, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import msgspec
import pytest

from bus import codec
from bus.access import IdentityRenewed
from bus.events import Event, Fact, LeaderElected, LogKept, Term
from bus.nouns import NOBODY, Glimpse, Now, Position, RequestId
from bus.port import Record
from bus.subjects import Author, Kind
from bus.vouching import AlarmRaised
from components.component import (
    TERMS,
    Component,
    Heard,
    Input,
    Say,
    Seen,
    Sight,
    State,
    UnknownSight,
    Wake,
    answer,
    input_of,
    settings_of,
    sight,
)
from components.mind import Decided, LogUnreadable, Mind

ME = Author(Kind.FRAMEWORK, "me")
AT = Now(1_800_000_000_000_000)


def nothing(state: State, told: Input, now: Now) -> Iterator[Say]:
    yield from ()


def component() -> Component[State]:
    return Component(
        author=ME,
        term=LeaderElected,
        start=State,
        fold=lambda state, event: None,
        decide=nothing,
        wake_at=lambda state: None,
        check=lambda state: None,
    )


class Log:
    """A log as the stream keeps it, with whatever anybody put there."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.n, self.prev = 0, b""

    def say(self) -> Event:
        """The next term."""
        term = LeaderElected(epoch=self.n + 1, node="n", instance="i")
        event = Event(by=ME, to=NOBODY, fact=term, at=AT, n=self.n + 1, epoch=self.n + 1, prev=self.prev)
        self.n, self.prev = event.n, codec.link(self.put(event))
        return event

    def put(self, event: Event) -> bytes:
        """Any event of mine."""
        return self.put_bytes(codec.subject("dc", event), codec.encode(event))

    def put_bytes(self, subject: str, body: bytes) -> bytes:
        self.records.append(Record(Position(len(self.records) + 1), subject, body))
        return body

    def folded(self) -> State:
        """What a process that starts now remembers."""
        mind = Mind(component(), "dc", lambda: AT)
        for record in self.records:
            mind.remember(record)
        return mind.state


def test_garbage_between_my_events_is_passed_over() -> None:
    """Bytes that are nothing, a replay, a number that is too high, a type nobody knows: none of them is mine."""
    log = Log()
    first, second = log.say(), log.say()
    subject = codec.subject("dc", first)
    log.put_bytes(subject, b"garbage")
    log.put(first)
    for n, prev in ((500, b""), (500, b"x"), (501, b"x"), (3, b"x"), (2, second.prev), (0, b""), (-7, b"")):
        log.put(msgspec.structs.replace(second, n=n, prev=prev))
    log.put_bytes(subject, codec.encode(second).replace(b"\xa1v\x01", b"\xa1v\x63"))
    log.put_bytes(subject.replace("elected", "crowned"), codec.encode(second).replace(b".elected", b".crowned"))
    log.say()
    state = log.folded()
    assert (state.n, state.epoch) == (3, 3)


def test_two_far_beyond_that_extend_each_other_are_a_hole_or_a_thiefs() -> None:
    """The mind cannot tell; that an event of its own follows tells that there is no hole."""
    log = Log()
    for _ in range(4):
        log.say()
    missing = log.records.pop(1)
    mind = Mind(component(), "dc", lambda: AT)
    for record, torn in zip(log.records, (None, None, 4), strict=True):
        mind.remember(record)
        assert mind.torn == torn
    assert mind.state.n == 1
    mind.remember(missing)
    assert (mind.state.n, mind.torn) == (2, None)


def test_my_next_event_in_words_i_do_not_know_stops_me() -> None:
    """A log of a newer release: it extends the chain, so it is mine, and what it says must not be passed over."""
    log = Log()
    log.say()
    body = codec.encode(log.say())
    log.records[-1] = log.records[-1]._replace(body=body.replace(b"\xa1v\x01", b"\xa1v\x63"))
    with pytest.raises(LogUnreadable, match="newer release"):
        log.folded()


@sight("mind.tested")
class Noticed(Sight, frozen=True):
    """Seen by nobody."""

    name: str
    times: int = 1


def saying(state: State, told: Input, now: Now) -> Iterator[Say]:
    """Says two facts to everything that is not of a term."""
    for n in (1, 2):
        yield Say(AlarmRaised(alarm=f"{type(told).__name__}-{n}", message=""))


def said_to(told: Input) -> list[Event]:
    """The decision on one input, as it is in the log."""
    mind = Mind(dataclasses.replace(component(), decide=saying), "dc", lambda: AT)
    decided = mind.decide(told)
    assert decided is not None
    return [codec.decode(message.subject, message.body, 0) for message in decided.messages]


@pytest.mark.parametrize("told", [Seen(Noticed(name="web.1", times=3)), Seen(Noticed(name="x")), Wake()])
def test_the_log_says_what_no_event_led_to(told: Input) -> None:
    """A decision on a sight or on time carries it on its first event, and it is read as it was."""
    first, second = said_to(told)
    assert first.seen is not None
    assert input_of(first.seen) == told
    assert second.seen is None
    assert (first.cause, first.heard) == (None, 0)


def test_the_log_says_which_event_led_to_a_decision() -> None:
    """Not a sight but a position."""
    event = Event(by=Author(Kind.CLIENT, "u-a"), to=ME.id, fact=LogKept(), at=AT, position=Position(7))
    first, second = said_to(Heard(event))
    assert [(said.seen, said.heard, said.cause) for said in (first, second)] == [(None, 7, 7), (None, 7, 7)]


@pytest.mark.parametrize(
    ("glimpse", "why"),
    [
        (Glimpse("nothing.known"), "'nothing.known' is not a sight this release knows"),
        (Glimpse("mind.tested", {"name": 3}), r"mind.tested: Expected `str`, got `int` - at `\$.name`"),
        (Glimpse("mind.tested", {"name": "x", "more": 1}), "mind.tested: Object contains unknown field `more`"),
    ],
)
def test_a_sight_of_another_release_is_named(glimpse: Glimpse, why: str) -> None:
    """Exactly what does not fit, not a guess at what was seen."""
    with pytest.raises(UnknownSight, match=why):
        input_of(glimpse)


def test_a_term_says_what_it_was_set_up_with() -> None:
    """With its log, all that a component's decisions depend on."""
    mind = Mind(dataclasses.replace(component(), settings='{"me":{}}'), "dc", lambda: AT)
    [event] = mind.begin("n1", "i1").events
    assert event.fact == LeaderElected(epoch=1, node="n1", instance="i1", settings='{"me":{}}')


def test_settings_are_the_same_text_on_every_machine() -> None:
    """Names in order, whatever the order they were given in; and without what nobody may read."""
    config = {"weights": {"b": 2.0, "a": 1.0}, "decline_s": 5.0, "argv": ("--secret",)}
    shown = settings_of("me", config, leave_out=("argv",))
    assert shown == '{"me":{"decline_s":5.0,"weights":{"a":1.0,"b":2.0}}}'


# ---- terms of others ---------------------------------------------------------------------------------------------

THEM, WALL = Author(Kind.MASTER, "main"), Author(Kind.AGENT, "wall")


def echoing() -> Component[State]:
    """Says something at whatever it hears."""

    def decide(state: State, told: Input, now: Now) -> Iterator[Say]:
        yield Say(LogKept())

    return dataclasses.replace(component(), decide=decide)


def theirs(n: int, epoch: int, position: int) -> Heard:
    fact = AlarmRaised(alarm="x", message="y")
    return Heard(Event(by=THEM, to="me", fact=fact, at=AT, n=n, epoch=epoch, position=Position(position)))


def test_an_event_of_an_older_term_is_not_decided() -> None:
    """Only a replay is of a term before one that was heard; what is of the same term is decided."""
    mind = Mind(echoing(), "dc", lambda: AT)
    assert mind.decide(theirs(7, 3, 1)) is not None
    assert mind.decide(theirs(2, 2, 2)) is None
    assert mind.heard == 2
    assert mind.decide(theirs(8, 3, 3)) is not None
    assert mind.decide(theirs(9, 4, 4)) is not None


def test_the_newest_term_is_remembered_by_the_log() -> None:
    """A process that rebuilds from the log knows which terms were heard, and ignores older ones too."""
    mind = Mind(echoing(), "dc", lambda: AT)
    first = mind.begin("n", "i")
    records = [Record(Position(1), each.subject, each.body) for each in first.messages]
    mind.remember(records[0])
    for decided in (mind.decide(theirs(7, 3, 2)), mind.decide(theirs(8, 3, 3))):
        assert decided is not None
        records += [Record(Position(len(records) + 1), each.subject, each.body) for each in decided.messages]
    again = Mind(echoing(), "dc", lambda: AT)
    for record in records:
        again.remember(record)
    assert again.state.epochs == mind.state.epochs == {"master.main": 3}
    assert again.decide(theirs(2, 2, 4)) is None


def test_a_term_heard_of_in_silence_is_told_with_the_next_event() -> None:
    """What is decided without a word is in no event; the term is not lost with it."""
    silent = [True]

    def decide(state: State, told: Input, now: Now) -> Iterator[Say]:
        if not silent[0]:
            yield Say(LogKept())

    mind = Mind(dataclasses.replace(component(), decide=decide), "dc", lambda: AT)
    assert mind.decide(theirs(7, 3, 1)) is None
    assert mind.decide(theirs(2, 2, 2)) is None
    silent[0] = False
    decided = mind.decide(theirs(8, 3, 3))
    assert decided is not None
    assert decided.events[0].epochs == {"master.main": 3}


def test_who_is_let_in_under_another_key_begins_its_terms_anew() -> None:
    """A thief said a term far beyond the true one; when the master says that the key is another, it is forgotten, and
    the log says so: a process that rebuilds from it has forgotten, too."""
    mind = Mind(echoing(), "dc", lambda: AT)
    records = [Record(Position(1), each.subject, each.body) for each in mind.begin("n", "i").messages]
    mind.remember(records[0])
    agent = Author(Kind.AGENT, "a9")
    renewed = IdentityRenewed(author=str(agent))

    def said(by: Author, fact: Fact, epoch: int, position: int) -> Decided | None:
        event = Event(by=by, to="me", fact=fact, at=AT, n=position, epoch=epoch, position=Position(position))
        return mind.decide(Heard(event))

    told = [said(agent, LogKept(), 999, 2), said(agent, LogKept(), 3, 3), said(WALL, renewed, 1, 4)]
    assert [decided is not None for decided in told] == [True, False, True], "nobody but the master is believed"
    assert said(agent, LogKept(), 3, 5) is None
    assert said(THEM, renewed, 1, 6) is None
    told += [said(agent, LogKept(), 3, 7), said(agent, LogKept(), 2, 8)]
    assert [decided is not None for decided in told[3:]] == [True, False]
    for decided in told:
        for each in decided.messages if decided else ():
            records.append(Record(Position(2), each.subject, each.body))
    again = Mind(echoing(), "dc", lambda: AT)
    for record in records:
        again.remember(record)
    assert again.state.epochs == mind.state.epochs == {"agent.a9": 3, "agent.wall": 1, "master.main": 1}


def test_a_client_has_no_terms() -> None:
    mind = Mind(echoing(), "dc", lambda: AT)
    event = Event(by=Author(Kind.CLIENT, "u-x"), to="me", fact=AlarmRaised(alarm="x", message="y"), at=AT)
    assert mind.decide(Heard(event)) is not None
    assert mind.state.epochs == {}


def test_a_request_id_is_its_askers_own() -> None:
    """Somebody who guesses another's next request id, and uses it first, does not answer for the other."""

    def decide(state: State, told: Input, now: Now) -> Iterator[Say]:
        if isinstance(told, Heard):
            yield answer(told.event, AlarmRaised(alarm=told.event.by.id, message=""))

    def asks(mind: Mind[State], who: str) -> Event:
        request = Event(by=Author(Kind.CLIENT, who), to=ME.id, fact=LogKept(), at=AT, request=RequestId("deploy-42"))
        decided = mind.decide(Heard(msgspec.structs.replace(request, position=Position(mind.state.n + 1))))
        assert decided is not None
        [event] = decided.events
        return event

    mind = Mind(dataclasses.replace(component(), decide=decide), "dc", lambda: AT)
    for who in ("u-eve", "u-bob", "u-eve", "u-bob"):
        said = asks(mind, who)
        assert (said.to, said.fact, said.request) == (who, AlarmRaised(alarm=who, message=""), "deploy-42")
    assert len(mind.state.answers) == 2


def test_nobody_speaks_to_itself() -> None:
    """A forged event from and to one component, with a request: its answer would be heard, and answered, for ever."""
    mind = Mind(echoing(), "dc", lambda: AT)
    mine = Event(by=ME, to=ME.id, fact=AlarmRaised(alarm="x", message="y"), at=AT, n=1, request=RequestId("r"))
    assert mind.decide(Heard(msgspec.structs.replace(mine, position=Position(7)))) is None
    assert mind.complain(codec.Unreadable("newer", mine, "a.b", 1)) is None
    assert mind.state.n == 0


def test_every_beginning_of_a_term_is_folded_as_one() -> None:
    """Classes are looked up, not asked for their kind: one that is not named would leave the epoch as it was."""
    assert set(Term.__subclasses__()) == TERMS
    assert not any(kind.__subclasses__() for kind in TERMS)
