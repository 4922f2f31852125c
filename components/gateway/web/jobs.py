"""`/v1/jobs` and `/v0/scheduled-jobs`: Metronome.

Rule of this room: as in `web.apps`. (Metronome: `api/v1/controllers`)
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.responses import Response

from bus.codec import events_of
from bus.documents import JobSpec, Schedule
from bus.documents.reading import parse_document
from bus.events import Event, Fact
from bus.job_rows import JobRow, QueuedRow, RunRow, RunsQuestion
from bus.nouns import MASTER, JobId, Position, Refusal, RunId
from bus.queries import HistoryQuestion, HistoryRow, QueryRefused
from bus.services import (
    ONLY_ONE,
    JobRequested,
    JobSpecified,
    RemovalRequested,
    RunCreated,
    RunRequested,
    ScheduleRemovalRequested,
    ScheduleRequested,
    StopRequested,
)
from bus.subjects import Author, Kind
from components.gateway.routes import METRONOME as API
from components.gateway.routes import Route
from components.gateway.shapes import answers, errors, jobs
from components.gateway.web.call import Call, HttpError, answer, documents, part
from components.gateway.web.client import METRONOME, Turned
from components.run_history import run_row

THE_MASTER = Author(Kind.MASTER, MASTER)
pages_max = 20
"""Of a run's events."""
deadline_s_min = 60
"""Of a schedule's start, over HTTP. (Metronome: `startingDeadlineSeconds` >= 60; the bus has no such floor)"""
READ_ONLY = ("activeRuns", "history", "historySummary")
"""Keys of a job as it is shown that mean nothing when it is sent back."""


async def rows_of(call: Call) -> list[JobRow]:
    """Every job."""
    return await call.client.ask(METRONOME, "jobs", list[JobRow])


async def row_of(call: Call, id_: str) -> JobRow:
    """One job. Raises HttpError."""
    row = next((row for row in await rows_of(call) if row.job.id == id_), None)
    if row is None:
        raise HttpError(404, errors.no_job(id_))
    return row


async def runs_of(call: Call, job: str | None, run: str | None = None, **which: Any) -> list[RunRow]:
    """The runs of a job, finished ones too unless `active` or `state` say which."""
    question = RunsQuestion(job=JobId(job) if job else None, run=RunId(run) if run else None, **which)
    return await call.client.ask(METRONOME, "runs", list[RunRow], question)


async def runs_for(call: Call, job: str | None, embed: list[str]) -> list[RunRow]:
    """The runs that what is embedded takes."""
    rows = await runs_of(call, job, active=True) if "activeRuns" in embed else []
    for state in jobs.ENDED if "history" in embed else ():  # so many of each
        rows += await runs_of(call, job, state=state)
    return rows


def embeds(call: Call) -> list[str]:
    """What is to be shown besides. Raises HttpError. (Metronome: EmbedParam)"""
    wanted = [each.strip() for text in call.all("embed") for each in text.split(",")]
    for each in wanted:
        if each not in jobs.EMBEDS:
            raise HttpError(400, f"Unknown embed options. Valid options are: {', '.join(jobs.EMBEDS)}")
    return wanted


async def list_jobs(call: Call) -> Response:
    """GET /v1/jobs."""
    embed = embeds(call)
    rows = await rows_of(call)
    runs = await runs_for(call, None, embed)
    return answer([jobs.job(row, embed, runs) for row in rows])


async def get_job(call: Call) -> Response:
    """GET /v1/jobs/{job}."""
    embed, job = embeds(call), call.params["job"]
    row = await row_of(call, job)
    return answer(jobs.job(row, embed, await runs_for(call, job, embed)))


# ---- jobs change ------------------------------------------------------------------------------------------------


