"""An accept is valid as a whole or not at all; then each task is launched or refused for one exact reason."""

from __future__ import annotations

import math

import msgspec
import pytest

from bus.events import OfferAccepted, OfferRecovered, TaskLaunched, TaskUpdated
from bus.nouns import Command, OfferId, Reason, Resources, Source, TaskState, parse_resources
from components.master import accepts
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter, info, made, updates

ERROR = (TaskState.ERROR, Reason.TASK_INVALID)
DROPPED = (TaskState.DROPPED, Reason.INVALID_OFFERS)


@pytest.fixture
def dc():
    dc = Datacenter()
    dc.register("a1", "cpus:4;mem:4096;ports:[31000-31009]")
    dc.enroll("marathon")
    yield dc
    assert dc.rebuilt() == dc.hash()


def refused(dc, task, message):
    """The task is an ERROR with exactly this message, and nothing of the agent is lost."""
    events = dc.launch("marathon", "a1", task)
    (update,) = only(events, TaskUpdated)
    assert (update.status.state, update.status.reason, update.status.source) == (*ERROR, Source.MASTER)
    assert update.status.message == message
    assert dc.free("a1") == parse_resources("cpus:4;mem:4096;ports:[31000-31009]")
    assert not only(events, TaskLaunched)


# ---- valid accepts


def test_tasks_are_launched_in_order_and_the_rest_is_recovered(dc):
    tasks = [info("t2", resources="cpus:1;mem:100;ports:[31000-31001]"), info("t1", resources="cpus:2;mem:100")]
    events = dc.launch("marathon", "a1", *tasks)
    assert types(events) == ["task.launched", "task.launched"]
    assert [fact.task for fact in only(events, TaskLaunched)] == tasks
    assert [event.to for event in events] == ["a1", "a1"]
    assert [fact.recovered for fact in only(events, TaskLaunched)] == [(), events[0].fact.offers]
    assert dc.free("a1") == parse_resources("cpus:1;mem:3896;ports:[31002-31009]")
    assert dc.state_of("t1") is TaskState.STAGING


def test_a_launch_carries_cause_and_trace(dc):
    events = dc.launch("marathon", "a1", info("t1", trace="t-7"))
    accept = dc.position - len(events)
    assert [(event.cause, event.trace) for event in events] == [(accept, "t-7")]


def test_an_accept_without_tasks_is_a_decline(dc):
    events = dc.launch("marathon", "a1", refuse_s=10)
    assert types(events) == ["offer.recovered"]
    assert types(dc.pass_time(9)) == []
    assert types(dc.pass_time(1)) == ["offer.made"]


def test_what_is_left_over_is_filtered_as_asked(dc):
    events = dc.launch("marathon", "a1", info("t1"), refuse_s=10)
    (launched,) = only(events, TaskLaunched)
    assert launched.filter_until == dc.now + 10_000_000


def test_nothing_left_over_is_no_filter(dc):
    events = dc.launch("marathon", "a1", info("t1", resources="cpus:4;mem:4096;ports:[31000-31009]"))
    assert only(events, TaskLaunched)[0].filter_until is None
    assert dc.offers("marathon") == []


def test_what_is_left_over_goes_to_others_at_once(dc):
    dc.enroll("other")
    events = dc.launch("marathon", "a1", info("t1"))
    assert types(events) == ["task.launched", "offer.made"]
    assert made(events) == [("other", ["a1"])]


def test_two_offers_of_one_agent_are_one_pool(dc):
    dc.launch("marathon", "a1", info("t1", resources="cpus:3;mem:100"), refuse_s=0)
    dc.pass_time(1)
    dc.report("a1", "t1", TaskState.FINISHED)
    dc.pass_time(1)
    assert len(dc.offers("marathon")) == 2
    events = dc.accept("marathon", dc.offers("marathon"), info("t2", resources="cpus:4;mem:4096"))
    assert types(events) == ["task.launched"]
    assert dc.offers("marathon") == []


# ---- what is declined with an accept, and the end of offers


def answered(dc, *launch, refuse_s=10.0):
    """Of two nodes' offers one is accepted and the other declined with it, and no more are wanted."""
    dc.register("a2")
    mine, other = dc.offers("marathon")
    fact = OfferAccepted(offers=(mine,), launch=launch, refuse_s=refuse_s, declined=(other,), suppressed=True)
    return mine, other, dc.say("marathon", fact)


