"""`busbar store sql` and `busbar store export`: the history for other programs, in their own words.

Rule of this room: rows are written as they are found; what a statement may do, and how long, `eventstore.asking` says.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import click

from cli.output import Output, Table, wrong_usage
from cli.replay import POSITION
from cli.store_file import data_option, default_store, refusals, replaced, store_argument
from cli.story import tell
from eventstore.asking import Found, asked
from eventstore.fields import Value
from eventstore.reading import records_of
from eventstore.views import VIEWS

rows_shown_max = 1000
"""Rows of a table for people."""
limit_s_max = 3600.0
EXPORTED = ("position", "at", "by", "type", "to", "n", "epoch", "heard", "cause", "actor", "trace", "request", "data")
"""The columns of an export as CSV."""
Write = Callable[[str], object]


def _form(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--csv", "form", flag_value="csv", help="Print comma-separated values, with a heading."),
        click.option("--json", "form", flag_value="json", help="Print JSON for programs."),
    ):
        command = option(command)
    return command


# ---- sql -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("statement", required=False)
@click.option("--views", is_flag=True, help="List the tables that can be asked, with their columns.")
@click.option("--store", "file", metavar="FILE", help="The store to ask; else the master's in the data directory.")
@click.option(
    "--limit-s",
    type=click.FloatRange(0.1, limit_s_max),
    default=30.0,
    show_default=True,
    metavar="S",
    help="How long it may take.",
)
@data_option
@_form
def sql(statement: str | None, views: bool, file: str | None, limit_s: float, data: str, form: str | None) -> None:
    """Ask the history in SQL. It is only read, whatever is asked.

    \b
    Example:
        busbar store sql "select state, count(*) from tasks group by state"
        busbar store sql "select time, type, data from events where trace = 'call-1'" --csv
        busbar store sql --views
    """
    if views:
        _show_views(Output(form == "json"))
        return
    if statement is None:
        raise wrong_usage('a statement is missing: busbar store sql "select ...", or --views')
    with refusals(), asked(Path(file) if file else default_store(Path(data)), statement, limit_s=limit_s) as found:
        _FORMS[form](found)


def _show_views(out: Output) -> None:
    content = [
        {"view": name, "row": view.row, "columns": [{"column": c, "means": m} for c, m in view.columns.items()]}
        for name, view in VIEWS.items()
    ]
    parts: list[Table | str] = []
    for name, view in VIEWS.items():
        parts += [f"{name}: {view.row}", Table(("column", "means"), list(view.columns.items())), ""]
    out.show(content, *parts, "field(body, 'data.status.state') reads one value of any event, by its path")


def _as_table(found: Found) -> None:
    rows = [[_cell(value) for value in row] for row in islice(found.rows, rows_shown_max)]
    Output().show([], Table(found.columns, rows, empty="no rows"))
    if next(found.rows, None) is not None:
        Output().note(f"these are the first {rows_shown_max} rows: --csv and --json print all")


def _cell(value: Value) -> str:
    return "" if value is None else value.hex() if isinstance(value, bytes) else str(value)


def _as_json(found: Found) -> None:
    """An array, one row a line: whole only if the command succeeds."""
    between = "["
    for row in found.rows:
        content = {name: _plain(value) for name, value in zip(found.columns, row, strict=True)}
        click.echo(between + "\n  " + json.dumps(content, ensure_ascii=False), nl=False)
        between = ","
    click.echo("[]" if between == "[" else "\n]")


def _plain(value: Value) -> Value:
    return value.hex() if isinstance(value, bytes) else value


def _as_csv(found: Found) -> None:
    write = _csv_writer(sys.stdout.write)
    write(found.columns)
    for row in found.rows:
        write([_plain(value) for value in row])


def _csv_writer(out: Write) -> Callable[[Sequence[object]], None]:
    line = StringIO()
    writer = csv.writer(line)

    def write(values: Sequence[object]) -> None:
        writer.writerow(values)
        out(line.getvalue())
        line.seek(0)
        line.truncate()

    return write


_FORMS: dict[str | None, Callable[[Found], None]] = {None: _as_table, "json": _as_json, "csv": _as_csv}


# ---- export ----------------------------------------------------------------------------------------------------------


@click.command()
@store_argument
@click.option("-o", "--output", metavar="FILE", help="Write it there; without it, it is printed.")
@click.option("--from", "from_", type=POSITION, default=1, show_default=True, metavar="N", help="Begin with event N.")
@click.option("--to", type=POSITION, metavar="N", help="End with event N; without it, with the last there is now.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only events of this type, e.g. task.launched.")
@_form
def export(
    file: Path,
    data: Path,  # noqa: ARG001  # where FILE is by default
    output: str | None,
    from_: int,
    to: int | None,
    types: tuple[str, ...],
    form: str | None,
) -> None:
    """Write the history for other programs: one event a line, as JSON (each as `events show --json`) or as CSV.

    \b
    Example:
        busbar store export --json -o history.jsonl
        busbar store export --csv --type task.updated --from 1000 --to 2000
    """
    if to is not None and to < from_:
        raise wrong_usage(f"--to {to} is before --from {from_}")
    with refusals(), replaced(output) if output else nullcontext(sys.stdout) as to_file:
        _export(file, from_, to, frozenset(types), form or "json", to_file.write)


def _export(file: Path, first: int, last: int | None, types: frozenset[str], form: str, write: Write) -> None:
    csv_row = _csv_writer(write)
    if form == "csv":
        csv_row(EXPORTED)
    for record in records_of(file, after=first - 1, to=last):
        content = tell(record).content
        if types and content.get("type") not in types:
            continue
        if form == "csv":
            csv_row([_flat(content.get(name)) for name in EXPORTED])
        else:
            write(json.dumps(content, ensure_ascii=False) + "\n")


def _flat(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
