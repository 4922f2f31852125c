"""What was said, by position and by what it mentions: from a store file, or from the cluster that runs.

Rule of this room: both tell the same; a message that is nobody's event tells nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bus.codec import event_in
from bus.events import Event
from bus.nouns import Now, Position
from bus.port import Record, StreamTrimmed
from bus.queries import HistoryQuestion, HistoryRow
from bus.subjects import everything, pattern
from cli.output import Output
from cli.past import store_option
from cli.session import THE_MASTER, Session, Where, in_session, json_option, the_reach, where_options

if TYPE_CHECKING:
    from eventstore.store import Reader

page_rows = 1000
TOKENS = ("kind", "name", "noun", "participle", "to")
"""Parts of a subject by which events are chosen; `name` is the author's id."""
Tokens = Mapping[str, str | None]


class Memory(Protocol):
    """Who remembers."""

    lasting: bool
    """Whether `told` goes on with what is said from now on."""

    async def last(self, tokens: Tokens | None = None) -> Position:
        """The position of the newest message, of those chosen if that can be told at once; 0 if there is none.

        Raises SubjectError for a token that is none.
        """

    async def first_since(self, at: Now) -> Position:
        """The position of the first message of a time or after it; behind the last if there is none."""

    def told(self, tokens: Tokens, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        """The chosen messages behind a position."""

    async def between(self, first: Position, last: Position) -> list[Record]:
        """The messages from one position to another, as far as there are any."""

    def mentioning(self, noun: str, id_: str) -> AsyncIterator[Event]:
        """Every event that mentions a thing, from the first."""


async def at(memory: Memory, position: Position) -> Event | None:
    """The event at a position; None if nobody's is there."""
    records = await memory.between(position, position)
    return event_in(records[0]) if records else None


class StoreMemory:
    """A store file remembers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.lasting = False

    async def last(self, tokens: Tokens | None = None) -> Position:
        _filter(self._reader.header().cluster, tokens or {})  # a store knows only the last of all
        return await self._reader.last()

    async def first_since(self, at: Now) -> Position:
        return Position(await self._reader.position_before(at) + 1)

    async def told(self, tokens: Tokens, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        kind, noun, participle, to = (tokens.get(name) for name in ("kind", "noun", "participle", "to"))
        async for records in self._reader.records(after=after, kind=kind, noun=noun, participle=participle, to_whom=to):
            found = [each for each in records if tokens.get("name") in (None, each.subject.split(".")[2])]
            if found:
                yield found

    async def between(self, first: Position, last: Position) -> list[Record]:
        groups = self._reader.records(after=first - 1, to=last)
        return [record async for records in groups for record in records]

    async def mentioning(self, noun: str, id_: str) -> AsyncIterator[Event]:
        after = Position(0)
        while records := await self._reader.mentions(noun, id_, after=after, limit=page_rows):
            for record in records:
                event = event_in(record)
                if event is not None:
                    yield event
            after = records[-1].position


class ClusterMemory:
    """The stream remembers, and what was trimmed of it, a master's store."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.lasting = True

    async def last(self, tokens: Tokens | None = None) -> Position:
        newest = await self._session.bus.last(_filter(self._session.cluster, tokens or {}))
        return newest.position if newest else Position(0)

    async def first_since(self, at: Now) -> Position:
        return await self._session.bus.first_since(at)

    def told(self, tokens: Tokens, *, after: Position) -> AsyncGenerator[Sequence[Record], None]:
        return self._session.bus.follow(_filter(self._session.cluster, tokens), after=after)

    async def between(self, first: Position, last: Position) -> list[Record]:
        found: list[Record] = []
        end = min(last, await self.last())
        while first + len(found) <= end:
            after = Position(first + len(found) - 1)
            page = await self._page(after, end)
            if not page:
                return found
            found += page
        return found

    async def _page(self, after: Position, end: Position) -> Sequence[Record]:
        try:
            return await self._followed(after, end)
        except StreamTrimmed:
            from components.instance import fetch  # only who is told by a store pays for the imports

            records = await fetch(self._session.bus, after=after, author=None, besides="")
            return [record for record in records if record.position <= end]

    async def _followed(self, after: Position, end: Position) -> Sequence[Record]:
        found: list[Record] = []
        async with aclosing(self._session.bus.follow(everything(self._session.cluster), after=after)) as groups:
            async for records in groups:
                found += [record for record in records if record.position <= end]
                if records[-1].position >= end:
                    break
        return found

    async def mentioning(self, noun: str, id_: str) -> AsyncIterator[Event]:
        after = Position(0)
        while True:
            question = HistoryQuestion(noun=noun, id=id_, after=after, limit=page_rows)
            rows = await self._session.ask(THE_MASTER, "history", list[HistoryRow], question)
            for row in rows:
                event = event_in(Record(row.position, row.subject, row.body))
                if event is not None:
                    yield event
            if not rows:
                return
            after = rows[-1].position


def _filter(cluster: str, tokens: Tokens) -> str:
    """Raises SubjectError."""
    given = {name: tokens.get(name) for name in TOKENS}
    return pattern(cluster, **given) if any(given.values()) else everything(cluster)


Remembering = Callable[..., Awaitable[None]]


def remembered(command: Remembering) -> Callable[..., None]:
    """Make a command of an `async def` that takes a Memory and an Output first: of the cluster, or with `--store`."""

    async def from_cluster(session: Session, **given: Any) -> None:
        await command(ClusterMemory(session), session.out, **given)

    async def from_store(store: Path, out: Output, given: dict[str, Any]) -> None:
        from cli.then import reading

        async with reading(store) as reader:
            await command(StoreMemory(reader), out, **given)

    @store_option
    @where_options
    @json_option
    @wraps(command)
    def run(
        bus: str | None, credentials: str | None, data: str, as_json: bool, store: str | None, **given: Any
    ) -> None:
        reach, out = the_reach(), Output(as_json)
        if store is None:
            reach.run(in_session(reach, Where(bus, credentials, data), out, from_cluster, **given))
        else:
            reach.run(from_store(Path(store), out, given))

    return run
