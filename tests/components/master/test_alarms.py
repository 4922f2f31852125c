"""What an operator has to look at is raised once, asked for, and cleared when it is in order again."""

from __future__ import annotations

import pytest

from bus.nouns import Refusal
from bus.queries import AlarmRow
from bus.subjects import Author, Kind
from bus.vouching import AlarmCleared, AlarmRaised, CheckpointConfirmed, CheckpointDisputed
from components.master.alarms import AlarmSeen, alarms_max, message_length_max
from components.master.queries import alarms
from tests.components.driver import START
from tests.components.master.datacenter import Datacenter

N2 = Author(Kind.CLIENT, "m-n2")


@pytest.fixture
def dc():
    dc = Datacenter()
    yield dc
    assert dc.rebuilt() == dc.hash()


def test_an_alarm_is_raised_once_and_cleared_once(dc):
    full = AlarmSeen(alarm="stream.headroom", message="81 %")
    (event,) = dc.see(full)
    assert event.fact == AlarmRaised(alarm="stream.headroom", message="81 %")
    assert dc.see(full) == []
    (event,) = dc.see(AlarmSeen(alarm="stream.headroom"))
    assert event.fact == AlarmCleared(alarm="stream.headroom")
    assert dc.see(AlarmSeen(alarm="stream.headroom")) == []


def test_other_words_are_said_and_it_stands_since_it_was_raised_first(dc):
    dc.see(AlarmSeen(alarm="stream.headroom", message="81 %"))
    dc.pass_time(10)
    dc.see(AlarmSeen(alarm="stream.headroom", message="90 %"))
    dc.see(AlarmSeen(alarm="a.later.one", message="x"))
    assert alarms(dc.state, b"", dc.now) == [
        AlarmRow(alarm="stream.headroom", message="90 %", since=START),
        AlarmRow(alarm="a.later.one", message="x", since=dc.now),
    ]


def test_an_alarm_outlives_the_master(dc):
    dc.see(AlarmSeen(alarm="stream.headroom", message="81 %"))
    dc.restart()
    assert list(dc.state.alarms) == ["stream.headroom"]
    assert dc.see(AlarmSeen(alarm="stream.headroom", message="81 %")) == []


def test_a_long_message_is_cut_and_still_said_only_once(dc):
    long = AlarmSeen(alarm="x", message="m" * 10_000)
    (event,) = dc.see(long)
    assert len(event.fact.message) == message_length_max
    assert dc.see(long) == []


def dispute(dc, message="other bytes", request="q1", node="n2", by=N2):
    return dc.hear(by, CheckpointDisputed(node=node, checkpoint=7, message=message), request=request)


def test_a_dispute_is_answered_and_stands_as_an_alarm_until_it_is_taken_back(dc):
    (event,) = dispute(dc)
    assert (event.to, event.request, event.fact) == (
        "m-n2",
        "q1",
        AlarmRaised(alarm="checkpoint.n2", message="other bytes"),
    )
    (event,) = dc.hear(N2, CheckpointConfirmed(node="n2", checkpoint=9), request="q2")
    assert (event.to, event.request, event.fact) == ("m-n2", "q2", AlarmCleared(alarm="checkpoint.n2"))
    assert dc.state.alarms == {}


def test_the_same_word_gets_the_same_answer(dc):
    (first,) = dispute(dc)
    dc.hear(N2, CheckpointConfirmed(node="n2", checkpoint=9), request="q2")
    (again,) = dispute(dc)
    assert (again.fact, again.request) == (first.fact, "q1")
    assert dc.state.alarms == {}


def test_each_word_is_answered_also_where_it_changes_nothing(dc):
    (event,) = dc.hear(N2, CheckpointConfirmed(node="n2", checkpoint=9), request="q1")
    assert event.fact == AlarmCleared(alarm="checkpoint.n2")
    dispute(dc, request="q2")
    (event,) = dispute(dc, request="q3")
    assert (event.request, event.type) == ("q3", "alarm.raised")


@pytest.mark.parametrize("by", ["m-n3", "u-alice", "m-"])
def test_nobody_disputes_for_another_node(dc, by):
    (event,) = dispute(dc, by=Author(Kind.CLIENT, by))
    assert (event.type, event.fact.reason) == ("request.refused", Refusal.INVALID)
    assert dc.state.alarms == {}


def test_alarms_are_few(dc):
    for number in range(alarms_max):
        dc.see(AlarmSeen(alarm=f"x{number}", message="x"))
    (event,) = dispute(dc)
    assert event.fact.message == f"{alarms_max} alarms stand already: see to those first"
