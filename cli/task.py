"""`busbar task`: what runs, what it did, and the twelve steps that made it so."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bus.nouns import TERMINAL, Position, TaskId
from bus.queries import HistoryQuestion, HistoryRow, TaskRow, TasksQuestion, Trace, TraceRow
from bus.subjects import Author, Kind
from cli.asking import wait_options
from cli.logs import print_log
from cli.numbers import FiniteRange
from cli.output import Failure, Fields, Table, cpus, date, say_status, span, time_of_day
from cli.past import Asked, Listed, at_any_time
from cli.session import THE_MASTER, Session, on_cluster

history_page = 1000
"""Events the master is asked for at once."""


@click.group()
def task() -> None:
    """Look at tasks, read their logs, kill them.

    A task is named by its id or by any beginning of it that fits only one.

    \b
    Example:
        busbar task list
        busbar task trace web
    """


def task_table(rows: Sequence[TaskRow], empty: str) -> Table:
    """Tasks for people."""
    columns = ("id", "state", "node", "framework", "since", "cpus", "mem mb", "message")
    return Table(columns, [_cells(row) for row in rows], empty=empty)


def _cells(row: TaskRow) -> list[str]:
    return [
        row.task,
        row.status.state,
        row.agent,
        row.framework,
        date(row.since),
        cpus(row.resources),
        str(row.resources.mem_mb),
        row.status.message,
    ]


async def find_task(session: Session, text: str) -> TaskRow:
    """The one task whose id is `text` or begins with it. Raises Failure that lists the candidates."""
    row = await _find(session, text)
    if row is None:
        raise _unknown(text)
    return row


async def _find(session: Session, text: str) -> TaskRow | None:
    """The same; None if the master remembers no such task: of those that ended it knows the latest."""
    rows = await session.ask(THE_MASTER, "tasks", list[TaskRow], TasksQuestion(all=True, prefix=text))
    exact = [row for row in rows if row.task == text]
    if exact or len(rows) <= 1:
        return next(iter(exact or rows), None)
    candidates = "".join(f"\n  {row.task}  {row.status.state}" for row in rows)
    raise Failure(f"{text!r} fits {len(rows)} tasks:{candidates}", next_="write more of the id")


async def _find_id(session: Session, text: str) -> TaskId:
    """The id of one task, for a question to the store: it holds every task, by its whole id."""
    row = await _find(session, text)
    return row.task if row else TaskId(text)


def _unknown(text: str) -> Failure:
    return Failure(f"no task's id begins with {text!r}", next_="busbar task list --all")


@task.command("list")
@click.option("--all", "ended_too", is_flag=True, help="Show the latest ended tasks too.")
@at_any_time
async def list_(asked: Asked, ended_too: bool) -> None:
    """List the tasks.

    \b
    Example:
        busbar task list --all
        busbar task list --at 21:00
    """
    asked.out.show(*await tasks(asked, ended_too=ended_too))


async def tasks(asked: Asked, *, ended_too: bool = False) -> Listed:
    """The tasks, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "tasks", list[TaskRow], TasksQuestion(all=ended_too))
    return Listed(rows, task_table(rows, "no task has run yet" if ended_too else "no task runs"))


@task.command()
@click.argument("task_id")
@on_cluster
async def show(session: Session, task_id: str) -> None:
    """Show one task.

    \b
    Example:
        busbar task show web
    """
    row = await find_task(session, task_id)
    session.out.show(row, _fields(row))


def _fields(row: TaskRow) -> Fields:
    belongs = [("app", row.app), ("job", row.job), ("run", row.run), ("group", row.group)]
    return Fields(
        [
            ("id", row.task),
            ("name", row.name),
            ("state", say_status(row.status)),
            ("reason", row.status.reason or ""),
            ("said by", row.status.source),
            ("since", date(row.since)),
            ("launched", date(row.launched_at)),
            ("node", row.agent),
            ("framework", row.framework),
            *((name, value) for name, value in belongs if value),
            ("resources", str(row.resources)),
        ]
    )


