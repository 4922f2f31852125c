"""What one decision cannot hold goes on in the next ones, before anything else is heard, and comes out the same."""

from __future__ import annotations

import pytest

from bus.events import (
    AgentAdmitted,
    AgentRegistered,
    FrameworkRegistered,
    OfferAccepted,
    OfferMade,
    OfferRecovered,
    OfferRescinded,
    TaskLaunched,
    TaskUpdated,
)
from bus.nouns import HeldTask, TaskState, parse_resources
from bus.port import batch_events_max
from bus.subjects import Author, Kind
from components.master import MasterConfig
from components.master.accepts import launches_max
from components.master.agents import updates_max
from components.master.offers import picks_max, takers_max
from components.master.tasks import answers_max
from tests.components.driver import only, types
from tests.components.master.datacenter import Datacenter, info, made, status, updates

HUGE = "cpus:100000;mem:100000"
MANY = 1300


@pytest.fixture
def dc():
    dc = Datacenter(MasterConfig(offer_timeout_s=100_000))
    yield dc
    assert dc.rebuilt() == dc.hash()


def tasks(count=MANY):
    return [info(f"t{number:04}", resources="cpus:1;mem:1") for number in range(count)]


def full(dc, count=MANY):
    """One agent with many running tasks."""
    dc.register("a1", HUGE)
    dc.enroll("marathon")
    dc.launch("marathon", "a1", *tasks(count))


def decisions(events):
    """How many events each decision has."""
    sizes, size = [], 0
    for event in events:
        size += 1
        if event.last:
            sizes.append(size)
            size = 0
    return sizes


def test_an_accept_of_many_tasks_is_cut_and_completed(dc):
    dc.register("a1", HUGE)
    dc.enroll("marathon")
    events = dc.launch("marathon", "a1", *tasks())
    assert decisions(events) == [launches_max + 1, launches_max, MANY - 2 * launches_max]
    assert [fact.task.task for fact in only(events, TaskLaunched)] == [task.task for task in tasks()]
    assert [fact.task.task for fact in only(events, TaskLaunched) if fact.recovered] == [tasks()[-1].task]
    (rest,) = only(events, OfferAccepted)
    assert (rest.framework, len(rest.launch)) == ("marathon", MANY - launches_max)
    assert not dc.state.accepts
    (accept,) = {event.cause for event in events}
    assert accept == events[0].cause


def test_an_invalid_accept_of_many_tasks_is_cut_and_completed(dc):
    dc.register("a1", HUGE)
    dc.enroll("marathon")
    (offer,) = dc.offers("marathon")
    events = dc.accept("marathon", ["o-0-0"], *tasks())
    assert [task for task, _, _ in updates(events)] == [task.task for task in tasks()]
    assert not dc.state.accepts
    assert dc.offers("marathon") == [offer]
    events = dc.accept("marathon", [offer, "o-0-0"], *tasks())
    assert len(updates(events)) == MANY
    assert only(events, OfferRecovered)[0].offers == (offer,)
    assert not dc.state.accepts


def test_an_accept_of_many_tasks_on_somebody_elses_offer_comes_to_an_end(dc):
    """All are dropped, nothing is closed, and nothing of it stays due."""
    dc.register("a1", HUGE)
    dc.enroll("marathon")
    dc.enroll("thief")
    (offer,) = dc.offers("marathon")
    assert len(updates(dc.accept("thief", [offer], *tasks()))) == MANY
    assert not dc.state.accepts
    assert dc.offers("marathon") == [offer]


def test_what_rides_on_an_accept_of_many_tasks_waits_for_its_last(dc):
    """The first decision keeps what was declined with it, and that no more are wanted."""
    dc.register("a1", HUGE)
    dc.register("a2")
    dc.enroll("marathon")
    mine, other = dc.offers("marathon")
    fact = OfferAccepted(offers=(mine,), launch=tuple(tasks()), declined=(other,), suppressed=True)
    dc.hear(Author(Kind.FRAMEWORK, "marathon"), fact)
    assert dc.offers("marathon") == [mine, other]
    assert not dc.state.frameworks["marathon"].suppressed
    dc.restart()
    events = dc.settle()
    assert only(events, TaskLaunched)[-1].recovered == (mine, other)
    assert dc.state.frameworks["marathon"].suppressed
    assert dc.offers("marathon") == []


