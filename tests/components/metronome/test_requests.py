"""What clients ask of Metronome: each request has one answer, and a refused one changes nothing."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from bus.events import Event, Fact, KillRequested, RequestRefused
from bus.nouns import MASTER, JobId, Refusal, RunId, TaskId, second
from bus.services import (
    AppRequested,
    JobRemoved,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunCreated,
    RunRequested,
    RunStopped,
    RunUpdated,
    SchedulerLocated,
    StopRequested,
)
from tests.components.driver import START, only, types
from tests.components.marathon.play import spec as app_spec
from tests.components.metronome.play import ALICE, BOB, COUNT, FAILED, FINISHED, METRONOME, NEXT_MINUTE, Play, spec

NOWHERE = JobId("nowhere")


def refused(play: Play, fact: Fact) -> tuple[Refusal, str]:
    """Why a request is refused; it changes nothing but the answer given."""
    before = len(play.log)
    jobs, runs = dict(play.state.jobs), dict(play.state.runs)
    (event,) = play.ask(fact)
    assert isinstance(event.fact, RequestRefused)
    assert (event.to, event.request) == (ALICE.id, f"q{play.requests}")
    assert (len(play.log), play.state.jobs, play.state.runs) == (before + 1, jobs, runs)
    return event.fact.reason, event.fact.message


def answered(events: list[Event], request: str) -> Event:
    (event,) = [event for event in events if event.request == request]
    return event


# ---- jobs -------------------------------------------------------------------------------------------------------


def test_a_job_is_created_and_then_exists():
    """The answer is the job as it exists, with the trace of the request; once more is refused."""
    play = Play()
    (event,) = play.add()
    assert event.fact == JobSpecified(job=spec(), changed="created")
    assert (event.to, event.request, event.trace) == (ALICE.id, "q1", "t1")
    why = refused(play, JobRequested(job=spec()))
    assert why == (Refusal.ALREADY_EXISTS, "a job with id count already exists")


def test_a_job_is_updated_and_its_runs_are_kept():
    """The active run goes on as it began, the next one is as described now."""
    play = Play()
    play.add(policy="ON_FAILURE", run_cmd="old")
    old = play.start()
    (event,) = play.update_job(run_cmd="new")
    assert isinstance(event.fact, JobSpecified)
    assert event.fact.changed == "updated"
    new = play.start()
    commands = {}
    for accepted in [event.fact for event in play.make() if event.type == "offer.accepted"]:
        commands |= {task.run: task.command.shell for task in accepted.launch}  # type: ignore[attr-defined]
    assert commands == {old: "old", new: "new"}


def test_a_job_that_does_not_exist_is_not_updated():
    """Nor run, nor removed."""
    play = Play()
    for fact in (
        JobRequested(job=spec("nowhere"), update=True),
        RunRequested(job=NOWHERE),
        RemovalRequested(job=NOWHERE),
    ):
        assert refused(play, fact) == (Refusal.NOT_FOUND, "job nowhere does not exist")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"cron": "61 * * * *"},
            "minute: '61' is not allowed: expected 0 to 59, *, ranges (1-5), steps (*/2) and lists",
        ),
        ({"cron": "0 0 30 2 *"}, "day of month: '30' does not exist in month '2', so it would never fire"),
        ({"cron": "* * * * * * *"}, "'* * * * * * *' has 7 fields: expected five"),
        ({"cron": "0 0 1-7 * fri#2"}, "no day there is matches '1-7 * fri#2' in all of its fields"),
    ],
)
def test_an_impossible_cron_is_refused_with_its_path(changes: dict[str, str], message: str):
    """The field of the cron, what was wrong, what is allowed, and where it stands in the document."""
    reason, text = refused(Play(), JobRequested(job=spec(**changes)))  # type: ignore[arg-type]
    assert reason is Refusal.INVALID
    assert text.startswith(message)
    assert text.endswith(" - at `$.schedules[0].cron`")


def test_an_unknown_zone_is_refused_with_its_path():
    """Also when the schedule is disabled, and when the job exists."""
    play = Play()
    play.add()
    job = spec(cron="* * * * *", schedule_timezone="Mars/Olympus", schedule_enabled=False)
    for update in (False, True):
        assert refused(play, JobRequested(job=job, update=update)) == (
            Refusal.INVALID,
            "'Mars/Olympus' is not a time zone: expected an IANA name such as UTC or Europe/Berlin"
            " - at `$.schedules[0].timezone`",
        )


def test_the_rules_that_span_fields_are_checked_again():
    """A client that checked nothing is refused like the command line refuses."""
    play = Play()
    nothing = replace(spec(), run=replace(spec().run, cmd=None))
    assert refused(play, JobRequested(job=nothing))[1].endswith("found neither - at `$.run.cmd`")
    assert refused(play, JobRequested(job=replace(spec(), id=JobId("No"))))[1].endswith("- at `$.id`")


def test_a_job_too_large_for_its_events_is_refused():
    """Its tasks would not fit into an accept."""
    play = Play()
    reason, message = refused(play, JobRequested(job=spec(run_env={f"V{n}": "x" * 60_000 for n in range(3)})))
    assert reason is Refusal.INVALID
    assert re.fullmatch(r"the job makes messages of 18\d{4} bytes, at most 131072 are allowed - at `\$`", message)


def test_a_removed_job_is_no_more_and_its_finished_runs_stay():
    """They can be asked for; the job can be created again, and counts from nothing."""
    play = Play()
    run, task = play.running()
    play.update(task, FINISHED)
    (event,) = play.ask(RemovalRequested(job=COUNT))
    assert event.fact == JobRemoved(job=COUNT)
    assert play.state.spec(COUNT) is None
    assert [row.run for row in play.rows()] == [run]
    assert refused(play, RunRequested(job=COUNT))[0] is Refusal.NOT_FOUND
    play.add()
    assert (play.state.jobs[COUNT].successes, [row.run for row in play.rows()]) == (0, [run])


def test_a_job_with_active_runs_is_not_removed_unless_they_may_be_stopped():
    """Refused with their number; with stop_runs it goes at once and its runs are stopped."""
    play = Play()
    run, task = play.running()
    message = f"run {run} is active: stop them first, or remove the job with them"
    assert refused(play, RemovalRequested(job=COUNT)) == (Refusal.RUNS_ACTIVE, message)
    waiting = play.start()
    assert refused(play, RemovalRequested(job=COUNT))[1].startswith("2 runs are active")
    events = play.ask(RemovalRequested(job=COUNT, stop_runs=True))
    assert answered(events, f"q{play.requests}").fact == JobRemoved(job=COUNT)
    assert {fact.run for fact in only(events, RunStopped)} == {run, waiting}
    assert only(events, KillRequested) == [KillRequested(task=task)]
    assert [(fact.run, fact.state, fact.message) for fact in only(events, RunUpdated)] == [
        (waiting, "FAILED", "job count was removed")
    ]


def test_a_job_with_a_thousand_active_runs_is_removed_in_pieces():
    """No decision is too large; in the end no run is active, nothing waits."""
    play = Play()
    play.add()
    for _ in range(1000):
        play.start()
    play.ask(RemovalRequested(job=COUNT, stop_runs=True))
    assert not play.state.waiting
    assert not play.state.dues
    assert not play.state.specs
    assert {row.state for row in play.rows()} == {"FAILED"}


def test_all_that_is_wrong_with_a_job_is_said_at_once():
    """The document's own rules, crons and zones, other jobs and secrets."""
    play = Play()
    schedules = [
        {"cron": "61 * * * *", "id": "a"},
        {"cron": "* * * * *", "id": "b", "timezone": "Mars"},
        {"cron": "* * * * *", "id": "b"},
    ]
    job = spec(schedules=schedules, after=("x",), run_secrets={"k": {"source": "db"}}, run_env={"V": {"secret": "k"}})
    (refusal,) = only(play.ask(JobRequested(job=job)), RequestRefused)
    said = [refusal.message, *refusal.also]
    places = [text.rpartition(" - at ")[2] for text in said]
    assert places == [
        "`$.schedules[1].id`",
        "`$.schedules[2].id`",
        "`$.dependencies`",
        "`$.schedules[0].cron`",
        "`$.schedules[1].timezone`",
        "`$.dependencies[0].id`",
        "`$.run.secrets.k.source`",
    ]
    assert play.state.jobs == {}