async def sent_job(call: Call, at: str | None = None, *, schedules: bool = True) -> JobSpec:
    """A job as it was sent, without what is only shown. Raises HttpError."""
    sent = await call.json()
    if isinstance(sent, dict):
        dropped = READ_ONLY if schedules else (*READ_ONLY, "schedules")
        sent = {key: value for key, value in sent.items() if key not in dropped}
        if at is not None and sent.setdefault("id", at) != at:
            wrong = errors.Complaint("/id", f"{sent['id']} is not the job that the path names: an id cannot be changed")
            raise HttpError(*errors.invalid([wrong]))
        if isinstance(sent.get("schedules"), list):
            sent["schedules"] = [sent_schedule(each) for each in sent["schedules"]]
    with documents(typed=False):
        spec = parse_document(msgspec.json.encode(sent), JobSpec)
    short = [each for n, one in enumerate(spec.schedules) for each in hasty(one, f"/schedules({n})")]
    if short:
        raise HttpError(*errors.invalid(short))
    return spec


def hasty(schedule: Schedule, at: str = "") -> list[errors.Complaint]:
    """What Metronome says of a deadline that is too short for it."""
    if schedule.starting_deadline_seconds >= deadline_s_min:
        return []
    found = schedule.starting_deadline_seconds
    what = f"expected at least {deadline_s_min}, found {found}"
    return [errors.Complaint(f"{at}/startingDeadlineSeconds", what)]


def sent_schedule(value: Any) -> Any:
    """A schedule as it was sent, without what is only shown."""
    return {k: v for k, v in value.items() if k != "nextRunAt"} if isinstance(value, dict) else value


async def change(call: Call, fact: Fact, job: str, schedule: str | None = None) -> Event:
    """What Metronome answers. Raises HttpError, in Metronome's words."""
    try:
        return await call.client.request(METRONOME, fact, call.actor)
    except Turned as turned:
        match turned.fact.reason:
            case Refusal.NOT_FOUND if schedule is not None and "has no schedule" in turned.fact.message:
                raise HttpError(404, errors.no_schedule(schedule)) from None
            case Refusal.NOT_FOUND:
                raise HttpError(404, errors.no_job(job)) from None
            case Refusal.ALREADY_EXISTS if turned.fact.message.endswith(ONLY_ONE):
                raise HttpError(409, turned.fact.message) from None
            case Refusal.ALREADY_EXISTS:
                what = "Job" if schedule is None else "Schedule"
                raise HttpError(409, f"{what} with this id already exists") from None
        raise


async def specify(call: Call, fact: Fact, job: str, schedule: str | None = None) -> JobRow:
    """A job as it is to be from now on. Raises HttpError."""
    said = (await change(call, fact, job, schedule)).fact
    assert isinstance(said, JobSpecified), f"metronome answered with {said.type}"
    return JobRow(job=said.job, active=0, successes=0, failures=0, next_run_at=said.next_at, nexts=said.nexts)


async def create_job(call: Call) -> Response:
    """POST /v1/jobs."""
    spec = await sent_job(call)
    row = await specify(call, JobRequested(job=spec), spec.id)
    return answer(jobs.job_spec(row.job), 201)


async def update_job(call: Call) -> Response:
    """PUT /v1/jobs/{job}: its schedules stay."""
    job = call.params["job"]
    spec = await sent_job(call, job, schedules=False)
    row = await specify(call, JobRequested(job=spec, update=True, keep_schedules=True), job)
    return answer(jobs.job_spec(row.job))


async def delete_job(call: Call) -> Response:
    """DELETE /v1/jobs/{job}."""
    job = call.params["job"]
    row = await row_of(call, job)
    await change(call, RemovalRequested(job=JobId(job), stop_runs=call.flag("stopCurrentJobRuns")), job)
    return answer(jobs.job_spec(row.job))


async def create_scheduled(call: Call) -> Response:
    """POST /v0/scheduled-jobs: a job with its schedules."""
    spec = await sent_job(call)
    row = await specify(call, JobRequested(job=spec), spec.id)
    return answer(jobs.job(row, ("schedules",)), 201)


