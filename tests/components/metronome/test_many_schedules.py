"""A job's schedules, one by one: added, changed, switched, removed; each fires for itself, and what was missed is
caught up as it says."""

from __future__ import annotations

from collections import Counter

import pytest

from bus.events import Event, RequestRefused
from bus.nouns import Now, Refusal, second
from bus.services import (
    JobRequested,
    JobSpecified,
    RunCreated,
    ScheduleRemovalRequested,
    ScheduleRequested,
    ScheduleSkipped,
    SwitchRequested,
)
from components.metronome import queries, schedules
from components.metronome.decide import skips_max
from components.metronome.schedules import FORBIDDEN, MISSED, TOO_MANY
from tests.components.driver import START, only
from tests.components.metronome.play import COUNT, NEXT_MINUTE, RUNNING, Play, schedule, spec

minute = 60 * second


def nominals(events: list[Event], name: str | None = None) -> list[float]:
    """The nominal times of runs in events, in minutes from START."""
    found = [fact for fact in only(events, RunCreated) if fact.nominal is not None]
    return [((fact.nominal or 0) - START) / minute for fact in found if name in (None, fact.schedule)]


def skips(events: list[Event]) -> list[tuple[float, int, str]]:
    return [((fact.nominal - START) / minute, fact.count, fact.reason) for fact in only(events, ScheduleSkipped)]


def with_two() -> Play:
    """A job that fires every other minute, and every third."""
    play = Play()
    play.ask(JobRequested(job=spec(schedules=[])))
    play.ask(ScheduleRequested(job=COUNT, schedule=schedule("*/2 * * * *", "even")))
    play.ask(ScheduleRequested(job=COUNT, schedule=schedule("*/3 * * * *", "third")))
    return play


def down_for(play: Play, minutes: float) -> list[Event]:
    """Nobody runs Metronome for a while; what the next process does at once."""
    play.now = Now(play.now + round(minutes * minute))
    play.restart()
    return play.settle()


def refusal(play: Play, fact: object) -> tuple[Refusal, str]:
    before = play.hash(), len(play.log)
    (refused,) = only(play.ask(fact), RequestRefused)  # type: ignore[arg-type]
    assert len(play.log) == before[1] + 1
    return refused.reason, refused.message


# ---- one by one -------------------------------------------------------------------------------------------------


def test_each_schedule_fires_for_itself():
    """Also at the same minute, which is two firings."""
    play = with_two()
    events = play.advance(6 * 60)
    assert nominals(events, "even") == [2, 4, 6]
    assert nominals(events, "third") == [3, 6]
    assert play.rebuilt() == play.hash()


def test_the_answer_says_when_each_fires_next():
    """And the job row."""
    play = with_two()
    said = only(play.log, JobSpecified)[-1]
    nexts = {"even": Now(START + 2 * minute), "third": Now(START + 3 * minute)}
    assert (said.changed, said.schedule, said.next_at, said.nexts) == ("added", "third", nexts["even"], nexts)
    (row,) = queries.jobs(play.state, b"", play.now)
    assert (row.next_run_at, row.nexts) == (nexts["even"], nexts)


def test_a_schedule_is_changed_and_the_others_go_on():
    """In its place; from now on."""
    play = with_two()
    play.advance(60)
    changed = schedule("*/5 * * * *", "even")
    (said,) = only(play.ask(ScheduleRequested(job=COUNT, schedule=changed, update=True)), JobSpecified)
    assert (said.changed, [one.id for one in said.job.schedules]) == ("changed", ["even", "third"])
    assert said.nexts == {"even": START + 5 * minute, "third": START + 3 * minute}


def test_a_schedule_is_switched_off_and_on():
    """What it would have fired meanwhile is nothing."""
    play = with_two()
    (said,) = only(play.ask(SwitchRequested(job=COUNT, schedule="even", enabled=False)), JobSpecified)
    assert (said.changed, said.next_at, said.nexts) == ("disabled", START + 3 * minute, {})
    assert nominals(play.advance(5 * 60)) == [3]
    (said,) = only(play.ask(SwitchRequested(job=COUNT, schedule="even", enabled=True)), JobSpecified)
    assert (said.changed, said.nexts) == ("enabled", {"even": START + 6 * minute, "third": START + 6 * minute})


