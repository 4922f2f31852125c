"""The one loop that runs every component.

    rebuild ─► term ─► ( hear ─► decide ─► fold ─► append ─► hands )*

Rule of this room: a decision is folded at once, but nobody outside sees it before its append is acknowledged. When
anything is in doubt the process ends and the next one rebuilds from the log.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Generic

import msgspec
import structlog

from bus import codec, queries
from bus.append import append_surely
from bus.codec import Foreign, Unreadable
from bus.nouns import Now, Position, second
from bus.port import Answerer, Bus, Fence, Record, StreamDiverged
from bus.subjects import Kind, ask, inbox, own_log, ping
from components.component import Ask, Component, Hands, Heard, Input, Query, S, Seen, Sight, Wake, state_hash
from components.mind import Clock, Decided, Mind
from components.outbox import Outbox
from eventstore.recorder import Recorder, open_recorder

log = structlog.get_logger()

inputs_waiting_max = 1024
"""Groups of heard events and sights that wait for the mind."""
decisions_in_a_row_max = 64
"""Decisions before others on the event loop get a turn."""
rebuild_tries_max = 40
rebuild_pause_s = 0.25
farewell_s = 2.0
"""How long a clean stop waits for what is decided to reach the stream."""
_NOT_ANSWERED = (queries.QueryRefused, msgspec.DecodeError, UnicodeDecodeError)
"""What a question may bring about: nobody's fault but the asker's."""


def system_clock() -> Now:
    """The wall clock of this host."""
    return Now(time.time_ns() // 1000)


class _Life(Generic[S]):
    """One process's term on one log."""

    def __init__(self, component: Component[S], bus: Bus, clock: Clock, node: str, instance: str) -> None:
        self.component, self.bus, self.node, self.instance = component, bus, node, instance
        self.mind = Mind(component, bus.cluster, clock)
        self.log = own_log(bus.cluster, component.author)
        self.fence = Position(0)
        self.outbox = Outbox()
        self.inputs: asyncio.Queue[Input | Sequence[Record]] = asyncio.Queue(inputs_waiting_max)
        self.hands: Hands[S] | None = None
        self.started_at = clock()

    async def rebuild(self, recorder: Recorder | None) -> None:
        """Fold the own log: what the store has from there, the rest from the stream."""
        if recorder is not None:
            async for records in recorder.recorded(self.component.author):
                self._remember(records)
        for _ in range(rebuild_tries_max):
            newest = await self.bus.last(self.log)
            end = newest.position if newest else Position(0)
            if end < self.fence:
                raise StreamDiverged(f"{self.log}: the store knows position {self.fence}, the stream ends at {end}")
            await self._read_until(end)
            if self.mind.whole:
                return
            await asyncio.sleep(rebuild_pause_s)  # the stream is just applying a batch: its end is on the way
        raise StreamDiverged(f"{self.log}: the stream ends in the middle of a decision, at position {self.fence}")

    async def _read_until(self, end: Position) -> None:
        if self.fence >= end:
            return
        async with aclosing(self.bus.follow(self.log, after=self.fence)) as groups:
            async for records in groups:
                self._remember(records)
                if self.fence >= end:
                    return

    def _remember(self, records: Sequence[Record]) -> None:
        for record in records:
            self.mind.remember(record)
            self.fence = record.position

    async def begin_term(self) -> None:
        """Own the log: append the term's first event under the fence."""
        decided = self.mind.begin(self.node, self.instance)
        await self._append(decided)
        self.outbox.sent_n = decided.events[-1].n
        state = self.mind.state
        log.info("term begun", by=str(self.component.author), epoch=state.epoch, n=state.n, position=self.fence)

    async def _append(self, decided: Decided) -> None:
        self.fence = await append_surely(self.bus, decided.messages, Fence(self.log, self.fence))

    async def run(self, group: asyncio.TaskGroup, stop: asyncio.Event, ready: Callable[[], None] | None) -> None:
        """Start everything that lives as long as the term."""
        if self.component.hands is not None:
            self.hands = self.component.hands()
            group.create_task(self.hands.run(self.mind.state, self.see))
            await asyncio.sleep(0)  # the hands read the state now, before the next event changes it
        await self.serve()
        thinking = group.create_task(self.think())
        group.create_task(self.hear())
        group.create_task(self.write())
        group.create_task(self._stop(stop, thinking))
        if ready is not None:
            ready()

    async def _stop(self, stop: asyncio.Event, thinking: asyncio.Task[None]) -> None:
        await stop.wait()
        thinking.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(farewell_s):
                await self.outbox.wait_sent(self.mind.state.n)
        raise _Stopped

    async def hear(self) -> None:
        """Take the inbox from the last decided input on."""
        where = inbox(self.bus.cluster, self.component.author.id)
        async with aclosing(self.bus.follow(where, after=self.mind.heard)) as groups:
            async for records in groups:
                await self.inputs.put(records)

    async def see(self, sight: Sight) -> None:
        """Take an observation of the hands."""
        await self.inputs.put(Seen(sight))

    async def think(self) -> None:
        """Decide on inputs as they come and on time as it passes."""
        waiting: deque[Input | Record] = deque()
        in_a_row = 0
        while True:
            while self._wake_due():
                self._wake()
                await self.outbox.room()
            if waiting:
                self._take(waiting.popleft())
            elif not await self._await_input(waiting):
                continue
            in_a_row = (in_a_row + 1) % decisions_in_a_row_max
            if in_a_row == 0:
                await asyncio.sleep(0)
            await self.outbox.room()

    def _wake_due(self) -> bool:
        due = self.component.wake_at(self.mind.state)
        return due is not None and due <= self.mind.now()

    def _wake(self) -> None:
        before = self.component.wake_at(self.mind.state)
        decided = self.mind.decide(Wake())
        assert decided or self.component.wake_at(self.mind.state) != before, f"woken at {before} for nothing"
        if decided:
            self.outbox.put(decided)

    async def _await_input(self, waiting: deque[Input | Record]) -> bool:
        due = self.component.wake_at(self.mind.state)
        try:
            async with asyncio.timeout(None if due is None else (due - self.mind.now()) / second):
                told = await self.inputs.get()
        except TimeoutError:
            return False
        if isinstance(told, Heard | Seen | Wake):
            waiting.append(told)
        else:
            waiting.extend(told)
        return True

    def _take(self, told: Input | Record) -> None:
        decided = self._hear(told) if isinstance(told, Record) else self.mind.decide(told)
        if decided:
            self.outbox.put(decided)

    def _hear(self, record: Record) -> Decided | None:
        try:
            event = codec.decode(record.subject, record.body, record.position)
        except Foreign as foreign:
            log.error("foreign message in my inbox", position=record.position, why=str(foreign))
            return None
        except Unreadable as unreadable:
            log.error("unreadable event in my inbox", position=record.position, why=str(unreadable))
            return self.mind.complain(unreadable)
        return self.mind.decide(Heard(event))

    async def write(self) -> None:
        """Append what was decided, one batch at a time; then the hands may act on it."""
        while True:
            decided = await self.outbox.take()
            await self._append(decided)
            await self.outbox.sent(decided)
            first = self.fence - len(decided.events) + 1
            log.debug("appended", events=len(decided.events), position=self.fence, cause=decided.events[0].cause)
            if self.hands:
                for index, event in enumerate(decided.events):
                    self.hands.act(msgspec.structs.replace(event, position=Position(first + index)))

    async def serve(self) -> None:
        """Answer pings and questions."""
        author, cluster = self.component.author, self.bus.cluster
        for name, query in self.component.queries.items():
            await self.bus.serve(ask(cluster, author, name), self._answerer(query))
        await self.bus.serve(ask(cluster, author, "summary"), self._answerer(self._summary))
        for name, look in (self.hands.asks if self.hands else {}).items():
            await self.bus.serve(ask(cluster, author, name), _looker(look))
        await self.bus.serve(ping(cluster, author), self._pong)

    def _answerer(self, query: Query) -> Answerer:
        async def answer(question: bytes) -> bytes:
            try:
                content = queries.answer_ok(query(self.mind.state, question, self.mind.now()))
            except _NOT_ANSWERED as error:
                return queries.answer_refused(str(error))
            await self.outbox.wait_sent(self.mind.state.n)
            return content

        return answer

    async def _pong(self, _question: bytes) -> bytes:
        return queries.pack(self.mind.state.epoch)

    def _summary(self, state: S, _question: bytes, _now: Now) -> queries.Summary:
        return queries.Summary(
            by=str(self.component.author),
            node=self.node,
            instance=self.instance,
            epoch=state.epoch,
            n=state.n,
            position=self.fence,
            heard=state.heard,
            state_hash=state_hash(state),
            pid=os.getpid(),
            rss_kb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            started_at=self.started_at,
        )


