"""What clients ask about jobs and their schedules: that they exist, as described, or are no more.

Rule of this room: a job is described as a whole, and every answer says all of it; what is wrong with one part of it is
said with the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from bus.documents import Complaint, DocumentError, JobSpec, Schedule
from bus.documents.reading import check_document
from bus.events import Event, RequestRefused
from bus.nouns import JobId, Now, Refusal
from bus.services import (
    ONLY_ONE,
    JobRemoved,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    ScheduleRemovalRequested,
    ScheduleRequested,
    SwitchRequested,
)
from components.component import Say, answer
from components.metronome.cron import parse_cron
from components.metronome.dependencies import wrong_parents
from components.metronome.firings import parse_zone
from components.metronome.schedules import next_firings
from components.metronome.state import MetronomeState
from components.metronome.tasks import largest_task_bytes
from components.referring import unknown_secret

job_bytes_max = 128 * 1024
"""A job, and each of its tasks, on the bus."""
complaints_max = 50
"""Said at once."""
message_chars_max = 1000
"""What was asked may be as large as an event; the words of its refusal are not."""

ScheduleAsked = ScheduleRequested | SwitchRequested | ScheduleRemovalRequested


def refused(event: Event, reason: Refusal, message: str, also: Iterable[str] = ()) -> Say:
    """The refusal of what a client asked."""
    others = tuple(each[:message_chars_max] for each in islice(also, complaints_max))
    return answer(event, RequestRefused(reason=reason, message=message[:message_chars_max], also=others))


def no_job(event: Event, job: JobId) -> Say:
    """The refusal of what was asked about a job that is not there."""
    return refused(event, Refusal.NOT_FOUND, f"job {job} does not exist")


# ---- the whole of a job -----------------------------------------------------------------------------------------


def specify(state: MetronomeState, event: Event, fact: JobRequested, now: Now) -> Say:
    """A job shall be there, or be as described."""
    known, spec = state.spec(fact.job.id), fact.job
    if known is not None and fact.keep_schedules:
        spec = msgspec.structs.replace(spec, schedules=known.schedules)
    wrong = _wrong(state, spec)
    if wrong:
        return refused(event, Refusal.INVALID, wrong[0], wrong[1:])
    if known is None and fact.update:
        return no_job(event, spec.id)
    if known is not None and not fact.update:
        return refused(event, Refusal.ALREADY_EXISTS, f"a job with id {spec.id} already exists")
    return _specified(state, event, spec, "updated" if fact.update else "created", now)


def _specified(
    state: MetronomeState, event: Event, spec: JobSpec, changed: str, now: Now, schedule: str | None = None
) -> Say:
    nexts = next_firings(state, spec, now)
    fact = JobSpecified(
        job=spec,
        changed=changed,
        next_at=min(nexts.values(), default=None),
        nexts=nexts if len(spec.enabled) > 1 else {},
        schedule=schedule,
    )
    return answer(event, fact)


def _wrong(state: MetronomeState, spec: JobSpec) -> list[str]:
    """All that keeps a job from being as described, each with its path."""
    complaints = [str(each) for each in (*_broken(spec), *_wrong_times(spec), *wrong_parents(state, spec))]
    unknown = unknown_secret(spec.run, state.secrets, "$.run")
    if unknown is not None:
        complaints.append(unknown)
    size = max(len(msgspec.msgpack.encode(spec)), largest_task_bytes(spec)) if not complaints else 0
    if size > job_bytes_max:
        complaints.append(f"the job makes messages of {size} bytes, at most {job_bytes_max} are allowed - at `$`")
    return complaints


def _broken(spec: JobSpec) -> tuple[Complaint, ...]:
    try:
        check_document(spec)
    except DocumentError as error:
        return error.complaints
    return ()


def _wrong_times(spec: JobSpec) -> Iterator[Complaint]:
    for index, schedule in enumerate(spec.schedules):
        for name, text, parse in (("cron", schedule.cron, parse_cron), ("timezone", schedule.timezone, parse_zone)):
            try:
                parse(text)
            except ValueError as error:
                yield Complaint(str(error), ("schedules", index, name))


def remove(state: MetronomeState, event: Event, fact: RemovalRequested) -> Say:
    """A job shall be no more."""
    if fact.job is None:
        return refused(event, Refusal.INVALID, "expected the id of a job - at `$.job`")
    if state.spec(fact.job) is None:
        return no_job(event, fact.job)
    children = sorted(state.children.get(fact.job, ()))
    if children:
        depend = f"{', '.join(children)} {'depends' if len(children) == 1 else 'depend'} on {fact.job}"
        return refused(event, Refusal.HAS_DEPENDANTS, f"{depend}: remove or change what depends on it first")
    active = state.jobs[fact.job].active
    if active and not fact.stop_runs:
        runs = f"{len(active)} runs are" if len(active) > 1 else f"run {next(iter(active))} is"
        return refused(event, Refusal.RUNS_ACTIVE, f"{runs} active: stop them first, or remove the job with them")
    return answer(event, JobRemoved(job=fact.job))


# ---- one of its schedules ---------------------------------------------------------------------------------------


def change_schedule(state: MetronomeState, event: Event, asked: ScheduleAsked, now: Now) -> Say:
    """One schedule of a job shall be there, be another, fire or not, or be no more."""
    spec = state.spec(asked.job)
    if spec is None:
        return no_job(event, asked.job)
    name = asked.schedule.id if isinstance(asked, ScheduleRequested) else asked.schedule
    known = spec.schedule(name)
    adds = isinstance(asked, ScheduleRequested) and not asked.update
    if known is None and not adds:
        return refused(event, Refusal.NOT_FOUND, f"job {asked.job} has no schedule {name}")
    if known is not None and adds:
        return refused(event, Refusal.ALREADY_EXISTS, f"job {asked.job} already has a schedule {name}")
    if isinstance(asked, ScheduleRequested) and asked.only and any(one.id != name for one in spec.schedules):
        return refused(
            event, Refusal.ALREADY_EXISTS, f"job {asked.job} has schedule {spec.schedules[0].id}: {ONLY_ONE}"
        )
    wanted, changed = _wanted(asked, known)
    others = tuple(schedule for schedule in spec.schedules if schedule.id != name)
    new = msgspec.structs.replace(spec, schedules=others if wanted is None else _in_place(spec, wanted))
    wrong = _wrong(state, new)
    if wrong:
        return refused(event, Refusal.INVALID, wrong[0], wrong[1:])
    return _specified(state, event, new, changed, now, name)


def _wanted(asked: ScheduleAsked, known: Schedule | None) -> tuple[Schedule | None, str]:
    match asked:
        case ScheduleRequested():
            return asked.schedule, "changed" if asked.update else "added"
        case SwitchRequested():
            assert known is not None, f"{asked} and there is no such schedule"
            enabled = msgspec.structs.replace(known, enabled=asked.enabled)
            return enabled, "enabled" if asked.enabled else "disabled"
        case ScheduleRemovalRequested():
            return None, "removed"


def _in_place(spec: JobSpec, wanted: Schedule) -> tuple[Schedule, ...]:
    """The schedules of a job with one of them as wanted, where it was before, or behind the others."""
    if spec.schedule(wanted.id) is None:
        return (*spec.schedules, wanted)
    return tuple(wanted if schedule.id == wanted.id else schedule for schedule in spec.schedules)
