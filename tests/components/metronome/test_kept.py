"""Which runs are kept, and what must hold between decisions."""

from __future__ import annotations

import pytest

from bus.events import OfferAccepted, TaskUpdated
from bus.nouns import TaskId, TaskState, TaskStatus
from bus.services import RemovalRequested
from components.metronome import MetronomeConfig
from components.metronome.state import LOST, Attempt, MetronomeState, check
from tests.components.driver import START
from tests.components.metronome.play import (
    COUNT,
    FAILED,
    FINISHED,
    KILLED,
    MAIN,
    METRONOME,
    RUNNING,
    STARTING,
    Play,
    status,
)

ERROR, GONE, KILLING, UNKNOWN = TaskState.ERROR, TaskState.GONE, TaskState.KILLING, TaskState.UNKNOWN


def test_so_many_finished_runs_are_kept_of_each_job():
    """The oldest are forgotten, with their tasks."""
    play = Play(MetronomeConfig(runs_kept_max=2))
    play.add()
    runs = []
    for _ in range(4):
        runs.append(play.start())
        play.update(play.launch(), FINISHED)
    assert [row.run for row in play.rows()] == runs[2:]
    assert len(play.state.tasks) == 2
    assert play.state.jobs[COUNT].successes == 4


def test_successes_and_failures_are_kept_beside_each_other():
    """Many of the one do not push out the other. (Metronome: 1000 of each)"""
    play = Play(MetronomeConfig(runs_kept_max=2))
    play.add()
    failed = play.start()
    play.end(failed, FAILED)
    succeeded = [play.succeed() for _ in range(5)]
    assert [row.run for row in play.rows()] == [failed, *succeeded[3:]]


def test_so_many_finished_runs_are_kept_of_all_jobs():
    """The one that ended first is forgotten first, whosever it is; also of a job that is no more."""
    play = Play(MetronomeConfig(all_runs_kept_max=2))
    for job in ("first", "second"):
        play.add(job)
    first = play.succeed("first")
    play.ask(RemovalRequested(job=play.run(first).job))
    runs = [play.succeed("second"), play.succeed("second")]
    assert [row.run for row in play.rows()] == runs
    assert list(play.state.jobs) == ["second"]
    assert play.state.removed == {}


def test_the_runs_of_so_many_removed_jobs_are_kept():
    """The one removed first is forgotten first."""
    play = Play(MetronomeConfig(removed_jobs_kept_max=1))
    for job in ("first", "second"):
        play.add(job)
        play.start(job)  # type: ignore[arg-type]
        play.update(play.launch(), FINISHED)
        play.ask(RemovalRequested(job=job))  # type: ignore[arg-type]
    assert [row.job for row in play.rows()] == ["second"]
    assert list(play.state.jobs) == ["second"]


def test_of_removed_jobs_nothing_may_be_kept():
    """Then a job is gone with its last run."""
    play = Play(MetronomeConfig(removed_jobs_kept_max=0))
    for stop_runs in (False, True):
        _, task = play.running()
        if not stop_runs:
            play.update(task, FINISHED)
        play.ask(RemovalRequested(job=COUNT, stop_runs=stop_runs))
        play.update(task, KILLED)
        assert play.state.jobs == play.state.runs == play.state.tasks == play.state.removed == {}


def test_a_run_that_stands_on_nothing_is_found():
    """The check tells which."""
    play = Play()
    run, _ = play.running()
    state: MetronomeState = play.state
    state.adrift[run] = None
    with pytest.raises(AssertionError, match="active, with neither an attempt nor a time for one"):
        check(state)


def test_an_attempt_is_launched_once():
    """The fold refuses a second accept: it would be a bug or a damaged log."""
    play = Play()
    play.add()
    play.start()
    (accepted,) = [event for event in play.make() if isinstance(event.fact, OfferAccepted)]
    with pytest.raises(AssertionError, match="is launched and did not wait"):
        play.component.fold(play.state, accepted)


def test_a_status_of_an_attempt_that_waits_is_nothing():
    """It was not launched, whoever says so."""
    play = Play()
    play.add()
    run = play.start()
    told = TaskStatus(task=TaskId(f"count.{run}.1"), state=RUNNING, source=status(TaskId("x"), RUNNING).source)
    assert play.hear(MAIN, TaskUpdated(framework=METRONOME, status=told)) == []


def test_an_attempt_lives_until_it_is_over_or_lost():
    """Every state is one or the other."""
    attempt = Attempt(task=TaskId("t"), asked_at=START)
    lives = []
    for state in TaskState:
        attempt.status, attempt.given_up = status(TaskId("t"), state), state in LOST
        lives += [state] if attempt.lives else []
    assert lives == [TaskState.STAGING, STARTING, RUNNING, KILLING]
