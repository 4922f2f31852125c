"""A store in memory that keeps the promises of `eventstore.store`, as far as a recorder and a rebuild rely on them.

What is judged is written whole or not at all, what is known is compared, and it outlives the process that wrote it.
The judge is the real one (`eventstore.chain`), and so is the recorder that copies the stream.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from bus.nouns import Position
from bus.port import Bus, Record
from bus.subjects import Author, everything, own_log
from eventstore.chain import Row, Tail, genesis, judge
from eventstore.errors import StoreDiverged
from eventstore.recorder import Recorder

page_records = 200


class Disk:
    """One process's store. It is its own writer and reader."""

    def __init__(self) -> None:
        self.tail = Tail(Position(0), genesis, {})
        self.kept: list[Record] = []
        self.chains: list[str] = []
        self._whole = False

    @property
    def last(self) -> Position:
        """The position of the last record; 0 if there is none."""
        return self.tail.last

    async def append(self, records: Sequence[Record]) -> Sequence[Row]:
        """Store what is new. Raises StoreDiverged, StoreGap."""
        for record in records:
            if record.position <= self.last and self._at(record.position) != record:
                raise StoreDiverged(record.position, f"position {record.position} is another one in the store")
        new = [record for record in records if record.position > self.last]
        judged = judge(self.tail, new, whole=self._whole)
        self.kept += new
        self.chains += [row.chain.hex() for row in judged.rows]
        self.tail = judged.end._replace(ends=self.tail.ends | judged.end.ends)
        return [row for row in judged.rows if row.foreign_because is not None]

    def _index(self, position: int) -> int:
        return bisect_right(self.kept, position, key=lambda record: record.position) - 1

    def _at(self, position: Position) -> Record | None:
        index = self._index(position)
        return self.kept[index] if index >= 0 and self.kept[index].position == position else None

    async def records(self, *, author: Author, after: int = 0) -> AsyncIterator[Sequence[Record]]:
        """What an author's log has behind a position."""
        log = own_log("dc", author).removesuffix(">")
        found = [r for r in self.kept[self._index(after) + 1 :] if r.subject.startswith(log)]
        for start in range(0, len(found), page_records):
            yield found[start : start + page_records]

    async def chain_at(self, position: int) -> str | None:
        """The running hash after a position."""
        return self.chains[self._index(position)] if self._at(Position(position)) else None

    @asynccontextmanager
    async def opened(self, _path: str, bus: Bus, author: Author | None) -> AsyncIterator[Recorder]:
        """What `eventstore.recorder.open_recorder` does with a file."""
        self._whole = author is None
        log = own_log(bus.cluster, author) if author else everything(bus.cluster)
        disk: Any = self
        recorder = Recorder(bus, disk, disk, log)
        await recorder.check()
        yield recorder
