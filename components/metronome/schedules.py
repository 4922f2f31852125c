"""Firings: a run, or the record that there is none.

Rule of this room: a firing is its job, its schedule and its nominal time, and every one leads to one event. The next
nominal time is in the log, so none comes twice, and none is lost; a firing that is later than the one after it, or
than its starting deadline, is skipped and not caught up. (Metronome: nothing is caught up, and nothing is recorded)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bus.documents import JobSpec, Schedule
from bus.nouns import JobId, Now, second
from bus.services import ScheduleSkipped
from components.component import Say
from components.metronome.cron import next_after, parse_cron
from components.metronome.runs import create_scheduled
from components.metronome.state import MetronomeState, schedule_of

skipped_max = 1000
"""Firings skipped in one event; the rest is due at once."""
MISSED = "missed: another firing was due before it could begin"
FORBIDDEN = "an earlier run is active, and concurrencyPolicy is FORBID"


def first_firing(spec: JobSpec, now: Now) -> Now | None:
    """When a job fires first after `now`; None if it does not."""
    schedule = schedule_of(spec)
    return _after(schedule, now) if schedule else None


def _after(schedule: Schedule, after: Now) -> Now:
    return next_after(parse_cron(schedule.cron), schedule.timezone, after)


def fire(state: MetronomeState, job_id: JobId, now: Now) -> Iterator[Say]:
    """The firings of a job that are due."""
    job, spec = state.jobs[job_id], state.spec(job_id)
    schedule = schedule_of(spec) if spec else None
    if schedule is None or job.next_at is None or job.next_at > now:
        return
    overdue = _overdue(schedule, job.next_at, now)
    if overdue.skipped:
        yield _skipped(job_id, schedule, overdue)
    if overdue.due is None:
        return
    if schedule.concurrency_policy == "FORBID" and job.active:
        one = _Overdue(1, overdue.due, overdue.due, FORBIDDEN, None, overdue.following)
        yield _skipped(job_id, schedule, one)
    else:
        yield from create_scheduled(state, job_id, schedule.id, overdue.due, overdue.following, now)


class _Overdue(NamedTuple):
    """Firings of one schedule whose time has come: some too late, and the one that is due."""

    skipped: int
    first: Now
    last: Now
    reason: str
    due: Now | None
    """None: that one is too late, too, or there are more than one event may skip."""
    following: Now


def _overdue(schedule: Schedule, first: Now, now: Now) -> _Overdue:
    count, last, nominal, following = 0, first, first, _after(schedule, first)
    while following <= now:
        count, last = count + 1, nominal
        nominal, following = following, _after(schedule, following)
        if count == skipped_max:
            return _Overdue(count, first, last, MISSED, None, nominal)
    if nominal + schedule.starting_deadline_seconds * second > now:
        return _Overdue(count, first, last, MISSED, nominal, following)
    too_late = f"startingDeadlineSeconds {schedule.starting_deadline_seconds} had passed"
    return _Overdue(count + 1, first, nominal, too_late, None, following)


def _skipped(job: JobId, schedule: Schedule, over: _Overdue) -> Say:
    fact = ScheduleSkipped(
        job=job,
        schedule=schedule.id,
        nominal=over.first,
        reason=over.reason,
        count=over.skipped,
        until=over.last if over.skipped > 1 else None,
        next_at=over.following if over.due is None else over.due,
    )
    return Say(fact)
