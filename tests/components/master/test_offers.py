"""Offers are made at once where something became possible, filtered after a decline, and taken back in time."""

from __future__ import annotations

import math

import pytest

from bus.events import FrameworkSuppressed, OfferMade, OfferRecovered, OfferRescinded
from bus.nouns import NOTHING, Now, Rescinded, TaskState, parse_resources, second
from components.master import MasterConfig
from components.master.offers import filter_until, next_tick
from components.master.state import starting_max
from tests.components.driver import only, types
from tests.components.master.datacenter import BIG, NOON, Datacenter, at, info, made, offered


@pytest.fixture
def dc():
    dc = Datacenter()
    yield dc
    assert dc.rebuilt() == dc.hash()


def test_an_agent_is_offered_whole_in_the_decision_that_admits_it(dc):
    dc.enroll("marathon")
    events = dc.register("a1")
    assert types(events) == ["agent.admitted", "offer.made"]
    (offer,) = offered(events)
    assert (offer.agent, offer.hostname, offer.resources) == ("a1", "host-a1", parse_resources(BIG))
    assert dc.free("a1") == NOTHING
    assert events[-1].to == "marathon"


def test_a_framework_gets_one_event_with_all_agents_when_it_is_admitted(dc):
    dc.register("a2")
    dc.register("a1")
    events = dc.enroll("marathon")
    assert types(events) == ["framework.admitted", "offer.made"]
    assert made(events) == [("marathon", ["a1", "a2"])]


def test_offer_ids_come_from_the_log(dc):
    dc.register("a1")
    dc.register("a2")
    events = dc.enroll("marathon")
    n = events[0].n
    assert [offer.offer for offer in offered(events)] == [f"o-{n}-0", f"o-{n}-1"]


def test_agents_are_shared_out_by_turns_and_ties_go_by_name(dc):
    for agent in ("a1", "a2", "a3"):
        dc.register(agent)
    dc.enroll("zeta")
    dc.decline("zeta", refuse_s=0)
    events = dc.enroll("alpha")
    assert made(events) == [("alpha", ["a1", "a2", "a3"])]
    dc.decline("alpha", refuse_s=0)
    assert made(dc.pass_time(1)) == [("alpha", ["a1", "a3"]), ("zeta", ["a2"])]


def test_weights_shift_who_comes_next():
    dc = Datacenter(MasterConfig(weights={"prod": 3.0}))
    for number in range(1, 9):
        dc.register(f"a{number}")
    dc.enroll("dev", "dev")
    dc.decline("dev", refuse_s=0)
    dc.enroll("prod", "prod")
    dc.decline("prod", refuse_s=0)
    counts = {framework: len(agents) for framework, agents in made(dc.pass_time(1))}
    assert counts == {"prod": 6, "dev": 2}


def test_a_decline_goes_to_others_at_once_and_comes_back_when_the_filter_ends(dc):
    dc.enroll("a")
    dc.register("n1")
    dc.enroll("b")
    assert made(dc.decline("a", refuse_s=10)) == [("b", ["n1"])]
    assert made(dc.decline("b", refuse_s=20)) == []
    (event,) = dc.pass_time(60)
    assert only([event], OfferMade)[0].framework == "a"
    assert at(dc, event) == 10


def test_refuse_seconds_zero_is_asked_again_at_the_next_tick_only(dc):
    dc.pass_time(0.25)
    dc.enroll("a")
    dc.register("n1")
    for tick in (1, 2, 3):
        assert made(dc.decline("a", refuse_s=0)) == []
        (event,) = dc.pass_time(1)
        assert (at(dc, event), event.type) == (tick, "offer.made")


@pytest.mark.parametrize(
    ("refuse_s", "seconds"),
    [
        (0, 1),
        (0.001, 1),
        (0.5, 1),
        (1, 1),
        (5, 5),
        (5.1, 6),
        (-1, 5),
        (math.nan, 5),
        (-math.inf, 5),
        (31_536_001, 31_536_000),
        (math.inf, 31_536_000),
    ],
)
def test_how_long_a_filter_lasts(refuse_s, seconds):
    """At least an interval, at most a year, five seconds if it is nonsense; it ends at a multiple of the interval."""
    assert filter_until(MasterConfig(), NOON, refuse_s) == NOON + seconds * second


def test_filters_end_at_multiples_of_the_interval():
    config = MasterConfig(allocation_interval_s=2.0)
    assert next_tick(config, NOON) == NOON + 2 * second
    assert next_tick(config, Now(NOON + 1)) == NOON + 2 * second
    assert filter_until(config, Now(NOON + 1), 5) == NOON + 6 * second
    assert filter_until(config, Now(NOON + second + 1), 5) == NOON + 8 * second


