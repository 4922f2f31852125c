"""Metronome and the master: registering, offers wanted and not wanted."""

from __future__ import annotations

import re

import pytest

from bus.events import (
    FrameworkAdmitted,
    FrameworkDisconnected,
    FrameworkRegistered,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    TaskReconciled,
)
from bus.nouns import MASTER, OfferId, Position, Resources, TaskId
from bus.services import AttemptScheduled, RunCreated, RunRequested
from bus.subjects import Author, Kind
from components.answering import accepts_max, unfits_max
from components.component import Say, Wake, apply
from components.metronome import MetronomeConfig
from components.metronome.tasks import run_id
from tests.components.driver import START, only, stamped, types
from tests.components.metronome.play import ALICE, COUNT, MAIN, METRONOME, RUNNING, Play, launches

SMALL = Resources(cpu_milli=500, mem_mb=16)


# ---- terms ------------------------------------------------------------------------------------------------------


def test_every_term_begins_with_a_registration():
    """Registered with role and failover timeout, reconciled as soon as the master admits it."""
    play = Play(admitted=False)
    (event,) = play.settle()
    assert event.fact == FrameworkRegistered(name="metronome", role="*", failover_timeout_s=604_800.0)
    assert event.to == MASTER
    assert [event.fact for event in play.admit()] == [TaskReconciled()]
    play.settle()
    play.restart()
    assert types(play.settle()) == ["framework.registered"]


def test_a_term_that_hears_before_it_wakes_registers_first():
    """Whatever comes first, the registration is said before the answer to it."""
    play = Play(admitted=False)
    events = play.ask(RunRequested(job=COUNT))
    assert types(events) == ["framework.registered", "request.refused"]


def test_offers_from_before_the_registration_are_void():
    """Until it is admitted, what is offered is not answered."""
    play = Play()
    play.add()
    play.start()
    play.restart()
    play.settle()
    assert play.make() == []
    assert types(play.admit() + play.settle()) == ["task.reconciled", "framework.revived"]
    assert len(launches(play.make())) == 1


def test_a_disconnected_framework_registers_again():
    """Once, although it hears of it in every term that follows."""
    play = Play()
    gone = FrameworkDisconnected(framework=METRONOME)
    assert types(play.hear(MAIN, gone)) == ["framework.registered"]
    assert play.hear(MAIN, gone) == []


def test_only_the_master_is_believed():
    """Offers and statuses of anybody else are nothing."""
    play = Play()
    run, task = play.running()
    evil = Author(Kind.FRAMEWORK, "evil")
    admitted = FrameworkAdmitted(framework=METRONOME, name="metronome", role="*", failover_timeout_s=1.0)
    made = OfferMade(framework=METRONOME, role="*", offers=(play.offer(),), expires_at=play.now)
    assert play.hear(evil, admitted) == play.hear(evil, made) == play.hear(evil, RunRequested(job=COUNT)) == []
    assert play.run(run).attempt(task).state is RUNNING


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("failover_timeout_s", -1.0, "failover_timeout_s is -1.0: expected at least 0"),
        ("decline_s", float("nan"), "decline_s is nan: expected at least 0.001"),
        ("launches_max", 0, "launches_max is 0: expected at least 1"),
        ("runs_kept_max", -1, "runs_kept_max is -1: expected at least 0"),
        ("removed_jobs_kept_max", -1, "removed_jobs_kept_max is -1: expected at least 0"),
    ],
)
def test_a_setting_out_of_bounds_is_refused(setting: str, value: float, message: str):
    """With its name and what is allowed."""
    with pytest.raises(ValueError, match=message):
        MetronomeConfig(**{setting: value})  # type: ignore[arg-type]


# ---- offers -----------------------------------------------------------------------------------------------------


