"""What is wrong in a data directory whose datacenter is down: each store, and the stream held against them.

Rule of this room: it looks, and changes nothing; what it says names positions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bus.ensemble import on_node
from bus.nouns import Position
from bus.port import Record, Remains, StreamDiverged, StreamTrimmed
from bus.subjects import Author, everything
from cli.output import Output
from cli.store_file import verify_shown
from eventstore.chain import Tail, genesis, judge
from eventstore.errors import StoreFailed, StoreGap, StoreRefused
from eventstore.reading import last_of, records_of, right_records
from eventstore.readonly import header_of, readonly
from eventstore.stretches import authors_of, start_behind
from eventstore.verify import Verdict
from eventstore.walk import Finding

if TYPE_CHECKING:
    from bus.jetstream import JetStreamBus

settle_s = 20.0
"""How long one of several servers that were just started may know less than it will. (bus/stream.py: behind_s)"""
settle_pause_s = 0.5
silence_s = 60.0
"""After which a stream that says it has more, and gives nothing, is damaged there."""


class Store(NamedTuple):
    """A store of the directory as it was found."""

    name: str
    """As its process is called, e.g. master-n2."""
    path: Path
    verdict: Verdict | None
    """None: there is no file, or it cannot be read as a store."""
    wrong: str
    """Empty: it verifies."""
    right_upto: Position
    """The last position before the first that is wrong."""

    @property
    def there(self) -> bool:
        return self.path.exists()

    @property
    def good(self) -> bool:
        return self.verdict is not None and not self.wrong


def look_at(name: str, path: Path, out: Output) -> Store:
    """Verify one store, whatever it is."""
    if not path.exists():
        return Store(name, path, None, "is missing", Position(0))
    try:
        verdict = verify_shown(path, out)
    except (StoreRefused, StoreFailed) as error:
        return Store(name, path, None, str(error), Position(0))
    if verdict.finding is None:
        return Store(name, path, verdict, "", verdict.last)
    at = verdict.finding.position
    return Store(name, path, verdict, str(verdict.finding), Position(at - 1 if at else 0))


def masters(data: Path, nodes: Sequence[str], out: Output) -> list[Store]:
    """The masters' stores: copies of the whole stream."""
    names = [on_node("master", node) for node in nodes]
    return [look_at(name, data / name / "events.db", out) for name in names]


def others(data: Path, out: Output) -> list[Store]:
    """Everybody else's: copies of their own logs."""
    found = [path for path in sorted(data.glob("*/events.db")) if not path.parent.name.startswith("master")]
    found += sorted(data.glob("agents/*/*.db"))
    return [look_at(path.parent.name if path.name == "events.db" else path.stem, path, out) for path in found]


class StreamLook(NamedTuple):
    """The stream as it was found."""

    remains: Remains
    finding: Finding | None
    beyond: tuple[Record, ...]
    """What it has behind the store it was held against, without a gap."""


GONE = StreamLook(Remains(Position(1), Position(0), 0, ()), None, ())


async def look_at_stream(bus: JetStreamBus, store: Store | None) -> StreamLook:
    """Hold the stream against what is right of a store, and all of it that can be against its authors' chains."""
    end = store.right_upto if store else Position(0)
    remains = await _settled(bus, end)
    finding = _outline(remains, end)
    if finding is None:
        finding = await _read(bus, remains, _Compared(store, remains.first))
    return StreamLook(remains, finding, await _beyond(bus, remains, end))


async def _settled(bus: JetStreamBus, end: Position) -> Remains:
    """What is left of the stream; of several servers one that knows less is given time to learn."""
    patience_s = settle_s if len(await bus.servers()) > 1 else 0.0
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        remains = await bus.remains()
        if remains.last >= end or asyncio.get_running_loop().time() >= deadline:
            return remains
        await asyncio.sleep(settle_pause_s)


def _outline(remains: Remains, end: Position) -> Finding | None:
    """What the server's own account of the stream shows to be wrong."""
    if remains.missing:
        return Finding(remains.missing[0], f"is missing in the stream, with {len(remains.missing) - 1} others")
    if remains.last < end:
        return Finding(Position(remains.last + 1), f"is missing in the stream: it ends at {remains.last}")
    if remains.messages and remains.messages != remains.last - remains.first + 1:
        said = f"{remains.messages} messages at positions {remains.first} to {remains.last}"
        return Finding(None, f"the stream has holes: {said}")
    return None