def test_an_app_is_nothing_metronome_knows():
    """What is asked of the wrong scheduler is refused; how it was found is not a request."""
    play = Play()
    assert refused(play, AppRequested(app=app_spec())) == (
        Refusal.INVALID,
        "metronome knows nothing of app.requested",
    )
    assert refused(play, RemovalRequested())[1] == "expected the id of a job - at `$.job`"
    assert play.ask(SchedulerLocated(framework=METRONOME, through="main")) == []


# ---- runs -------------------------------------------------------------------------------------------------------


def test_a_run_is_created_now():
    """The answer names it; it waits for an offer; what follows has the trace of the request."""
    play = Play()
    play.add()
    events = play.ask(RunRequested(job=COUNT), by=BOB, trace="t9")
    assert types(events) == ["run.created", "framework.revived"]
    assert (events[0].to, events[0].request, {event.trace for event in events}) == (BOB.id, "q2", {"t9"})
    assert play.rows()[0].state == "INITIAL"


def test_a_request_without_a_trace_is_traced_by_its_run():
    """So that the steps of every run can be found."""
    play = Play()
    play.add()
    run = play.start(trace=None)
    assert play.run(run).trace == run


def test_the_same_request_gets_the_same_answer_and_one_run():
    """Asked twice, run once."""
    play = Play()
    play.add()
    event = play.said(ALICE, RunRequested(job=COUNT), request="q77")
    (created, *_), (again,) = play.hear_event(event), play.hear_event(event)
    assert (again.fact, again.request) == (created.fact, "q77")
    assert len(play.state.runs) == 1


