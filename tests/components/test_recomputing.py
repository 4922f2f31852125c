"""What a log says was decided is decided again: the same comes out, and what a changed release does is named."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgpack
import msgspec
import pytest

from bus import codec
from bus.events import Event, Fact, LeaderElected, LogKept, OfferMade
from bus.nouns import MASTER, Now, Position, RequestId, second
from bus.port import Record
from bus.subjects import Author, Kind
from bus.vouching import AlarmCleared, AlarmRaised
from cli.minds import mind_of
from components.component import Component, Heard, Input, Say, Seen, Sight, State, Wake, answer, settings_of, sight
from components.differing import Difference
from components.differing import Kind as Differs
from components.histories import History, Settings, add_settings
from components.mind import Decided, Mind
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter

MindOf = Callable[[str], Component[Any]]
ECHO = Author(Kind.FRAMEWORK, "echo")
CLIENT = Author(Kind.CLIENT, "u-alice")
START = Now(1_800_000_000 * second)


def again(records: Sequence[Record], minds: MindOf) -> tuple[list[Difference], History]:
    """A whole history decided again."""
    settings: Settings = {}
    for record in records:
        add_settings(settings, record)
    history = History(settings, minds)
    checked = [each for record in records for each in history.take(record)]
    return [each.difference for each in checked if each.difference is not None], history


def totals(history: History) -> Counter[str]:
    """What all logs of a history were decided on, together."""
    found: Counter[str] = Counter()
    for log in history.counted():
        assert not log.why_not
        found.update(log.decided)
        found["silent"] += log.silent
    return found


@pytest.fixture(scope="module")
def storm() -> Sequence[Record]:
    """A simulated datacenter's whole life, with crashes, losses and repetitions."""
    datacenter = Datacenter(2)
    run_virtually(datacenter.run())
    return datacenter.server.records()


@pytest.mark.timeout(120)
def test_whole_histories_are_decided_again_as_they_were() -> None:
    """Every decision of every component, whatever crashed and was lost meanwhile: no difference."""
    found: Counter[str] = Counter()
    for seed in (1, 11, 21, 31):
        datacenter = Datacenter(seed)
        run_virtually(datacenter.run())
        differences, history = again(datacenter.server.records(), mind_of)
        assert differences == [], f"seed {seed}"
        found += totals(history)
    assert found["heard"] > 500
    assert min(found["woken"], found["seen"], found["silent"]) > 20
    assert found["leader.elected"] + found["agent.started"] + found["executor.started"] > 40
    assert found["unknown"] == 0