def test_filters_that_end_together_lead_to_one_event(dc):
    dc.enroll("a")
    for agent in ("n1", "n2", "n3"):
        dc.register(agent)
    dc.pass_time(0.1)
    for offer in dc.offers("a"):
        dc.decline("a", offer)
        dc.pass_time(0.1)
    assert made(dc.pass_time(10)) == [("a", ["n1", "n2", "n3"])]


def test_a_filter_covers_the_same_or_less_but_not_more(dc):
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    dc.launch("a", "n1", info("t1", "n1", "a", resources="cpus:1;mem:1024"), refuse_s=1000)
    assert dc.offers("a") == []
    events = dc.report("n1", "t1", "TASK_FINISHED")
    assert [offer.resources for offer in offered(events)] == [parse_resources("cpus:4;mem:4096")]


def test_less_than_was_refused_is_filtered_too(dc):
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    dc.enroll("b")
    assert made(dc.decline("a", refuse_s=1000)) == [("b", ["n1"])]
    dc.launch("b", "n1", info("t1", "n1", "b"), refuse_s=1000)
    assert dc.offers("a") == []
    assert not dc.free("n1").empty


def test_what_gets_free_beside_an_offer_waits_for_its_answer(dc):
    """Two tasks end while the rest of their agent is on offer: the answer brings all of it in one offer."""
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    launch = [info(task, "n1", "a", resources="cpus:1;mem:1024") for task in ("t1", "t2")]
    dc.launch("a", "n1", *launch, refuse_s=0)
    dc.pass_time(1)
    assert made(dc.report("n1", "t1", "TASK_FINISHED") + dc.report("n1", "t2", "TASK_FINISHED")) == []
    [whole] = offered(dc.decline("a"))
    assert whole.resources == parse_resources("cpus:4;mem:4096")


def test_what_gets_free_beside_an_offer_waits_for_the_next_tick_at_most(dc):
    """A framework that keeps an offer to itself is offered the rest then, as it would be by Mesos."""
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    dc.launch("a", "n1", info("t1", "n1", "a", resources="cpus:1;mem:1024"), refuse_s=0)
    dc.pass_time(1)
    assert made(dc.report("n1", "t1", "TASK_FINISHED")) == []
    assert made(dc.pass_time(1)) == [("a", ["n1"])]
    assert len(dc.offers("a")) == 2


def test_what_gets_free_beside_an_offer_is_anybody_elses_at_once(dc):
    """Only who is to answer an offer of the agent waits; and not once it revives."""
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    launch = [info(task, "n1", "a", resources="cpus:1;mem:1024") for task in ("t1", "t2")]
    dc.launch("a", "n1", *launch, refuse_s=0)
    dc.pass_time(1)
    dc.enroll("b")
    assert made(dc.report("n1", "t1", "TASK_FINISHED")) == [("b", ["n1"])]
    assert made(dc.report("n1", "t2", "TASK_FINISHED")) == []
    assert made(dc.revive("a")) == [("a", ["n1"])]


def test_declining_several_offers_of_an_agent_refuses_their_sum(dc):
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    dc.launch("a", "n1", info("t1", "n1", "a", resources="cpus:1;mem:1024"), refuse_s=0)
    dc.pass_time(1)
    dc.report("n1", "t1", "TASK_FINISHED")
    dc.pass_time(1)
    assert len(dc.offers("a")) == 2
    assert made(dc.decline("a", refuse_s=100)) == []


def test_suppress_stops_offers_and_revive_clears_filters(dc):
    dc.enroll("a")
    dc.register("n1")
    dc.decline("a", refuse_s=1000)
    assert only(dc.suppress("a"), FrameworkSuppressed)
    assert dc.suppress("a") == []
    assert dc.register("n2") == [dc.log[-1]]
    assert dc.pass_time(2000) == []
    events = dc.revive("a")
    assert [fact.revived for fact in only(events, OfferMade)] == [True], "the offers say it"
    assert types(events) == ["offer.made"]
    assert made(events) == [("a", ["n1", "n2"])]
    assert not dc.state.frameworks["a"].suppressed
    assert not dc.state.agents["n1"].filters


def test_a_revive_that_brings_nothing_is_said_apart(dc):
    """Its filters are gone: what becomes free is offered at once."""
    dc.enroll("a")
    dc.register("n1")
    dc.launch("a", "n1", info("t1", "n1", "a", resources=BIG), refuse_s=1000)
    dc.suppress("a")
    assert types(dc.revive("a")) == ["framework.revived"]
    assert made(dc.report("n1", "t1", "TASK_FINISHED")) == [("a", ["n1"])]


def test_a_revive_where_nothing_is_for_the_framework_is_said_apart(dc):
    """What is kept for another role is not offered for it."""
    dc.enroll("a")
    dc.suppress("a")
    dc.register("n1", role="web")
    assert types(dc.revive("a")) == ["framework.revived"]
    assert dc.offers("a") == []


