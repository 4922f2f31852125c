"""What one instance of a singleton answers about itself and its store, whether it leads or stands by.

Rule of this room: read-only, and true also of an instance that may do nothing else: one whose store and stream
disagree.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from bus.nouns import MASTER, Now, Position
from bus.port import Answerer, Bus, NoAnswer, NobodyThere, Record, StreamDiverged
from bus.queries import (
    DIVERGED,
    LEADER,
    REBUILDING,
    STANDBY,
    ChainQuestion,
    ChainRow,
    HistoryRow,
    Instance,
    PageQuestion,
    QueryRefused,
    answer_ok,
    answer_refused,
    pack,
    unpack,
)
from bus.roll import roll_call
from bus.subjects import Author, Kind, ask_instance, ask_page, author_asked, parse_author, roll
from components.component import State
from eventstore.errors import StoreFailed, StoreRefused
from eventstore.store import Reader, open_reader

page_bytes_max = 400_000
"""Bodies in one answer, but for a single one that is larger: an event is half a message at most."""
page_rows_max = 1000
chains_max = 1000
page_s = 10.0


class Presence:
    """One instance of a singleton, as others see it."""

    def __init__(self, author: Author, node: str, instance: str, store: str | None, started_at: Now) -> None:
        self.author, self.node, self.instance, self.store = author, node, instance, store
        self.started_at = started_at
        self.standing, self.message = REBUILDING, ""
        self.position = Position(0)
        self.state: State | None = None

    def stands_by(self) -> None:
        """It has folded the log and would take over."""
        self.standing = STANDBY

    def leads(self) -> None:
        """It has begun its term."""
        self.standing = LEADER

    def diverged(self, message: str) -> None:
        """Its store and the stream disagree."""
        self.standing, self.message = DIVERGED, message

    async def serve(self, bus: Bus) -> None:
        """Answer the roll call, and questions to this instance alone."""
        await bus.serve(roll(bus.cluster, self.author), self._answering(self._row))
        for name, answer in (("page", self._page), ("chain", self._chain)):
            await bus.serve(ask_instance(bus.cluster, self.author, self.node, name), self._answering(answer))
        if self.author.kind is Kind.MASTER:
            await bus.serve_each(ask_page(bus.cluster, self.node, "*.*"), self._page_of)

    def _answering(self, answer: Callable[[bytes], Awaitable[object]]) -> Answerer:
        async def answered(question: bytes) -> bytes:
            try:
                return answer_ok(await answer(question))
            except (QueryRefused, StoreRefused, StoreFailed, msgspec.DecodeError, ValueError) as error:
                return answer_refused(str(error))

        return answered

    async def _row(self, _question: bytes) -> Instance:
        state = self.state or State()
        return Instance(
            by=str(self.author),
            node=self.node,
            instance=self.instance,
            standing=self.standing,
            epoch=state.epoch,
            n=state.n,
            position=self.position,
            stored=await self._stored(),
            pid=os.getpid(),
            started_at=self.started_at,
            message=self.message,
        )

    async def _stored(self) -> Position:
        try:
            async with open_reader(self._file()) as reader:
                return await reader.last()
        except (QueryRefused, StoreRefused, StoreFailed):
            return Position(0)

    def _file(self) -> str:
        if self.store is None:
            raise QueryRefused(f"{self.author} on {self.node} keeps no store")
        return self.store

    async def _page_of(self, subject: str, question: bytes) -> bytes:
        """A page of one author's log: the subject says whose, and so who may ask."""
        author = author_asked(subject)

        async def page(_question: bytes) -> object:
            asked = msgspec.msgpack.decode(question, type=PageQuestion)
            return await self._page(pack(msgspec.structs.replace(asked, author=author)))

        return await self._answering(page)(question)

    async def _page(self, question: bytes) -> list[HistoryRow]:
        asked = msgspec.msgpack.decode(question, type=PageQuestion)
        author = parse_author(asked.author) if asked.author else None
        async with open_reader(self._file()) as reader:
            return await _rows(reader, asked, author)

    async def _chain(self, question: bytes) -> list[ChainRow]:
        asked = msgspec.msgpack.decode(question, type=ChainQuestion)
        async with open_reader(self._file()) as reader:
            found = [(position, await reader.chain_at(position)) for position in asked.positions[:chains_max]]
        return [ChainRow(position=position, chain=chain or "") for position, chain in found]


async def _rows(reader: Reader, asked: PageQuestion, author: Author | None) -> list[HistoryRow]:
    """The first records behind a position that fit into one answer."""
    limit, room = max(1, min(asked.limit, page_rows_max)), page_bytes_max
    rows: list[HistoryRow] = []
    async for records in reader.records(after=asked.after, author=author):
        for record in records:
            room -= len(record.body)
            if len(rows) == limit or (rows and room < 0):
                return rows
            rows.append(HistoryRow(position=record.position, subject=record.subject, body=record.body))
    return rows


MASTERS = Author(Kind.MASTER, MASTER)


async def fetch(bus: Bus, *, after: Position, author: Author | None, besides: str) -> Sequence[Record]:
    """The next records behind a position, from the store of the master that has most; none if nobody has any.

    `besides` is the instance that asks: it does not ask itself.
    """
    peers = [each for each in await roll_call(bus, MASTERS) if each.instance != besides and each.stored > after]
    if not peers:
        return []
    peer = max(peers, key=lambda each: (each.stored, each.node))
    where = ask_page(bus.cluster, peer.node, str(author) if author else "")
    try:
        question = PageQuestion(after=after)
        rows = unpack(await bus.query(where, pack(question), timeout_s=page_s), list[HistoryRow])
    except (NobodyThere, NoAnswer, QueryRefused) as error:
        raise StreamDiverged(f"the master on {peer.node} does not tell what was trimmed: {error}") from None
    return [Record(row.position, row.subject, row.body) for row in rows]
