"""Which store a command is about, what is wrong with it in words, and how it is verified for people who watch.

Rule of this room: shared by the commands of `busbar store`, and by nobody else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import IO, Any

import click

from cli.bar import progress
from cli.output import Failure, Output
from cli.session import DATA
from eventstore.asking import SqlRefused
from eventstore.checkpoints import CheckpointRefused
from eventstore.errors import StoreDiverged, StoreFailed, StoreGap, StoreLocked, StoreRefused
from eventstore.signing import KeyRefused
from eventstore.verify import Verdict, length_of
from eventstore.verify import verify as verified

REFUSALS = (StoreRefused, StoreFailed, StoreLocked, StoreGap, StoreDiverged, CheckpointRefused, KeyRefused, SqlRefused)
"""What can be wrong with a file that was named: each says it exactly."""


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--data`."""
    return click.option(
        "--data",
        default=DATA,
        show_default=True,
        envvar="BUSBAR_DATA",
        metavar="DIR",
        help="The data directory: its master's store is meant where no FILE is named.",
    )(command)


def store_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an optional FILE, by default the master's store in the data directory."""

    @wraps(command)
    def run(file: str | None, data: str, **given: Any) -> Any:
        return command(file=Path(file) if file else default_store(Path(data)), data=Path(data), **given)

    return click.argument("file", required=False, type=click.Path(dir_okay=False))(data_option(run))


def default_store(data: Path) -> Path:
    """The master's store in a data directory. Raises Failure if there is none."""
    path = data / "master" / "events.db"
    if not path.is_file():
        raise Failure(
            f"there is no store at {path}", next_="name the file of a store, or the directory with --data DIR"
        )
    return path


@contextmanager
def refusals() -> Iterator[None]:
    """What is wrong with a store or a key, as an exact message."""
    try:
        yield
    except REFUSALS as error:
        raise Failure(str(error)) from None


def verify_shown(file: Path, out: Output, *, indexes: bool = False) -> Verdict:
    """Verify a store under a bar that shows how far it is."""
    with progress(f"verifying {file.name}", length_of(file), "events", out) as told:
        return verified(file, told=told, indexes=indexes)


def as_content(verdict: Verdict) -> dict[str, object]:
    """A verdict for programs."""
    return {
        "store": verdict.path,
        "cluster": verdict.header.cluster,
        "events": verdict.events,
        "last": verdict.last,
        "chain": verdict.chain,
        "bytes": verdict.bytes,
        "foreign": verdict.foreign,
        "good": verdict.good,
        "finding": verdict.finding._asdict() if verdict.finding else None,
    }


@contextmanager
def replaced(path: str) -> Iterator[IO[str]]:
    """A new file in the place of what was at `path`, once it is written to its end; else nothing is changed."""
    fresh = f"{path}.{os.getpid()}.partial"
    try:
        with open(fresh, "w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(fresh, path)
    except OSError as error:
        raise Failure(f"{error.filename or path}: {error.strerror}") from None
    finally:
        Path(fresh).unlink(missing_ok=True)
