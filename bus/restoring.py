"""A history said again, byte for byte, into a stream that is empty: each message comes to lie where it lay before.

Positions are inside the messages (`heard`, `cause`), so they must come out the same; foreign messages are said again
too, for they have a position. One fence is around the whole stream: whoever else writes meanwhile ends it.
Rule of this room: a batch is done when its last message is known to be where it must be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from bus.nouns import Position
from bus.port import (
    Bus,
    Fence,
    Fenced,
    Message,
    NoAnswer,
    OutcomeUnknown,
    Record,
    StreamDiverged,
    batch_bytes_max,
    batch_events_max,
)
from bus.subjects import everything

unknown_s = 60.0
"""How long a batch may stay unanswered."""
pause_s = 0.25


class NotEmpty(Exception):
    """The stream holds something already: a history is restored into an empty one only. Nothing was written."""


async def restore(bus: Bus, records: Iterable[Record], told: Callable[[int], None] = lambda _: None) -> Position:
    """Say a whole history again; the position of its last message. `told` is told how many more are done.

    Raises NotEmpty, StreamDiverged if a message comes to lie elsewhere or somebody else writes, OutcomeUnknown,
    StreamFull, BusClosed. The records must begin at position 1 and leave none out.
    """
    extent = await bus.extent()
    if extent.last:
        raise NotEmpty(f"the stream of cluster {bus.cluster!r} holds positions up to {extent.last} already")
    last = Position(0)
    for batch in batches(records):
        if batch[0].position != last + 1:
            raise StreamDiverged(f"position {last + 1} is missing in what is to be restored")
        last = await _said(bus, batch, last)
        told(len(batch))
    return last


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in groups that one append takes."""
    batch: list[Record] = []
    size = 0
    for record in records:
        if batch and (len(batch) == batch_events_max or size + len(record.body) > batch_bytes_max):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.body)
    if batch:
        yield batch


async def _said(bus: Bus, batch: Sequence[Record], last: Position) -> Position:
    """Append a batch behind a position, and know that it is there."""
    messages = [Message(record.subject, record.body) for record in batch]
    fence, end = Fence(everything(bus.cluster), last), batch[-1].position
    deadline = asyncio.get_running_loop().time() + unknown_s
    while True:
        try:
            found = await bus.append(messages, fence)
            break
        except Fenced:
            found = await _landed(bus, batch[-1], fence)
            if found > last:
                break
        except OutcomeUnknown:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(pause_s)
    if found != end:
        raise StreamDiverged(f"{batch[-1].subject} came to lie at position {found}, not at {end}: somebody else writes")
    return found


async def _landed(bus: Bus, last: Record, fence: Fence) -> Position:
    """Where the stream ends, if that is our batch's end or where the batch was to begin."""
    try:
        newest = await bus.last(fence.log)
    except NoAnswer:
        return fence.last
    if newest is None or newest.position <= fence.last or newest == last:
        return newest.position if newest else Position(0)
    raise StreamDiverged(f"position {newest.position} was written by somebody else")
