"""Jobs that run after others: when every parent has succeeded, once for each time, whatever is restarted in between."""

from __future__ import annotations

import pytest

from bus.events import RequestRefused, TaskUpdated
from bus.nouns import NOBODY, AgentId, JobId, Refusal, RunId
from bus.services import JobRemoved, JobRequested, JobSpecified, RemovalRequested, RunCreated, ScheduleRequested
from components.metronome import queries
from tests.components.driver import only, types
from tests.components.metronome.play import FAILED, FINISHED, MAIN, METRONOME, Play, launches, schedule, spec, status


def family(*children: str, parents: str = "ab", **fields: object) -> Play:
    """Jobs a and b, and jobs that depend on both."""
    play = Play()
    for parent in parents:
        play.add(parent)
    for child in children or ("c",):
        play.add(child, after=tuple(parents), **fields)
    return play


def runs_of(play: Play, job: str = "c") -> list[RunId]:
    return [fact.run for fact in only(play.log, RunCreated) if fact.job == job]


def refusal(play: Play, fact: object) -> tuple[Refusal, str]:
    (refused,) = only(play.ask(fact), RequestRefused)  # type: ignore[arg-type]
    return refused.reason, refused.message


# ---- when a job runs --------------------------------------------------------------------------------------------


def test_a_job_runs_once_all_it_depends_on_have_succeeded():
    """To nobody, traced by its own id, with the runs that led to it."""
    play = family()
    first = play.succeed("a")
    assert runs_of(play) == []
    second = play.start(JobId("b"))
    events = play.end(second)
    (created,) = [event for event in events if isinstance(event.fact, RunCreated)]
    assert created.fact.parents == (first, second)
    assert (created.fact.schedule, created.fact.nominal) == (None, None)
    assert (created.to, created.trace) == (NOBODY, created.fact.run)
    (task,) = launches(play.make())
    assert task.run == created.fact.run


def test_a_failure_of_a_parent_leads_to_nothing():
    """It has to succeed; an earlier success stays."""
    play = family()
    play.succeed("a")
    play.end(play.start(JobId("b")), FAILED)
    assert runs_of(play) == []
    play.end(play.start(JobId("a")), FAILED)
    play.succeed("b")
    assert len(runs_of(play)) == 1


def test_the_next_run_needs_every_parent_again():
    """After its own success each parent has to succeed once more."""
    play = family()
    play.succeed("a")
    play.succeed("b")
    play.end(runs_of(play)[0])
    play.succeed("a")
    play.succeed("a")
    assert len(runs_of(play)) == 1
    play.succeed("b")
    assert len(runs_of(play)) == 2


def test_a_run_that_failed_is_begun_again_by_the_next_success_of_any_parent():
    """All of them have succeeded since its own last success; but not by itself."""
    play = family()
    play.succeed("a")
    play.succeed("b")
    play.end(runs_of(play)[0], FAILED)
    play.advance(3600)
    assert len(runs_of(play)) == 1
    play.succeed("a")
    assert len(runs_of(play)) == 2


def test_successes_while_it_runs_are_used_when_it_has_ended():
    """No two runs beside each other, and none is lost."""
    play = family()
    play.succeed("a")
    play.succeed("b")
    (first,) = runs_of(play)
    play.make()
    again = play.succeed("a"), play.succeed("b")
    assert runs_of(play) == [first]
    (created,) = only(play.end(first), RunCreated)
    assert created.parents == again
    play.end(created.run)
    play.advance(3600)
    assert len(runs_of(play)) == 2


def test_one_success_while_it_runs_waits_for_the_other():
    """It counts for the next time."""
    play = family()
    play.succeed("a")
    play.succeed("b")
    (first,) = runs_of(play)
    play.succeed("a")
    play.end(first)
    assert runs_of(play) == [first]
    play.succeed("b")
    assert len(runs_of(play)) == 2


def test_what_came_before_a_job_does_not_count():
    """A job that is new waits for what is new."""
    play = Play()
    play.add("a")
    play.succeed("a")
    play.add("c", after=("a",))
    assert runs_of(play) == []
    play.succeed("a")
    assert len(runs_of(play)) == 1


def test_a_parent_that_is_dropped_is_waited_for_no_more():
    """Those that are left have succeeded."""
    play = family()
    play.succeed("a")
    play.update_job("c", after=("a",))
    assert len(runs_of(play)) == 1


def test_a_run_by_hand_needs_no_parent():
    """Its success counts as the job's own."""
    play = family()
    play.succeed("a")
    play.succeed("c")
    play.succeed("b")
    assert len(runs_of(play)) == 1
    play.succeed("a")
    assert len(runs_of(play)) == 2


