"""The datacenter as it was: the same questions, answered from a store at one position.

Rule of this room: rows have the shape of live ones, because the component's own functions make them from its own
folded state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import click

from bus import queries
from bus.codec import Foreign, Unreadable, decode
from bus.events import Term
from bus.nouns import Now, Position
from bus.port import StreamDiverged
from bus.subjects import Author
from cli.minds import MAKERS, NotKnown, mind_of
from cli.moments import FORMS, MOMENT, NOW, Moment, Point, point_of
from cli.output import Failure, Output, Table, wrong_usage
from cli.remote import RemotePast
from cli.session import (
    MARATHON,
    METRONOME,
    THE_MASTER,
    Command,
    Session,
    Where,
    in_session,
    json_option,
    the_reach,
    way_on,
    where_options,
)
from components.component import Component
from components.mind import LogUnreadable, Mind
from components.past import mind_at
from components.snapshots import Snapshots, snapshots_of
from eventstore.errors import StoreFailed, StoreRefused
from eventstore.store import Reader, open_reader

R = TypeVar("R")

NAMES = {THE_MASTER: "master", MARATHON: "marathon", METRONOME: "metronome"}
"""Who is asked about the past, and what component it is."""


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


class Past:
    """A datacenter as a store has it at one point."""

    def __init__(self, reader: Reader, store: Path, point: Point, out: Output) -> None:
        self.reader, self.store, self.point = reader, store, point
        self._out = out
        self._minds: dict[Author, Mind[Any]] = {}

    @property
    def out(self) -> Output:
        """Where the answer goes."""
        return self._out

    def now(self) -> Now:
        """What time it was."""
        return self.point.at

    async def ask(self, of: Author, query: str, shape: type[R], question: object = None) -> R:
        """What a component would have answered."""
        mind = await self.mind(of)
        try:
            answer = mind.component.queries[query](mind.state, queries.pack(question), self.point.at)
        except queries.QueryRefused as refused:
            raise Failure(str(refused), next_=way_on(str(refused))) from None
        return queries.unpack(queries.answer_ok(answer), shape)

    async def mind(self, of: Author) -> Mind[Any]:
        """A component's mind at this point, folded when it is first asked for."""
        if of not in self._minds:
            try:
                component = await self._component(of)
                snapshots = Snapshots(component, snapshots_of(self.store))
                self._minds[of] = await mind_at(component, self.reader, snapshots, self.point.position, keep=self._mine)
            except (LogUnreadable, NotKnown, StreamDiverged) as error:
                raise Failure(f"{of} cannot be folded: {error}", next_="busbar store verify") from None
        return self._minds[of]

    @property
    def _mine(self) -> bool:
        """Whether the store is the asker's own: in another's directory nothing is left behind."""
        return self.store.stat().st_uid == os.geteuid()

    async def _component(self, of: Author) -> Component[Any]:
        """The component with the settings of its term at this point; those before any said so had the defaults."""
        settings = ""
        terms = self.reader.records(kind=of.kind, noun="leader", participle="elected", to=self.point.position)
        async for records in terms:
            for record in records:
                try:
                    event = decode(record.subject, record.body, record.position)
                except (Foreign, Unreadable):
                    continue
                if event.by == of and isinstance(event.fact, Term):
                    settings = event.fact.settings or settings
        return mind_of(settings) if settings else MAKERS[NAMES[of]]({})


@asynccontextmanager
async def reading(store: Path) -> AsyncIterator[Reader]:
    """A store of a whole stream, open to be asked about the past. Raises Failure."""
    async with AsyncExitStack() as stack:
        try:
            reader = await stack.enter_async_context(open_reader(store))
        except (StoreRefused, StoreFailed) as error:
            raise Failure(str(error), next_="name a master's store with --store FILE") from None
        owner = reader.header().owner
        if owner is not None:
            raise Failure(
                f"{store} is a copy of the log of {owner}, not of the whole stream",
                next_="name a master's store with --store FILE",
            )
        try:
            yield reader
        except StoreFailed as error:
            raise Failure(str(error), next_="busbar store verify") from None


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
        await command(RemotePast(session, at), **given)

    async def here() -> None:
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
    best = Position(-1), stores[0]
    for path in stores if len(stores) > 1 else ():
        async with reading(path) as reader:
            best = max(best, (await reader.last(), path))
    return best[1]