async def update_scheduled(call: Call) -> Response:
    """PUT /v0/scheduled-jobs/{job}."""
    job = call.params["job"]
    spec = await sent_job(call, job)
    row = await specify(call, JobRequested(job=spec, update=True), job)
    return answer(jobs.job(row, ("schedules",)))


# ---- schedules --------------------------------------------------------------------------------------------------


async def list_schedules(call: Call) -> Response:
    """GET /v1/jobs/{job}/schedules."""
    return answer(jobs.schedules(await row_of(call, call.params["job"])))


def _scheduled(row: JobRow, id_: str) -> Schedule:
    found = row.job.schedule(id_)
    if found is None:
        raise HttpError(404, errors.no_schedule(id_))
    return found


async def _schedule(call: Call, schedule: Schedule, *, update: bool) -> dict[str, object]:
    """A schedule as it is from now on. Raises HttpError, with paths in the schedule and not in the job."""
    job = call.params["job"]
    if hasty(schedule):
        raise HttpError(*errors.invalid(hasty(schedule)))
    fact = ScheduleRequested(job=JobId(job), schedule=schedule, update=update, only=not update)
    try:
        row = await specify(call, fact, job, schedule.id)
    except Turned as turned:
        message, *also = (
            re.sub(r"`\$\.schedules\[\d+\]", "`$", text) for text in (turned.fact.message, *turned.fact.also)
        )
        raise Turned(msgspec.structs.replace(turned.fact, message=message, also=tuple(also))) from None
    return jobs.schedule(_scheduled(row, schedule.id), row)


async def create_schedule(call: Call) -> Response:
    """POST /v1/jobs/{job}/schedules: the first one. (Metronome; several are in `/v0/scheduled-jobs`)"""
    sent = part(sent_schedule(await call.json()), Schedule, typed=False)
    return answer(await _schedule(call, sent, update=False), 201)


async def get_schedule(call: Call) -> Response:
    """GET /v1/jobs/{job}/schedules/{schedule}."""
    row = await row_of(call, call.params["job"])
    return answer(jobs.schedule(_scheduled(row, call.params["schedule"]), row))


async def update_schedule(call: Call) -> Response:
    """PUT /v1/jobs/{job}/schedules/{schedule}."""
    id_, sent = call.params["schedule"], sent_schedule(await call.json())
    schedule = part({"id": id_} | sent if isinstance(sent, dict) else sent, Schedule, typed=False)
    if schedule.id != id_:
        wrong = errors.Complaint("/id", f"{schedule.id} is not the schedule that the path names")
        raise HttpError(*errors.invalid([wrong]))
    return answer(await _schedule(call, schedule, update=True))


async def delete_schedule(call: Call) -> Response:
    """DELETE /v1/jobs/{job}/schedules/{schedule}."""
    job, id_ = call.params["job"], call.params["schedule"]
    await change(call, ScheduleRemovalRequested(job=JobId(job), schedule=id_), job, id_)
    return Response(status_code=200)


# ---- runs -------------------------------------------------------------------------------------------------------


async def create_run(call: Call) -> Response:
    """POST /v1/jobs/{job}/runs."""
    job = call.params["job"]
    event = await change(call, RunRequested(job=JobId(job)), job)
    fact = event.fact
    assert isinstance(fact, RunCreated), f"metronome answered with {fact.type}"
    shown = RunRow(run=fact.run, job=fact.job, state="INITIAL", created_at=event.at)
    return answer(jobs.job_run(shown), 201)


async def list_runs(call: Call) -> Response:
    """GET /v1/jobs/{job}/runs: those that have not ended."""
    job = call.params["job"]
    await row_of(call, job)
    return answer([jobs.job_run(run) for run in await runs_of(call, job, active=True)])