def test_a_chain_and_a_diamond_run_through():
    """a, then b and c, then d, each once."""
    play = Play()
    play.add("a")
    play.add("b", after=("a",))
    play.add("c", after=("a",))
    play.add("d", after=("b", "c"))
    play.succeed("a")
    for job in ("b", "c"):
        play.end(runs_of(play, job)[0])
    play.end(runs_of(play, "d")[0])
    assert [len(runs_of(play, job)) for job in "abcd"] == [1, 1, 1, 1]


def test_many_jobs_that_depend_on_one_all_run():
    """More than one decision may hold."""
    play = Play()
    play.add("a")
    for n in range(400):
        play.add(f"c{n}", after=("a",))
    play.succeed("a")
    assert len(only(play.log, RunCreated)) == 401


# ---- whatever is restarted --------------------------------------------------------------------------------------


def test_successes_survive_a_restart():
    """Between the parents, and between the success of the last one and the run. (Metronome forgets)"""
    play = family()
    play.succeed("a")
    play.restart()
    play.settle()
    play.admit()
    run = play.start(JobId("b"))
    play.make()
    task = play.run(run).attempts[-1].task
    play.hear(MAIN, TaskUpdated(framework=METRONOME, status=status(task, FINISHED), agent=AgentId("a1")))
    assert runs_of(play) == []
    play.restart()
    play.settle()
    assert len(runs_of(play)) == 1
    play.restart()
    play.settle()
    assert len(runs_of(play)) == 1
    assert play.rebuilt() == play.hash()


# ---- what a job may depend on -----------------------------------------------------------------------------------


def test_a_circle_is_refused_with_the_way():
    """Whatever its length."""
    play = Play()
    play.add("a")
    play.add("b", after=("a",))
    play.add("c", after=("b",))
    reason, message = refusal(play, JobRequested(job=spec("a", after=("c",)), update=True))
    assert (reason, message) == (
        Refusal.INVALID,
        "jobs would wait for each other: a -> c -> b -> a - at `$.dependencies`",
    )
    reason, message = refusal(play, JobRequested(job=spec("b", after=("c",)), update=True))
    assert message == "jobs would wait for each other: b -> c -> b - at `$.dependencies`"
    assert play.state.children == {"a": {"b": None}, "b": {"c": None}}


def test_an_unknown_parent_is_refused():
    """With its place."""
    play = Play()
    play.add("a")
    reason, message = refusal(play, JobRequested(job=spec("c", after=("a", "b"))))
    assert (reason, message) == (Refusal.INVALID, "job b does not exist - at `$.dependencies[1].id`")


def test_a_schedule_is_no_part_of_a_job_with_dependencies():
    """One or the other."""
    play = family()
    assert refusal(play, ScheduleRequested(job=JobId("c"), schedule=schedule())) == (
        Refusal.INVALID,
        "a job has dependencies or schedules, not both - at `$.dependencies`",
    )


def test_a_parent_is_not_removed_while_others_depend_on_it():
    """They are named."""
    play = family("c", "d")
    assert refusal(play, RemovalRequested(job=JobId("a"))) == (
        Refusal.HAS_DEPENDANTS,
        "c, d depend on a: remove or change what depends on it first",
    )
    play.ask(RemovalRequested(job=JobId("d")))
    assert refusal(play, RemovalRequested(job=JobId("a")))[1].startswith("c depends on a: ")
    play.ask(RemovalRequested(job=JobId("c")))
    assert types(play.ask(RemovalRequested(job=JobId("a")))) == ["job.removed"]
    assert play.state.children == {}


def test_a_job_that_is_there_again_waits_anew():
    """Removed while a run was due, and created again: nothing of before is left."""
    play = family()
    play.succeed("a")
    play.ask(RemovalRequested(job=JobId("c"), stop_runs=True))
    play.add("c", after=("a", "b"))
    play.succeed("b")
    assert runs_of(play) == []
    play.succeed("a")
    assert len(runs_of(play)) == 1


@pytest.mark.parametrize("job", ["a", "c"])
def test_rows_say_who_waits_for_whom(job: str):
    """Both ways."""
    play = family()
    play.succeed("a")
    rows = {row.job.id: row for row in queries.jobs(play.state, b"", play.now)}
    assert (rows[JobId("a")].dependants, rows[JobId("a")].waits_for) == (("c",), ())
    assert (rows[JobId("c")].dependants, rows[JobId("c")].waits_for) == ((), ("b",))
    assert isinstance(only(play.log, JobSpecified)[-1], JobSpecified)
    assert only(play.log, JobRemoved) == []