def test_the_last_launch_says_what_became_of_all_offers(dc):
    """One event where there were four: the rest of the offer, the one declined and that no more are wanted."""
    mine, other, events = answered(dc, info("t1"))
    assert types(events) == ["task.launched"]
    (fact,) = only(events, TaskLaunched)
    assert (fact.recovered, fact.suppressed, fact.filter_until) == ((mine, other), True, dc.now + 10_000_000)
    assert dc.offers("marathon") == []
    assert dc.state.frameworks["marathon"].suppressed
    assert dc.free("a2") == dc.state.agents["a2"].total
    assert dc.pass_time(100) == []


def test_what_was_declined_with_an_accept_is_filtered_as_asked(dc):
    """As if it had been declined by itself: not before the time, and then all of it."""
    dc.register("a2")
    mine, other = dc.offers("marathon")
    dc.say("marathon", OfferAccepted(offers=(mine,), launch=(info("t1"),), refuse_s=10, declined=(other,)))
    assert dc.pass_time(9) == []
    assert made(dc.pass_time(1)) == [("marathon", ["a1", "a2"])]


def test_a_filter_holds_what_was_declined_though_all_of_the_accepted_was_taken(dc):
    _, _, events = answered(dc, info("t1", resources="cpus:4;mem:4096;ports:[31000-31009]"))
    assert only(events, TaskLaunched)[0].filter_until is not None
    assert dc.state.agents["a2"].filters["marathon"]
    assert "marathon" not in dc.state.agents["a1"].filters


def test_a_refused_launch_closes_nothing_so_the_offers_are_recovered_apart(dc):
    mine, other, events = answered(dc, info("t1", resources="cpus:9"))
    assert types(events) == ["task.updated", "offer.recovered"]
    (fact,) = only(events, OfferRecovered)
    assert (fact.offers, fact.suppressed) == ((mine, other), True)
    assert dc.offers("marathon") == []


def test_the_rest_of_an_accept_counts_though_its_offer_is_gone(dc):
    """What was declined is declined; that no more are wanted holds, said apart where nothing else is closed."""
    (gone,) = dc.offers("marathon")
    dc.decline("marathon", refuse_s=100)
    dc.register("a2")
    (other,) = dc.offers("marathon")
    fact = OfferAccepted(offers=(gone,), launch=(info("t1"),), refuse_s=100, declined=(other,), suppressed=True)
    events = dc.say("marathon", fact)
    assert types(events) == ["task.updated", "offer.recovered"]
    assert dc.state.frameworks["marathon"].suppressed
    dc.revive("marathon")
    again = msgspec.structs.replace(fact, launch=(info("t2"),))
    assert dc.offers("marathon") != []
    assert types(dc.say("marathon", again)) == ["task.updated", "framework.suppressed"]


def test_somebody_elses_offer_is_not_declined_with_an_accept(dc):
    dc.enroll("other")
    dc.launch("marathon", "a1", info("t1"), refuse_s=100)
    (theirs,) = dc.offers("other")
    dc.suppress("other")
    dc.register("a2")
    (mine,) = dc.offers("marathon")
    fact = OfferAccepted(offers=(mine,), launch=(info("t2", "a2"),), declined=(theirs, OfferId("o-0-9")))
    assert only(dc.say("marathon", fact), TaskLaunched)[0].recovered == (mine,)
    assert dc.offers("other") == [theirs]


def test_offers_beyond_what_an_agent_should_hear_of_are_recovered_apart(dc, monkeypatch):
    monkeypatch.setattr(accepts, "closed_max", 1)
    _, _, events = answered(dc, info("t1"))
    assert types(events) == ["task.launched", "offer.recovered"]
    assert only(events, TaskLaunched)[0].recovered == ()


# ---- invalid accepts: every task dropped, live offers recovered


def dropped(dc, events, message):
    assert [(state, reason) for _, state, reason in updates(events)] == [DROPPED]
    assert only(events, TaskUpdated)[0].status.message == message
    assert not only(events, TaskLaunched)


def test_an_offer_that_is_gone(dc):
    (offer,) = dc.offers("marathon")
    dc.decline("marathon")
    events = dc.accept("marathon", [offer], info("t1"))
    dropped(dc, events, f"Offer {offer} is no longer valid")
    assert types(events) == ["task.updated"]


