"""Many agents that fall silent at once: how many of them are marked is bounded, and an alarm says so."""

from __future__ import annotations

import asyncio

import pytest

from bus.events import AgentMarked
from bus.nouns import AgentId
from bus.subjects import CLUSTER, Author, Kind, ping
from bus.vouching import AlarmRaised
from components.master import MasterConfig
from components.master.alarms import AlarmSeen
from components.master.config import parse_rate, removals_kept_max
from components.master.decide import PingsMissed
from components.master.limits import REMOVALS
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter
from tests.components.master.test_hands import pong, watch

AGENTS = ("a1", "a2", "a3", "a4")


def datacenter(**settings):
    """Four agents, and a leader that has just taken over."""
    dc = Datacenter(MasterConfig(**settings))
    for agent in AGENTS:
        dc.register(agent)
    dc.restart()
    return dc


def lose(dc, agent, unheard):
    n = dc.state.agents[AgentId(agent)].admitted_n
    return dc.see(PingsMissed(kind=Kind.AGENT, id=agent, since_n=n, missed=5, unheard=unheard))


# ---- after a failover --------------------------------------------------------------------------------------------


def test_by_default_all_of_them_may_be_marked():
    """Mesos: recovery_agent_removal_limit 100 %."""
    dc = datacenter()
    assert [types(lose(dc, agent, 4)) for agent in AGENTS] == [["agent.marked"]] * 4


def test_more_silent_agents_than_the_limit_and_none_is_marked():
    dc = datacenter(recovery_agent_removal_limit_percent=50)
    events = [event for agent in AGENTS[:3] for event in lose(dc, agent, 3)]
    assert [event.fact for event in events] == [
        AlarmRaised(
            alarm=REMOVALS,
            message="3 of 4 agents have not answered since this master leads, more than 50 % "
            "(recovery_agent_removal_limit): none of them is marked unreachable. Is the master cut off?",
        )
    ]
    assert dc.rebuilt() == dc.hash()


def test_as_many_as_the_limit_are_marked():
    dc = datacenter(recovery_agent_removal_limit_percent=50)
    assert [types(lose(dc, agent, 2)) for agent in AGENTS[:2]] == [["agent.marked"]] * 2


def test_an_agent_that_has_answered_this_master_does_not_count():
    dc = datacenter(recovery_agent_removal_limit_percent=0)
    assert types(lose(dc, "a1", 0)) == ["agent.marked"]


def test_a_second_look_marks_who_is_still_silent_once_the_others_answer():
    dc = datacenter(recovery_agent_removal_limit_percent=50)
    lose(dc, "a1", 3)
    assert types(lose(dc, "a1", 1)) == ["agent.marked"]


# ---- at any time -------------------------------------------------------------------------------------------------


def test_no_more_than_so_many_in_so_long():
    """The others wait, under an alarm, until the time is over."""
    dc = datacenter(agent_removals_max=2, agent_removal_window_s=600)
    assert len(only([event for agent in AGENTS for event in lose(dc, agent, 0)], AgentMarked)) == 2
    assert dc.state.alarms[REMOVALS].message == (
        "2 agents were marked unreachable within 600 s (agent_removal_rate_limit): the others that are silent wait"
    )
    dc.pass_time(599)
    assert lose(dc, "a3", 0) == []
    dc.pass_time(1)
    assert types(lose(dc, "a3", 0)) == ["agent.marked"]
    assert types(lose(dc, "a4", 0)) == ["agent.marked"]


def test_the_count_outlives_the_master():
    dc = datacenter(agent_removals_max=1, agent_removal_window_s=600)
    lose(dc, "a1", 0)
    dc.restart()
    assert only(lose(dc, "a2", 0), AgentMarked) == []
    assert dc.rebuilt() == dc.hash()


def test_marks_are_remembered_up_to_a_limit():
    dc = datacenter()
    for _ in range(removals_kept_max + 5):
        mark = lose(dc, "a1", 0)[0]
        dc.register("a1", answers=mark.position)
    assert len(dc.state.marks) == removals_kept_max


# ---- what the hands say ------------------------------------------------------------------------------------------


def test_the_hands_say_how_many_have_not_answered_and_when_nobody_is_silent_any_more():
    dc = datacenter()
    dc.see(AlarmSeen(alarm=REMOVALS, message="x"))

    async def script(hands, bus, seen):
        await bus.serve(ping(CLUSTER, Author(Kind.AGENT, "a4")), pong)
        await asyncio.sleep(76)
        for agent in AGENTS[:3]:
            await bus.serve(ping(CLUSTER, Author(Kind.AGENT, agent)), pong)
        await asyncio.sleep(15)

    seen = watch(dc, script)
    assert [(at, sight.id, sight.unheard) for at, sight in seen[-4:-1]] == [(75, a, 3) for a in AGENTS[:3]]
    assert seen[-1] == (90, AlarmSeen(alarm=REMOVALS))


def test_who_is_not_marked_is_looked_at_again():
    dc = datacenter()

    async def script(hands, bus, seen):
        for agent in AGENTS[1:]:
            await bus.serve(ping(CLUSTER, Author(Kind.AGENT, agent)), pong)
        await asyncio.sleep(151)

    assert [(at, sight.missed) for at, sight in watch(dc, script)] == [(75, 5), (150, 10)]


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"), [("1/10mins", (1, 600.0)), ("2/3hrs", (2, 10_800.0)), ("5/1.5secs", (5, 1.5))]
)
def test_rates_as_mesos_writes_them(text, rate):
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "1", "1/10", "/10mins", "1/mins", "-1/10mins", "1/10minutes", "1/10mins 2"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError, match="expected NUMBER/DURATION, e"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"recovery_agent_removal_limit_percent": -1}, "is -1: expected 0 to 100"),
        ({"recovery_agent_removal_limit_percent": float("nan")}, "is nan: expected 0 to 100"),
        ({"agent_removals_max": 0}, "agent_removals_max is 0: expected 1 to 1000"),
        ({"agent_removals_max": 1, "agent_removal_window_s": 0}, "agent_removal_window_s is 0"),
        ({"checkpoint_events": 0}, "checkpoint_events is 0: expected at least 1"),
        ({"checkpoint_s": float("inf")}, "checkpoint_s is inf"),
    ],
)
def test_settings_that_are_refused(settings, why):
    with pytest.raises(ValueError, match=why):
        MasterConfig(**settings)
