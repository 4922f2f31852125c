"""Events as bytes and back: what was said is what is read, and nothing else is believed."""

from __future__ import annotations

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus import codec
from bus.codec import Foreign, Unreadable, decode, encode, event_bytes_max, link
from bus.events import FACTS, RETIRED, UPCASTS, Event, Fact, KillRequested
from bus.nouns import WOKEN, Glimpse, Now, Position, RequestId, TaskId, TraceId
from bus.subjects import Author, Kind, parse_subject
from tests.bus import shapes

IDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
AUTHORS = st.builds(Author, st.sampled_from(list(Kind)), IDS)
NATURAL = st.integers(0, 2**63 - 1)
NAMES = st.none() | shapes.TEXT
SEEN = st.none() | st.just(WOKEN) | st.builds(Glimpse, IDS, st.dictionaries(IDS, shapes.TEXT | st.integers(0, 9)))


def events(cls: type[Fact]) -> st.SearchStrategy[Event]:
    """Any event of an owner of a log that states such a fact."""
    return st.builds(
        Event,
        by=AUTHORS,
        to=st.one_of(IDS, st.just("_")),
        fact=shapes.of(cls),
        at=NATURAL,
        n=st.integers(1, 2**63 - 1),
        prev=st.binary(min_size=32, max_size=32),
        epoch=NATURAL,
        last=st.booleans(),
        heard=NATURAL,
        cause=st.none() | NATURAL,
        actor=NAMES,
        trace=NAMES,
        request=NAMES,
        seen=SEEN,
        epochs=st.dictionaries(IDS, NATURAL, max_size=2),
    )


def kill(**fields: Any) -> Event:
    """An event to take apart."""
    told: dict[str, Any] = {"by": Author(Kind.CLIENT, "u-alice"), "to": "marathon", "at": Now(7)} | fields
    return Event(fact=KillRequested(task=TaskId("web.1")), **told)


def message(**changes: Any) -> tuple[str, bytes]:
    """The event as a message, with parts of its envelope changed; None takes a part out."""
    event = kill()
    envelope = msgpack.unpackb(encode(event)) | changes
    body = msgpack.packb({name: value for name, value in envelope.items() if value is not None})
    return codec.subject("dc", event), body


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_fact_is_read_as_it_was_written(name: str) -> None:
    """Whatever its fields hold, with everything around it; and it keeps saying the same bytes."""

    @settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
    @given(events(FACTS[name]), NATURAL)
    def read_back(event: Event, position: int) -> None:
        body = encode(event)
        subject = codec.subject("dc", event)
        found = decode(subject, body, position)
        assert found == msgspec.structs.replace(event, position=Position(position))
        assert type(found.fact) is FACTS[name]
        assert encode(found) == body
        assert parse_subject(subject).author == event.by

    read_back()


def test_a_clients_event_has_no_place_in_a_chain() -> None:
    """Number, link, term and input are not even on the wire; request and trace are."""
    event = kill(request=RequestId("r1"), trace=TraceId("t1"), actor="alice", cause=Position(3))
    wire = msgpack.unpackb(encode(event))
    assert set(wire) == {"v", "type", "by", "to", "at", "data", "cause", "actor", "trace", "request"}
    found = decode(codec.subject("dc", event), encode(event), 9)
    assert (found.n, found.prev, found.epoch, found.heard) == (0, b"", 0, 0)
    assert (found.request, found.trace, found.actor, found.cause) == ("r1", "t1", "alice", 3)


def test_wire_names_are_two_words_and_none_is_retired() -> None:
    """`noun.participle`, beside the class, versions from 1, who says it to whom for people."""
    for name, cls in FACTS.items():
        subject = codec.subject("dc", kill())
        assert parse_subject(subject.replace("kill.requested", name)).type == name == cls.type
        assert cls.version >= 1
        assert cls.said
        assert cls.__doc__
    assert not RETIRED & set(FACTS)


def test_an_event_above_half_a_mebibyte_is_not_written() -> None:
    """The error names the event and the numbers; one just below is written and read."""
    event = kill(actor="a" * 255)
    room = event_bytes_max - len(encode(event)) - 4
    fits = msgspec.structs.replace(event, fact=KillRequested(task=TaskId("w" * room)))
    assert decode(codec.subject("dc", fits), encode(fits), 1).fact == fits.fact
    large = msgspec.structs.replace(event, fact=KillRequested(task=TaskId("w" * event_bytes_max)))
    with pytest.raises(ValueError, match=r"kill\.requested is \d+ bytes, at most 524288 are allowed"):
        encode(large)


def test_a_message_above_half_a_mebibyte_is_foreign() -> None:
    """It is not even unpacked."""
    subject, body = message(data={"task": "w" * event_bytes_max})
    with pytest.raises(Foreign, match=r"\d+ bytes"):
        decode(subject, body, 1)


@given(st.binary(max_size=200))
def test_garbage_is_foreign(body: bytes) -> None:
    """No bytes lead to another error."""
    with pytest.raises(Foreign):
        decode(codec.subject("dc", kill()), body, 1)


_PLAIN = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | shapes.TEXT | st.binary(max_size=9)
)
_TREES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(shapes.TEXT, inner, max_size=3), max_leaves=8
)


@given(
    st.sampled_from(
        ["v", "type", "by", "to", "at", "data", "n", "prev", "epoch", "last", "heard", "cause", "actor", "x"]
    ),
    _TREES,
)
def test_a_message_with_a_changed_part_is_an_event_or_one_of_two_errors(part: str, value: object) -> None:
    """Whatever stands in one place of the envelope."""
    subject, body = message(**{part: value})
    try:
        found = decode(subject, body, 1)
    except (Foreign, Unreadable):
        return
    assert found.by == Author(Kind.CLIENT, "u-alice")
    assert (found.to, found.type) == ("marathon", "kill.requested")


