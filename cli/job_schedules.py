"""`busbar job schedule`: when jobs run by themselves, one schedule at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from bus.documents import Schedule
from bus.job_rows import JobRow
from bus.nouns import JobId, Now, Refusal
from bus.services import JobSpecified, ScheduleRemovalRequested, ScheduleRequested, SwitchRequested
from cli.asking import request_option
from cli.output import Failure, Table, date
from cli.past import Asked, at_any_time
from cli.request import conversation
from cli.session import METRONOME, Session, on_cluster

C = TypeVar("C", bound=Callable[..., object])

ScheduleAsked = ScheduleRequested | SwitchRequested | ScheduleRemovalRequested


@click.group()
def schedule() -> None:
    """Say when a job runs by itself: five cron fields, and a year if you like, in a time zone.

    \b
    Example:
        busbar job schedule add tick nightly "0 2 * * *" --timezone Europe/Berlin
        busbar job schedule list
    """


def _fields(command: C) -> C:
    """Give a command the fields of a schedule."""
    options = (
        click.option("--timezone", metavar="ZONE", help="An IANA name; UTC unless said otherwise."),
        click.option("--concurrency", type=click.Choice(["ALLOW", "FORBID"]), help="Whether runs may overlap."),
        click.option(
            "--deadline",
            type=click.IntRange(1, 31_536_000),
            metavar="SECONDS",
            help="How late a run may begin: 900 unless said otherwise.",
        ),
        click.option(
            "--catch-up",
            type=click.Choice(["none", "latest", "all"]),
            help="Which of the firings that were missed while nobody was there are made up for; at most 100.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _given(timezone: str | None, concurrency: str | None, deadline: int | None, catch_up: str | None) -> dict[str, Any]:
    """The fields that were said, by their names in a schedule."""
    fields = {
        "timezone": timezone,
        "concurrency_policy": concurrency,
        "starting_deadline_seconds": deadline,
        "catch_up": catch_up,
    }
    return {name: value for name, value in fields.items() if value is not None}


@schedule.command()
@click.argument("job")
@click.argument("id")
@click.argument("cron")
@_fields
@click.option("--disabled", is_flag=True, help="It fires once it is enabled.")
@request_option
@on_cluster
async def add(session: Session, job: str, id: str, cron: str, disabled: bool, **fields: Any) -> None:
    """Give a job one more schedule.

    \b
    Example:
        busbar job schedule add tick nightly "0 2 * * *" --timezone Europe/Berlin
        busbar job schedule add tick payday "0 9 LW * *" --catch-up latest
    """
    wanted = _schedule({"id": id, "cron": cron, "enabled": not disabled} | _given(**fields))
    hints = _hints(job) | {Refusal.ALREADY_EXISTS: f'busbar job schedule update {job} {id} --cron "{cron}"'}
    await _ask(session, ScheduleRequested(job=JobId(job), schedule=wanted), hints)


@schedule.command()
@click.argument("job")
@click.argument("id")
@click.option("--cron", metavar="CRON", help="When it fires.")
@_fields
@request_option
@on_cluster
async def update(session: Session, job: str, id: str, cron: str | None, **fields: Any) -> None:
    """Change what is said of a schedule; the rest of it stays.

    \b
    Example:
        busbar job schedule update tick nightly --cron "30 2 * * *"
    """
    given = _given(**fields) | ({} if cron is None else {"cron": cron})
    known = await _known(session, job, id)
    wanted = _schedule(msgspec.structs.asdict(known) | given)
    await _ask(session, ScheduleRequested(job=JobId(job), schedule=wanted, update=True), _hints(job))


@schedule.command()
@click.argument("job")
@click.argument("id")
@request_option
@on_cluster
async def remove(session: Session, job: str, id: str) -> None:
    """Take a schedule from a job; its runs go on.

    \b
    Example:
        busbar job schedule remove tick nightly
    """
    await _ask(session, ScheduleRemovalRequested(job=JobId(job), schedule=id), _hints(job))


@schedule.command()
@click.argument("job")
@click.argument("id")
@request_option
@on_cluster
async def enable(session: Session, job: str, id: str) -> None:
    """Let a schedule fire, from now on.

    \b
    Example:
        busbar job schedule enable tick nightly
    """
    await _ask(session, SwitchRequested(job=JobId(job), schedule=id, enabled=True), _hints(job))


@schedule.command()
@click.argument("job")
@click.argument("id")
@request_option
@on_cluster
async def disable(session: Session, job: str, id: str) -> None:
    """Let a schedule fire no more until it is enabled; what would have fired meanwhile is not made up for.

    \b
    Example:
        busbar job schedule disable tick nightly
    """
    await _ask(session, SwitchRequested(job=JobId(job), schedule=id, enabled=False), _hints(job))


@schedule.command("list")
@click.argument("job", required=False)
@at_any_time
async def list_(asked: Asked, job: str | None) -> None:
    """List the schedules of a job, or of all, and when each fires next.

    \b
    Example:
        busbar job schedule list
        busbar job schedule list tick --at -2h
    """
    rows = [row for row in await asked.ask(METRONOME, "jobs", list[JobRow]) if job in (None, row.job.id)]
    if job is not None and not rows:
        raise Failure(f"there is no job {job}", next_="busbar job list")
    told = [
        {"job": row.job.id, "schedule": each, "next_at": row.nexts.get(each.id)}
        for row in rows
        for each in row.job.schedules
    ]
    asked.out.show(told, schedule_table(rows))


def schedule_table(rows: Sequence[JobRow]) -> Table:
    """The schedules of jobs, one a line."""
    columns = ("job", "schedule", "cron", "zone", "fires next", "overlap", "deadline", "catch up")
    cells = [_cells(row, each) for row in rows for each in row.job.schedules]
    return Table(columns, cells, empty="there is no schedule")


def _cells(row: JobRow, each: Schedule) -> list[str]:
    next_at = row.nexts.get(each.id)
    fires = date(next_at) if next_at is not None else ("never again" if each.enabled else "disabled")
    deadline = f"{each.starting_deadline_seconds} s"
    return [row.job.id, each.id, each.cron, each.timezone, fires, each.concurrency_policy, deadline, each.catch_up]


# ---- asking -----------------------------------------------------------------------------------------------------


def _schedule(fields: dict[str, Any]) -> Schedule:
    """A schedule of these fields. Raises Failure."""
    wire = {field.name: field.encode_name for field in msgspec.structs.fields(Schedule)}
    try:
        return msgspec.convert({wire[name]: value for name, value in fields.items()}, Schedule)
    except msgspec.ValidationError as error:
        raise Failure(f"the schedule is wrong: {error}", next_="busbar job schedule add --help") from None


async def _known(session: Session, job: str, id: str) -> Schedule:
    rows = await session.ask(METRONOME, "jobs", list[JobRow])
    row = next((row for row in rows if row.job.id == job), None)
    if row is None:
        raise Failure(f"there is no job {job}", next_="busbar job list")
    found = row.job.schedule(id)
    if found is None:
        raise Failure(f"{job} has no schedule {id}", next_=f"busbar job schedule list {job}")
    return found


def _hints(job: str) -> dict[Refusal, str]:
    return {
        Refusal.NOT_FOUND: f"busbar job schedule list {job}",
        Refusal.INVALID: "busbar job schedule add --help",
    }


async def _ask(session: Session, fact: ScheduleAsked, hints: dict[Refusal, str]) -> None:
    async with conversation(session, METRONOME) as talk:
        answer = (await talk.ask(fact, hints=hints)).fact
    assert isinstance(answer, JobSpecified), f"metronome answered {fact.type} with {answer.type}"
    next_at = _next_at(answer)
    when = f": it fires next {date(next_at)}" if next_at is not None else ""
    session.out.show(answer, f"schedule {answer.schedule} of {answer.job.id} is {answer.changed}{when}")


def _next_at(said: JobSpecified) -> Now | None:
    """When the schedule that was asked about fires next."""
    known = said.job.schedule(said.schedule or "")
    if known is None or not known.enabled:
        return None
    return said.nexts.get(known.id) if len(said.job.enabled) > 1 else said.next_at