def test_an_offer_is_declined_when_nothing_is_pending_and_no_more_are_wanted():
    """Steps 2 and 3: declined for 120 s without reasons, and suppressed with it."""
    play = Play()
    events = play.make()
    assert [event.fact for event in events] == [
        OfferDeclined(offers=(OfferId("o-1"),), refuse_s=120.0, suppressed=True)
    ]
    assert play.state.suppressed
    assert types(play.make()) == ["offer.declined"]


def test_a_run_asks_for_offers_again():
    """Revived with the first run that waits, not with every one; suppressed when all are launched."""
    play = Play()
    play.make()
    play.add()
    events = play.ask(RunRequested(job=COUNT))
    assert types(events) == ["run.created", "framework.revived"]
    assert all(event.last for event in events), "each is a decision of its own: a single message, not a batch"
    assert types(play.ask(RunRequested(job=COUNT))) == ["run.created"]
    events = play.make()
    assert [(event.type, event.fact.suppressed) for event in events] == [("offer.accepted", True)]
    assert [task.run for task in launches(events)] == list(play.state.runs)


def test_the_revive_is_laid_at_the_door_of_who_asked():
    """It follows from the state, and yet has cause, trace and actor of the request that left something waiting."""
    play = Play()
    play.make()
    play.add()
    created, revived = play.ask(RunRequested(job=COUNT), trace="t7")
    assert (revived.cause, revived.trace, revived.actor) == (created.cause, "t7", ALICE.id)
    assert created.cause is not None


def test_a_run_of_an_older_log_waits_with_its_attempt():
    """There `run.created` names no task: `attempt.scheduled` right behind it does."""
    play = Play()
    play.add()
    run, task = run_id(play.now, play.state.n), TaskId("count.1")
    for fact in (RunCreated(job=COUNT, run=run), AttemptScheduled(job=COUNT, run=run, task=task)):
        apply(play.component, play.state, stamped(play.component, play.state, Say(fact), Wake(), play.now, Position(0)))
    assert [attempt.task for attempt in play.run(run).attempts] == [task]
    assert play.run(run).attempt_count == 1
    assert play.state.revives


def test_what_waits_is_asked_for_though_the_process_ends_before_it_can():
    """The run is in the log, that offers are wanted is not: the next term sees that something waits."""
    play = Play()
    play.make()
    play.add()
    play.hear(ALICE, RunRequested(job=COUNT), request="q9")
    play.begin()
    assert types(play.settle()) == ["framework.registered"]
    play.admit()
    assert types(play.settle()) == ["framework.revived"]


def test_an_accept_that_leaves_nothing_waiting_declines_the_other_offers():
    """With why the run did not fit on those that were tried before."""
    play = Play()
    play.add()
    play.start()
    (event,) = play.make(play.offer(SMALL, agent="a1"), play.offer(agent="a2"), play.offer(agent="a3"))
    assert isinstance(event.fact, OfferAccepted)
    assert (event.fact.offers, event.fact.declined, event.fact.suppressed) == (("o-2",), ("o-1", "o-3"), True)
    assert {one.agent for one in event.fact.unfit} == {"a1"}


def test_many_runs_share_an_offer_and_what_is_left_is_filtered():
    """As many as fit, oldest first; the rest with its reasons."""
    play = Play()
    play.add()
    runs = [play.start() for _ in range(5)]
    (event,) = play.make(play.offer(Resources(cpu_milli=2500, mem_mb=1000)))
    fact = event.fact
    assert isinstance(fact, OfferAccepted)
    assert [task.run for task in fact.launch] == runs[:2]
    assert fact.refuse_s == 120.0
    assert [(one.reason, one.needed, one.had, one.job) for one in fact.unfit] == [
        ("InsufficientCpus", "1 cpus", "0.5 cpus", COUNT)
    ]


