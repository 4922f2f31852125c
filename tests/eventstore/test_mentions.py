"""Which things an event is about, for every fact there is."""

from __future__ import annotations

import types
from typing import Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from bus import codec
from bus.events import FACTS, AgentRegistered, Event, Fact, OfferAccepted, OfferDeclined, TaskLaunched
from bus.nouns import (
    AgentId,
    AppId,
    HeldTask,
    JobId,
    Now,
    OfferId,
    RequestId,
    RunId,
    TaskId,
    TaskState,
    TraceId,
    Unfit,
)
from bus.services import RunUpdated
from eventstore.mentions import NOUNS, compiled, mentions_of
from tests.eventstore.tale import ALICE, MARATHON, SIZE, info_of, offer_made, status


def event_of(fact: Fact, **envelope: str) -> Event:
    return Event(by=MARATHON, to="main", fact=fact, at=Now(1), **envelope)  # type: ignore[arg-type]


class Sample:
    """A value for any annotated type, with a different id at each place; what ids it used is in `ids`."""

    def __init__(self) -> None:
        self.ids: list[tuple[str, str]] = []
        self.inside: list[type] = []
        """A class that holds itself, as a group does, is filled to the second level."""

    def of(self, hint: object) -> object:
        """A value of this type, as full as it can be."""
        if hint in NOUNS:
            self.ids.append((NOUNS[hint], f"{NOUNS[hint]}-{len(self.ids)}"))
            return self.ids[-1][1]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            hints = get_type_hints(hint)
            self.inside.append(hint)
            filled = {
                field.encode_name: self.of(hints[field.name])
                for field in msgspec.structs.fields(hint)
                if self.holds_ids(hints[field.name]) or field.required
            }
            self.inside.remove(hint)
            return filled
        origin, inner = get_origin(hint), get_args(hint)
        if origin in (Union, types.UnionType):
            return self.of(next(one for one in inner if one is not type(None)))
        if origin is tuple:
            return [self.of(inner[0]), self.of(inner[0])] if inner[-1] is Ellipsis else [self.of(one) for one in inner]
        return self.plain(hint)

    def holds_ids(self, hint: object, looked_through: tuple[type, ...] = ()) -> bool:
        """Whether a type can hold ids anywhere inside."""
        if hint in NOUNS:
            return True
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            if self.inside.count(hint) >= 2 or hint in looked_through:
                return False
            through = (*looked_through, hint)
            return any(self.holds_ids(inner, through) for inner in get_type_hints(hint).values())
        return any(self.holds_ids(inner, looked_through) for inner in get_args(hint))

    @staticmethod
    def plain(hint: object) -> object:
        """A value of a type without parts."""
        supertype = getattr(hint, "__supertype__", hint)
        if isinstance(supertype, type) and hasattr(supertype, "__members__"):
            return next(iter(supertype.__members__.values())).value
        return {str: "text", int: 1, float: 64.0, bool: True}.get(supertype, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FACTS)
def test_every_id_in_every_fact_is_found(name: str) -> None:
    """However deep it lies: a fact full of ids mentions exactly those, in the order of its fields."""
    sample = Sample()
    fact = msgspec.convert(sample.of(FACTS[name]), FACTS[name])
    assert mentions_of(event_of(fact)) == sample.ids


def test_the_samples_reach_what_matters() -> None:
    """The test above would be empty if the samples held nothing."""
    held = {}
    for name, cls in FACTS.items():
        sample = Sample()
        sample.of(cls)
        held[name] = {noun for noun, _ in sample.ids}
    assert held["offer.accepted"] == {"offer", "task", "agent", "framework", "app", "job", "run", "trace"}
    assert held["agent.registered"] >= {"task", "app", "run"}
    assert held["app.requested"] == {"app"}
    assert held["run.updated"] == {"job", "run", "task", "agent"}
    assert held["leader.elected"] == set()
    assert set().union(*held.values()) == set(NOUNS.values()) - {"request"}


def test_a_launch_mentions_what_it_carries() -> None:
    info = info_of("web.1")
    assert mentions_of(event_of(TaskLaunched(task=info, role="*", offers=(OfferId("o-1-0"),)))) == [
        ("task", "web.1"),
        ("agent", "a1"),
        ("framework", "marathon"),
        ("app", "/web"),
        ("trace", "call-1"),
        ("offer", "o-1-0"),
    ]


def test_each_thing_is_mentioned_once() -> None:
    """Two tasks of one app, the trace in the envelope and in the tasks."""
    fact = OfferAccepted(offers=(OfferId("o"),), launch=(info_of("t1"), info_of("t2")))
    found = mentions_of(event_of(fact, trace="call-1"))
    assert len(found) == len(set(found))
    assert found[0] == ("trace", "call-1")
    assert {("task", "t1"), ("task", "t2"), ("app", "/web")} <= set(found)


def test_the_envelope_mentions_trace_and_request() -> None:
    event = Event(by=ALICE, to="x", fact=offer_made("o"), at=Now(1), trace=TraceId("call"), request=RequestId("r1"))
    assert mentions_of(event)[:2] == [("trace", "call"), ("request", "r1")]


def test_what_is_absent_is_not_mentioned() -> None:
    """Optional fields that are not given, empty tuples."""
    assert mentions_of(event_of(RunUpdated(job=JobId("j"), run=RunId("r"), state="INITIAL"))) == [
        ("job", "j"),
        ("run", "r"),
    ]
    assert mentions_of(event_of(AgentRegistered(hostname="h", resources=SIZE))) == []


def test_nested_things_are_found() -> None:
    """In tuples of nouns of nouns."""
    held = HeldTask(info=info_of("t1", trace=None), status=status("t1", TaskState.RUNNING))
    registered = AgentRegistered(hostname="h", resources=SIZE, tasks=(held,))
    assert ("task", "t1") in mentions_of(event_of(registered))
    unfit = Unfit(agent=AgentId("a1"), offer=OfferId("o1"), reason="r", needed="1", had="0", app=AppId("/a"))
    declined = OfferDeclined(offers=(OfferId("o1"),), unfit=(unfit,))
    assert mentions_of(event_of(declined)) == [("offer", "o1"), ("agent", "a1"), ("app", "/a")]


def test_a_fact_of_a_newer_release_mentions_only_what_its_envelope_says() -> None:
    body = codec.encode(event_of(RunUpdated(job=JobId("j"), run=RunId("r"), state="S"), trace="call"))
    with pytest.raises(codec.Unreadable) as caught:
        codec.decode("dc.framework.marathon.run.upended.main", body.replace(b"run.updated", b"run.upended"), 1)
    assert mentions_of(caught.value.event) == [("trace", "call")]


def test_a_class_is_looked_through_once() -> None:
    assert compiled(TaskLaunched) is compiled(TaskLaunched)
    assert TaskId in NOUNS
