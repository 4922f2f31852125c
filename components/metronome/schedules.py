"""Firings: a run, or the record that there is none.

Rule of this room: a firing is its job, its schedule and its nominal time, and every one leads to one event. The next
nominal time of each schedule is in the log, so none comes twice, and none is lost. (Metronome: nothing is caught up,
and nothing is recorded)

A firing is *missed* when another was due before it could begin, or its starting deadline passed: nobody was there. Of
the missed ones `catchUp` says what becomes of them, and what is not run is recorded as skipped.

    none     none is made up for
    latest   the latest one runs, once, however late
    all      each one runs, the oldest first, at most the latest 100

What is caught up gets the whole of startingDeadlineSeconds from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bus.documents import JobSpec, Schedule
from bus.nouns import JobId, Now, second
from bus.services import ScheduleSkipped
from components.component import Say
from components.metronome.cron import parse_cron
from components.metronome.firings import next_after
from components.metronome.runs import create_scheduled
from components.metronome.state import MetronomeState

skipped_max = 1000
"""Firings skipped in one event; the rest is due at once."""
caught_up_max = 100
"""Missed firings of one schedule that run, with catchUp all."""
MISSED = "missed: another firing was due before it could begin"
FORBIDDEN = "an earlier run is active, and concurrencyPolicy is FORBID"
TOO_MANY = f"missed: of all that were, only the latest {caught_up_max} are caught up"


def next_firings(state: MetronomeState, spec: JobSpec, now: Now) -> dict[str, Now]:
    """When each enabled schedule of a job fires first after `now`; one that was there before goes on as it was."""
    known, job = state.spec(spec.id), state.jobs.get(spec.id)
    found = {}
    for schedule in spec.enabled:
        before = known.schedule(schedule.id) if known else None
        if job is not None and before is not None and _times(before) == _times(schedule):
            at = job.nexts.get(schedule.id)
        else:
            at = _after(schedule, now)
        if at is not None:
            found[schedule.id] = at
    return found


def _times(schedule: Schedule) -> tuple[str, str, bool]:
    return schedule.cron, schedule.timezone, schedule.enabled


def _after(schedule: Schedule, after: Now) -> Now | None:
    return next_after(parse_cron(schedule.cron), schedule.timezone, after)


def fire(state: MetronomeState, job_id: JobId, schedule_id: str, now: Now) -> Iterator[Say]:
    """The firings of a schedule that are due."""
    job, spec = state.jobs[job_id], state.spec(job_id)
    schedule, next_at = spec.schedule(schedule_id) if spec else None, job.nexts.get(schedule_id)
    if schedule is None or next_at is None or next_at > now:
        return
    over = (_oldest if schedule.catch_up == "all" else _latest)(schedule, next_at, now)
    if over.skipped:
        yield _skipped(job_id, schedule, over)
    if over.due is None:
        return
    if schedule.concurrency_policy == "FORBID" and job.active:
        yield _skipped(job_id, schedule, _Overdue(1, over.due, over.due, FORBIDDEN, None, over.following))
    else:
        yield create_scheduled(state, job_id, schedule.id, over.due, over.following, now)


class _Overdue(NamedTuple):
    """Firings of one schedule whose time has come: some that are skipped, and the one that is due."""

    skipped: int
    first: Now
    last: Now
    reason: str
    due: Now | None
    """None: that one is too late, too, or there are more than one event may skip."""
    following: Now | None


def _latest(schedule: Schedule, first: Now, now: Now) -> _Overdue:
    """The latest is due, unless it is too late; all before it are skipped."""
    count, last, nominal, following = 0, first, first, _after(schedule, first)
    while following is not None and following <= now:
        count, last = count + 1, nominal
        nominal, following = following, _after(schedule, following)
        if count == skipped_max:
            return _Overdue(count, first, last, MISSED, None, nominal)
    if schedule.catch_up == "latest" or nominal + schedule.starting_deadline_seconds * second > now:
        return _Overdue(count, first, last, MISSED, nominal, following)
    too_late = f"startingDeadlineSeconds {schedule.starting_deadline_seconds} had passed"
    return _Overdue(count + 1, first, nominal, too_late, None, following)


def _oldest(schedule: Schedule, first: Now, now: Now) -> _Overdue:
    """The oldest is due; if there are too many, those that are too old are skipped."""
    nominals, following = [first], _after(schedule, first)
    while following is not None and following <= now and len(nominals) < skipped_max + caught_up_max:
        nominals.append(following)
        following = _after(schedule, following)
    surplus = len(nominals) - caught_up_max
    if surplus > 0:
        return _Overdue(surplus, first, nominals[surplus - 1], TOO_MANY, None, nominals[surplus])
    return _Overdue(0, first, first, "", first, nominals[1] if len(nominals) > 1 else following)


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