def test_a_run_that_waits_is_stopped_at_once():
    """The answer goes to who stopped it, its end to who wanted it; nothing waits any more."""
    play = Play()
    play.add()
    run = play.start()
    events = play.stop(run, by=BOB)
    assert [(event.type, event.to) for event in events] == [("run.stopped", BOB.id), ("run.updated", ALICE.id)]
    assert events[0].fact == RunStopped(job=COUNT, run=run, reason="stopped on request")
    assert events[1].fact == RunUpdated(job=COUNT, run=run, state="FAILED", message="stopped on request")
    assert launches_nothing(play)


def launches_nothing(play: Play) -> bool:
    return "offer.accepted" not in types(play.make())


def test_a_run_that_is_active_is_killed():
    """The master is asked to kill its task."""
    play = Play()
    run, task = play.running()
    events = play.stop(run)
    assert [(event.type, event.to) for event in events] == [("run.stopped", ALICE.id), ("kill.requested", MASTER)]
    assert events[1].fact == KillRequested(task=task)
    assert play.run(run).state == "ACTIVE"


def test_a_run_is_stopped_twice_for_the_first_reason():
    """The second who asks is answered, and the kill is repeated."""
    play = Play()
    run, task = play.running()
    play.stop(run)
    events = play.ask(KillRequested(task=task, grace_s=0.5), by=BOB)
    assert [event.fact for event in events] == [
        RunStopped(job=COUNT, run=run, reason="stopped on request"),
        KillRequested(task=task, grace_s=0.5),
    ]


