"""How offers are answered: who is placed where, and what is said of the rest."""

from __future__ import annotations

import pytest

from bus.codec import encode
from bus.documents import PortDefinition
from bus.events import FrameworkRevived, KillRequested, OfferAccepted, OfferDeclined
from bus.nouns import MASTER, AgentId, AppId, OfferId, Resources, Unfit
from bus.services import ScaleRequested
from components.answering import accept_bytes_max, accepts_max, unfits_max
from components.marathon import MarathonConfig
from tests.components.driver import only, types
from tests.components.marathon.play import FAILED, RUNNING, WEB, Play, launches, scheduled


def test_offers_are_declined_for_long_and_no_more_are_wanted_when_nothing_waits():
    """Marathon: decline_offer_duration 120 s, suppress_offers. Steps 2 and 3, with nothing unfit."""
    play = Play()
    events = play.make(play.offer(agent="a1"), play.offer(agent="a2"))
    assert types(events) == ["offer.declined"]
    wanted = OfferDeclined(offers=(OfferId("o-1"), OfferId("o-2")), refuse_s=120.0, suppressed=True)
    assert only(events, OfferDeclined) == [wanted]
    assert play.state.suppressed
    assert {event.to for event in events} == {MASTER}


def test_nothing_is_suppressed_before_the_first_offers():
    play = Play()
    assert not play.state.suppressed
    play.make()
    assert play.state.suppressed


def test_a_new_instance_revives_a_suppressed_marathon():
    play = Play()
    play.make()
    assert types(play.add()) == ["deployment.started", "framework.revived"]
    assert play.settle() == []


def test_a_new_instance_lifts_the_filters_of_earlier_declines():
    """What was too small for another app may do for this one."""
    play = Play()
    play.add("/huge", cpus=100)
    play.make()
    assert only(play.add(), FrameworkRevived) != []
    assert only(play.ask(ScaleRequested(app=WEB, instances=2)), FrameworkRevived) == []


def test_one_accept_per_offer_takes_all_that_fits():
    """Steps 5 and 6: as many as fit, and no more are wanted afterwards."""
    play = Play()
    play.add(instances=4, cpus=1.5)
    first, second = play.offer(Resources(cpu_milli=5000, mem_mb=1000, ports=((1, 9),))), play.offer(agent="a2")
    events = play.make(first, second)
    assert types(events) == ["offer.accepted", "offer.accepted"]
    accepted = only(events, OfferAccepted)
    assert [fact.suppressed for fact in accepted] == [False, True]
    assert [(fact.offers, len(fact.launch)) for fact in accepted] == [((first.offer,), 3), ((second.offer,), 1)]
    assert {task.agent for task in accepted[0].launch} == {AgentId("a1")}
    assert accepted[0].refuse_s == 120.0
    assert {event.trace for event in events[:2]} == {"t1"}


def test_the_oldest_waiting_instance_is_served_first():
    """Across apps: first come, first served."""
    play = Play()
    (old,) = scheduled(play.add("/z"))
    (young,) = scheduled(play.add("/a"))
    small = Resources(cpu_milli=1000, mem_mb=128, ports=((1, 1),))
    assert [task.task for task in launches(play.make(play.offer(small)))] == [old]
    assert [task.task for task in launches(play.make(play.offer(small)))] == [young]


def test_what_does_not_fit_does_not_hold_up_the_others():
    play = Play()
    play.add("/huge", cpus=100)
    (web,) = scheduled(play.add())
    (accepted,) = only(play.make(), OfferAccepted)
    assert [task.task for task in accepted.launch] == [web]
    assert [(unfit.app, unfit.reason) for unfit in accepted.unfit] == [("/huge", "InsufficientCpus")]


def test_each_app_and_offer_without_a_fit_gets_its_reasons_with_numbers():
    """Marathon's NoOfferMatchReason, once per app however many of it wait."""
    play = Play()
    play.add(instances=5, cpus=0.5, mem=1000, disk=20000, ports=(0, 0))
    offer = play.offer(Resources(cpu_milli=4000, mem_mb=500, disk_mb=100, ports=((31000, 31000),)))
    events = play.make(offer)
    assert types(events) == ["offer.declined"]
    at = {"agent": offer.agent, "offer": offer.offer, "app": WEB}
    assert only(events, OfferDeclined)[0].unfit == (
        Unfit(**at, reason="InsufficientMemory", needed="1000 MB", had="500 MB"),
        Unfit(**at, reason="InsufficientDisk", needed="20000 MB", had="100 MB"),
        Unfit(**at, reason="InsufficientPorts", needed="2 ports", had="1 ports"),
    )


def test_required_ports_must_be_offered():
    """Marathon: requirePorts."""
    play = Play()
    play.add(ports=(8080,), require_ports=True)
    (declined,) = only(play.make(), OfferDeclined)
    assert [(one.reason, one.needed, one.had) for one in declined.unfit] == [
        ("InsufficientPorts", "ports 8080", "ports 31000-31999")
    ]
    (task,) = launches(play.make(play.offer(Resources(cpu_milli=1000, mem_mb=128, ports=((8000, 9000),)))))
    assert (task.ports, task.resources.ports) == ((8080,), ((8080, 8080),))


def test_a_second_instance_with_the_same_required_port_needs_another_node():
    play = Play()
    play.add(instances=2, ports=(31500,), require_ports=True)
    accepted = only(play.make(play.offer(agent="a1"), play.offer(agent="a2")), OfferAccepted)
    assert [[task.ports for task in fact.launch] for fact in accepted] == [[(31500,)], [(31500,)]]