async def get_run(call: Call) -> Response:
    """GET /v1/jobs/{job}/runs/{run}: also of one that has ended, however long ago. (Metronome forgets them)"""
    job, run = call.params["job"], call.params["run"]
    found = await runs_of(call, job, run)
    row = found[0] if found else await told_run(call, RunId(run))
    if row is None or row.job != job:
        raise HttpError(404, errors.no_run(job, run))
    return answer(jobs.job_run(row))


async def told_run(call: Call, run: RunId) -> RunRow | None:
    """A run that Metronome no longer remembers, as a master's store tells it; None if it tells of none."""
    events: list[Event] = []
    after = Position(0)
    for _ in range(pages_max):
        question = HistoryQuestion(noun="run", id=run, after=after)
        try:
            page = await call.client.ask(THE_MASTER, "history", list[HistoryRow], question)
        except QueryRefused:
            return None  # that master records its events nowhere
        if not page:
            break
        after = page[-1].position
        events += events_of(page)
    return run_row(run, events)


async def stop_run(call: Call) -> Response:
    """POST /v1/jobs/{job}/runs/{run}/actions/stop."""
    job, run = call.params["job"], call.params["run"]
    try:
        await call.client.request(METRONOME, StopRequested(job=JobId(job), run=RunId(run)), call.actor)
    except Turned as turned:
        if turned.fact.reason in (Refusal.NOT_FOUND, Refusal.NOT_RUNNING):
            raise HttpError(404, errors.no_run(job, run)) from None
        raise
    return Response(status_code=200)


async def list_queue(call: Call) -> Response:
    """GET /v1/queue."""
    return answer(jobs.queue(await call.client.ask(METRONOME, "queue", list[QueuedRow])))


def _route(method: str, path: str, handler: Any, about: str, code: int, **more: Any) -> Route:
    changes = method != "GET"
    codes: dict[int, Any] = {code: about}
    if "{" in path:
        codes[404] = answers.Message
    if changes:
        codes |= {409: answers.Message, 422: answers.Invalid}
    return Route(
        method=method, path=path, handler=handler, about=about, api=API, answers=codes, changes=changes, **more
    )


ROUTES = [
    _route("GET", "/v1/jobs", list_jobs, "List the jobs", 200, query=("embed",)),
    _route("POST", "/v1/jobs", create_job, "Create a job", 201, body=JobSpec),
    _route("GET", "/v1/jobs/{job}", get_job, "Show a job", 200, query=("embed",)),
    _route("PUT", "/v1/jobs/{job}", update_job, "Change a job; its schedules stay", 200, body=JobSpec),
    _route("DELETE", "/v1/jobs/{job}", delete_job, "Remove a job", 200, query=("stopCurrentJobRuns",)),
    _route("GET", "/v1/jobs/{job}/schedules", list_schedules, "List a job's schedules", 200),
    _route("POST", "/v1/jobs/{job}/schedules", create_schedule, "Give a job a schedule", 201, body=Schedule),
    _route("GET", "/v1/jobs/{job}/schedules/{schedule}", get_schedule, "Show a schedule", 200),
    _route("PUT", "/v1/jobs/{job}/schedules/{schedule}", update_schedule, "Change a schedule", 200, body=Schedule),
    _route("DELETE", "/v1/jobs/{job}/schedules/{schedule}", delete_schedule, "Remove a schedule", 200),
    _route("GET", "/v1/jobs/{job}/runs", list_runs, "List the active runs of a job", 200),
    _route("POST", "/v1/jobs/{job}/runs", create_run, "Run a job now", 201),
    _route("GET", "/v1/jobs/{job}/runs/{run}", get_run, "Show a run", 200),
    _route("POST", "/v1/jobs/{job}/runs/{run}/actions/stop", stop_run, "Stop a run", 200),
    _route("GET", "/v1/queue", list_queue, "List the runs that wait", 200),
    _route("POST", "/v0/scheduled-jobs", create_scheduled, "Create a job with its schedules", 201, body=JobSpec),
    _route("PUT", "/v0/scheduled-jobs/{job}", update_scheduled, "Change a job and its schedules", 200, body=JobSpec),
]
