"""How `up --detach` leaves: the supervisor lives on as its own session, and tells once how its start went.

Rule of this room: the one line on the pipe is the truth; a pipe that closes without it means the supervisor died.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from cli.output import Failure
from cli.processes import OWN_COMMAND


class Report(msgspec.Struct, omit_defaults=True):
    """How a start went: what is up, or why nothing is."""

    up: dict[str, object] | None = None
    error: str = ""
    next: str = ""


def report(pipe: int, told: Report) -> None:
    """Tell who waits, and let it go."""
    os.write(pipe, msgspec.json.encode(told) + b"\n")
    os.close(pipe)


def refusal(error: click.ClickException) -> Report:
    """A failed start as a report."""
    return Report(error=error.format_message(), next=error.next if isinstance(error, Failure) else "")


def detached(argv: Sequence[str], log: Path) -> dict[str, object]:
    """Start a supervisor apart from this process; what is up once it is ready. Raises Failure as it failed there."""
    waiting, telling = os.pipe()
    try:
        with log.open("ab") as out:
            subprocess.Popen(  # it outlives us: nobody waits for it here
                [*OWN_COMMAND, *argv, "--tell", str(telling)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(telling,),
                start_new_session=True,
            )
    finally:
        os.close(telling)
    with os.fdopen(waiting, "rb") as pipe:
        line = pipe.readline()
    if not line:
        raise Failure("the supervisor ended without a word", next_=f"read {log}")
    told = msgspec.json.decode(line, type=Report)
    if told.up is None:
        raise Failure(told.error, next_=told.next)
    return told.up