def test_a_port_just_given_back_is_not_given_out_at_once():
    """The process that held it may still be closing it."""
    play = Play()
    (task,) = play.up()
    play.ask(KillRequested(task=task))
    assert [info.ports for info in launches(play.make())] == [(31001,)]


def test_asked_for_ports_do_not_move_the_choice_of_others():
    play = Play()
    play.up("/fixed", ports=(0, 31998))
    assert [info.ports for info in launches(play.add() + play.make())] == [(31001,)]


def test_the_ports_of_one_agent_are_distinct():
    play = Play()
    play.add(instances=20, cpus=0.1, port_definitions=(PortDefinition(name="http"), PortDefinition(name="admin")))
    ports = [port for task in launches(play.make()) for port in task.ports]
    assert len(ports) == len(set(ports)) == 40


def test_no_offer_is_accepted_for_an_app_in_delay():
    """And none is declined with a reason: it fits, it only waits."""
    play = Play()
    (task,) = play.up()
    play.update(task, FAILED)
    events = play.make()
    assert only(events, OfferDeclined)[0].unfit == ()
    assert types(events) == ["offer.declined"]
    assert types(play.advance(1)) == ["framework.revived"]
    assert len(launches(play.make())) == 1


def test_an_accept_at_its_limit_gives_the_rest_back_at_once():
    """DC/OS: max_instances_per_offer; a filter would hold the node back, if only until the next batch of offers."""
    play = Play(MarathonConfig(launches_max=2))
    play.add(instances=3)
    events = play.make()
    (accepted,) = only(events, OfferAccepted)
    assert (len(accepted.launch), accepted.refuse_s) == (2, 0.0)
    assert types(events) == ["offer.accepted", "framework.revived"]
    (last,) = play.make()
    assert (last.type, last.fact.refuse_s, last.fact.suppressed) == ("offer.accepted", 120.0, True)


def test_what_was_given_back_is_not_asked_for_when_nothing_waits_any_more():
    play = Play(MarathonConfig(launches_max=2))
    play.add(instances=3)
    events = play.make(play.offer(agent="a1"), play.offer(agent="a2"))
    assert types(events) == ["offer.accepted", "offer.accepted"]
    assert play.state.suppressed


def test_an_accept_never_grows_beyond_one_message():
    play = Play()
    play.add(instances=100, cpus=0.01, mem=1, env={"BIG": "x" * 60_000})
    events = play.make()
    (accepted,) = only(events, OfferAccepted)
    assert 1 < len(accepted.launch) < 10
    assert accepted.refuse_s == 0.0
    assert len(encode(events[0])) < 2 * accept_bytes_max


def test_more_offers_than_one_decision_can_accept_are_given_back():
    play = Play()
    play.add(instances=accepts_max + 1, cpus=8)
    events = play.make(*(play.offer(agent=f"a{index}") for index in range(accepts_max + 10)))
    assert len(only(events, OfferAccepted)) == accepts_max
    (declined,) = only(events, OfferDeclined)
    assert (len(declined.offers), declined.refuse_s) == (10, 0.0)
    assert types(events)[-2:] == ["offer.declined", "framework.revived"]


def test_more_offers_than_are_of_use_are_declined_for_long():
    play = Play()
    play.add(instances=accepts_max, cpus=8)
    events = play.make(*(play.offer(agent=f"a{index}") for index in range(accepts_max + 10)))
    last = only(events, OfferAccepted)[-1]
    assert types(events) == ["offer.accepted"] * accepts_max
    assert (len(last.declined), last.refuse_s, last.suppressed) == (10, 120.0, True)


def test_reasons_for_many_nodes_are_said_in_several_declines():
    play = Play()
    play.add(cpus=100, mem=100_000)
    events = play.make(*(play.offer(agent=f"a{index}") for index in range(unfits_max)))
    declined = only(events, OfferDeclined)
    assert [len(fact.unfit) for fact in declined] == [unfits_max, unfits_max]
    assert sum(len(fact.offers) for fact in declined) == unfits_max


def test_reasons_for_very_many_pairs_stop_at_a_limit():
    """Thousands of nodes times hundreds of apps would not fit into one append."""
    play = Play()
    for index in range(30):
        play.add(f"/huge-{index}", cpus=100)
    events = play.make(*(play.offer(agent=f"a{index}") for index in range(300)))
    declined = only(events, OfferDeclined)
    assert sum(len(fact.offers) for fact in declined) == 300
    assert 5000 <= sum(len(fact.unfit) for fact in declined) < 5500


@pytest.mark.parametrize("fields", [{}, {"env": {"HOST": "mine"}}])
def test_the_host_and_ports_of_an_instance_are_known_whatever_its_environment(fields):
    play = Play()
    (task,) = play.up(**fields)
    launched = play.app().launched[task]
    assert (launched.agent, launched.hostname, launched.ports) == (AgentId("a1"), "a1.example", (31000,))


def test_while_nothing_changes_an_offer_leads_to_no_revive():
    """Decline, revive, offer, decline ... would never end."""
    play = Play()
    play.add(cpus=100)
    for _ in range(3):
        assert types(play.make()) == ["offer.declined"]


def test_several_traces_in_one_accept_leave_it_without_one():
    play = Play()
    play.add("/a")
    play.ask(ScaleRequested(app=AppId("/a"), instances=2, force=True), trace="t2")
    play.add("/b")
    events = play.make()
    assert {task.trace for task in launches(events)} == {"t1", "t2"}
    assert events[0].trace is None
    play.update(launches(events)[0].task, RUNNING)
