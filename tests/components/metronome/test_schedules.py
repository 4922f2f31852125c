"""Firings: each is a run or a record that there is none, and none comes twice."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from bus.events import Event
from bus.nouns import NOBODY, JobId, Now, RunId, second
from bus.services import JobSpecified, RemovalRequested, RunCreated, ScheduleSkipped
from components.metronome.schedules import FORBIDDEN, MISSED, skipped_max
from components.metronome.tasks import task_id
from tests.components.driver import START, only, types
from tests.components.metronome.play import COUNT, FINISHED, NEXT_MINUTE, RUNNING, Play, launches, spec, states

minute = 60 * second


def nominals(events: list[Event]) -> list[float]:
    """The nominal times of the runs created in events, in minutes from START."""
    return [(fact.nominal - START) / minute for fact in only(events, RunCreated) if fact.nominal is not None]


def down_for(play: Play, seconds: float) -> list[Event]:
    """Nobody runs Metronome for a while; what the next process does at once."""
    play.now = Now(play.now + round(seconds * second))
    play.restart()
    return play.settle()


def test_a_schedule_fires_at_its_nominal_time():
    """Exactly then, without Metronome's floor of 60 s, to nobody, traced by its own id."""
    play = Play()
    play.advance(50)
    play.add(cron="* * * * *")
    assert play.advance(9.999) == []
    created, revived = play.advance(0.001)
    run = RunId("2027011508010000004")
    assert created.fact == RunCreated(
        job=COUNT,
        run=run,
        schedule="default",
        nominal=NEXT_MINUTE,
        next_at=Now(NEXT_MINUTE + minute),
        task=task_id(COUNT, run, 1),
    )
    assert (created.to, created.at, created.trace, revived.trace) == (NOBODY, NEXT_MINUTE, run, run)


def test_a_scheduled_run_is_told_to_nobody():
    """Its states are in the log like any run's."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    task = play.launch()
    events = play.update(task, RUNNING) + play.update(task, FINISHED)
    assert states(events) == ["ACTIVE", "SUCCESS"]
    assert {event.to for event in events} == {NOBODY}


def test_every_firing_comes_once():
    """An hour of minutes, with crashes in between, at and around the firings."""
    play = Play()
    play.add(cron="* * * * *")
    for step in (30, 30, 0, 0.5, 59.5, 60, 1, 58, 61, 3300):
        play.advance(step)
        play.restart()
        play.settle()
    assert nominals(play.log) == [float(n) for n in range(1, 61)]


def test_a_schedule_fires_in_its_zone():
    """The nominal time is the same local time on both sides of a change of clocks."""
    play = Play(now=Now(int(datetime(2026, 3, 28, tzinfo=UTC).timestamp()) * second))
    play.add(cron="30 9 * * *", schedule_timezone="Europe/Berlin")
    play.advance(3 * 24 * 3600)
    times = [datetime.fromtimestamp(fact.nominal / second, UTC) for fact in only(play.log, RunCreated) if fact.nominal]
    assert [f"{at:%d %H:%M}" for at in times] == ["28 08:30", "29 07:30", "30 07:30"]


def test_runs_may_overlap():
    """ALLOW: another run begins although one is active."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(180)
    assert len(play.state.jobs[COUNT].active) == 3
    assert len(launches(play.make())) == 3


def test_runs_may_be_forbidden_to_overlap():
    """FORBID: a firing while a run is active is skipped and recorded; the next one after its end is not."""
    play = Play()
    play.add(cron="* * * * *", schedule_concurrencyPolicy="FORBID")
    play.advance(60)
    task = play.launch()
    (skipped,) = play.advance(60)
    assert skipped.fact == ScheduleSkipped(
        job=COUNT,
        schedule="default",
        nominal=Now(START + 2 * minute),
        reason=FORBIDDEN,
        next_at=Now(START + 3 * minute),
    )
    play.update(task, FINISHED)
    assert nominals(play.advance(60)) == [3.0]


def test_a_run_by_hand_ignores_the_concurrency_policy():
    """And counts as active for the schedule."""
    play = Play()
    play.add(cron="* * * * *", schedule_concurrencyPolicy="FORBID")
    play.start()
    play.start()
    assert types(play.advance(60)) == ["schedule.skipped"]


