"""What an agent keeps for a role is offered to frameworks of that role alone; what it keeps for nobody, to all."""

from __future__ import annotations

import pytest

from bus.events import AgentRefused
from bus.nouns import AgentId, FrameworkId, Refusal
from components.master.offers import may_use
from components.master.state import wake_at
from tests.components.driver import only
from tests.components.master.datacenter import Datacenter, made, offered


@pytest.fixture
def dc():
    dc = Datacenter()
    yield dc
    assert dc.rebuilt() == dc.hash()


@pytest.mark.parametrize(
    ("role", "kept_for", "may"),
    [
        ("*", "*", True),
        ("slave_public", "*", True),
        ("slave_public", "slave_public", True),
        ("*", "slave_public", False),
        ("other", "slave_public", False),
        ("eng/web", "eng", True),
        ("eng", "eng/web", False),
        ("engine", "eng", False),
    ],
)
def test_who_may_use_what_is_kept_for_a_role(role: str, kept_for: str, may: bool) -> None:
    """Mesos: roles are a tree, and a reservation is for its role and those below."""
    assert may_use(role, kept_for) is may


def test_the_public_zone_is_offered_to_its_role_alone(dc):
    """DC/OS: Marathon's role is slave_public, Metronome's is *."""
    dc.register("a1")
    dc.register("p1", role="slave_public", region="eu", zone="eu-1", attributes={"public_ip": "true"})
    dc.enroll("metronome")
    assert made(dc.log) == [("metronome", ["a1"])]
    dc.decline("metronome")
    events = dc.enroll("marathon", role="slave_public")
    assert made(events) == [("marathon", ["a1", "p1"])]
    assert [(each.role, each.region, each.zone) for each in offered(events)] == [
        ("*", "", ""),
        ("slave_public", "eu", "eu-1"),
    ]
    dc.decline("marathon")
    assert ("metronome", ["a1", "p1"]) not in made(dc.pass_time(600))


def test_who_is_further_behind_gets_no_more_of_another_role(dc):
    """The order of DRF counts among those who may have it."""
    dc.enroll("marathon", role="slave_public")
    dc.enroll("metronome")
    dc.register("p1", role="slave_public")
    assert dc.offers("metronome") == []
    dc.register("a1")
    assert len(dc.offers("metronome")) == 1  # it has nothing yet


def test_an_agent_that_changes_its_role_is_offered_to_others(dc):
    dc.enroll("metronome")
    dc.register("a1")
    dc.decline("metronome", refuse_s=30)
    dc.register("a1", role="slave_public")
    assert dc.state.agents[AgentId("a1")].filters == {}
    assert wake_at(dc.state) is None, "a filter would end, and nothing follow"
    assert made(dc.pass_time(600)) == []
    dc.register("a1")
    assert len(dc.offers("metronome")) == 1


def test_a_framework_that_changes_its_role_is_offered_more(dc):
    """An upgrade: Marathon had the role `*`."""
    dc.register("p1", role="slave_public")
    dc.enroll("marathon")
    assert made(dc.log) == []
    assert made(dc.enroll("marathon", role="slave_public")) == [("marathon", ["p1"])]
    assert dc.state.frameworks[FrameworkId("marathon")].role == "slave_public"


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ({"role": "a b"}, "the role 'a b' holds whitespace or a control character"),
        ({"role": ""}, "the role has 0 characters: expected 1 to 255"),
        ({"zone": "z" * 256}, "its region and zone have 0 and 256 characters: expected at most 255"),
    ],
)
def test_what_is_no_role_or_zone_is_refused(dc, where, wrong):
    (refused,) = only(dc.register("a1", **where), AgentRefused)
    assert (refused.reason, refused.message) == (Refusal.INVALID, wrong)