class _Compared:
    """Holds records of the stream against a store, and, from its beginning on, against the chains of their authors."""

    def __init__(self, store: Store | None, first: Position) -> None:
        right = right_records(store.path, after=first - 1, to=store.right_upto) if store and store.right_upto else ()
        self._stored = iter(right)
        self._tail = Tail(Position(0), genesis, {})
        self._chained = first == 1

    def differs(self, record: Record) -> str:
        """What is wrong with the next record of the stream; empty if nothing is."""
        stored = next(self._stored, None)
        if stored is not None and stored != record:
            return "is other in the stream than in the store"
        if not self._chained:
            return ""
        try:
            judged = judge(self._tail, [record], whole=True)
        except StoreGap as gap:
            return f"shows that an event is missing: {gap}"
        self._tail.ends.update(judged.end.ends)
        self._tail = judged.end._replace(ends=self._tail.ends)
        return ""


async def _read(bus: JetStreamBus, remains: Remains, compared: _Compared) -> Finding | None:
    """Read the stream from its first message to its last; the first that is wrong."""
    at = Position(remains.first - 1)
    try:
        async with aclosing(bus.follow(everything(bus.cluster), after=at)) as groups:
            while at < remains.last:
                async with asyncio.timeout(silence_s):
                    records = await anext(groups)
                for record in records:
                    wrong = compared.differs(record)
                    if wrong:
                        return Finding(record.position, wrong)
                at = records[-1].position
    except (StreamDiverged, StreamTrimmed) as error:
        return Finding(Position(at + 1), f"cannot be read from the stream: {error}")
    except TimeoutError:
        return Finding(Position(at + 1), f"cannot be read from the stream: nothing came within {silence_s:g} s")
    return None


async def _beyond(bus: JetStreamBus, remains: Remains, end: Position) -> tuple[Record, ...]:
    """What the stream has behind a position, one by one, up to the first that is missing."""
    found: list[Record] = []
    while (record := await bus.at(Position(end + len(found) + 1))) is not None and record.position <= remains.last:
        found.append(record)
    return tuple(found)


def own_records(stores: Iterable[Store], after: Position) -> tuple[Record, ...]:
    """What components have of their own logs behind a position, without a gap: said, and lost by the stream."""
    found: dict[Position, Record] = {}
    for store in stores:
        if store.good:
            found |= {record.position: record for record in records_of(store.path, after=after)}
    run: list[Record] = []
    while after + len(run) + 1 in found:
        run.append(found[Position(after + len(run) + 1)])
    return tuple(run)


def extending(path: Path, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records that go on where a store ends, up to the first that does not."""
    with readonly(path) as connection:
        authors, last = authors_of(connection), last_of(path)
        start = start_behind(connection, last, authors)
    tail, fit = Tail(start.after, start.chain, dict(start.ends)), list[Record]()
    for record in records:
        try:
            judged = judge(tail, [record], whole=True)
        except StoreGap:
            break
        if judged.rows[0].foreign_because is not None:
            break
        tail.ends.update(judged.end.ends)
        tail = judged.end._replace(ends=tail.ends)
        fit.append(record)
    return tuple(fit)


def contradicts(store: Store, truth: Path) -> str:
    """What a copy of one log has otherwise than the whole history; empty if nothing, or if it only has more."""
    newest, author = _newest(store.path)
    if newest is None or newest.position > last_of(truth):
        return ""
    there = next(records_of(truth, after=newest.position - 1, to=newest.position), None)
    return "" if there == newest else f"{author} has another event at position {newest.position}"


def _newest(path: Path) -> tuple[Record | None, Author | None]:
    """The newest event of a copy of one log, and whose it is."""
    with readonly(path) as own:
        author = header_of(own, path).owner
        rows = own.execute("SELECT position, subject, body FROM event ORDER BY position DESC LIMIT 1").fetchall()
    return (Record(*rows[0]) if rows else None), author


def disagrees(store: Store, truth: Path, kept: Sequence[Record]) -> str:
    """What a copy of one log has that the whole history, with what is kept besides, has not; empty if nothing."""
    newest, author = _newest(store.path)
    end = kept[-1].position if kept else last_of(truth)
    if newest is None:
        return ""
    if newest.position > end:
        lost = [record.position for record in records_of(store.path, after=end)]
        return f"{len(lost)} events of {author} that nothing else has are lost, the first at position {lost[0]}"
    known = {record.position: record for record in kept}
    there = known.get(newest.position) or next(records_of(truth, after=newest.position - 1, to=newest.position), None)
    return "" if there == newest else f"{author} has another event at position {newest.position}"
