"""What can be asked of Metronome."""

from __future__ import annotations

import pytest

from bus.documents import JobSpec
from bus.job_rows import AttemptRow, JobRow, QueuedRow, RunRow, RunsQuestion
from bus.nouns import AgentId, JobId, Now, Resources, RunId, second
from bus.queries import QueryRefused, answer_ok, pack, unpack
from bus.services import RunRequested
from bus.waiting_rows import JobExplainQuestion, JobExplanation
from components.metronome import queries
from tests.components.driver import START
from tests.components.metronome.play import (
    COUNT,
    FAILED,
    FINISHED,
    NEXT_MINUTE,
    RUNNING,
    STAGING,
    Play,
    spec,
    status,
)


def explain(play: Play, job: str = "count") -> JobExplanation:
    return queries.explain(play.state, pack(JobExplainQuestion(job=JobId(job))), play.now)


# ---- jobs and runs ----------------------------------------------------------------------------------------------


def test_jobs_are_listed_by_name_with_how_they_went():
    """Active runs, successes, failures, and when it fires next; as they cross the bus."""
    play = Play()
    play.add("b")
    play.add("a", cron="* * * * *")
    for end in (FINISHED, FAILED, FINISHED):
        play.start(JobId("a"))
        play.update(play.launch(), end)
    play.start(JobId("a"))
    rows = unpack(answer_ok(queries.jobs(play.state, b"", play.now)), list[JobRow])
    assert [row.job.id for row in rows] == ["a", "b"]
    assert rows[0] == JobRow(
        job=spec("a", cron="* * * * *"),
        active=1,
        successes=2,
        failures=1,
        next_run_at=NEXT_MINUTE,
        last_success_at=START,
        last_failure_at=START,
        nexts={"default": NEXT_MINUTE},
    )
    assert isinstance(rows[1].job, JobSpec)


def test_runs_are_listed_oldest_first_and_finished_ones_too():
    """Of one job, of all, one alone, the latest few."""
    play = Play()
    play.add("a")
    play.add("b")
    runs = []
    for job in ("a", "b", "a"):
        runs.append(play.start(JobId(job)))
        play.advance(1)
    assert [row.run for row in play.rows()] == runs
    assert [row.run for row in play.rows(RunsQuestion(job=JobId("a")))] == [runs[0], runs[2]]
    assert [row.run for row in play.rows(RunsQuestion(run=runs[1]))] == [runs[1]]
    assert [row.run for row in play.rows(RunsQuestion(limit=2))] == runs[1:]
    assert play.rows(RunsQuestion(job=JobId("c"))) == play.rows(RunsQuestion(run=RunId("x"))) == []
    assert [row.run for row in queries.runs(play.state, b"", play.now)] == runs


def test_a_run_is_shown_with_its_tasks():
    """Those that were launched, with their statuses; where; how it ended."""
    play = Play()
    play.add(policy="ON_FAILURE")
    run = play.start()
    assert play.rows() == [RunRow(run=run, job=COUNT, state="INITIAL", created_at=START)]
    first = play.launch()
    (row,) = play.rows()
    assert (row.tasks[0].task, row.tasks[0].state, row.agent) == (first, STAGING, AgentId("a1"))
    play.update(first, FAILED, message="exit 3")
    play.advance(1)
    again = play.launch()
    assert play.rows()[0].message == "TASK_FAILED exit 3"
    play.update(again, RUNNING)
    (row,) = unpack(answer_ok(play.rows()), list[RunRow])
    assert row.tasks == (status(first, FAILED, message="exit 3"), status(again, RUNNING))
    assert (row.state, row.message) == ("ACTIVE", "")
    play.advance(5)
    play.update(again, FINISHED)
    assert (play.rows()[0].state, play.rows()[0].finished_at) == ("SUCCESS", Now(START + 6 * second))


