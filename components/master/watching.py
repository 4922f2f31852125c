"""What the master's hands watch besides its people: the stream's room, and its own store.

Rule of this room: it says what it finds; whether that is an alarm or a checkpoint the mind decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from bus import logs
from bus.nouns import Position
from bus.port import Bus, NoAnswer
from bus.queries import Foreigners
from bus.subjects import SubjectError, parse_subject
from bus.vouching import CheckpointMade
from components.component import See
from components.master.alarms import AlarmSeen
from components.master.checkpoints import StoreStands
from components.master.config import MasterConfig
from components.master.state import Checkpoint
from eventstore.store import Reader, open_reader

log = logs.get_logger()

HEADROOM, STORE_CHAIN, FOREIGN = "stream.headroom", "store.chain", "stream.foreign"
raised_percent, cleared_percent = 80, 75
"""Of the stream's room."""
foreign_quiet_s = 3600.0
store_look_s = 1.0
checkpoint_gap_s = 5.0
"""Between two checkpoints at least, however much is said: hashing a state of 10,000 tasks takes 43 ms, of more so much
longer, and every master that stands by does it too.
"""
looked_at_max = 1000
"""Events behind a checkpoint that are looked at for something that is none; beyond them there surely is."""


async def watch_headroom(bus: Bus, interval_s: float, standing: Collection[str], see: See) -> None:
    """Say when the stream's room gets scarce, and when it is not any more. Raises StreamDiverged.

    `standing` has the names of the alarms that stand, as they are now.
    """
    while True:
        await asyncio.sleep(interval_s)
        try:
            extent = await bus.extent()
        except NoAnswer as error:
            log.info("the stream's room is looked at again", why=str(error))
            continue
        if not extent.room:
            continue
        percent = 100 * extent.size // extent.room
        if percent >= raised_percent and HEADROOM not in standing:
            await see(AlarmSeen(alarm=HEADROOM, message=headroom_message(extent.size, extent.room)))
        elif percent < cleared_percent and HEADROOM in standing:
            await see(AlarmSeen(alarm=HEADROOM))


def headroom_message(size: int, room: int) -> str:
    """What an operator reads when the stream's room gets scarce."""
    return (
        f"the stream takes {size} of {room} bytes ({100 * size // room} %): "
        "when it is full nothing more is taken. Give it more room, or `busbar store trim`"
    )


async def watch_foreign(path: str, interval_s: float, since: Position, standing: Collection[str], see: See) -> None:
    """Say when something is on the stream behind `since` that is nobody's event, and that nothing came for an hour.

    Its author's chain goes on without it; but somebody could write there. Raises StoreRefused, StoreFailed.
    """
    loop = asyncio.get_running_loop()
    told_s = loop.time()
    async with open_reader(path) as reader:
        while True:
            await asyncio.sleep(interval_s)
            found = await reader.foreigners()
            if found.position is not None and found.position > since:
                since, told_s = found.position, loop.time()
                await see(AlarmSeen(alarm=FOREIGN, message=foreign_message(found)))
            elif FOREIGN in standing and loop.time() - told_s >= foreign_quiet_s:
                await see(AlarmSeen(alarm=FOREIGN))


def foreign_message(found: Foreigners) -> str:
    """What an operator reads when somebody wrote what is nobody's event."""
    return (
        f"{found.count} message{'s' if found.count > 1 else ''} on the stream that are nobody's event; the last one is "
        f"#{found.position} {found.subject}: {found.because}. They have no effect; see `busbar store verify`, and "
        "who holds the key of that name"
    )


class StoreWatch:
    """Looks at the master's own store: it says how far it is, and whether it still is what was vouched for."""

    def __init__(self, config: MasterConfig, path: str, checkpoint: Checkpoint | None) -> None:
        self.config, self.path = config, path
        self.checkpoint = checkpoint
        """The last one."""

    def made(self, fact: CheckpointMade) -> None:
        """A checkpoint is in the log."""
        self.checkpoint = Checkpoint(fact.upto, fact.chain)

    async def run(self, standing: Collection[str], see: See) -> None:
        """Look again and again, for ever. Raises StoreRefused, StoreFailed."""
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        async with open_reader(self.path) as reader:
            while True:
                await asyncio.sleep(min(store_look_s, self.config.checkpoint_s))
                if not await self._is_as_vouched(reader, standing, see):
                    continue
                end = await reader.last()
                upto = self.checkpoint.upto if self.checkpoint else Position(0)
                since_s = loop.time() - last_s
                many = end - upto >= self.config.checkpoint_events and since_s >= checkpoint_gap_s
                due = since_s >= self.config.checkpoint_s
                if many or (due and await something_said(reader, upto, end)):
                    last_s = loop.time()
                    await self._stands(reader, end, see)

    async def _stands(self, reader: Reader, upto: Position, see: See) -> None:
        chain = await reader.chain_at(upto)
        assert chain is not None, f"{self.path}: position {upto} is the last and has no chain"
        await see(StoreStands(upto=upto, chain=chain))

    async def _is_as_vouched(self, reader: Reader, standing: Collection[str], see: See) -> bool:
        """Whether the store's running hash at the last checkpoint is the one that was stated then."""
        vouched = self.checkpoint
        if vouched is None:
            return True
        chain = await reader.chain_at(vouched.upto)
        if chain is None:
            return False  # it is not that far yet
        if chain != vouched.chain and STORE_CHAIN not in standing:
            await see(AlarmSeen(alarm=STORE_CHAIN, message=self._chain_message(vouched, chain)))
        elif chain == vouched.chain and STORE_CHAIN in standing:
            await see(AlarmSeen(alarm=STORE_CHAIN))
        return chain == vouched.chain

    def _chain_message(self, vouched: Checkpoint, chain: str) -> str:
        return (
            f"{self.path}: its running hash after position {vouched.upto} is {chain}, the checkpoint says "
            f"{vouched.chain}: no checkpoint is made until it is mended. See `busbar store verify {self.path}`"
        )


async def something_said(reader: Reader, upto: Position, end: Position) -> bool:
    """Whether anything but checkpoints, and what is said of them, lies behind a position."""
    if end - upto > looked_at_max:
        return True
    async for records in reader.records(after=upto, to=end):
        for record in records:
            try:
                if parse_subject(record.subject).noun != "checkpoint":
                    return True
            except SubjectError:
                return True
    return False
