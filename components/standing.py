"""Reading one's own log: from its beginning, while another instance leads it, and up to the first word of the own term.

Rule of this room: nothing is used before it is verified, and nothing is folded before it is in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

from bus import codec, logs
from bus.append import append_surely, unknown_s
from bus.codec import Foreign, Unreadable
from bus.events import LeaderElected
from bus.nouns import Position
from bus.port import Bus, Fence, Fenced, NoAnswer, OutcomeUnknown, Record, StreamDiverged, StreamTrimmed
from bus.roll import roll_call
from bus.subjects import own_log, terms
from bus.vouching import CheckpointMade
from components.component import Component, S, state_hash_in_turns
from components.election import Watch
from components.garbage import no_collection
from components.instance import MASTERS, Presence, fetch
from components.keeping import Keeper
from components.logtime import LogTime
from components.mind import Clock, Decided, Mind
from eventstore.recorder import Recorder

T = TypeVar("T")
log = logs.get_logger()

rebuild_tries_max = 40
rebuild_pause_s = 0.25
leader_unknown_s = 15.0
"""How long a leader waits for the outcome of an append before it gives its term up. (nats-server: 4 to 9 s until the
stream has a leader again)"""
confirm_s = 5.5
"""How long the bus may take to say whose term it is: longer than anybody waits for an answer. (`cli.session`: 5 s)"""
confirm_pause_s = 0.25


class OwnLog(Generic[S]):
    """The log of one component, folded by one process, and its end: the fence."""

    def __init__(
        self, component: Component[S], bus: Bus, clock: Clock, chance: Callable[[], float], presence: Presence
    ) -> None:
        self.component, self.bus, self.presence = component, bus, presence
        self.mind: Mind[S] = Mind(component, bus.cluster, LogTime(clock, lambda: self.mind.state.at))
        self.log = own_log(bus.cluster, component.author)
        self.fence = Position(0)
        self.folded = Position(0)
        """Where the last event of the log is that is really this author's."""
        self._read = Position(0)
        """Up to here nothing of the log is missing, whatever else was said."""
        self.recorder: Recorder | None = None
        self.keeper: Keeper[S] | None = None
        self.singleton = component.term is LeaderElected
        self._terms = terms(bus.cluster, component.author)
        self._terms_begun = -1
        """Words of terms on the log when none was known to be newer than this instance's."""
        self._chance = chance
        self._watch = Watch(bus, component.author, chance)
        presence.state = self.mind.state

    async def rebuild(self) -> None:
        """Fold the own log: from the newest snapshot on what the store has from there, the rest from the stream.

        A store of the whole stream is brought up to its head before anything of it is used: everything is verified.
        """
        if self.recorder is not None:
            if self.recorder.whole:
                await self._catch_up(self.recorder)
            if self.keeper is not None:
                self.fence = self.folded = await self.keeper.resume()
                self.presence.state = self.mind.state
            with no_collection():
                async for records in self.recorder.recorded(self.component.author, after=self.fence):
                    self._remember(records)
        await self._read_to_head()
        await self.keep()

    async def _catch_up(self, recorder: Recorder) -> None:
        newest = await self.bus.last(recorder.log)
        end = newest.position if newest else Position(0)
        while recorder.writer.last < end:
            try:
                await recorder.copy(end)
            except StreamTrimmed as trimmed:
                log.info("history from a peer", after=recorder.writer.last, first=trimmed.first)
                records = await fetch(self.bus, after=recorder.writer.last, author=None, besides=self.presence.instance)
                if not records:
                    raise StreamDiverged(f"{trimmed}, and no other master has what was trimmed") from None
                await recorder.store(records)

    async def _read_to_head(self) -> None:
        """Fold what the stream has more, up to the end of a decision. Raises StreamDiverged, NoAnswer."""
        for _ in range(rebuild_tries_max):
            known = (await self.bus.extent()).last
            newest = await self.bus.last(self.log)
            end = newest.position if newest else Position(0)
            if end < self.fence:
                raise StreamDiverged(f"{self.log}: the store knows position {self.fence}, the stream ends at {end}")
            await self._read_until(end)
            self._read = max(known, self.fence)
            if self.mind.whole:
                await self._check_torn()
                return self._show()
            await asyncio.sleep(rebuild_pause_s)  # the stream is just applying a batch: its end is on the way
        raise StreamDiverged(f"{self.log}: the stream ends in the middle of a decision, at position {self.fence}")

    async def _check_torn(self) -> None:
        """Whether what lies behind the last event of the log, and does not extend it, was forged. Who has the key can
        make any chain; what masters stored as it was said, it cannot change. Raises StreamDiverged if an event is
        missing, NoAnswer if nobody can tell.
        """
        if self.mind.torn is None:
            return
        author, after = self.component.author, self.folded
        told = f"#{self.mind.torn} is far beyond event {self.mind.state.n} of {author}"
        if author != MASTERS and not await roll_call(self.bus, MASTERS):
            raise NoAnswer(f"{told}, and no master is there to tell whether any before it are missing")
        while records := await fetch(self.bus, after=after, author=author, besides=self.presence.instance):
            for record in records:
                if self._extends(record):
                    raise StreamDiverged(f"{told}, and a master has #{record.position} between them")
            after = records[-1].position
        log.error("forged events on my log: who else has the key?", position=self.mind.torn)

    def _extends(self, record: Record) -> bool:
        try:
            return self.mind.extends(codec.decode(record.subject, record.body, record.position))
        except Unreadable as unreadable:
            return self.mind.extends(unreadable.event)
        except Foreign:
            return False

    async def _read_until(self, end: Position) -> None:
        while self.fence < end:
            try:
                await self._read_on(end)
            except StreamTrimmed as trimmed:
                author = self.component.author
                records = await fetch(self.bus, after=self.fence, author=author, besides=self.presence.instance)
                if not records:
                    raise StreamDiverged(f"{trimmed}, and no master has what was trimmed of {self.log}") from None
                self._remember(records)

    async def _read_on(self, end: Position) -> None:
        async with aclosing(self.bus.follow(self.log, after=self.fence)) as groups:
            async for records in groups:
                self._remember(records)
                if self.fence >= end:
                    return

    def _remember(self, records: Sequence[Record]) -> None:
        for record in records:
            before = self.mind.prev
            self.mind.remember(record)
            self.fence = self.presence.position = record.position
            if self.mind.prev is not before:
                self.folded = record.position
        if self.mind.resigned:
            self._watch.resigned.set()
        else:
            self._watch.resigned.clear()

    async def stand_by(self) -> None:
        """Fold what the leader says until nobody leads; then begin the own term."""
        self._remember([])
        self.presence.stands_by()
        fresh = False
        while True:
            epoch = self.mind.state.epoch
            why = await _beside(self._read_term(epoch), self._watch.until_leaderless(fresh=fresh))
            if why is not None and await self._campaign(epoch, why):
                return
            fresh = self.mind.state.epoch != epoch

    async def _read_term(self, epoch: int) -> None:
        """Fold the own log as it grows, until another term begins."""
        async with aclosing(self.bus.follow(self.log, after=max(self._read, self.fence))) as groups:
            async for records in groups:
                for record in records:
                    checkpoint = self._checkpoint(record)
                    before = await state_hash_in_turns(self.mind.state) if checkpoint else ""
                    self._remember([record])
                    self._show()
                    if checkpoint:
                        await self._bear_witness(record, before)
                await self.keep()
                if self.mind.state.epoch != epoch:
                    return

    def _show(self) -> None:
        """Everything the log has is folded: whoever shows something of it to the world may do so."""
        if self.component.projection is not None and self.mind.whole:
            self.component.projection(self.mind.state)

    async def keep(self) -> None:
        """Take a snapshot if one is due. Everything that is folded must be in the log, and nobody folds meanwhile."""
        if self.keeper is not None and self.keeper.due and self.mind.whole:
            await self.keeper.take(self.folded)

    def _checkpoint(self, record: Record) -> bool:
        return self.component.witness is not None and f".{CheckpointMade.type}." in record.subject

    async def _bear_witness(self, record: Record, before: str) -> None:
        """Compare what this instance holds with the leader's checkpoint, once its own store is that far."""
        event = codec.decode(record.subject, record.body, record.position)
        if self.component.witness is None or self.recorder is None or not isinstance(event.fact, CheckpointMade):
            return
        chain = await self.recorder.chain_at(event.fact.upto)
        await self.component.witness.check(event, before, chain)

    async def _campaign(self, epoch: int, why: str) -> bool:
        """Try to begin a term after that of `epoch`: whether this instance leads now."""
        try:
            await self._read_to_head()
            if self.mind.state.epoch != epoch:
                return False  # another one was faster
            await self.begin_term()
        except (Fenced, NoAnswer, OutcomeUnknown) as error:
            log.info("not elected", by=str(self.component.author), why=str(error))
            return False
        log.info("leads", by=str(self.component.author), because=why, epoch=self.mind.state.epoch)
        return True

    async def begin_term(self) -> None:
        """Own the log: append the term's first event under the fence, then fold it."""
        decided = self.mind.begin(self.presence.node, self.presence.instance)
        await self.append(decided)
        [message] = decided.messages
        self._remember([Record(self.fence, message.subject, message.body)])
        state = self.mind.state
        log.info("term begun", by=str(self.component.author), epoch=state.epoch, n=state.n, position=self.fence)

    async def superseded(self) -> bool:
        """Whether another term has begun after this one. Raises NoAnswer if the bus does not tell.

        As long as there are no more words of terms than when this was looked at closely, none has.
        """
        begun = await self._surely(lambda: self.bus.count(self._terms))
        if begun == self._terms_begun:
            return False
        newest = await self._surely(lambda: self.bus.last(self.log))
        if newest is not None and newest.position > self.fence and _epoch(newest) > self.mind.state.epoch:
            return True
        self._terms_begun = begun
        return False

    async def _surely(self, look: Callable[[], Awaitable[T]]) -> T:
        """What the bus tells of the log, within the time that somebody waits for an answer. Raises NoAnswer."""
        try:
            async with asyncio.timeout(confirm_s):
                while True:
                    with suppress(NoAnswer):
                        return await look()
                    await asyncio.sleep(confirm_pause_s)
        except TimeoutError:
            raise NoAnswer(f"{self.log}: its end is not known for {confirm_s:g} s") from None

    async def append(self, decided: Decided) -> None:
        """Publish behind what is folded. Raises Fenced, OutcomeUnknown."""
        within_s = leader_unknown_s if self.singleton else unknown_s
        fence = Fence(self.log, self.fence)
        self.fence = await append_surely(self.bus, decided.messages, fence, within_s=within_s, chance=self._chance)
        self.folded = self.presence.position = self.fence


def _epoch(record: Record) -> int:
    """Of which term a message of a log is; 0 for what is nobody's event."""
    try:
        return codec.decode(record.subject, record.body, record.position).epoch
    except Unreadable as unreadable:
        return unreadable.event.epoch
    except Foreign:
        return 0


async def _beside(reading: Coroutine[Any, Any, None], waiting: Coroutine[Any, Any, str]) -> str | None:
    """The outcome of `waiting`, with `reading` going on meanwhile; None if the reading ended first."""
    reader, waiter = asyncio.ensure_future(reading), asyncio.ensure_future(waiting)
    try:
        await asyncio.wait({reader, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if reader.done():
            reader.result()
            return None
        return await waiter
    finally:
        for task in (reader, waiter):
            task.cancel()
        await asyncio.gather(reader, waiter, return_exceptions=True)
