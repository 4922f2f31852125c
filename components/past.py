"""What a component remembered at a position of the stream: its log, folded up to there.

Rule of this room: it reads. Whatever is told here was written by the component itself; only snapshots are left behind,
so that the next question need not fold so far.
"""

from __future__ import annotations

from bus.codec import Foreign, Unreadable, decode
from bus.nouns import Now, Position
from bus.port import Record, batch_events_max
from bus.subjects import Author
from components.component import Component, S
from components.mind import Mind
from components.snapshots import Snapshots, resume
from eventstore.store import Reader

snapshot_events = 10_000
"""Events of one log from one snapshot to the next, where they are folded to look back: nobody waits behind them."""


async def mind_at(
    component: Component[S], reader: Reader, snapshots: Snapshots[S], to: Position, *, keep: bool = True
) -> Mind[S]:
    """The mind after the last decision that was whole at a position; snapshots are left on the way if `keep`.

    Raises LogUnreadable, StreamDiverged.
    """
    mind = Mind(component, reader.header().cluster, lambda: Now(0))
    end = await _whole(reader, component.author, to)
    found = await snapshots.newest(reader, end)
    if found is not None:
        resume(mind, found)
    await _fold(mind, reader, snapshots if keep else None, found.record.position if found else Position(0), end)
    return mind


async def _fold(mind: Mind[S], reader: Reader, snapshots: Snapshots[S] | None, after: Position, end: Position) -> None:
    kept_n = mind.state.n
    async for records in reader.records(author=mind.component.author, after=after, to=end):
        for record in records:
            mind.remember(record)
            if snapshots is not None and mind.state.n - kept_n >= snapshot_events and mind.whole:
                await snapshots.write(snapshots.pack(mind.state, record.position, mind.prev))
                kept_n = mind.state.n


async def _whole(reader: Reader, author: Author, to: Position) -> Position:
    """The last position up to `to` that cuts no decision of the author in two: a decision lies in one piece."""
    before: list[Record] = []
    async for records in reader.records(author=author, after=max(0, to - batch_events_max), to=to):
        before += records
    for record in reversed(before):
        if _ends_decision(record):
            return record.position
    return Position(before[0].position - 1) if before else to


def _ends_decision(record: Record) -> bool:
    try:
        return decode(record.subject, record.body, record.position).last
    except Unreadable as unreadable:
        return unreadable.event.last
    except Foreign:
        return False