def test_an_accept_cut_by_a_crash_goes_on(dc):
    dc.register("a1", HUGE)
    dc.enroll("marathon")
    fact = OfferAccepted(offers=tuple(dc.offers("marathon")), launch=tuple(tasks()))
    dc.hear(Author(Kind.FRAMEWORK, "marathon"), fact)
    dc.restart()
    dc.settle()
    assert len(dc.state.tasks) == MANY
    assert not dc.state.offers


def test_a_mark_of_many_tasks_is_cut_and_completed(dc):
    full(dc)
    events = dc.lose("a1")
    assert decisions(events) == [1 + updates_max, updates_max, MANY - 2 * updates_max]
    assert len(only(events, TaskUpdated)) == MANY
    assert dc.state.agents["a1"].task_ids == set()


def test_a_return_with_many_tasks_is_cut_and_completed(dc):
    full(dc)
    (mark,) = [event for event in dc.lose("a1") if event.type == "agent.marked"]
    listed = [HeldTask(info=task, status=status(task.task, TaskState.RUNNING)) for task in tasks(MANY - 100)]
    events = dc.register("a1", HUGE, tasks=listed, answers=mark.position)
    assert max(decisions(events)) <= batch_events_max
    assert len(only(events, AgentAdmitted)[0].changes) == MANY
    states = [state for _, state, _ in updates(events)]
    assert (states.count(TaskState.RUNNING), states.count(TaskState.GONE)) == (MANY - 100, 100)
    assert types(events)[-1] == "offer.made"
    assert len(only(events, OfferMade)) == 1


@pytest.mark.parametrize("explicit", [False, True])
def test_a_reconciliation_of_many_tasks_is_cut_and_completed(dc, explicit):
    full(dc)
    asked = [task.task for task in tasks()]
    events = dc.reconcile("marathon", *(asked if explicit else []))
    assert [task for task, _, _ in updates(events)] == asked
    assert max(decisions(events)) == answers_max + 1
    assert not dc.state.reconciling


def test_an_allocation_over_many_agents_is_cut_and_completed(dc):
    count = picks_max + 10
    for number in range(count):
        register(dc, f"n{number:05}")
    events = dc.enroll("f")
    agents = [agent for _, group in made(events) for agent in group]
    assert agents == [f"n{number:05}" for number in range(count)]
    assert sum(1 for fact in only(events, OfferMade) if fact.more is not None) == 1
    assert len(decisions(events)) == 2
    events = dc.enroll("f")
    assert sum(len(fact.offers) for fact in only(events, OfferRescinded)) == count


def register(dc, agent):
    """An agent registers; the books are not audited each time, there are thousands."""
    fact = AgentRegistered(hostname=agent, resources=parse_resources("cpus:1;mem:1024"))
    dc.hear(Author(Kind.AGENT, agent), fact)


def enroll(dc, framework):
    """A framework registers; nothing is audited."""
    dc.hear(Author(Kind.FRAMEWORK, framework), FrameworkRegistered(name=framework))


def test_an_allocation_to_many_frameworks_is_cut_and_completed():
    dc = Datacenter()
    count = takers_max + 20
    enroll(dc, "first")
    for number in range(count):
        register(dc, f"n{number:03}")
    for number in range(count):
        enroll(dc, f"f{number:03}")
    events = dc.decline("first")
    assert [(fact.framework, len(fact.offers)) for fact in only(events, OfferMade)] == [
        (f"f{number:03}", 1) for number in range(count)
    ]
    assert decisions(events) == [1 + takers_max - 1, count - takers_max + 1]
    assert sum(1 for fact in only(events, OfferMade) if fact.more is not None) == 1
    late = dc.pass_time(130)
    assert max(decisions(late)) <= batch_events_max
    assert len({fact.framework for fact in only(late, OfferRescinded)}) == count