def test_a_schedule_is_removed():
    """It fires no more; the job stays."""
    play = with_two()
    (said,) = only(play.ask(ScheduleRemovalRequested(job=COUNT, schedule="even")), JobSpecified)
    assert (said.changed, [one.id for one in said.job.schedules]) == ("removed", ["third"])
    assert nominals(play.advance(6 * 60)) == [3, 6]
    play.ask(ScheduleRemovalRequested(job=COUNT, schedule="third"))
    assert play.state.jobs[COUNT].next_at is None


def test_a_job_can_be_changed_without_its_schedules():
    """(Metronome: PUT of a job)"""
    play = with_two()
    play.advance(60)
    job = spec(description="other", schedules=[{"cron": "0 0 * * *", "id": "x"}])
    (said,) = only(play.ask(JobRequested(job=job, update=True, keep_schedules=True)), JobSpecified)
    assert (said.job.description, [one.id for one in said.job.schedules]) == ("other", ["even", "third"])
    assert said.nexts == {"even": START + 2 * minute, "third": START + 3 * minute}


def test_a_firing_that_is_due_is_not_lost_when_its_schedule_changes_otherwise():
    """The times stay; only another cron, zone or switch begins anew."""
    play = with_two()
    play.now = Now(START + 2 * minute)
    changed = schedule("*/2 * * * *", "even", concurrencyPolicy="FORBID")
    events = play.ask(ScheduleRequested(job=COUNT, schedule=changed, update=True))
    assert nominals(events) == [2]


@pytest.mark.parametrize(
    ("fact", "reason", "message"),
    [
        (
            ScheduleRequested(job=COUNT, schedule=schedule("* * * * *", "even")),
            Refusal.ALREADY_EXISTS,
            "job count already has a schedule even",
        ),
        (
            ScheduleRequested(job=COUNT, schedule=schedule("* * * * *", "odd"), update=True),
            Refusal.NOT_FOUND,
            "job count has no schedule odd",
        ),
        (SwitchRequested(job=COUNT, schedule="odd", enabled=True), Refusal.NOT_FOUND, "job count has no schedule odd"),
        (ScheduleRemovalRequested(job=COUNT, schedule="odd"), Refusal.NOT_FOUND, "job count has no schedule odd"),
        (
            ScheduleRequested(job=COUNT, schedule=schedule("* * * * 9", "odd")),
            Refusal.INVALID,
            "day of week: '9' is not allowed: expected 0 to 7 or sun to sat, *, ranges (1-5), steps (*/2), the last"
            " (5L) or second (5#2) of the month and lists of them (1,3) - at `$.schedules[2].cron`",
        ),
    ],
)
def test_what_cannot_be_is_refused(fact: object, reason: Refusal, message: str):
    """And changes nothing."""
    assert refusal(with_two(), fact) == (reason, message)


def test_a_schedule_of_no_job_is_refused():
    """The job is named."""
    asked = ScheduleRequested(job=COUNT, schedule=schedule())
    assert refusal(Play(), asked) == (Refusal.NOT_FOUND, "job count does not exist")


def test_a_schedule_whose_years_are_over_fires_no_more():
    """It stays, and is no reason to wake."""
    play = Play()
    play.add(cron="1 8 15 1 * 2027")
    assert nominals(play.advance(3600)) == [1]
    assert play.state.jobs[COUNT].next_at is None
    assert play.rebuilt() == play.hash()


def test_forbid_looks_at_all_runs_of_the_job():
    """Whichever schedule began them. (Metronome: of the job)"""
    play = with_two()
    third = schedule("*/3 * * * *", "third", concurrencyPolicy="FORBID")
    play.ask(ScheduleRequested(job=COUNT, schedule=third, update=True))
    events = play.advance(3 * 60)
    assert (nominals(events), skips(events)) == ([2], [(3, 1, FORBIDDEN)])


# ---- what was missed --------------------------------------------------------------------------------------------


def test_by_default_only_what_is_not_too_late_begins():
    """Down for ten minutes, with a deadline of a minute and a half: the latest is in time, the others are not."""
    play = Play()
    play.add(cron="* * * * *", schedule_startingDeadlineSeconds=90)
    events = down_for(play, 10.5)
    assert (nominals(events), skips(events)) == ([10], [(1, 9, MISSED)])


