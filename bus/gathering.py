"""Reading for whoever is in no hurry: what comes is given in groups that are worth a commit.

Rule of this room: a group that has begun ends in a bounded time, and nobody is woken for each message of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from bus.nouns import Position
from bus.port import Gather, NoAnswer, Record
from bus.pulling import Pull, batch_messages
from bus.stream import Stream

at_hand_s = 0.01
"""What has come and is not given by then is not there."""


class Gathering(Pull):
    """Asked for one message, and from then on each pause for all that there is by then.

    A message that is handed to a reader at once costs the server and the reader as much as its addressee, and the same
    two cores. Behind a group that was full it is as `Pull`: what comes is buffered while the group is stored.
    """

    def __init__(self, stream: Stream, log: str, after: Position, gather: Gather) -> None:
        super().__init__(stream, log, after)
        self._gather, self._full = gather, False

    async def next(self) -> Sequence[Record] | None:
        """A group; None if a new consumer must be made. Raises StreamDiverged."""
        first = await super().next()
        if first is None:
            return None
        loop, records = asyncio.get_running_loop(), list(first)
        late = loop.time() + self._gather.within_s
        while len(records) < self._gather.enough and loop.time() < late:
            await asyncio.sleep(self._gather.pause_s)
            more = await self._there()
            if not more:
                break
            records += more
        self._full = len(records) >= self._gather.enough
        return records

    @property
    def _batch(self) -> int:
        return batch_messages if self._full else 1

    def _is_open(self) -> bool:
        return self._open > 0

    async def _there(self) -> list[Record]:
        """What is there by now; less if the consumer or the link is gone, which the next call finds."""
        records = self._take()  # and the word that the last request is over
        if self._is_open():
            return records  # one for many is not
        try:
            await self._ask(batch_messages, {"no_wait": True})
        except NoAnswer:
            return records
        while self._is_open() and not self._broken and self._links == self._link.links:
            if not await self._wait():
                self._broken = True
            records += self._take()
        return records


async def gathered(
    groups: AsyncGenerator[Sequence[Record], None], gather: Gather
) -> AsyncGenerator[Sequence[Record], None]:
    """The same of what is followed and comes by itself."""
    time, coming = asyncio.get_running_loop().time, asyncio.ensure_future(anext(groups))
    async with aclosing(groups):
        try:
            while True:
                records, late, none = list(await coming), time() + gather.within_s, False
                while not none and len(records) < gather.enough and time() < late:
                    await asyncio.sleep(gather.pause_s)
                    coming = asyncio.ensure_future(anext(groups))
                    await asyncio.wait({coming}, timeout=at_hand_s)
                    none = not coming.done()
                    records += [] if none else coming.result()
                yield records
                if not none:  # else what was waited for in vain may have come meanwhile, and begins the next group
                    coming = asyncio.ensure_future(anext(groups))
        finally:
            coming.cancel()
            await asyncio.wait({coming})
