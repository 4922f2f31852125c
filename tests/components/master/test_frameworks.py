"""Frameworks are admitted or refused, fall silent, are heard again, and speak for themselves alone."""

from __future__ import annotations

import math

import pytest

from bus.events import (
    AgentAdmitted,
    FrameworkAdmitted,
    FrameworkDisconnected,
    FrameworkReconnected,
    FrameworkRefused,
    KillRequested,
    OfferRescinded,
    RequestRefused,
)
from bus.nouns import Refusal, Rescinded, TaskState
from bus.services import AppRemoved
from bus.subjects import Author, Kind
from components.master.decide import PingsMissed
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter, info, made, updates


@pytest.fixture
def dc():
    dc = Datacenter()
    yield dc
    assert dc.rebuilt() == dc.hash()


def refusal(events):
    (fact,) = only(events, FrameworkRefused)
    assert types(events) == ["framework.refused"]
    return fact.reason, fact.message


def test_a_new_framework_is_admitted(dc):
    (event,) = dc.enroll("marathon", "prod", failover_timeout_s=60.0)
    assert event.fact == FrameworkAdmitted(framework="marathon", name="marathon", role="prod", failover_timeout_s=60.0)
    assert event.to == "marathon"


def test_an_id_of_an_agent_is_taken(dc):
    dc.register("a1")
    assert refusal(dc.enroll("a1"))[0] is Refusal.ID_TAKEN


@pytest.mark.parametrize("name", ["main", "u-alice"])
def test_reserved_ids_are_taken(dc, name):
    assert refusal(dc.enroll(name))[0] is Refusal.ID_TAKEN


@pytest.mark.parametrize("role", ["*", "prod", "eng/web", "a.b", "slave_public", "x" * 255])
def test_roles_that_are_taken(dc, role):
    assert types(dc.enroll("f", role)) == ["framework.admitted"]


@pytest.mark.parametrize(
    "role", ["", ".", "..", "-x", "a b", "a\tb", "a\bb", "/a", "a/", "a//b", "a/../b", "a/-b", "a/*", "x" * 256]
)
def test_roles_that_are_refused(dc, role):
    assert refusal(dc.enroll("f", role))[0] is Refusal.INVALID
    assert not dc.state.frameworks


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_failover_timeout_that_is_negative_or_no_number(dc, seconds):
    message = f"failover_timeout_s is {seconds}: expected 0 to 315360000 seconds"
    assert refusal(dc.enroll("f", failover_timeout_s=seconds)) == (Refusal.INVALID, message)


def test_registering_again_voids_offers_filters_and_suppression(dc):
    dc.register("n1")
    dc.register("n2")
    dc.enroll("f")
    dc.decline("f", dc.offer_of("f", "n1"), refuse_s=1000)
    dc.suppress("f")
    events = dc.enroll("f", "prod")
    assert types(events) == ["offer.rescinded", "framework.admitted", "offer.made"]
    assert only(events, OfferRescinded)[0].reason is Rescinded.FRAMEWORK_REREGISTERED
    assert made(events) == [("f", ["n1", "n2"])]
    assert dc.state.frameworks["f"].role == "prod"


def test_registering_again_keeps_tasks(dc):
    dc.register("a1")
    dc.enroll("marathon")
    dc.launch("marathon", "a1", info("t1"))
    dc.enroll("marathon")
    assert updates(dc.report("a1", "t1", TaskState.RUNNING)) == [("t1", TaskState.RUNNING, None)]


def test_a_silent_framework_loses_its_offers_to_others(dc):
    dc.register("n1")
    dc.enroll("f")
    dc.enroll("g")
    events = dc.silence("f")
    assert types(events) == ["framework.disconnected", "offer.rescinded", "offer.made"]
    assert only(events, OfferRescinded)[0].reason is Rescinded.FRAMEWORK_DISCONNECTED
    assert made(events) == [("g", ["n1"])]
    dc.decline("g")
    assert dc.offers("f") == []


def test_a_silent_framework_hears_of_its_tasks_all_the_same(dc):
    dc.register("a1")
    dc.enroll("marathon")
    dc.launch("marathon", "a1", info("t1"))
    dc.silence("marathon")
    (event,) = dc.report("a1", "t1", TaskState.RUNNING)
    assert event.to == "marathon"


def test_a_silent_framework_that_is_heard_is_back_first(dc):
    dc.register("a1")
    dc.enroll("f")
    dc.silence("f")
    events = dc.reconcile("f")
    assert only(events[:1], FrameworkReconnected)
    assert made(events) == [("f", ["a1"])]


def test_a_silent_framework_that_registers_is_admitted(dc):
    dc.enroll("f")
    dc.silence("f")
    assert types(dc.enroll("f")) == ["framework.admitted"]


def test_a_framework_that_suppressed_is_still_suppressed_when_it_is_back(dc):
    dc.register("a1")
    dc.enroll("f")
    dc.suppress("f")
    dc.silence("f")
    assert types(dc.reconcile("f")) == ["framework.reconnected"]


def test_a_sight_from_before_the_framework_was_back_is_old(dc):
    dc.enroll("f")
    sight = PingsMissed(kind=Kind.FRAMEWORK, id="f", since_n=dc.state.frameworks["f"].connected_n, missed=5)
    assert only(dc.see(sight), FrameworkDisconnected)
    assert dc.see(sight) == []
    dc.reconcile("f")
    assert dc.see(sight) == []


def test_who_is_not_registered_is_refused(dc):
    (event,) = dc.kill("ghost", "t1")
    assert event.fact == RequestRefused(
        reason=Refusal.NOT_FOUND, message="ghost is not a framework here: register first"
    )
    assert event.to == "ghost"


def test_what_is_not_said_to_a_master_is_passed_over(dc):
    dc.enroll("f")
    assert dc.say("f", AppRemoved(app="/a")) == []
    assert dc.say("ghost", AppRemoved(app="/a")) == []
    assert dc.tell(Author(Kind.EXECUTOR, "a1-x"), AppRemoved(app="/a")) == []
    assert dc.tell(Author(Kind.MASTER, "main"), AgentAdmitted(agent="a", hostname="h", resources={})) == []


def test_a_client_is_sent_to_its_framework(dc):
    client = Author(Kind.CLIENT, "u-alice")
    (event,) = dc.hear(client, KillRequested(task="t1"), request="q1")
    assert (event.to, event.request, event.fact.reason) == ("u-alice", "q1", Refusal.INVALID)
    (again,) = dc.hear(client, KillRequested(task="t1"), request="q1")
    assert again.fact == event.fact