def test_an_offer_answered_twice_launches_once(dc):
    (offer,) = dc.offers("marathon")
    dc.accept("marathon", [offer], info("t1"))
    dropped(dc, dc.accept("marathon", [offer], info("t2")), f"Offer {offer} is no longer valid")


def test_a_replayed_accept_does_not_drop_the_task_it_launched(dc):
    """The framework's accept is published again, byte for byte: it hears what the task does, not that it is gone."""
    (offer,) = dc.offers("marathon")
    dc.accept("marathon", [offer], info("t1"))
    dc.report("a1", "t1", TaskState.RUNNING)
    events = dc.accept("marathon", [offer], info("t1"))
    assert [(state, reason) for _, state, reason in updates(events)] == [(TaskState.RUNNING, Reason.RECONCILIATION)]


def test_a_replayed_accept_does_not_drop_a_task_that_has_ended(dc):
    """It was launched, ran and finished: it is not said to be dropped, which is an end it never had."""
    (offer,) = dc.offers("marathon")
    dc.accept("marathon", [offer], info("t1"))
    dc.report("a1", "t1", TaskState.RUNNING)
    dc.report("a1", "t1", TaskState.FINISHED)
    events = dc.accept("marathon", [offer], info("t1"))
    assert [(state, reason) for _, state, reason in updates(events)] == [(TaskState.FINISHED, Reason.RECONCILIATION)]


def test_a_live_offer_beside_a_stale_one_is_recovered(dc):
    (stale,) = dc.offers("marathon")
    dc.decline("marathon")
    dc.register("a2")
    (live,) = dc.offers("marathon")
    events = dc.accept("marathon", [live, stale], info("t1", "a2"))
    dropped(dc, events, f"Offer {stale} is no longer valid")
    assert only(events, OfferRecovered)[0].offers == (live,)
    assert made(dc.pass_time(1)) == [("marathon", ["a2"])]


def test_somebody_elses_offer(dc):
    dc.enroll("thief")
    (offer,) = dc.offers("marathon")
    events = dc.accept("thief", [offer], info("t1", framework="thief"))
    dropped(dc, events, f"Offer {offer} has invalid framework marathon while framework thief is expected")
    assert dc.offers("marathon") == [offer]


def test_offers_of_two_agents(dc):
    dc.register("a2")
    first, second = dc.offers("marathon")
    events = dc.accept("marathon", [first, second], info("t1"))
    dropped(dc, events, f"Offer {second} is of agent a2, {first} is of a1: expected one agent")
    assert dc.offers("marathon") == []


def test_an_offer_named_twice(dc):
    (offer,) = dc.offers("marathon")
    dropped(dc, dc.accept("marathon", [offer, offer], info("t1")), "Duplicate offer in offer list")


def test_no_offer_at_all(dc):
    dropped(dc, dc.accept("marathon", [], info("t1")), "No offers specified")
    assert dc.accept("marathon", []) == []


def test_every_task_of_an_invalid_accept_is_dropped(dc):
    events = dc.accept("marathon", ["o-0-0"], info("t1"), info("t2"))
    assert [task for task, _, _ in updates(events)] == ["t1", "t2"]


# ---- invalid tasks: each an error, the others launched


def test_a_wrong_task_does_not_stop_the_others(dc):
    tasks = [info("t1"), info("t2", resources="cpus:9"), info("t3")]
    events = dc.launch("marathon", "a1", *tasks)
    assert types(events) == ["task.launched", "task.updated", "task.launched"]


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a/b", "a\n", "ü", "x" * 256])
def test_a_task_id_that_breaks_the_grammar(dc, name):
    message = f"Task ID {name!r} is invalid: expected 1 to 255 of [A-Za-z0-9._-], not beginning with '.'"
    refused(dc, info(name), message)


@pytest.mark.parametrize("name", ["a", "A.b-c_d", "x" * 255, "-a", "0"])
def test_a_task_id_that_follows_the_grammar(dc, name):
    assert only(dc.launch("marathon", "a1", info(name)), TaskLaunched)


def test_a_task_id_that_is_alive(dc):
    dc.launch("marathon", "a1", info("t1"), refuse_s=0)
    dc.pass_time(1)
    events = dc.launch("marathon", "a1", info("t1"))
    assert only(events, TaskUpdated)[0].status.message == "Task has duplicate ID: t1"
    assert dc.state_of("t1") is TaskState.STAGING
    dc.report("a1", "t1", TaskState.RUNNING)
    assert dc.state_of("t1") is TaskState.RUNNING