@given(st.data())
def test_a_message_with_flipped_bytes_is_an_event_or_one_of_two_errors(data: st.DataObject) -> None:
    """Bit rot and tampering never crash a reader."""
    subject, body = message()
    place, value = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    damaged = body[:place] + bytes([value]) + body[place + 1 :]
    try:
        decode(subject, damaged, 1)
    except (Foreign, Unreadable):
        return


@pytest.mark.parametrize(
    "subject",
    [
        "dc.client.u-bob.kill.requested.marathon",
        "dc.master.main.kill.requested.marathon",
        "dc.client.u-alice.kill.requested.main",
        "dc.client.u-alice.kill.directed.marathon",
        "dc.client.u-alice.kill.requested",
        "dc.client.u-alice.kill.requested.marathon.more",
        "kill",
        "",
    ],
)
def test_a_body_that_does_not_belong_to_its_subject_is_foreign(subject: str) -> None:
    """Another author, addressee or type in the subject than in the body: nobody's event."""
    _, body = message()
    with pytest.raises(Foreign):
        decode(subject, body, 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "client.u-bob"},
        {"by": "king.u-alice"},
        {"by": "client.U-ALICE"},
        {"by": "client.u-alice\n"},
        {"to": "main"},
        {"type": "kill.directed"},
        {"v": "1"},
        {"at": None},
        {"at": 1.5},
        {"data": []},
        {"prev": "text"},
        {"n": None, "more": 1},
        {"actor": "a" * 256},
    ],
    ids=str,
)
def test_an_envelope_that_is_not_ours_is_foreign(changes: dict[str, Any]) -> None:
    """Wrong names, wrong types, parts missing or added."""
    subject, body = message(**changes)
    with pytest.raises(Foreign):
        decode(subject, body, 4)


def test_a_foreign_message_is_named_by_its_place() -> None:
    """Whoever reads the alarm finds it."""
    with pytest.raises(Foreign, match=r"^dc\.client\.u-alice\.kill\.requested\.marathon #12: not MessagePack"):
        decode(codec.subject("dc", kill()), b"\xc1", 12)


def test_a_newer_version_is_unreadable() -> None:
    """What could be read of it is there: who, to whom, when, and its place in the log."""
    subject, body = message(v=2, n=5, prev=bytes(32), trace="t1")
    with pytest.raises(Unreadable, match=r"kill\.requested version 2 was written by a newer release") as unreadable:
        decode(subject, body, 9)
    error = unreadable.value
    assert (error.type, error.version) == ("kill.requested", 2)
    assert (error.event.by.id, error.event.to, error.event.n, error.event.position) == ("u-alice", "marathon", 5, 9)
    assert error.event.trace == "t1"


def test_an_unknown_type_is_unreadable() -> None:
    """It may be a newer release's; it is no event of ours."""
    _, body = message(type="kill.reconsidered")
    with pytest.raises(Unreadable, match=r"'kill\.reconsidered' is not a type of event") as unreadable:
        decode("dc.client.u-alice.kill.reconsidered.marathon", body, 9)
    assert unreadable.value.type == "kill.reconsidered"


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_never_was_is_unreadable(version: int) -> None:
    """There is no step up from it."""
    with pytest.raises(Unreadable, match=rf"kill\.requested version {version} "):
        decode(*message(v=version), 9)


@pytest.mark.parametrize(
    "fields", [{}, {"task": 1}, {"task": "a", "grace_s": "soon"}, {"task": "a", "more": 1}], ids=str
)
def test_fields_that_do_not_fit_are_unreadable(fields: dict[str, Any]) -> None:
    """The author and the place are known; what it says is not."""
    with pytest.raises(Unreadable) as unreadable:
        decode(*message(data=fields), 9)
    assert unreadable.value.version == 1


class Painted(Fact, frozen=True):
    """A fact that is in its third version."""

    colour: str
    coats: int


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fact with a history: 1 had a `color`, 2 a `colour`, 3 counts coats."""
    Painted.type, Painted.version, Painted.said = "wall.painted", 3, "client, to nobody"
    monkeypatch.setitem(FACTS, "wall.painted", Painted)
    monkeypatch.setitem(UPCASTS, ("wall.painted", 1), lambda fields: {"colour": fields["color"]})
    monkeypatch.setitem(UPCASTS, ("wall.painted", 2), lambda fields: fields | {"coats": 1})


def wall(version: int, data: dict[str, Any]) -> tuple[str, bytes]:
    _, body = message(type="wall.painted", v=version, data=data)
    return "dc.client.u-alice.wall.painted.marathon", body


@pytest.mark.parametrize(
    ("version", "data"),
    [(1, {"color": "red"}), (2, {"colour": "red"}), (3, {"colour": "red", "coats": 1})],
)
@pytest.mark.usefixtures("painted")
def test_old_versions_climb_one_step_at_a_time(version: int, data: dict[str, Any]) -> None:
    """From wherever they start, to what this release says."""
    assert decode(*wall(version, data), 1).fact == Painted(colour="red", coats=1)


@pytest.mark.usefixtures("painted")
def test_an_old_version_with_other_fields_is_unreadable() -> None:
    """Also if the step up stumbles over them."""
    for version, data in [(1, {}), (1, {"color": 7}), (2, {"coats": 1})]:
        with pytest.raises(Unreadable) as unreadable:
            decode(*wall(version, data), 1)
        assert unreadable.value.version == version


def test_a_link_is_over_the_bytes_as_published() -> None:
    """SHA-256, 32 bytes, of exactly the body."""
    body = encode(kill())
    assert len(link(body)) == 32
    assert link(body) == link(bytes(body))
    assert link(body) != link(body + b"\x00")
