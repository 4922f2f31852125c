"""A datacenter as a store has it at one point.

Rule of this room: rows have the shape of live ones, because the component's own functions make them from its own
folded state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from bus import queries
from bus.codec import events_of
from bus.events import Term
from bus.nouns import Now
from bus.port import StreamDiverged
from bus.subjects import Author
from cli.minds import MAKERS, NotKnown, mind_of
from cli.moments import Point
from cli.output import Failure, Output
from cli.session import MARATHON, METRONOME, THE_MASTER, way_on
from components.component import Component
from components.mind import LogUnreadable, Mind
from components.past import mind_at
from components.snapshots import Snapshots, snapshots_of
from eventstore.errors import StoreFailed, StoreRefused
from eventstore.store import Reader, open_reader

R = TypeVar("R")

NAMES = {THE_MASTER: "master", MARATHON: "marathon", METRONOME: "metronome"}
"""Who is asked about the past, and what component it is."""


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
            for event in events_of(records):
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