def test_latest_catches_up_with_one_however_late():
    """The others are recorded as skipped; its starting deadline counts from now."""
    play = Play()
    play.add(cron="0 * * * *", schedule_startingDeadlineSeconds=60, schedule_catchUp="latest")
    events = down_for(play, 5 * 60 + 30)
    assert (nominals(events), skips(events)) == ([300], [(60, 4, MISSED)])
    play.advance(59)
    play.admit()
    play.update(play.launch(), RUNNING)
    assert [row.state for row in play.rows()] == ["ACTIVE"]


def test_a_run_that_is_caught_up_has_a_starting_deadline_too():
    """From its creation on."""
    play = Play()
    play.add(cron="0 * * * *", schedule_startingDeadlineSeconds=60, schedule_catchUp="latest")
    down_for(play, 90)
    play.advance(60)
    assert [row.state for row in play.rows()] == ["FAILED"]


def test_all_catches_up_with_each_from_the_oldest_on():
    """Nothing is skipped."""
    play = Play()
    play.add(cron="* * * * *", schedule_startingDeadlineSeconds=1, schedule_catchUp="all")
    events = down_for(play, 10.5)
    assert (nominals(events), skips(events)) == ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [])
    assert nominals(play.advance(30)) == [11]


def test_all_is_bounded():
    """The latest hundred run; those before them are skipped, and that is said."""
    play = Play()
    play.add(cron="* * * * *", schedule_catchUp="all")
    events = down_for(play, 3 * 24 * 60)
    made, missed = nominals(events), skips(events)
    assert made == [float(n) for n in range(3 * 24 * 60 - 99, 3 * 24 * 60 + 1)]
    assert sum(count for _, count, _ in missed) == 3 * 24 * 60 - 100
    assert {why for _, _, why in missed} == {TOO_MANY}
    assert schedules.caught_up_max == 100


def test_latest_with_forbid_waits_for_nothing():
    """A run that is active forbids the one that is caught up, too."""
    play = Play()
    play.add(cron="* * * * *", schedule_concurrencyPolicy="FORBID", schedule_catchUp="latest")
    play.start()
    events = down_for(play, 3)
    assert (nominals(events), skips(events)) == ([], [(1, 2, MISSED), (3, 1, FORBIDDEN)])


def test_crashes_while_catching_up_make_no_difference():
    """Each firing once, whenever the process ends."""
    play = Play()
    play.add(cron="* * * * *", schedule_catchUp="all")
    play.now = Now(START + 30 * minute)
    play.restart()
    for _ in range(60):
        play.wake()
        play.restart()
    play.settle()
    assert Counter(nominals(play.log)) == Counter(float(n) for n in range(1, 31))


# ---- when time zones change -------------------------------------------------------------------------------------


def test_another_time_zone_database_changes_nothing_that_was_said(monkeypatch: pytest.MonkeyPatch):
    """The next firing is in the log: with the next release's zones it is that one still, and those after it follow."""
    play = Play()
    play.add(cron="0 * * * *", schedule_timezone="Europe/Berlin")
    right = schedules.next_after
    monkeypatch.setattr(schedules, "next_after", lambda *given: Now((right(*given) or 0) + 30 * minute))
    play.restart()
    assert play.rebuilt() == play.hash()
    assert nominals(play.advance(3 * 3600)) == [60, 150]
    monkeypatch.undo()
    assert play.rebuilt() == play.hash()
    assert nominals(play.advance(1800 * 2)) == [210, 240]


def test_the_first_firing_is_the_next_minute():
    """There is no floor of 60 s. (Metronome has one)"""
    play = Play()
    play.advance(59)
    play.add(cron="* * * * *")
    assert play.component.wake_at(play.state) == NEXT_MINUTE


def test_only_so_many_missed_firings_are_looked_for_at_once():
    """After a long time without anybody, nobody else would be heard while all are."""
    play = Play()
    for k in range(10):
        play.ask(JobRequested(job=spec(f"job-{k}", schedules=[schedule("* * * * *")])))
    play.now = Now(play.now + 3 * 24 * 60 * minute)
    play.restart()
    decisions = []
    while (due := play.component.wake_at(play.state)) is not None and due <= play.now:
        decisions.append(play.wake())
    skipped = [sum(count for _, count, _ in skips(events)) for events in decisions]
    assert max(skipped) <= skips_max
    assert sum(skipped) >= 10 * (3 * 24 * 60 - 1)
