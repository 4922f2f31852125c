"""`busbar job`: computations that end, now or on a schedule."""

from __future__ import annotations

from typing import IO

import click

from bus.documents import JobSpec
from bus.job_rows import JobRow, QueuedRow, RunRow, RunsQuestion
from bus.nouns import JobId, Now, Refusal
from bus.services import JobRequested, JobSpecified, RemovalRequested
from bus.waiting_rows import JobExplainQuestion, JobExplanation
from cli.asking import request_option
from cli.document import called, command_line, read_document
from cli.explain import on_option, show_explanation
from cli.job_runs import LIST, find_run, history, job_row, list_runs, run, run_parts, run_table, stop
from cli.job_schedules import schedule, schedule_table
from cli.output import Fields, Part, Table, date, pretty, span
from cli.past import Asked, Listed, at_any_time
from cli.request import conversation
from cli.session import METRONOME, Session, on_cluster


@click.group()
def job() -> None:
    """Run and schedule computations that end: jobs in Metronome's JSON.

    \b
    Example:
        busbar job add examples/wordcount.json
        busbar job run wordcount
    """


for _command in (run, list_runs, history, stop, schedule):
    job.add_command(_command)


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
@click.option("--keep-schedules", is_flag=True, help="Leave its schedules as they are, whatever FILE says of them.")
@request_option
@on_cluster
async def update(session: Session, file: IO[bytes], keep_schedules: bool) -> None:
    """Make a job what FILE (- for standard input) says, from its next run on.

    \b
    Example:
        busbar job update examples/tick.json
    """
    hints = {Refusal.NOT_FOUND: f"busbar job add {called(file)}"}
    wanted = JobRequested(job=read_document(file, JobSpec), update=True, keep_schedules=keep_schedules)
    await _specify(session, wanted, hints)


async def _specify(session: Session, fact: JobRequested, hints: dict[Refusal, str]) -> None:
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(fact, hints=hints)).fact
    assert isinstance(answer, JobSpecified), f"metronome answered {fact.type} with {answer.type}"
    session.out.show(answer, f"{answer.job.id} is {answer.changed}")


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
    hints = LIST | {
        Refusal.RUNS_ACTIVE: f"busbar job remove {id} --stop-runs",
        Refusal.HAS_DEPENDANTS: f"busbar job dependencies {id}",
    }
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(RemovalRequested(job=JobId(id), stop_runs=stop_runs), hints=hints)).fact
    session.out.show(answer, f"{id} is removed")


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
    columns = ("id", "active", "successes", "failures", "runs", "next run", "cmd")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="there is no job"))


def _cells(row: JobRow) -> list[str]:
    return [
        row.job.id,
        str(row.active),
        str(row.successes),
        str(row.failures),
        ", ".join(_when(row.job)),
        date(row.next_run_at),
        command_line(row.job.run.cmd, row.job.run.args),
    ]


def _when(job: JobSpec) -> list[str]:
    """What makes a job run by itself."""
    times = [f"{each.cron} {each.timezone}{'' if each.enabled else ' (disabled)'}" for each in job.schedules]
    return [*times, f"after {' '.join(job.parents)}"] if job.parents else times


@job.command()
@click.argument("id")
@click.argument("run_id", required=False)
@on_cluster
async def show(session: Session, id: str, run_id: str | None) -> None:
    """Show a job, its schedules and its runs; or the one run whose id begins with RUN_ID, with its tasks.

    \b
    Example:
        busbar job show tick
        busbar job show tick 20261122183000
    """
    if run_id is not None:
        found = await find_run(session, id, run_id)
        session.out.show(found, *run_parts(found, session.now()))
        return
    row = await job_row(session, id)
    runs = await session.ask(METRONOME, "runs", list[RunRow], RunsQuestion(job=row.job.id))
    shown: list[Part] = [schedule_table([row]), ""] if row.job.schedules else []
    session.out.show(
        {"job": row, "runs": runs}, *_details(row), "", *shown, run_table(runs, session.now()), "", pretty(row.job)
    )


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
                ("depends on", ", ".join(row.job.parents)),
                ("waits for", ", ".join(row.waits_for)),
                ("needed by", ", ".join(row.dependants)),
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


@job.command()
@on_cluster
async def queue(session: Session) -> None:
    """List the jobs whose runs wait for an offer: since when, for what, and on how many nodes that is not.

    \b
    Example:
        busbar job queue
    """
    rows = await session.ask(METRONOME, "queue", list[QueuedRow])
    columns = ("job", "runs", "waits since", "waits", "one needs", "not on nodes")
    cells = [_queued_cells(row, session.now()) for row in rows]
    session.out.show(rows, Table(columns, cells, empty="no run waits for an offer"))


def _queued_cells(row: QueuedRow, now: Now) -> list[str]:
    reasons = ", ".join(f"{reason} on {count}" for reason, count in row.reasons.items())
    return [row.job, str(len(row.runs)), date(row.since), span(now - row.since), str(row.needed), reasons]


@job.command()
@click.argument("id", required=False)
@at_any_time
async def dependencies(asked: Asked, id: str | None) -> None:
    """Show which jobs run after which, as a tree: all of them, or those that depend on ID.

    \b
    Example:
        busbar job dependencies
        busbar job dependencies extract --at -2h
    """
    rows = {row.job.id: row for row in await asked.ask(METRONOME, "jobs", list[JobRow])}
    if id is not None:
        roots = [(await job_row(asked, id)).job.id]
    else:
        roots = [name for name, row in rows.items() if row.dependants and not row.job.parents]
    lines = [line for root in roots for line in _tree(rows, root, 0, [])]
    related = [row for row in rows.values() if row.job.parents or row.dependants]
    told = [{"job": row.job.id, "parents": row.job.parents, "waits_for": row.waits_for} for row in related]
    asked.out.show(told, *lines or ["no job depends on another"])


def _tree(rows: dict[JobId, JobRow], name: JobId, depth: int, seen: list[JobId]) -> list[str]:
    """A job and below it those that depend on it; each with its own only where it comes first."""
    row = rows[name]
    said = f"{'  ' * depth}{name}  {_went(row)}"
    if name in seen:
        return [f"{said}  (see above)"] if row.dependants else [said]
    seen.append(name)
    return [said, *(line for child in row.dependants for line in _tree(rows, child, depth + 1, seen))]


def _went(row: JobRow) -> str:
    if row.active:
        return f"runs: {row.active} active"
    waits = f", waits for {', '.join(row.waits_for)}" if row.waits_for else ""
    return f"{f'succeeded {date(row.last_success_at)}' if row.last_success_at else 'no success yet'}{waits}"