def test_a_revive_clears_the_filters_of_one_framework_only(dc):
    """Who declined is offered all of it again, and the other one's filters stand."""
    dc.enroll("a")
    dc.enroll("b")
    dc.suppress("a")
    dc.suppress("b")
    dc.register("n1")
    dc.register("n2")
    assert made(dc.revive("a")) == [("a", ["n1", "n2"])]
    dc.decline("a", refuse_s=1000)
    assert made(dc.revive("b")) == [("b", ["n1", "n2"])]
    dc.decline("b", refuse_s=1000)
    assert made(dc.revive("a")) == [("a", ["n1", "n2"])]


def test_suppressing_keeps_offers_that_are_out(dc):
    dc.register("n1")
    dc.enroll("a")
    dc.suppress("a")
    assert len(dc.offers("a")) == 1


def test_a_filter_of_one_who_suppresses_wakes_nobody(dc):
    dc.enroll("a")
    dc.register("n1")
    dc.decline("a", refuse_s=5)
    dc.suppress("a")
    assert dc.component.wake_at(dc.state) is None


def test_a_filter_on_what_is_in_use_wakes_nobody(dc):
    dc.enroll("a")
    dc.register("n1")
    dc.enroll("b")
    dc.decline("a", refuse_s=5)
    (offer,) = dc.offers("b")
    assert dc.component.wake_at(dc.state) == dc.state.offers[offer].expires_at


def test_an_offer_that_is_not_answered_is_taken_back_and_goes_to_others(dc):
    dc.enroll("a")
    dc.register("n1")
    dc.enroll("b")
    events = dc.pass_time(120)
    (rescinded,) = only(events, OfferRescinded)
    assert (rescinded.framework, rescinded.reason) == ("a", Rescinded.TIMEOUT)
    assert made(events) == [("b", ["n1"])]
    assert at(dc, events[0]) == 120


def test_an_offer_nobody_else_wants_comes_again_at_the_next_tick(dc):
    dc.enroll("a")
    dc.register("n1")
    events = dc.pass_time(125)
    assert [(event.type, at(dc, event)) for event in events] == [("offer.rescinded", 120), ("offer.made", 121)]


def test_too_little_is_not_offered(dc):
    dc.enroll("a")
    assert made(dc.register("n1", "cpus:0.009;mem:31;disk:1000")) == []
    assert made(dc.register("n2", "cpus:0.01")) == [("a", ["n2"])]
    assert made(dc.register("n3", "mem:32")) == [("a", ["n3"])]
    assert dc.pass_time(10) == []


def test_a_decline_heard_twice_or_of_others_offers_yields_nothing(dc):
    dc.enroll("a")
    dc.enroll("b")
    dc.register("n1")
    offers = dc.offers("a")
    assert dc.decline("b", *offers) == []
    assert len(only(dc.decline("a", *offers, *offers), OfferRecovered)) == 1
    dc.pass_time(0.5)
    assert dc.decline("a", *offers) == []


def test_the_share_of_running_tasks_decides_who_is_next(dc):
    dc.enroll("a")
    dc.register("n1", "cpus:4;mem:4096")
    dc.launch("a", "n1", info("t1", "n1", "a", resources="cpus:4;mem:4096"))
    dc.enroll("b")
    assert made(dc.register("n2")) == [("b", ["n2"])]


def test_what_a_task_gives_back_is_offered_at_once(dc):
    dc.enroll("a")
    dc.register("n1", "cpus:1;mem:1024")
    dc.launch("a", "n1", info("t1", "n1", "a", resources="cpus:1;mem:1024"))
    events = dc.report("n1", "t1", "TASK_FINISHED")
    assert types(events) == ["task.updated", "offer.made"]


def test_an_agent_with_many_tasks_to_start_is_offered_again_once_one_of_them_runs(dc):
    """Else tasks are launched faster than it starts them, until it has no room in its list and drops the next."""
    dc.register("a1", resources="cpus:8;mem:100000;disk:10000")
    dc.enroll("marathon")
    small = [info(f"t{number}", resources="cpus:0.01;mem:32") for number in range(starting_max)]
    few, rest = small[:-1], small[-1:]
    dc.accept("marathon", dc.offers("marathon"), *few, refuse_s=0)
    assert made(dc.pass_time(1)) == [("marathon", ["a1"])]
    dc.accept("marathon", dc.offers("marathon"), *rest, refuse_s=0)
    assert made(dc.pass_time(1)) == []
    assert made(dc.report("a1", "t0", TaskState.STARTING)) == []
    assert made(dc.report("a1", "t0", TaskState.RUNNING)) == [("marathon", ["a1"])]
    assert made(dc.report("a1", "t1", TaskState.RUNNING)) == []  # what is free is offered already