def test_what_was_missed_is_not_caught_up():
    """After ten minutes down one event names nine firings; the tenth is within its starting deadline and runs."""
    play = Play()
    play.add(cron="* * * * *")
    events = down_for(play, 600)
    (skipped,) = only(events, ScheduleSkipped)
    assert skipped == ScheduleSkipped(
        job=COUNT,
        schedule="default",
        nominal=NEXT_MINUTE,
        reason=MISSED,
        count=9,
        until=Now(START + 9 * minute),
        next_at=Now(START + 10 * minute),
    )
    assert nominals(events) == [10.0]
    assert nominals(play.advance(60)) == [11.0]


def test_a_firing_that_comes_late_runs_within_its_starting_deadline():
    """Down over its minute, up again before 900 s have passed."""
    play = Play()
    play.add(cron="0 * * * *")
    assert nominals(down_for(play, 3600 + 899)) == [60.0]


def test_a_firing_that_comes_too_late_is_skipped():
    """Its starting deadline has passed; the one after comes as ever."""
    play = Play()
    play.add(cron="0 * * * *", schedule_startingDeadlineSeconds=900)
    (skipped,) = only(down_for(play, 3600 + 900), ScheduleSkipped)
    assert (skipped.reason, skipped.count, skipped.until) == ("startingDeadlineSeconds 900 had passed", 1, None)
    assert nominals(play.advance(2700)) == [120.0]


def test_all_that_came_too_late_is_one_event():
    """Five hours down, the last firing 20 minutes ago: five skipped, none run."""
    play = Play()
    play.add(cron="0 * * * *")
    events = down_for(play, 5 * 3600 + 1200)
    (skipped,) = only(events, ScheduleSkipped)
    assert (skipped.count, skipped.nominal, skipped.until) == (
        5,
        Now(START + 60 * minute),
        Now(START + 300 * minute),
    )
    assert nominals(events) == []


def test_a_month_of_missed_firings_is_skipped_in_bounded_pieces():
    """Every firing is in exactly one event; the last one runs."""
    play = Play()
    play.add(cron="*/5 * * * *")
    events = down_for(play, 30 * 24 * 3600)
    skipped = only(events, ScheduleSkipped)
    assert [fact.count for fact in skipped] == [skipped_max] * 8 + [639]
    assert all(fact.next_at == after.nominal for fact, after in pairwise(skipped))
    assert nominals(events) == [30 * 24 * 60.0]


def test_a_scheduled_run_must_start_within_its_deadline():
    """From its nominal time, however late it was created."""
    play = Play()
    play.add(cron="0 * * * *", schedule_startingDeadlineSeconds=900)
    down_for(play, 3600 + 600)
    assert "run.stopped" not in types(play.advance(299))
    (updated,) = [event for event in play.advance(1) if event.type == "run.updated"]
    assert updated.fact.message == "not ACTIVE within startingDeadlineSeconds of its nominal time"  # type: ignore[attr-defined]


def test_a_schedule_changed_at_its_minute_does_not_fire_again():
    """The new one is reckoned from now on, later than any firing there was."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    (updated,) = only(play.update_job(cron="*/1 * * * *"), JobSpecified)
    assert updated.next_at == START + 2 * minute
    assert nominals(play.advance(60)) == [2.0]


def test_a_job_removed_and_created_again_does_not_fire_again():
    """Within the minute it fired in."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    play.ask(RemovalRequested(job=COUNT, stop_runs=True))
    assert play.component.wake_at(play.state) is None
    play.add(cron="* * * * *")
    assert nominals(play.advance(59)) == []


def test_many_jobs_fire_in_the_same_minute():
    """More than one decision holds; all of them at their nominal time."""
    play = Play()
    for n in range(400):
        play.add(f"job-{n}", cron="* * * * *")
    events = play.advance(60)
    assert nominals(events) == [1.0] * 400
    assert {event.at for event in events} == {NEXT_MINUTE}
    assert len({fact.run for fact in only(events, RunCreated)}) == 400


def test_a_removed_schedule_leaves_its_runs():
    """The job is updated to one without a schedule; what began goes on."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    play.update_job()
    assert len(launches(play.make())) == 1
    assert nominals(play.advance(240)) == []


def test_the_description_a_run_began_with_is_kept_as_long_as_it_is_active():
    """And no longer."""
    play = Play()
    play.add(cron="* * * * *")
    play.advance(60)
    task = play.launch()
    play.update_job(description="new")
    assert len(play.state.specs) == 2
    play.update(task, FINISHED)
    assert [one.job for one in play.state.specs.values()] == [spec(description="new")]
    assert play.state.jobs[JobId("count")].successes == 1