def test_what_does_not_run_is_not_stopped():
    """An ended run, an unknown run, a run of another job."""
    play = Play()
    run, task = play.running()
    play.update(task, FINISHED)
    play.add("other")
    assert refused(play, StopRequested(job=COUNT, run=run)) == (
        Refusal.NOT_RUNNING,
        f"run {run} has ended: SUCCESS",
    )
    other = StopRequested(job=JobId("other"), run=run)
    assert refused(play, other) == (Refusal.NOT_FOUND, f"job other has no run {run}")
    unknown = StopRequested(job=COUNT, run=RunId("x"))
    assert refused(play, unknown) == (Refusal.NOT_FOUND, "job count has no run x")


def test_a_task_killed_by_hand_stops_its_run():
    """Answered as a stop, with the grace asked for, whatever the restart policy."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    events = play.ask(KillRequested(task=task, grace_s=9.0))
    reason = f"task {task} was killed on request"
    assert [event.fact for event in events] == [
        RunStopped(job=COUNT, run=run, reason=reason),
        KillRequested(task=task, grace_s=9.0),
    ]
    assert answered(events, f"q{play.requests}").type == "run.stopped"


def test_a_task_that_is_over_is_not_killed():
    """An ended run's, an earlier attempt's, nobody's."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    play.update(task, FAILED)
    assert refused(play, KillRequested(task=task)) == (Refusal.NOT_RUNNING, f"{task} is over: TASK_FAILED")
    assert refused(play, KillRequested(task=TaskId("web.1"))) == (Refusal.NOT_FOUND, "no run has a task web.1")
    play.stop(run)
    assert refused(play, KillRequested(task=task)) == (Refusal.NOT_RUNNING, f"run {run} has ended: FAILED")


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_grace_is_refused(grace_s: float):
    """Nothing is killed."""
    play = Play()
    _, task = play.running()
    reason, message = refused(play, KillRequested(task=task, grace_s=grace_s))
    assert reason is Refusal.INVALID
    assert message == f"Expected `float` from 0 to 31536000, found {grace_s} - at `$.grace_s`"


def test_a_refusal_is_short_whatever_was_asked():
    """The words do not grow with the request."""
    _, message = refused(Play(), RunRequested(job=JobId("x" * 400_000)))
    assert len(message) == 1000


# ---- schedules --------------------------------------------------------------------------------------------------


def test_a_schedule_says_when_it_fires_next():
    """With the answer, and as long as nobody changes it."""
    play = Play()
    (created,) = only(play.add(cron="* * * * *"), JobSpecified)
    assert created.next_at == NEXT_MINUTE
    assert play.component.wake_at(play.state) == NEXT_MINUTE


@pytest.mark.parametrize(
    ("changes", "next_at"),
    [
        ({"description": "other"}, NEXT_MINUTE),
        ({"cron": "30 * * * *"}, START + 30 * 60 * second),
        ({"schedule_timezone": "Asia/Kathmandu", "cron": "0 * * * *"}, START + 15 * 60 * second),
        ({"schedule_enabled": False}, None),
        ({"cron": None}, None),
    ],
)
def test_a_changed_schedule_is_reckoned_anew(changes: dict[str, object], next_at: int | None):
    """Another cron or zone from now on; disabled or dropped never."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(0.5)
    (updated,) = only(play.update_job(**{"cron": "* * * * *", **changes}), JobSpecified)  # type: ignore[arg-type]
    assert updated.next_at == next_at == play.component.wake_at(play.state)


def test_a_schedule_that_is_enabled_again_begins_now():
    """What it would have fired meanwhile is nothing."""
    play = Play()
    play.add(cron="* * * * *", schedule_enabled=False)
    assert play.advance(600) == []
    (updated,) = only(play.update_job(cron="* * * * *"), JobSpecified)
    assert updated.next_at == NEXT_MINUTE + 600 * second


def test_answers_go_to_who_asked():
    """Two clients, two answers."""
    play = Play()
    play.add()
    for client in (ALICE, BOB):
        events = play.ask(RunRequested(job=COUNT), by=client)
        (created,) = [event for event in events if isinstance(event.fact, RunCreated)]
        assert created.to == client.id
