"""How far a long command is, for people who wait at a terminal.

Rule of this room: to stderr, and only where that is a terminal; programs and logs see nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cli.output import Output, is_terminal


@contextmanager
def progress(what: str, total: int, unit: str, out: Output) -> Iterator[Callable[[int], None]]:
    """A bar for `total` units of work; yields what is told how many more are done."""
    if out.as_json or not is_terminal(sys.stderr):
        yield lambda _: None
        return
    from rich.console import Console  # only people at a terminal pay for the import
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)