def test_a_scheduled_run_is_shown_with_its_nominal_time():
    """And its schedule."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    (row,) = play.rows()
    assert (row.schedule, row.nominal, row.created_at) == ("default", NEXT_MINUTE, NEXT_MINUTE)


def test_a_run_on_its_way_out_says_why():
    """Stopped, and not yet killed."""
    play = Play()
    run, _ = play.running()
    play.stop(run)
    assert (play.rows()[0].state, play.rows()[0].message) == ("ACTIVE", "stopped on request")


# ---- why runs wait ----------------------------------------------------------------------------------------------


def test_a_job_that_fits_nowhere_is_explained():
    """Needed and had, for each node; gone as soon as nothing waits."""
    play = Play()
    play.add(run_cpus=64)
    assert explain(play).note == "nothing waits: nobody runs it, and no schedule fires"
    run = play.start()
    assert (
        explain(play).note
        == "no offer came since it waits: no node is up, all are full, or others are offered what is free"
    )
    play.make(play.offer(agent="a2"), play.offer(Resources(cpu_milli=100), agent="a1"))
    told = unpack(answer_ok(explain(play)), JobExplanation)
    assert (told.job, told.waiting, told.needed) == (COUNT, 1, Resources(cpu_milli=64_000, mem_mb=32))
    assert [(check.unfit.agent, check.unfit.reason, check.unfit.needed, check.unfit.had) for check in told.checks] == [
        ("a1", "InsufficientCpus", "64 cpus", "0.1 cpus"),
        ("a1", "InsufficientMemory", "32 MB", "0 MB"),
        ("a2", "InsufficientCpus", "64 cpus", "8 cpus"),
    ]
    assert told.note == (
        "InsufficientCpus on 2 of 2 nodes: needs 64 cpus, none offered more than 8 cpus; "
        "InsufficientMemory on 1 of 2 nodes: needs 32 MB, the most of these is 0 MB. "
        "It would fit on a2 with 56 cpus more"
    )
    play.stop(run)
    assert play.state.verdicts == {}


def test_the_latest_answer_of_a_node_counts():
    """The one before is forgotten."""
    play = Play()
    play.add(run_cpus=64)
    play.start()
    play.make(play.offer(Resources(cpu_milli=100)))
    play.advance(120)
    play.make()
    (check,) = explain(play).checks
    assert (check.unfit.had, check.at) == ("8 cpus", START + 120 * second)


def test_a_run_that_waits_after_a_failure_is_explained():
    """How long still."""
    play = Play()
    _, task = play.running(policy="ON_FAILURE")
    play.update(task, FAILED)
    told = explain(play)
    assert (told.waiting, told.delay_until) == (0, START + second)
    assert told.note == "after a failure the next attempt is due in 1.0 s"


def test_a_metronome_without_a_master_says_so():
    """Nothing is offered to who is not admitted."""
    play = Play(admitted=False)
    play.settle()
    play.add()
    play.ask(RunRequested(job=COUNT))
    assert explain(play).note == "the master has not admitted metronome yet"


def test_what_does_not_exist_is_not_explained():
    """The refusal names it."""
    with pytest.raises(QueryRefused, match="job count does not exist"):
        explain(Play())


# ---- the queue ----------------------------------------------------------------------------------------------------


def test_the_queue_has_the_runs_that_wait_by_job():
    """Who waits longest is first; a run that was launched, or rests after a failure, is not in it."""
    play = Play()
    play.add("a", run_cpus=64)
    play.add("b")
    second_run = play.start(JobId("b"))
    play.launch()
    play.advance(1)
    runs = [play.start(JobId("a")), play.start(JobId("a"))]
    play.advance(1)
    last = play.start(JobId("b"))
    play.make(play.offer(Resources(cpu_milli=1000)))
    rows = unpack(answer_ok(queries.queue(play.state, b"", play.now)), list[QueuedRow])
    assert [(row.job, row.runs, row.since) for row in rows] == [
        ("a", tuple(runs), START + second),
        ("b", (last,), START + 2 * second),
    ]
    assert rows[0].needed == Resources(cpu_milli=64_000, mem_mb=32)
    assert rows[0].reasons == {"InsufficientCpus": 1, "InsufficientMemory": 1}
    assert second_run not in [run for row in rows for run in row.runs]


def test_a_job_of_which_nothing_waits_says_when_something_will():
    """The schedule that is next; or that every run is launched."""
    play = Play()
    play.add(schedules=[{"id": "b", "cron": "*/5 * * * *"}, {"id": "a", "cron": "*/2 * * * *"}])
    assert explain(play).note == "nothing waits: schedule a fires in 120 s"
    play.start()
    play.launch()
    assert explain(play).note == "nothing waits: every active run is launched"


def test_a_job_that_waits_for_others_says_for_which():
    """Not for nodes."""
    play = Play()
    for parent in ("a", "b"):
        play.add(parent)
    play.add(after=("a", "b"))
    assert explain(play).note == "it runs once a and b have succeeded"
    play.succeed("a")
    assert explain(play).note == "it runs once b has succeeded"


def test_runs_are_asked_for_by_whether_they_ended_and_how():
    """Active, finished, one state."""
    play = Play()
    play.add()
    good, bad = play.succeed(), play.start()
    play.end(bad, FAILED)
    active = play.start()

    def asked(**question: object) -> list[str]:
        return [row.run for row in play.rows(RunsQuestion(job=COUNT, **question))]  # type: ignore[arg-type]

    assert (asked(active=True), asked(active=False)) == ([active], [good, bad])
    assert (asked(state="FAILED"), asked(state="SUCCESS"), asked(state="INITIAL")) == ([bad], [good], [active])


def test_a_run_has_a_row_for_each_of_its_tasks():
    """When it was launched, when it ended, what it was last said to be."""
    play = Play()
    run, task = play.running(policy="ON_FAILURE")
    play.advance(5)
    play.update(task, FAILED)
    assert play.rows()[0].retry_at == START + 6 * second
    play.advance(1)
    again = play.launch()
    (row,) = unpack(answer_ok(play.rows(RunsQuestion(run=run))), list[RunRow])
    assert row.attempts == (
        AttemptRow(task=task, state=FAILED, created_at=START, finished_at=Now(START + 5 * second), agent=AgentId("a1")),
        AttemptRow(task=again, state=None, created_at=Now(START + 6 * second), agent=AgentId("a1")),
    )