def test_a_changed_allocator_is_found(storm: Sequence[Record], monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents served from the last to the first: the offers it would make are named beside those that were made."""
    from components.master import allocator, offers

    honest = allocator.allocate
    monkeypatch.setattr(offers, "allocate", lambda free, *more: honest(list(free)[::-1], *more))
    differences, history = again(storm, mind_of)
    assert {found.author for found in differences} == {f"master.{MASTER}"}
    assert {found.kind for found in differences} == {Differs.OTHER}
    first = differences[0]
    assert [each.type for each in first.recorded] == [each.type for each in first.computed]
    assert "data.offers[0].agent" in [change.path for change in first.changed]
    unchanged = again(storm, lambda settings: mind_of(settings))[1]
    assert totals(history) == totals(unchanged), "the run does not go on with what was recorded"


def test_what_differs_is_shown_field_by_field(storm: Sequence[Record]) -> None:
    """Where in which event, what it was, and what it would be: here, offers that expire a minute earlier."""

    def hasty(settings: str) -> Component[Any]:
        return mind_of(settings.replace('"offer_timeout_s":120.0', '"offer_timeout_s":60.0'))

    differences, _ = again(storm, hasty)
    change = differences[0].changed[0]
    assert (change.event, change.path) == (2, "data.expires_at")
    assert change.recorded - change.computed == 60 * second


# ---- a component small enough to see through ------------------------------------------------------------------------


@sight("echo.noticed")
class Noticed(Sight, frozen=True):
    """Something an echo saw."""

    name: str


@dataclass(slots=True, kw_only=True)
class EchoState(State):
    due: Now | None = None
    said: int = 0


def fold(state: EchoState, event: Event) -> None:
    state.said += 1
    match event.fact:
        case AlarmRaised(alarm="late"):
            state.due = Now(event.at + second)
        case AlarmRaised(alarm="woken"):
            state.due = None


def decide(loud: bool, state: EchoState, told: Input, now: Now) -> Iterator[Say]:
    """Everything comes back, but for what is quiet."""
    match told:
        case Heard(event=Event(fact=AlarmRaised(alarm=alarm)) as event) if loud or alarm != "quiet":
            yield answer(event, AlarmRaised(alarm=alarm, message=str(state.said)))
            if alarm == "twice":
                yield Say(AlarmRaised(alarm="again", message=str(state.said)))
        case Seen(sight=Noticed(name=name)):
            yield Say(AlarmCleared(alarm=name))
        case Wake():
            yield Say(AlarmRaised(alarm="woken", message=""))


def echo(settings: str = '{"echo":{}}', **changed: Any) -> Component[EchoState]:
    """An echo; of a changed release."""
    honest = Component(
        author=ECHO,
        term=LeaderElected,
        start=EchoState,
        fold=fold,
        decide=partial(decide, False),
        wake_at=lambda state: state.due,
        check=lambda state: None,
        settings=settings,
    )
    return dataclasses.replace(honest, **changed)


class Stream:
    """A stream on which one echo hears, sees and is woken, as its loop has it."""

    def __init__(self, component: Component[EchoState] | None = None) -> None:
        self.records: list[Record] = []
        self.now = START
        self.mind = Mind(component or echo(), "dc", lambda: self.now)
        self.begin()

    def begin(self) -> None:
        self._put_own(self.mind.begin("n", "i"))
        record = self.records[-1]
        if self.mind.state.n < len(self.records) and self.mind.whole:
            self.mind.remember(record)

    def restart(self, component: Component[EchoState]) -> None:
        """Another process, of another release perhaps, rebuilds from the log and begins its term."""
        self.mind = Mind(component, "dc", lambda: self.now)
        for record in self.records:
            if record.subject.startswith(f"dc.{ECHO}."):
                self.mind.remember(record)
        self.begin()

    def hear(self, alarm: str, request: str | None = None) -> Position:
        """A client says something to the echo."""
        fact = AlarmRaised(alarm=alarm, message="")
        event = Event(by=CLIENT, to=ECHO.id, fact=fact, at=self.now, request=RequestId(request) if request else None)
        return self.hear_bytes(codec.subject("dc", event), codec.encode(event))

    def hear_bytes(self, subject: str, body: bytes) -> Position:
        position = self.put(subject, body)
        try:
            decided = self.mind.decide(Heard(codec.decode(subject, body, position)))
        except codec.Unreadable as unreadable:
            decided = self.mind.complain(unreadable)
        except codec.Foreign:
            decided = None
        self._put_own(decided)
        return position

    def tell(self, told: Input) -> None:
        self._put_own(self.mind.decide(told))

    def say(self, fact: Fact) -> None:
        """The loop's own word."""
        self._put_own(self.mind.add(fact))

    def pass_s(self, seconds: float) -> None:
        self.now = Now(self.now + round(seconds * second))

    def _put_own(self, decided: Decided | None) -> None:
        for message in decided.messages if decided else ():
            self.put(message.subject, message.body)

    def put(self, subject: str, body: bytes) -> Position:
        """Any message at all."""
        position = Position(len(self.records) + 1)
        self.records.append(Record(position, subject, body))
        return position


@pytest.fixture
def stream() -> Stream:
    """Everything that can lead to a decision, and inputs that lead to none between all of them."""
    stream = Stream()
    stream.hear("one")
    stream.hear("quiet")
    stream.tell(Seen(Noticed(name="web")))
    stream.hear("quiet")
    stream.hear("late", request="r1")
    stream.hear("quiet")
    stream.pass_s(1)
    stream.tell(Wake())
    stream.hear("quiet")
    stream.hear("late", request="r1")
    stream.pass_s(1)
    stream.hear("twice")
    stream.hear("quiet")
    stream.say(LogKept())
    stream.hear("quiet")
    return stream


def test_of_each_decision_the_log_says_what_led_to_it(stream: Stream) -> None:
    """A silent input before a wake, a sight or a word of the loop is not taken for what led to it."""
    differences, history = again(stream.records, lambda _: echo())
    assert differences == []
    assert totals(history) == {
        "leader.elected": 1,
        "heard": 4,
        "seen": 1,
        "woken": 1,
        "log.kept": 1,
        "silent": 5,  # the last one has no decision behind it: nobody knows whether it was heard
    }


def test_one_that_was_silent_and_would_speak_now_is_found(stream: Stream) -> None:
    """At the position of the input, with what would be said."""
    differences, _ = again(stream.records, lambda _: echo(decide=partial(decide, True)))
    assert {found.kind for found in differences} == {Differs.SILENT}
    quiet = [record.position for record in stream.records if b"quiet" in record.body]
    assert [found.position for found in differences] == quiet[:-1]
    assert [each.data["alarm"] for each in differences[0].computed] == ["quiet"]
    assert differences[0].told == f"heard #{quiet[0]} client.u-alice alarm.raised"


def test_one_that_is_silent_at_one_end_of_the_time_it_may_have_been_heard_is_no_difference(stream: Stream) -> None:
    """Nobody knows when: between the decision before and the one after."""

    def later(state: EchoState, told: Input, now: Now) -> Iterator[Say]:
        yield from decide(now > state.at, state, told, now)

    differences, _ = again(stream.records, lambda _: echo(decide=later))
    assert differences == []


def test_one_that_spoke_and_would_be_silent_now_is_found(stream: Stream) -> None:
    """With what it said then; what comes after is decided on what was recorded."""

    def deaf(state: EchoState, told: Input, now: Now) -> Iterator[Say]:
        if not isinstance(told, Seen):
            yield from decide(False, state, told, now)

    [found], _ = again(stream.records, lambda _: echo(decide=deaf))
    assert (found.kind, found.told, found.computed) == (Differs.OTHER, "saw echo.noticed name=web", ())
    assert [each.type for each in found.recorded] == ["alarm.cleared"]
    assert [(change.event, change.recorded, change.computed) for change in found.changed] == [
        (1, "alarm.cleared", None)
    ]


def test_a_decision_that_comes_apart_is_computed_to_its_end(stream: Stream) -> None:
    """On the state as it would be then; the recorded end of it is folded all the same."""

    def thrice(state: EchoState, told: Input, now: Now) -> Iterator[Say]:
        for say in decide(False, state, told, now):
            yield say
            if isinstance(say.fact, AlarmRaised) and say.fact.alarm == "twice":
                yield Say(AlarmRaised(alarm="between", message=str(state.said)))

    [found], _ = again(stream.records, lambda _: echo(decide=thrice))
    assert [(each.data["alarm"], each.data["message"]) for each in found.recorded] == [("twice", "5"), ("again", "6")]
    assert [(each.data["alarm"], each.data["message"]) for each in found.computed] == [
        ("twice", "5"),
        ("between", "6"),
        ("again", "7"),
    ]
    assert found.n == 7


def test_one_that_would_be_woken_at_another_time_is_found(stream: Stream) -> None:
    """Later: it was woken when it would not be. Earlier: it was not woken before the next input."""
    [late], _ = again(stream.records, lambda _: echo(wake_at=lambda state: state.due and Now(state.due + 1)))
    assert (late.kind, late.told) == (Differs.WOKEN, "was woken")
    early, _ = again(stream.records, lambda _: echo(wake_at=lambda state: Now(0)))
    assert {found.kind for found in early} == {Differs.NOT_WOKEN}


def test_a_decision_that_fails_now_is_found(stream: Stream) -> None:
    """With the words of what was raised."""

    def broken(state: EchoState, told: Input, now: Now) -> Iterator[Say]:
        yield from decide(False, state, told, now)
        if isinstance(told, Wake):
            raise AssertionError("no time for this")

    [found], _ = again(stream.records, lambda _: echo(decide=broken))
    assert found.note == "it raised AssertionError: no time for this"
    assert found.told == "was woken"


def test_a_log_that_cannot_be_folded_ends_there_and_the_others_go_on(storm: Sequence[Record]) -> None:
    """The first event that this release cannot fold is named."""

    def stubborn(state: Any, event: Event) -> None:
        if isinstance(event.fact, OfferMade):
            raise AssertionError("no offers here")

    def changed(settings: str) -> Component[Any]:
        mind = mind_of(settings)
        return dataclasses.replace(mind, fold=stubborn) if mind.author.kind is Kind.MASTER else mind

    differences, history = again(storm, changed)
    last = [found for found in differences if found.kind is Differs.UNFOLDABLE]
    assert [found.author for found in last] == ["master.main"]
    counted = {log.author: log for log in history.counted()}
    assert counted["master.main"].why_not.endswith("offer.made: AssertionError: no offers here")
    assert counted["framework.marathon"].differences == 0
    assert counted["framework.marathon"].decisions > 10


def test_each_term_is_decided_with_its_own_settings() -> None:
    """A later process is set up otherwise: what it decides, and what it remembers of before, is by its own settings."""

    def named(settings: str) -> Component[EchoState]:
        loud = '"loud":true' in settings
        return echo(settings, decide=partial(decide, loud))

    quiet, loud = settings_of("echo", {"loud": False}), settings_of("echo", {"loud": True})
    stream = Stream(named(quiet))
    stream.hear("quiet")
    stream.hear("one")
    stream.restart(named(loud))
    stream.hear("quiet")
    stream.restart(named(quiet))
    stream.hear("one")
    differences, history = again(stream.records, named)
    assert differences == []
    assert totals(history) == {"leader.elected": 3, "heard": 3, "silent": 1}
    forgot, _ = again(stream.records, lambda _: named(quiet))
    assert [found.kind for found in forgot] == [Differs.OTHER]


def test_a_term_of_an_older_release_is_folded_and_not_decided_again() -> None:
    """It does not say what it was set up with; the terms after it do."""
    stream = Stream(echo(""))
    stream.hear("one")
    stream.restart(echo())
    stream.hear("one")
    differences, history = again(stream.records, lambda _: echo())
    assert differences == []
    [log] = history.counted()
    assert (log.untold, log.decided) == (2, {"leader.elected": 1, "heard": 1})
    [log] = again(stream.records[:3], lambda _: echo())[1].counted()
    assert log.why_not == "no term of it says what it was set up with: an older release wrote it"


def test_what_could_not_be_read_was_complained_about_and_is_so_again(stream: Stream) -> None:
    """A request is refused, anything else answered with `event.unreadable`; garbage led to nothing."""
    body: dict[str, object] = {"v": 9, "type": "alarm.raised", "by": str(CLIENT), "to": "echo", "at": START, "data": {}}
    stream.hear_bytes("dc.client.u-alice.alarm.raised.echo", msgpack.packb(body))
    stream.hear_bytes("dc.client.u-alice.alarm.raised.echo", msgpack.packb(body | {"request": "r9"}))
    stream.hear_bytes("dc.client.u-alice.alarm.raised.echo", b"garbage")
    stream.hear("one")
    differences, history = again(stream.records, lambda _: echo())
    assert differences == []
    assert totals(history)["heard"] == 7


def test_what_lies_between_the_events_of_a_log_and_is_not_of_it_is_passed_over(stream: Stream) -> None:
    """A replay of an old event, under the log's own subject."""
    old = stream.records[2]
    stream.put(old.subject, old.body)
    stream.hear("one")
    assert again(stream.records, lambda _: echo())[0] == []


def test_an_input_that_is_not_in_the_history_is_named(stream: Stream) -> None:
    """The decision on it cannot be made again; those after it are."""
    [found], history = again([r for r in stream.records if r.position != 2], lambda _: echo())
    assert found.kind is Differs.UNDECIDABLE
    assert found.note == "the event at position 2 that led to it is not in this history"
    assert totals(history)["heard"] == 3


def test_a_log_with_no_word_on_what_led_to_a_decision_is_named(stream: Stream) -> None:
    """As a release wrote it that did not record what was seen."""
    event = codec.decode(stream.records[0].subject, stream.records[0].body, 0)
    more = msgspec.structs.replace(event, n=2, prev=codec.link(stream.records[0].body), fact=AlarmCleared(alarm="x"))
    records = [stream.records[0], Record(Position(2), codec.subject("dc", more), codec.encode(more))]
    [found], _ = again(records, lambda _: echo())
    assert (found.kind, found.note) == (Differs.UNDECIDABLE, "the log does not say what led to it")


def test_every_sight_has_a_name_in_the_log() -> None:
    """Without one, the first decision on it would end the process."""

    def all_of(cls: type[Sight]) -> Iterator[type[Sight]]:
        for each in cls.__subclasses__():
            yield each
            yield from all_of(each)

    for cls in all_of(Sight):
        assert isinstance(cls.__dict__.get("type"), str), f"{cls.__module__}.{cls.__name__} has no @sight"


def test_a_mind_is_made_again_from_what_its_term_says() -> None:
    """Each component's settings lead to the same settings; what no release knows is refused with its name."""
    from bus.nouns import AgentId
    from components import agent, executor, marathon, master, metronome

    minds: list[Component[Any]] = [
        master.component(master.MasterConfig(weights={"b": 2.0}, offer_timeout_s=7.0)),
        marathon.component(marathon.MarathonConfig(decline_s=5.0)),
        metronome.component(metronome.MetronomeConfig(runs_kept_max=3)),
        agent.component(
            agent.AgentConfig(id=AgentId("a1"), hostname="h", work="/w", executor_argv=("x", "--secret"), ended_max=2)
        ),
        executor.component(executor.ExecutorConfig(agent=AgentId("a1"), work="/w")),
    ]
    for mind in minds:
        assert "secret" not in mind.settings
        assert mind_of(mind.settings).settings == mind.settings
        assert mind_of(mind.settings).author == mind.author
    with pytest.raises(ValueError, match="'chronos' is not a component this release has: master, "):
        mind_of('{"chronos":{}}')
    with pytest.raises(ValueError, match=r"decline_s is -1.0: expected at least 0.001"):
        mind_of('{"marathon":{"decline_s":-1.0}}')
    with pytest.raises(ValueError, match="settings 'nonsense': JSON is malformed"):
        mind_of("nonsense")