def test_a_task_id_twice_in_one_accept(dc):
    events = dc.launch("marathon", "a1", info("t1"), info("t1"))
    assert types(events) == ["task.launched", "task.updated", "offer.recovered"]


def test_a_task_id_that_has_ended(dc):
    dc.launch("marathon", "a1", info("t1"))
    dc.report("a1", "t1", TaskState.FINISHED)
    refused(dc, info("t1"), "Task has duplicate ID: t1")
    assert dc.state_of("t1") is TaskState.FINISHED


def test_another_agent_than_the_offers(dc):
    refused(dc, info("t1", "a9"), "Task uses invalid agent a9 while agent a1 is expected")


def test_another_framework_than_the_accepts(dc):
    refused(dc, info("t1", framework="spark"), "Task uses framework spark while framework marathon is expected")


def test_no_resources(dc):
    refused(dc, info("t1", resources=""), "Task uses no resources")


def test_negative_or_absurd_resources(dc):
    task = info("t1")
    for cpus in (-1, 10**12 + 1):
        wrong = msgspec.structs.replace(task, resources=Resources(cpu_milli=cpus, mem_mb=1))
        refused(dc, wrong, f"Task uses invalid resources: cpus is {cpus}: expected 0 to 1000000000000")
        dc.pass_time(200)


@pytest.mark.parametrize("ports", [((31005, 31001),), ((31001, 31002), (31002, 31003)), ((0, 1),), ((65535, 65536),)])
def test_ports_that_are_no_ranges(dc, ports):
    wrong = msgspec.structs.replace(info("t1"), resources=Resources(cpu_milli=1, ports=ports))
    message = "Task uses invalid resources: ports: expected ascending, disjoint ranges between 1 and 65535"
    refused(dc, wrong, message)


def test_more_than_offered(dc):
    refused(
        dc,
        info("t1", resources="cpus:4.001;mem:1"),
        "Total resources cpus:4.001; mem:1; disk:0 required by task is more than available "
        "cpus:4; mem:4096; disk:0; ports:[31000-31009]",
    )


def test_ports_that_were_not_offered(dc):
    refused(
        dc,
        info("t1", resources="cpus:1;ports:[31009-31010]"),
        "Total resources cpus:1; mem:0; disk:0; ports:[31009-31010] required by task is more than available "
        "cpus:4; mem:4096; disk:0; ports:[31000-31009]",
    )


def test_what_one_task_took_the_next_cannot_take(dc):
    events = dc.launch("marathon", "a1", info("t1", resources="cpus:3"), info("t2", resources="cpus:2"))
    assert updates(events) == [("t2", *ERROR)]


def test_a_port_that_the_task_before_took(dc):
    one, two = (info(name, resources="cpus:1;ports:[31000-31000]") for name in ("t1", "t2"))
    assert updates(dc.launch("marathon", "a1", one, two)) == [("t2", *ERROR)]


@pytest.mark.parametrize(
    ("command", "found"),
    [(Command(), "neither"), (Command(shell=""), "neither"), (Command(shell="true", argv=("true",)), "both")],
)
def test_not_exactly_one_of_shell_and_argv(dc, command, found):
    refused(dc, info("t1", command=command), f"Task should have exactly one of shell and argv, found {found}")


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf, -math.inf])
def test_a_grace_that_is_negative_or_no_number(dc, seconds):
    refused(dc, info("t1", kill_grace_s=seconds), f"kill_grace_s is {seconds}: expected 0 to 315360000 seconds")


@pytest.mark.parametrize("seconds", [-0.5, math.nan])
def test_a_completion_time_that_is_negative_or_no_number(dc, seconds):
    refused(dc, info("t1", max_completion_s=seconds), f"max_completion_s is {seconds}: expected 0 to 315360000 seconds")


def test_a_description_that_is_too_large(dc):
    task = info("t1", command=Command(shell="x" * (256 * 1024)))
    events = dc.launch("marathon", "a1", task)
    assert updates(events) == [("t1", *ERROR)]
    assert only(events, TaskUpdated)[0].status.message.endswith(" bytes: expected at most 262144")


def test_a_task_that_was_never_launched_leaves_no_trace_in_the_state(dc):
    dc.launch("marathon", "a1", info("t1", resources="cpus:9"))
    assert not dc.state.tasks
    assert not dc.state.ended
