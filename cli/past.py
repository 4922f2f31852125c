"""The datacenter as it was: the same questions, answered from a store at one position.

Rule of this room: whether and how a command asks the past is said here; what opens stores and folds is imported when
it does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import click

from bus.nouns import Now, Position
from bus.subjects import Author
from cli.moments import FORMS, MOMENT, NOW, Moment, Point
from cli.output import Failure, Output, Table, wrong_usage
from cli.session import (
    Command,
    Session,
    Where,
    in_session,
    json_option,
    the_reach,
    where_options,
)

R = TypeVar("R")


class Asked(Protocol):
    """Who answers: the cluster as it is, or as it was."""

    @property
    def out(self) -> Output:
        """Where the answer goes."""

    def now(self) -> Now:
        """What time it is there."""

    async def ask(self, of: Author, query: str, shape: type[R], question: object = None) -> R:
        """The answer of one component to one query. Raises Failure if there is none."""


class Then(Asked, Protocol):
    """The cluster as it was."""

    @property
    def point(self) -> Point:
        """When; known once something was asked."""


class Listed(NamedTuple):
    """Rows for programs, and as a table for people."""

    rows: Sequence[Any]
    table: Table


def at_any_time(command: Command) -> Callable[..., None]:
    """Make a command of an `async def` that takes whom to ask first: the cluster, with `--at` as it was then."""

    @_options
    @wraps(command)
    def run(where: Where, out: Output, at: Moment | None, store: str | None, **given: Any) -> None:
        if at is None and store is None:
            the_reach().run(in_session(the_reach(), where, out, command, **given))
        else:
            _run_in_past(command, where, out, at or NOW, store, given)

    return run


def at_a_time(command: Command) -> Callable[..., None]:
    """Make a command of an `async def` that takes a Then first."""

    @_options
    @wraps(command)
    def run(where: Where, out: Output, at: Moment | None, store: str | None, **given: Any) -> None:
        _run_in_past(command, where, out, at or NOW, store, given)

    return run


def _options(run: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where and when."""

    @where_options
    @json_option
    @click.option("--at", type=MOMENT, metavar="MOMENT", help=f"As it was: {FORMS}.")
    @store_option
    @wraps(run)
    def taken(bus: str | None, credentials: str | None, data: str, as_json: bool, **given: Any) -> None:
        run(Where(bus, credentials, data), Output(as_json), **given)

    return taken


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--store`."""
    return click.option(
        "--store",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Ask a master's store file; nothing need run.",
    )(command)


def _run_in_past(
    command: Command, where: Where, out: Output, at: Moment, store: str | None, given: dict[str, Any]
) -> None:
    """Ask a store that is here, or else the leading master for what is in its own."""

    async def afar(session: Session) -> None:
        from cli.remote import RemotePast  # only who asks about the past pays for the imports

        await command(RemotePast(session, at), **given)

    async def here() -> None:
        from cli.points import point_of
        from cli.then import Past, reading

        path = Path(store) if store is not None else await local_store(where)
        async with reading(path) as reader:
            await command(Past(reader, path, await point_of(reader, at), out), **given)

    reach = the_reach()
    if store is not None or stores_of(where):
        reach.run(here())
    else:
        reach.run(in_session(reach, where, out, afar))


def stores_of(where: Where) -> list[Path]:
    """The masters' stores beside the cluster that is meant, if that is here."""
    if where.bus is not None or where.credentials is not None:
        return []
    return sorted(Path(where.data).glob("master*/events.db"))


async def local_store(where: Where) -> Path:
    """The store beside the cluster that is meant. Raises click.ClickException if there is none here."""
    if where.bus is not None or where.credentials is not None:
        raise wrong_usage("this is read from a master's store: name its file with --store")
    stores = stores_of(where)
    if not stores:
        raise Failure(
            f"no master keeps its store under {where.data}",
            next_="name one with --store FILE, or the data directory of `busbar up` with --data DIR",
        )
    return await _furthest(stores)


async def _furthest(stores: list[Path]) -> Path:
    """Of several stores the one with the most events."""
    from cli.then import reading

    best = Position(-1), stores[0]
    for path in stores if len(stores) > 1 else ():
        async with reading(path) as reader:
            best = max(best, (await reader.last(), path))
    return best[1]
