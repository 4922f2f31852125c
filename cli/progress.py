"""Watching a request come true: a deployment's instances coming up, a run's state.

Rule of this room: what is shown comes from events; whether it is done is asked of the scheduler; every wait ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from bus.app_rows import AppRow
from bus.events import Event, TaskUpdated
from bus.job_rows import RunRow, RunsQuestion
from bus.nouns import TERMINAL, AppId, Position, RunId, TaskId, TaskStatus
from bus.services import AppUpdated, RunUpdated
from bus.subjects import Kind, pattern
from cli.output import Failure, Output, is_terminal, say_status, time_of_day, visible
from cli.request import Conversation, Inbox
from cli.session import MARATHON, METRONOME, Session

look_again_s = 1.0
"""The scheduler is asked this often although nothing was heard."""
ENDED = ("SUCCESS", "FAILED")
"""Where a run ends. (Metronome: JobRunStatus)"""


class Display(Protocol):
    """What a waiting person sees."""

    def count(self, done: int, of: int) -> None:
        """So many are done."""

    def tell(self, text: str) -> None:
        """One thing happened."""


class _Lines:
    """For who is not at a terminal; programs see nothing of it."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self._counted = (0, 0)

    def count(self, done: int, of: int) -> None:
        if (done, of) != self._counted:
            self._counted = (done, of)
            self.out.note(f"{done}/{of}")

    def tell(self, text: str) -> None:
        self.out.note(text)


@contextmanager
def display(out: Output, what: str) -> Iterator[Display]:
    """A moving bar at a terminal, lines elsewhere, nothing for programs."""
    if out.as_json or not is_terminal(sys.stderr):
        yield _Lines(out)
    else:
        with _bar(what) as bar:
            yield bar


@contextmanager
def _bar(what: str) -> Iterator[Display]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task(escape(visible(what)), total=None)

        class _Bar:
            def count(self, done: int, of: int) -> None:
                progress.update(row, completed=done, total=of)

            def tell(self, text: str) -> None:
                progress.console.print(Text(visible(text)))

        yield _Bar()


def say_app_updated(fact: AppUpdated) -> str:
    """Step 12 of an app's instance, for people."""
    where = f" on {fact.agent}" if fact.agent else ""
    delay = f"; nothing is launched before {time_of_day(fact.delay_until)}" if fact.delay_until else ""
    return f"{fact.status.task}{where}: {say_status(fact.status)}, {fact.running}/{fact.instances} running{delay}"


def say_run_updated(fact: RunUpdated) -> str:
    """Step 12 of a run, for people."""
    where = f" on {fact.agent}" if fact.agent else ""
    status = f": {say_status(fact.status)}" if fact.status else ""
    return f"run {fact.run} {fact.state}{where}{status}"


def _say(event: Event) -> str | None:
    match event.fact:
        case AppUpdated() as fact:
            return say_app_updated(fact)
        case RunUpdated() as fact:
            return say_run_updated(fact)
        case _:
            return None


async def _hear(talk: Conversation, shown: Display, within_s: float) -> None:
    """Show what was said until now, waiting for the first of it."""
    event = await talk.news(within_s)
    while event is not None:
        text = _say(event)
        if text is not None:
            shown.tell(text)
        event = await talk.news(0)


async def _until(talk: Conversation, shown: Display, timeout_s: float, done: Callable[[], Awaitable[bool]]) -> bool:
    """Hear the news until `done`; False if that took too long."""
    deadline = time.monotonic() + timeout_s
    while not await done():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        await _hear(talk, shown, min(left, look_again_s))
    await _hear(talk, shown, 0)
    return True


async def app_row(session: Session, app: AppId) -> AppRow | None:
    """An app as marathon has it; None if there is none."""
    rows = await session.ask(MARATHON, "apps", list[AppRow])
    return next((row for row in rows if row.app.id == app), None)


def steady(row: AppRow) -> bool:
    """Whether exactly the wanted instances exist and all of them run."""
    return row.running == len(row.instances) == row.app.instances and not row.waiting


async def wait_app(talk: Conversation, app: AppId, timeout_s: float) -> AppRow:
    """Wait until an app is steady. Raises Failure if that takes too long or the app is removed meanwhile."""
    rows: list[AppRow] = []
    with display(talk.session.out, app) as shown:

        async def done() -> bool:
            row = await app_row(talk.session, app)
            if row is None:
                raise Failure(f"{app} was removed meanwhile")
            rows[:] = [row]
            shown.count(row.running, row.app.instances)
            return steady(row)

        if await _until(talk, shown, timeout_s, done):
            return rows[0]
    raise _unsteady(rows[0], timeout_s)


def _unsteady(row: AppRow, timeout_s: float) -> Failure:
    counts = f"{row.running} of {row.app.instances} instances of {row.app.id} run after {timeout_s:g} s"
    failed = f"; the last failure was {say_status(row.last_failure)}" if row.last_failure else ""
    return Failure(
        f"{counts}, {row.waiting} wait for an offer{failed}; it goes on",
        next_=f"busbar app explain {row.app.id}" if row.waiting else f"busbar app show {row.app.id}",
    )


async def wait_gone(talk: Conversation, app: AppId, timeout_s: float) -> None:
    """Wait until an app and its instances are no more. Raises Failure if that takes too long."""
    with display(talk.session.out, f"removing {app}") as shown:

        async def done() -> bool:
            row = await app_row(talk.session, app)
            shown.count(0, len(row.instances) if row else 0)
            return row is None

        if await _until(talk, shown, timeout_s, done):
            return
    raise Failure(f"{app} still has instances after {timeout_s:g} s; it goes on", next_=f"busbar app show {app}")


async def run_row(session: Session, run: RunId) -> RunRow | None:
    """A run as metronome has it; None if it knows none of that id."""
    rows = await session.ask(METRONOME, "runs", list[RunRow], RunsQuestion(run=run))
    return rows[0] if rows else None


async def wait_run(talk: Conversation, run: RunId, timeout_s: float) -> RunRow:
    """Wait until a run has ended. Raises Failure if that takes too long."""
    with display(talk.session.out, f"run {run}") as shown:
        found: list[RunRow] = []

        async def done() -> bool:
            row = await run_row(talk.session, run)
            found[:] = [row] if row else []
            return row is not None and row.state in ENDED

        if await _until(talk, shown, timeout_s, done):
            return found[0]
    state = found[0].state if found else "not known"
    raise Failure(f"run {run} is {state} after {timeout_s:g} s; it goes on", next_="busbar job runs")


async def wait_task(session: Session, task: TaskId, after: Position, timeout_s: float) -> TaskStatus:
    """Wait until the master says that a task has ended. Raises Failure if that takes too long."""
    updates = pattern(session.cluster, kind=Kind.MASTER, noun="task", participle="updated")
    heard = Inbox(session.bus.follow(updates, after=after))
    deadline = time.monotonic() + timeout_s
    try:
        while event := await heard.next(deadline - time.monotonic()):
            fact = event.fact
            if isinstance(fact, TaskUpdated) and fact.status.task == task and fact.status.state in TERMINAL:
                return fact.status
    finally:
        await heard.close()
    raise Failure(f"{task} has not ended after {timeout_s:g} s; it goes on", next_=f"busbar task show {task}")