def _looker(look: Ask) -> Answerer:
    async def answer(question: bytes) -> bytes:
        try:
            return queries.answer_ok(await look(question))
        except _NOT_ANSWERED as error:
            return queries.answer_refused(str(error))

    return answer


class _Stopped(Exception):
    """A clean stop was asked for."""


async def live(
    component: Component[S],
    bus: Bus,
    *,
    node: str,
    instance: str,
    store: str | None,
    stop: asyncio.Event,
    ready: Callable[[], None] | None = None,
    clock: Clock = system_clock,
) -> None:
    """Run a component until `stop` is set.

    Raises Fenced if another instance owns the log, StreamDiverged or StoreDiverged if stream and store disagree,
    LogUnreadable for a log of a newer release, OutcomeUnknown or BusClosed when the bus is lost, and whatever the
    hands raise: in each case the process must end; the next one rebuilds.
    """
    async with AsyncExitStack() as stack:
        recorder = None
        if store is not None:
            whole = component.author.kind is Kind.MASTER
            recorder = await stack.enter_async_context(open_recorder(store, bus, None if whole else component.author))
        life = _Life(component, bus, clock, node, instance)
        await life.rebuild(recorder)
        await life.begin_term()
        try:
            async with asyncio.TaskGroup() as group:
                if recorder is not None:
                    group.create_task(recorder.run())
                await life.run(group, stop, ready)
        except BaseExceptionGroup as several:
            error = _first(several)
            if not isinstance(error, _Stopped):
                raise error from several


def _first(error: BaseException) -> BaseException:
    """The first thing that went wrong; a stop only if nothing did."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [_first(inner) for inner in error.exceptions]
    return next((leaf for leaf in leaves if not isinstance(leaf, _Stopped)), leaves[0])
