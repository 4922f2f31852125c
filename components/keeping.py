"""When a running component's state is written down: never before the stream and its own store have the last event.

Rule of this room: taking a state stops the mind for as long as it takes to encode it, and nobody else on the loop;
writing it stops nobody.
"""

from __future__ import annotations

import asyncio
from typing import Generic

from bus import logs
from bus.nouns import Position
from components.component import S
from components.mind import Mind
from components.snapshots import Packed, Snapshots, resume, snapshot_events, snapshots_of
from eventstore.recorder import Recorder

log = logs.get_logger()

farewell_events = 1000
"""At a clean stop a snapshot is worth it for so many events."""
farewell_s = 3.0
"""How long a clean stop waits for it."""
pause_s = 0.05


class Keeper(Generic[S]):
    """The snapshots of one living mind, beside its store."""

    def __init__(self, mind: Mind[S], recorder: Recorder, store: str) -> None:
        self.mind, self.recorder = mind, recorder
        self.snapshots = Snapshots(mind.component, snapshots_of(store))
        self.kept_n = 0
        """The number of the last event in the newest snapshot."""
        self._taken: asyncio.Queue[Packed] = asyncio.Queue(1)

    async def resume(self) -> Position:
        """Let the mind go on from the newest snapshot; where that is, 0 if there is none."""
        found = await self.snapshots.newest(self.recorder.reader)
        if found is None:
            return Position(0)
        resume(self.mind, found)
        self.kept_n = found.state.n
        log.info("snapshot read", by=str(self.mind.component.author), n=self.kept_n, position=found.record.position)
        return found.record.position

    @property
    def due(self) -> bool:
        """Whether the newest snapshot is old enough for another one, and none waits to be written."""
        return self._new >= snapshot_events and self._taken.empty()

    @property
    def _new(self) -> int:
        return self.mind.state.n - self.kept_n

    async def take(self, position: Position) -> None:
        """Take the state as it is now. All of it must be in the log, its last event at `position`; if more is folded
        before all of it is taken, nothing is."""
        self._check()
        n = self.mind.state.n
        taken = await self.snapshots.pack_in_turns(self.mind.state, position, self.mind.prev)
        if taken is not None:
            self.kept_n = n
            self._taken.put_nowait(taken)

    def _check(self) -> None:
        assert self.mind.whole, f"{self.mind.component.author}: a snapshot in the middle of a decision"

    async def run(self) -> None:
        """Write what is taken, until cancelled."""
        while True:
            await self._write(await self._taken.get())

    async def _write(self, packed: Packed) -> None:
        while self.recorder.writer.last < packed.position:
            await asyncio.sleep(pause_s)
        await self.snapshots.write(packed)

    async def bid_farewell(self, position: Position) -> None:
        """A last snapshot, if it saves the next start some work. Everything must be in the log, as for `take`."""
        if self._new <= farewell_events:
            return
        try:
            self._check()
            async with asyncio.timeout(farewell_s):
                await self._write(self.snapshots.pack(self.mind.state, position, self.mind.prev))
        except TimeoutError:
            log.warning("no last snapshot", by=str(self.mind.component.author), why="the store is behind")