def test_the_larger_job_does_not_hold_up_the_smaller():
    """Each job that does not fit is said, each that does is launched."""
    play = Play()
    play.add("large", run_cpus=64, run_mem=64)
    play.add("small")
    for job in ("large", "small"):
        play.ask(RunRequested(job=job))  # type: ignore[arg-type]
    events = play.make(play.offer(SMALL), play.offer(agent="a2"))
    assert [task.job for task in launches(events)] == ["small"]
    (declined,) = only(events, OfferDeclined)
    assert [(one.job, one.reason) for one in declined.unfit] == [
        ("large", "InsufficientCpus"),
        ("large", "InsufficientMemory"),
        ("small", "InsufficientCpus"),
        ("small", "InsufficientMemory"),
    ]
    assert not any(fact.suppressed for fact in only(events, OfferAccepted) + only(events, OfferDeclined))


def test_a_new_kind_of_run_asks_for_what_was_declined():
    """What was declined for a large job is wanted again for a small one, and only for that."""
    play = Play()
    play.add("large", run_cpus=64)
    play.add("small")
    assert "framework.revived" in types(play.ask(RunRequested(job="large")))  # type: ignore[arg-type]
    play.make()
    assert "framework.revived" not in types(play.ask(RunRequested(job="large")))  # type: ignore[arg-type]
    assert "framework.revived" in types(play.ask(RunRequested(job="small")))  # type: ignore[arg-type]


def test_a_decision_is_bounded():
    """More offers than one decision may accept are given back at once; an offer takes so many launches."""
    play = Play(MetronomeConfig(launches_max=2))
    play.add()
    for _ in range(2 * accepts_max + 50):
        play.start()
    events = play.make(*(play.offer() for _ in range(accepts_max + 10)))
    assert len(launches(events)) == 2 * accepts_max
    assert all(fact.refuse_s == 0.0 for fact in only(events, OfferAccepted))
    (given_back,) = only(events, OfferDeclined)
    assert (len(given_back.offers), given_back.refuse_s) == (10, 0.0)
    assert types(events)[-1] == "framework.revived", "or the master would wait for its next batch"
    assert "framework.revived" in types(play.make(play.offer()))
    launched = 2 * accepts_max + 2
    while launched < 2 * accepts_max + 50:
        events = play.make(play.offer())
        launched += len(launches(events))
    assert [(event.type, event.fact.suppressed, event.fact.refuse_s) for event in events] == [
        ("offer.accepted", True, 120.0)
    ]


def test_reasons_are_bounded():
    """Many jobs and many nodes: events stay small, every offer is answered."""
    play = Play()
    for n in range(60):
        play.add(f"job-{n}", run_cpus=64)
        play.ask(RunRequested(job=f"job-{n}"))  # type: ignore[arg-type]
    events = only(play.make(*(play.offer(agent=f"a{n}") for n in range(100))), OfferDeclined)
    assert sum(len(event.offers) for event in events) == 100
    assert all(len(event.unfit) <= unfits_max for event in events)
    assert len(events) <= 12


def test_a_large_job_fits_into_its_events():
    """Tasks of 100 KB are cut into several accepts, none above the bound of an event."""
    play = Play()
    play.add(run_env={f"V{n}": "x" * 10_000 for n in range(10)})
    for _ in range(30):
        play.start()
    launched = 0
    while launched < 30:
        events = play.make()
        launched += len(launches(events))
        assert 1 <= len(launches(events)) <= 3


def test_an_accept_carries_the_trace_of_its_run():
    """Of one run; of several there is none to choose."""
    play = Play()
    play.add()
    play.start(trace="one")
    (event,) = play.make()
    assert event.trace == "one"
    play.start(trace="two")
    play.start(trace="three")
    accepted = [event for event in play.make() if event.type == "offer.accepted"]
    assert accepted[0].trace is None
    assert [task.trace for task in launches(accepted)] == ["two", "three"]


def test_a_run_id_is_never_given_twice():
    """Made of the time and the number of the event before."""
    play = Play()
    play.add()
    first, again = play.start(), play.start()
    assert first == run_id(START, int(first[-5:], 36))
    assert re.fullmatch("20270115080000[0-9a-z]{5}", first)
    assert first != again