@task.command()
@click.argument("task_id")
@on_cluster
async def history(session: Session, task_id: str) -> None:
    """Tell everything that was ever said about a task.

    \b
    Example:
        busbar task history web
    """
    from bus.port import Record
    from cli.story import tell  # only who reads events pays for the imports

    lines = await history_of(session, "task", await _find_id(session, task_id))
    if not lines:
        raise _unknown(task_id)
    told = [tell(Record(line.position, line.subject, line.body)) for line in lines]
    session.out.show([each.content for each in told], *(each.text for each in told))


async def history_of(session: Session, noun: str, id: str) -> list[HistoryRow]:
    """All that was ever said about a thing, in its order."""
    lines: list[HistoryRow] = []
    while True:
        after = lines[-1].position if lines else Position(0)
        question = HistoryQuestion(noun=noun, id=id, after=after, limit=history_page)
        page = await session.ask(THE_MASTER, "history", list[HistoryRow], question)
        if not page:
            return lines
        lines.extend(page)  # a page may be short because its events are large


@task.command()
@click.argument("task_id")
@on_cluster
async def trace(session: Session, task_id: str) -> None:
    """Tell the twelve steps of a task: who said what to whom, when, and how long each took.

    \b
    Example:
        busbar task trace web
    """
    answer = await session.ask(THE_MASTER, "trace", Trace, await _find_id(session, task_id))
    session.out.show(answer, *trace_parts(answer))


def trace_parts(answer: Trace) -> list[Fields | Table | str]:
    """The twelve steps for people."""
    columns = ("step", "event", "time", "since previous", "author", "to", "what", "words")
    known = [("task", str(answer.task)), ("trace", answer.trace or ""), ("replaces", answer.replaces or "")]
    return [
        Fields([(name, value) for name, value in known if value]),
        "",
        Table(columns, [_step(row) for row in answer.rows]),
    ]


def _step(row: TraceRow) -> list[str]:
    slowest = "  <- slowest" if row.slowest else ""
    return [
        str(row.step),
        f"#{row.position}" if row.position else "",
        time_of_day(row.at),
        span(row.since_previous_us) + slowest,
        row.by,
        row.to,
        row.type,
        f"{row.words} [{row.note}]" if row.note else row.words,
    ]


@task.command()
@click.argument("task_id")
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written, until the task ends.")
@click.option("--stderr", is_flag=True, help="Show what the task wrote to stderr instead of stdout.")
@on_cluster
async def log(session: Session, task_id: str, follow: bool, stderr: bool) -> None:
    """Print what a task wrote, also after it ended.

    \b
    Example:
        busbar task log web -f
    """
    row = await find_task(session, task_id)
    await print_log(session, row, "stderr" if stderr else "stdout", follow=follow)


@task.command()
@click.argument("task_id")
@click.option("--grace-s", type=FiniteRange(0, 86_400), help="Seconds between SIGTERM and SIGKILL.")
@wait_options(30.0)
@on_cluster
async def kill(session: Session, task_id: str, grace_s: float | None, timeout_s: float, no_wait: bool) -> None:
    """Ask for a task to be killed. An app's instance is replaced; a job's run fails.

    \b
    Example:
        busbar task kill web --grace-s 10
    """
    from bus.events import KillRequested  # only who asks for a change pays for the imports
    from cli.progress import wait_task
    from cli.request import conversation

    row = await find_task(session, task_id)
    if row.status.state in TERMINAL:
        raise Failure(f"{row.task} has ended already: {say_status(row.status)}", next_="busbar task list")
    async with conversation(session, Author(Kind.FRAMEWORK, row.framework)) as talk:
        answered = await talk.ask(KillRequested(task=row.task, grace_s=grace_s))
        ended = None if no_wait else await wait_task(session, row.task, answered.position, timeout_s)
    said = f"{row.task}: {say_status(ended)}" if ended else f"{row.task} is being killed"
    session.out.show({"task": row.task, "status": ended}, said)
