"""What people and programs read.

Rule of this room: a table for people at a terminal, plain aligned text in a pipe, JSON for programs that ask for it;
what went wrong goes to stderr as `error: ...`, with what to do next. Exit codes: 0 done, 1 refused or failed,
2 usage, 3 no cluster.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import click
import msgspec

from bus.nouns import Now, Resources, TaskStatus, second

NOTHING_SHOWN = "-"
"""What a cell without a value holds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Failure(click.ClickException):
    """What was asked was refused or went wrong: exit code 1."""

    exit_code = 1

    def __init__(self, message: str, *, also: Sequence[str] = (), next_: str = "") -> None:
        super().__init__(message)
        self.also = also
        """What was wrong beside it, a line each."""
        self.next = next_


class NoCluster(Failure):
    """There is no cluster to talk to: exit code 3."""

    exit_code = 3


def wrong_usage(message: str) -> click.UsageError:
    """What was typed cannot be meant: exit code 2."""
    return click.UsageError(message, click.get_current_context(silent=True))


def complain(error: click.ClickException) -> None:
    """Print what went wrong, and what to do next, to stderr."""
    for message in (error.format_message(), *getattr(error, "also", ())):
        click.echo(f"error: {visible(message)}", err=True)
    hint = _next(error)
    if hint:
        click.echo(f"next:  {visible(hint)}", err=True)


def _next(error: click.ClickException) -> str:
    if isinstance(error, Failure):
        return error.next
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.ctx.command_path} --help"
    return ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings; `empty` is said instead if there are none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "nothing to show"


@dataclass(frozen=True, slots=True)
class Fields:
    """Names with their values, one a line."""

    pairs: Sequence[tuple[str, str]]


Part = Table | Fields | str


@dataclass(frozen=True, slots=True)
class Output:
    """Where answers go: one form for people, one for programs."""

    as_json: bool = False

    def show(self, content: object, *parts: Part) -> None:
        """Print an answer once: `content` for programs, `parts` for people."""
        if self.as_json:
            click.echo(pretty(content))
            return
        for part in parts:
            show_part(part)

    def line(self, content: object, text: str) -> None:
        """Print one line of a stream: `content` as one line of JSON, or `text`."""
        click.echo(msgspec.json.encode(content).decode() if self.as_json else visible(text))

    def note(self, text: str) -> None:
        """Tell people something beside the answer: to stderr, and nothing to programs."""
        if not self.as_json:
            click.echo(visible(text), err=True)


def pretty(content: object) -> str:
    """JSON for programs and curious people."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def show_part(part: Part) -> None:
    """Print a part of an answer for people."""
    match part:
        case str():
            click.echo(visible(part))
        case Fields():
            width = max((len(name) for name, _ in part.pairs), default=0)
            for name, value in part.pairs:
                click.echo(f"{name:<{width}}  {visible(value) or NOTHING_SHOWN}")
        case Table() if not part.rows:
            click.echo(part.empty)
        case Table():
            _rich_table(part) if is_terminal(sys.stdout) else _plain_table(part)


def is_terminal(stream: IO[Any]) -> bool:
    """Whether people read this stream as it is written."""
    return stream.isatty()


def _cells(table: Table) -> list[list[str]]:
    return [[visible(cell) or NOTHING_SHOWN for cell in row] for row in table.rows]


def _plain_table(table: Table) -> None:
    cells = [[column.upper() for column in table.columns], *_cells(table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(table: Table) -> None:
    from rich import box  # only people at a terminal pay for the import
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column in table.columns:
        drawn.add_column(column.upper(), overflow="fold")
    for row in _cells(table):
        drawn.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    Console().print(drawn)


def _style(cell: str) -> str:
    if cell.startswith(("TASK_RUNNING", "TASK_FINISHED", "ACTIVE", "SUCCESS", "up")):
        return "green"
    if cell.startswith(("TASK_FAILED", "TASK_ERROR", "TASK_UNREACHABLE", "UNREACHABLE", "FAILED", "down")):
        return "red"
    return ""


def visible(text: str) -> str:
    """The text with control characters shown instead of obeyed: names and messages come from others."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def time_of_day(at: Now | None) -> str:
    """A time of day with milliseconds, in the reader's zone."""
    moment = _moment(at)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}" if moment else _no_moment(at)


def date(at: Now | None) -> str:
    """A date and time of day, in the reader's zone."""
    moment = _moment(at)
    return moment.strftime("%Y-%m-%d %H:%M:%S") if moment else _no_moment(at)


def _moment(at: Now | None) -> datetime | None:
    """A time in the reader's zone; None if no clock can show it: a client may write any number."""
    try:
        return None if at is None else (_EPOCH + timedelta(microseconds=at)).astimezone()
    except (OverflowError, ValueError):
        return None


def _no_moment(at: Now | None) -> str:
    return "" if at is None else f"{at} us"


def span(us: int | None) -> str:
    """A length of time in the unit that suits it."""
    if us is None:
        return ""
    for unit, size in (("d", 86_400 * second), ("h", 3600 * second), ("min", 60 * second), ("s", second)):
        if abs(us) >= size:
            return f"{us / size:.3g} {unit}"
    return f"{us / 1000:.3g} ms"


def say_status(status: TaskStatus) -> str:
    """A task's status in one line."""
    how = [status.state.value]
    if status.exit_status is not None and status.exit_status != 0:
        how.append(f"exit {status.exit_status}")
    if status.signal is not None:
        how.append(f"signal {status.signal}")
    if status.message:
        how.append(f"({status.message})")
    return " ".join(how)


def cpus(resources: Resources) -> str:
    """CPUs as people write them."""
    return f"{resources.cpu_milli / 1000:g}"


def share(used: int, whole: int) -> str:
    """Part of a whole, e.g. `512/2048`."""
    return f"{used:g}/{whole:g}"
