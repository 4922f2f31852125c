"""What the master does in the world: it pings agents and frameworks, and looks into its store when asked.

Rule of this room: it counts what is missed and remembers nothing the log does not say; the verdict is the mind's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import msgspec

from bus.events import AgentAdmitted, AgentMarked, Event, FrameworkAdmitted, FrameworkDisconnected, FrameworkReconnected
from bus.keyring import Founder
from bus.nouns import MASTER, Position, TaskId
from bus.port import Bus, NoAnswer, NobodyThere
from bus.queries import CountsRow, Foreigners, HistoryQuestion, HistoryRow, QueryRefused, Trace
from bus.subjects import Author, Kind, everything, ping
from bus.vouching import AlarmCleared, AlarmRaised, CheckpointMade
from components.component import Ask, See
from components.master.alarms import AlarmSeen
from components.master.config import MasterConfig
from components.master.decide import PingsMissed
from components.master.gate import Gate
from components.master.identities import FounderSeen
from components.master.limits import REMOVALS
from components.master.secrets import LOST, lost_message
from components.master.state import MasterState
from components.master.watching import StoreWatch, watch_foreign, watch_headroom
from eventstore.errors import StoreFailed, StoreRefused, UnknownTask
from eventstore.selection import position_max
from eventstore.store import Reader, open_reader

MYSELF = Author(Kind.MASTER, MASTER)
pings_at_once_max = 1000
pings_in_a_row_max = 100
"""Pings that are begun before others on the event loop get a turn."""
catch_up_s = 2.0
catch_up_pause_s = 0.01
history_rows_max = 1000
history_bytes_max = 400_000
"""Bodies in one answer, but for a single one that is larger: an event is half a message at most."""


@dataclass(slots=True)
class _Watched:
    """One who is to answer pings since event `since_n` of the master's."""

    since_n: int
    answered: bool = False
    """Whether it has, ever since."""
    missed: int = 0


