"""`busbar job run`, `runs`, `history`, `stop`: the runs of jobs.

Rule of this room: a run is named by its job and the beginning of its id.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from bus.codec import events_of
from bus.job_rows import AttemptRow, JobRow, RunRow, RunsQuestion
from bus.nouns import JobId, Now, Refusal, RunId
from bus.services import RunCreated, RunRequested, StopRequested
from cli.asking import request_option, wait_options
from cli.output import Failure, Fields, Part, Table, date, say_status, span
from cli.past import Asked, Listed, at_any_time
from cli.progress import ENDED, wait_run
from cli.request import conversation
from cli.session import METRONOME, Session, on_cluster
from cli.task import history_of
from components.run_history import run_row

wait_s = 60.0
"""How long a run is watched unless said otherwise."""
LIST = {Refusal.NOT_FOUND: "busbar job list"}


@click.command()
@click.argument("id")
@wait_options(wait_s)
@on_cluster
async def run(session: Session, id: str, timeout_s: float, no_wait: bool) -> None:
    """Run a job now and wait until the run has ended: exit code 0 if it succeeded.

    \b
    Example:
        busbar job run wordcount
    """
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(RunRequested(job=JobId(id)), hints=LIST)).fact
        assert isinstance(answer, RunCreated), f"metronome answered run.requested with {answer.type}"
        if no_wait:
            session.out.show(answer, f"run {answer.run} of {id} is created")
            return
        row = await wait_run(talk, answer.run, timeout_s)
    session.out.show(row, f"run {row.run} of {id}: {row.state}", *_logs(row))
    if row.state != "SUCCESS":
        raise Failure(f"run {row.run} of {id} {_why(row)}", next_="busbar job runs")


def _logs(row: RunRow) -> list[str]:
    return [f"  busbar task log {status.task}" for status in row.tasks[-1:]]


def _why(row: RunRow) -> str:
    status = say_status(row.tasks[-1]) if row.tasks else ""
    return ": ".join(filter(None, (row.state, status, row.message)))


@click.command()
@click.argument("id")
@click.argument("run_id", required=False)
@request_option
@on_cluster
async def stop(session: Session, id: str, run_id: str | None) -> None:
    """Stop an active run of a job: the one whose id begins with RUN_ID, or the only one.

    \b
    Example:
        busbar job stop wordcount
    """
    row = await _active_run(session, id, run_id or "")
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(StopRequested(job=row.job, run=row.run), hints=LIST)).fact
    session.out.show(answer, f"run {row.run} of {id} is stopped")


async def _active_run(session: Session, id: str, prefix: str) -> RunRow:
    rows = await session.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=JobId(id)))
    active = [row for row in rows if row.state not in ENDED and row.run.startswith(prefix)]
    if len(active) == 1:
        return active[0]
    if not active:
        which = f"no active run whose id begins with {prefix!r}" if prefix else "no active run"
        raise Failure(f"{id} has {which}", next_=f"busbar job runs {id}")
    candidates = "".join(f"\n  {row.run}  {row.state}" for row in active)
    raise Failure(f"{id} has {len(active)} such active runs:{candidates}", next_=f"busbar job stop {id} RUN_ID")


# ---- looking at them --------------------------------------------------------------------------------------------


@click.command("runs")
@click.argument("id", required=False)
@click.option("--active", "which", flag_value="active", help="Only those that have not ended.")
@click.option("--ended", "which", flag_value="ended", help="Only those that have.")
@click.option("--state", type=click.Choice(["INITIAL", "STARTING", "ACTIVE", "SUCCESS", "FAILED"]), help="Only these.")
@at_any_time
async def list_runs(asked: Asked, id: str | None, which: str | None, state: str | None) -> None:
    """List the runs of a job, or of all jobs, ended ones too.

    \b
    Example:
        busbar job runs wordcount
        busbar job runs --state FAILED --at 21:00
    """
    active = None if which is None else which == "active"
    found = await runs(asked, RunsQuestion(job=JobId(id) if id else None, active=active, state=state))
    if id is not None and not found.rows:
        await job_row(asked, id)
    asked.out.show(*found)


async def runs(asked: Asked, question: RunsQuestion | None = None) -> Listed:
    """The runs that are asked for, or all, for programs and for people."""
    rows = await asked.ask(METRONOME, "runs", list[RunRow], question or RunsQuestion())
    return Listed(rows, run_table(rows, asked.now()))


def run_table(rows: Sequence[RunRow], now: Now) -> Table:
    """Runs, one a line."""
    columns = ("run", "job", "state", "created", "took", "because", "node", "task", "message")
    return Table(columns, [_run_cells(row, now) for row in rows], empty="there was no run")


def _run_cells(row: RunRow, now: Now) -> list[str]:
    return [
        row.run,
        row.job,
        row.state,
        date(row.created_at),
        span((row.finished_at or now) - row.created_at),
        because(row),
        row.agent or "",
        row.tasks[-1].task if row.tasks else "",
        row.message,
    ]


def because(row: RunRow) -> str:
    """What led to a run: a schedule and its time, the runs of other jobs, or somebody."""
    if row.nominal is not None:
        return f"{row.schedule} {date(row.nominal)}"
    return " ".join(("after", *row.parents)) if row.parents else "asked for"


@click.command()
@click.argument("id")
@at_any_time
async def history(asked: Asked, id: str) -> None:
    """Tell how a job went: how often it succeeded and failed, and the runs that ended, the latest last.

    \b
    Example:
        busbar job history wordcount
        busbar job history wordcount --at -2h
    """
    row = await job_row(asked, id)
    rows = await asked.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=row.job.id, active=False))
    pairs = [
        ("successes", str(row.successes)),
        ("failures", str(row.failures)),
        ("last success", date(row.last_success_at)),
        ("last failure", date(row.last_failure_at)),
    ]
    told = {
        "successes": row.successes,
        "failures": row.failures,
        "last_success_at": row.last_success_at,
        "last_failure_at": row.last_failure_at,
        "runs": rows,
    }
    asked.out.show(told, Fields(pairs), "", run_table(rows, asked.now()))


async def job_row(asked: Asked, id: str) -> JobRow:
    """A job. Raises Failure if there is none."""
    rows = await asked.ask(METRONOME, "jobs", list[JobRow])
    found = next((row for row in rows if row.job.id == id), None)
    if found is None:
        raise Failure(f"there is no job {id}", next_="busbar job list")
    return found


# ---- one of them ------------------------------------------------------------------------------------------------


async def find_run(session: Session, id: str, prefix: str) -> RunRow:
    """The run of a job whose id begins so; one that metronome has forgotten by its whole id, as the log tells it."""
    rows = await session.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=JobId(id)))
    found = [row for row in rows if row.run.startswith(prefix)]
    if len(found) > 1:
        candidates = "".join(f"\n  {row.run}  {row.state}" for row in found[-10:])
        raise Failure(f"{id} has {len(found)} runs whose ids begin with {prefix!r}:{candidates}", next_="name one")
    row = found[0] if found else await _told(session, RunId(prefix))
    if row is None or row.job != id:
        raise Failure(f"{id} has no run whose id begins with {prefix!r}", next_=f"busbar job runs {id}")
    return row


async def _told(session: Session, run: RunId) -> RunRow | None:
    return run_row(run, events_of(await history_of(session, "run", run)))


def run_parts(row: RunRow, now: Now) -> list[Part]:
    """A run for people: what it is, and its tasks one after another."""
    took = span((row.finished_at or now) - row.created_at)
    pairs = [
        ("run", row.run),
        ("job", row.job),
        ("state", row.state),
        ("because", because(row)),
        ("created", date(row.created_at)),
        ("ended", date(row.finished_at)),
        ("took", took),
        ("next attempt", date(row.retry_at)),
        ("message", row.message),
    ]
    statuses = {status.task: say_status(status) for status in row.tasks}
    tasks = [_attempt_cells(one, statuses.get(one.task, "launched")) for one in row.attempts]
    table = Table(("task", "status", "node", "launched", "ended"), tasks, empty="it waits for its first task")
    return [Fields(pairs), "", table]


def _attempt_cells(row: AttemptRow, status: str) -> list[str]:
    return [row.task, status, row.agent or "", date(row.created_at), date(row.finished_at)]
