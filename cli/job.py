"""`busbar job`: computations that end, now or on a schedule."""

from __future__ import annotations

from typing import IO

import click

from bus.documents import JobSpec
from bus.job_rows import JobRow, RunRow, RunsQuestion
from bus.nouns import JobId, Now, Refusal
from bus.services import JobRequested, JobSpecified, RemovalRequested, RunCreated, RunRequested, StopRequested
from bus.waiting_rows import JobExplainQuestion, JobExplanation
from cli.document import called, command_line, read_document
from cli.explain import on_option, show_explanation
from cli.output import Failure, Fields, Part, Table, date, pretty, span
from cli.past import Asked, Listed, at_any_time
from cli.progress import ENDED, say_status, wait_run
from cli.request import conversation, request_option, wait_options
from cli.session import METRONOME, Session, on_cluster

wait_s = 60.0
"""How long a run is watched unless said otherwise."""
_LIST = {Refusal.NOT_FOUND: "busbar job list"}


@click.group()
def job() -> None:
    """Run and schedule computations that end: jobs in Metronome's JSON.

    \b
    Example:
        busbar job add examples/wordcount.json
        busbar job run wordcount
    """


@job.command()
@click.argument("file", type=click.File("rb"))
@request_option
@on_cluster
async def add(session: Session, file: IO[bytes]) -> None:
    """Add the job described in FILE (- for standard input).

    \b
    Example:
        busbar job add examples/wordcount.json
    """
    hints = {Refusal.ALREADY_EXISTS: f"busbar job update {called(file)}"}
    await _specify(session, JobRequested(job=read_document(file, JobSpec)), hints)


@job.command()
@click.argument("file", type=click.File("rb"))
@request_option
@on_cluster
async def update(session: Session, file: IO[bytes]) -> None:
    """Make a job what FILE (- for standard input) says, from its next run on.

    \b
    Example:
        busbar job update examples/tick.json
    """
    hints = {Refusal.NOT_FOUND: f"busbar job add {called(file)}"}
    await _specify(session, JobRequested(job=read_document(file, JobSpec), update=True), hints)


async def _specify(session: Session, fact: JobRequested, hints: dict[Refusal, str]) -> None:
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(fact, hints=hints)).fact
    assert isinstance(answer, JobSpecified), f"metronome answered {fact.type} with {answer.type}"
    session.out.show(answer, f"{answer.job.id} is {answer.changed}")


@job.command()
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
        answer = (await talk.ask(RunRequested(job=JobId(id)), hints=_LIST)).fact
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


@job.command()
@click.argument("id")
@click.option("--stop-runs", is_flag=True, help="Stop the job's active runs for it; without it they forbid removal.")
@request_option
@on_cluster
async def remove(session: Session, id: str, stop_runs: bool) -> None:
    """Remove a job. Its ended runs stay known.

    \b
    Example:
        busbar job remove wordcount --stop-runs
    """
    hints = _LIST | {Refusal.RUNS_ACTIVE: f"busbar job remove {id} --stop-runs"}
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(RemovalRequested(job=JobId(id), stop_runs=stop_runs), hints=hints)).fact
    session.out.show(answer, f"{id} is removed")


@job.command()
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
        answer = (await talk.ask(StopRequested(job=row.job, run=row.run), hints=_LIST)).fact
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


@job.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the jobs and how they went.

    \b
    Example:
        busbar job list
        busbar job list --at -2h
    """
    asked.out.show(*await jobs(asked))


async def jobs(asked: Asked) -> Listed:
    """Every job, for programs and for people."""
    rows = await asked.ask(METRONOME, "jobs", list[JobRow])
    columns = ("id", "active", "successes", "failures", "cron", "next run", "cmd")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="there is no job"))


def _cells(row: JobRow) -> list[str]:
    return [
        row.job.id,
        str(row.active),
        str(row.successes),
        str(row.failures),
        " ".join(f"{schedule.cron} {schedule.timezone}" for schedule in row.job.schedules),
        date(row.next_run_at),
        command_line(row.job.run.cmd, row.job.run.args),
    ]


@job.command()
@click.argument("id")
@on_cluster
async def show(session: Session, id: str) -> None:
    """Show a job and its runs.

    \b
    Example:
        busbar job show tick
    """
    rows = await session.ask(METRONOME, "jobs", list[JobRow])
    row = next((row for row in rows if row.job.id == id), None)
    if row is None:
        raise Failure(f"there is no job {id}", next_="busbar job list")
    runs = await session.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=row.job.id))
    shown = _run_table(runs, session.now())
    session.out.show({"job": row, "runs": runs}, *_details(row), "", shown, "", pretty(row.job))


def _details(row: JobRow) -> list[Part]:
    return [
        Fields(
            [
                ("id", row.job.id),
                ("active runs", str(row.active)),
                ("successes", str(row.successes)),
                ("failures", str(row.failures)),
                ("last success", date(row.last_success_at)),
                ("last failure", date(row.last_failure_at)),
                ("next run", date(row.next_run_at)),
            ]
        )
    ]


@job.command()
@click.argument("id")
@on_option
@at_any_time
async def explain(asked: Asked, id: str, on: str | None) -> None:
    """Say why a job's runs wait: every node against every check, needed and had.

    \b
    Example:
        busbar job explain wordcount
        busbar job explain wordcount --at 21:00 --on a1
    """
    answer = await asked.ask(METRONOME, "explain", JobExplanation, JobExplainQuestion(job=JobId(id)))
    await show_explanation(asked, answer, on)


@job.command("runs")
@click.argument("id", required=False)
@at_any_time
async def list_runs(asked: Asked, id: str | None) -> None:
    """List the runs of a job, or of all jobs, ended ones too.

    \b
    Example:
        busbar job runs wordcount
        busbar job runs --at 21:00
    """
    asked.out.show(*await runs(asked, JobId(id) if id else None))


async def runs(asked: Asked, job: JobId | None = None) -> Listed:
    """The runs of a job or of all, for programs and for people."""
    rows = await asked.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=job))
    return Listed(rows, _run_table(rows, asked.now()))


def _run_table(rows: list[RunRow], now: Now) -> Table:
    columns = ("run", "job", "state", "created", "took", "nominal", "node", "task", "message")
    return Table(columns, [_run_cells(row, now) for row in rows], empty="there was no run")


def _run_cells(row: RunRow, now: Now) -> list[str]:
    return [
        row.run,
        row.job,
        row.state,
        date(row.created_at),
        span((row.finished_at or now) - row.created_at),
        date(row.nominal),
        row.agent or "",
        row.tasks[-1].task if row.tasks else "",
        row.message,
    ]