class MasterHands:
    """The hands of one master in one term. `store` is the file its events are recorded in, if they are.

    `past` answers questions about the past, if anybody here can.
    """

    def __init__(
        self,
        config: MasterConfig,
        bus: Bus,
        store: str | None,
        past: Ask | None = None,
        gate: Gate | None = None,
        founders: Sequence[Founder] = (),
    ) -> None:
        self.config, self.bus, self.store = config, bus, store
        self.gate, self.founders = gate, founders
        self.asks: Mapping[str, Ask] = {
            "history": self.history,
            "trace": self.trace,
            "counts": self.counts,
            "foreign": self.foreign,
            **({"past": past} if past is not None else {}),
        }
        self._watched: dict[Author, _Watched] = {}
        self._alarms: set[str] = set()
        """The names of those that stand."""
        self._lost: str | None = None
        self._store_watch: StoreWatch | None = None
        self._turns = asyncio.Semaphore(pings_at_once_max)

    async def run(self, state: MasterState, see: See) -> None:
        """Ping everybody at each interval, and watch the stream's room and the store, for ever."""
        self._recall(state)
        await self._found(state, see)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell_lost(see))
            group.create_task(self._ping(see))
            group.create_task(watch_headroom(self.bus, self.config.watch_interval_s, self._alarms, see))
            if self._store_watch is not None and self.store is not None:
                group.create_task(self._store_watch.run(self._alarms, see))
                since = self._store_watch.checkpoint.upto if self._store_watch.checkpoint else Position(0)
                look_s = self.config.watch_interval_s
                group.create_task(watch_foreign(self.store, look_s, since, self._alarms, see))

    async def _found(self, state: MasterState, see: See) -> None:
        """Say who was there from the beginning, unless the log says it."""
        new = [one for one in self.founders if one.public not in state.identities]
        for one in new:
            await see(FounderSeen(name=one.name, role=one.role, public=one.public, agent=one.agent))

    async def _tell_lost(self, see: See) -> None:
        """Say which secrets nobody can open with the key this master was started with."""
        if self._lost is not None or LOST in self._alarms:
            await see(AlarmSeen(alarm=LOST, message=self._lost))

    def _recall(self, state: MasterState) -> None:
        self._alarms.update(state.alarms)
        if self.gate is not None:
            self.gate.show(state)
        self._lost = lost_message(self.config, state)
        if self.store is not None:
            self._store_watch = StoreWatch(self.config, self.store, state.checkpoint)
        for agent in state.agents.values():
            if agent.active:
                self._watched[Author(Kind.AGENT, agent.agent)] = _Watched(agent.admitted_n)
        for framework in state.frameworks.values():
            if framework.connected:
                self._watched[Author(Kind.FRAMEWORK, framework.framework)] = _Watched(
                    framework.connected_n, answered=False
                )

    async def _ping(self, see: See) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            await asyncio.sleep(begun + self.config.ping_interval_s - loop.time())
            begun = loop.time()
            await self._round(see)

    def act(self, event: Event) -> None:
        """Watch who is admitted or back, leave alone who is known to be away; know what is alarmed and vouched for."""
        if self.gate is not None:
            self.gate.told(event)
        match event.fact:
            case AgentAdmitted(agent=agent):
                self._watched[Author(Kind.AGENT, agent)] = _Watched(event.n, answered=True)
            case AgentMarked(agent=agent):
                self._watched.pop(Author(Kind.AGENT, agent), None)
            case FrameworkAdmitted(framework=framework) | FrameworkReconnected(framework=framework):
                self._watched[Author(Kind.FRAMEWORK, framework)] = _Watched(event.n, answered=True)
            case FrameworkDisconnected(framework=framework):
                self._watched.pop(Author(Kind.FRAMEWORK, framework), None)
            case AlarmRaised(alarm=alarm):
                self._alarms.add(alarm)
            case AlarmCleared(alarm=alarm):
                self._alarms.discard(alarm)
            case CheckpointMade() as fact if self._store_watch is not None:
                self._store_watch.made(fact)

    async def _round(self, see: See) -> None:
        """Ping everybody once. What a bus that is down keeps from the master is nobody's silence."""
        async with asyncio.TaskGroup() as group:
            pings = []
            for author, watched in list(self._watched.items()):
                pings.append((watched, group.create_task(self._answers(author))))
                if len(pings) % pings_in_a_row_max == 0:
                    await asyncio.sleep(0)
        if not all(answered.result() for _, answered in pings) and not await self._bus_answers():
            return
        for watched, answered in pings:
            watched.missed = 0 if answered.result() else watched.missed + 1
            watched.answered = watched.answered or answered.result()
        await self._tell(see)

    async def _tell(self, see: See) -> None:
        """Say who is silent: after so many pings, and after so many more, as long as nobody is marked for it."""
        most = self.config.pings_missed_max
        silent = {author: one for author, one in self._watched.items() if one.missed >= most}
        agents = [one for author, one in silent.items() if author.kind is Kind.AGENT]
        unheard = sum(not one.answered for one in agents)
        for author, one in silent.items():
            if one.missed % most == 0:
                among = unheard if author.kind is Kind.AGENT and not one.answered else 0
                told = PingsMissed(
                    kind=author.kind, id=author.id, since_n=one.since_n, missed=one.missed, unheard=among
                )
                await see(told)
        if not agents and REMOVALS in self._alarms:
            await see(AlarmSeen(alarm=REMOVALS))

    async def _answers(self, author: Author) -> bool:
        async with self._turns:
            try:
                await self.bus.query(ping(self.bus.cluster, author), b"", timeout_s=self.config.ping_interval_s)
            except (NobodyThere, NoAnswer):
                return False
            return True

    async def _bus_answers(self) -> bool:
        """Whether the bus carries a ping to the master itself, or says that nobody takes it."""
        try:
            await self.bus.query(ping(self.bus.cluster, MYSELF), b"", timeout_s=self.config.ping_interval_s)
        except NobodyThere:
            return True
        except NoAnswer:
            return False
        return True

    # ---- questions to the store

    async def history(self, question: bytes) -> list[HistoryRow]:
        """The events that mention a thing. A page may have fewer rows than asked for; the end is an empty one."""
        asked = msgspec.msgpack.decode(question, type=HistoryQuestion)
        limit = max(1, min(asked.limit, history_rows_max))
        after = min(asked.after, position_max)
        async with self._reader() as reader:
            records = await reader.mentions(asked.noun, asked.id, after=after, limit=limit)
        rows: list[HistoryRow] = []
        room = history_bytes_max
        for record in records:
            room -= len(record.body)
            if rows and room < 0:
                break
            rows.append(HistoryRow(position=record.position, subject=record.subject, body=record.body))
        return rows

    async def trace(self, question: bytes) -> Trace:
        """The twelve steps of a task, by its id."""
        task = TaskId(msgspec.msgpack.decode(question, type=str))
        async with self._reader() as reader:
            try:
                return await reader.trace(task)
            except UnknownTask as unknown:
                raise QueryRefused(str(unknown)) from None

    async def counts(self, _question: bytes) -> list[CountsRow]:
        """How many events of each type each kind of author wrote."""
        async with self._reader() as reader:
            return await reader.counts()

    async def foreign(self, _question: bytes) -> Foreigners:
        """What is on the stream and nobody's event."""
        async with self._reader() as reader:
            return await reader.foreigners()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Reader]:
        if self.store is None:
            raise QueryRefused("this master records its events nowhere: it has no history to tell")
        try:
            async with open_reader(self.store) as reader:
                await self._catch_up(reader)
                yield reader
        except (StoreRefused, StoreFailed, NoAnswer) as error:
            raise QueryRefused(str(error)) from None

    async def _catch_up(self, reader: Reader) -> None:
        """Wait, for a bounded time, until the store has what was in the stream when it was asked."""
        newest = await self.bus.last(everything(self.bus.cluster))
        end = newest.position if newest else 0
        with suppress(TimeoutError):
            async with asyncio.timeout(catch_up_s):
                while await reader.last() < end:
                    await asyncio.sleep(catch_up_pause_s)
