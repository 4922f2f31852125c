"""The one loop that runs every component.

    rebuild ─► stand by ─► term ─► ( hear ─► decide ─► fold ─► append ─► hands )*

Rule of this room: a decision is folded at once, but nobody outside sees it before its append is acknowledged. When
anything is in doubt the process ends and the next one rebuilds from the log.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, suppress
from functools import partial
from typing import Generic

import msgspec

from bus import codec, logs, queries
from bus.codec import Foreign, Unreadable
from bus.events import LeaderElected, LeaderResigned, LogKept
from bus.nouns import Now, Position, second
from bus.port import Answerer, Bus, Fenced, NoAnswer, Record, StreamDiverged
from bus.services import ResignationGranted
from bus.subjects import Author, Kind, ask, inbox, ping, terms
from components.component import (
    Ask,
    Component,
    Hands,
    Heard,
    Input,
    Query,
    S,
    Seen,
    Sight,
    Wake,
    state_hash,
    state_hash_in_turns,
)
from components.instance import Presence
from components.keeping import Keeper
from components.mind import Clock, Decided
from components.outbox import Outbox
from components.standing import OwnLog
from eventstore.errors import StoreDiverged, StoreGap
from eventstore.recorder import Recorder, open_recorder

log = logs.get_logger()

inputs_waiting_max = 1024
"""Groups of heard events and sights that wait for the mind."""
decisions_in_a_row_max = 64
"""Decisions before others on the event loop get a turn."""
turns_between = 4
"""Turns of the event loop between decisions that are due at once: what a decision kept waiting is late by that one
only. (In the first a socket is read, in the second its reader wakes, in the third who waits for that one)"""
clock_look_s = 60.0
"""Between two looks at the clock while nothing happens: it may have been set, or the host slept."""
farewell_s = 2.0
"""How long a clean stop waits for what is decided to reach the stream."""
kept_look_s = 600.0
kept_behind_max = 10_000
"""Positions behind the newest, above which a quiet owner says that it has heard everything: `log.kept`."""
_NOT_ANSWERED = (queries.QueryRefused, msgspec.DecodeError, UnicodeDecodeError)
"""What a question may bring about: nobody's fault but the asker's."""


def system_clock() -> Now:
    """The wall clock of this host."""
    return Now(time.time_ns() // 1000)


class _Life(Generic[S]):
    """One process's term on one log."""

    def __init__(self, own: OwnLog[S], bus: Bus) -> None:
        self.own, self.bus, self.presence = own, bus, own.presence
        self.component, self.mind = own.component, own.mind
        self.node, self.instance = self.presence.node, self.presence.instance
        self.outbox = Outbox()
        self.inputs: asyncio.Queue[Input | Sequence[Record]] = asyncio.Queue(inputs_waiting_max)
        self.hands: Hands[S] | None = None
        self.resigned = asyncio.Event()
        self._thinking: asyncio.Task[None] | None = None
        self._yielding: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: Now | None = None
        """What the alarm is set to."""

    async def lead(self, group: asyncio.TaskGroup, ready: Callable[[], None] | None) -> None:
        """Start everything that lives as long as the term."""
        self.outbox.sent_n = self.mind.state.n
        if self.component.hands is not None:
            self.hands = self.component.hands()
            group.create_task(self.hands.run(self.mind.state, self.see))
            await asyncio.sleep(0)  # the hands read the state now, before the next event changes it
        await self.serve()
        self._thinking = group.create_task(self.think())
        group.create_task(self.hear())
        group.create_task(self.write())
        group.create_task(self.keep())
        if self.own.singleton:
            self.presence.leads()
            self._yielding = group.create_task(self.yield_to_others())
        if ready is not None:
            ready()

    async def end(self, stop: asyncio.Event) -> None:
        """A clean end when it is asked for: what is decided reaches the stream, and who stands by knows at once."""
        asked = [asyncio.ensure_future(each.wait()) for each in (stop, self.resigned)]
        try:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in asked:
                each.cancel()
        if self._thinking is not None:
            self._thinking.cancel()
            if self.own.singleton:
                resigned = LeaderResigned(epoch=self.mind.state.epoch, node=self.node, instance=self.instance)
                self.outbox.put(self.mind.add(resigned))
            with suppress(TimeoutError):
                async with asyncio.timeout(farewell_s):
                    await self.outbox.wait_sent(self.mind.state.n)
            if self._yielding is not None:
                self._yielding.cancel()  # another instance's term is what was asked for
        if self.own.keeper is not None and self.mind.whole and self.outbox.sent_n in (0, self.mind.state.n):
            await self.own.keeper.bid_farewell(self.own.folded)
        raise _Stopped

    async def yield_to_others(self) -> None:
        """End as soon as another instance's term is in the log: one that was stopped for long has nothing to append,
        and would answer questions for ever. Raises Fenced."""
        author, epoch = self.component.author, self.mind.state.epoch
        async with aclosing(self.bus.follow(terms(self.bus.cluster, author), after=self.own.fence)) as groups:
            async for records in groups:
                for record in records:
                    with suppress(Foreign, Unreadable):
                        fact = codec.decode(record.subject, record.body, record.position).fact
                        if isinstance(fact, LeaderElected) and fact.epoch > epoch:
                            raise Fenced(f"{author}: {fact.node} leads since position {record.position}")

    async def keep(self) -> None:
        """Say that everything is heard, if nothing else was said for long: the stream can then be trimmed."""
        while True:
            await asyncio.sleep(kept_look_s)
            with suppress(NoAnswer):
                newest = (await self.bus.extent()).last
                if newest - self.own.fence <= kept_behind_max:
                    continue
                mine = await self.bus.last(inbox(self.bus.cluster, self.component.author.id))
                if mine is None or mine.position <= self.mind.heard:
                    self.outbox.put(self.mind.add(LogKept(), heard=newest))

    async def hear(self) -> None:
        """Take the inbox from the last decided input on."""
        where, after = inbox(self.bus.cluster, self.component.author.id), self.mind.heard
        if not after:  # new here: what was said to it before its birth counts as far as the stream still has it
            after = Position((await self.bus.extent()).first - 1)
        async with aclosing(self.bus.follow(where, after=after)) as groups:
            async for records in groups:
                await self.inputs.put(records)

    async def see(self, sight: Sight) -> None:
        """Take an observation of the hands."""
        await self.inputs.put(Seen(sight))

    async def think(self) -> None:
        """Decide on inputs as they come and on time as it passes, in turns while there is much of both: an answer to
        the first of many offers may be that no more are wanted."""
        waiting: deque[Input | Record] = deque()
        in_a_row = 0
        while True:
            if self._wake_due():
                for _ in range(turns_between):  # one allocation may be many decisions, each due at once
                    await asyncio.sleep(0)
                if self._wake_due():  # the clock may have been set back meanwhile
                    self._wake()
                    await self._pause()
            if waiting:
                told = waiting.popleft()
                if isinstance(told, Seen) and told.sight.vouches:
                    told = told._replace(state_hash=await state_hash_in_turns(self.mind.state))
                self._take(told)
            elif (self.inputs.empty() and self._wake_due()) or not await self._await_input(waiting):
                continue
            in_a_row = (in_a_row + 1) % decisions_in_a_row_max
            if in_a_row == 0:
                await asyncio.sleep(0)
            await self._pause()

    async def _pause(self) -> None:
        """Between two decisions: wait for room, and take a snapshot if one is due, once everything is in the log."""
        await self.outbox.room()
        if self.own.keeper is not None and self.own.keeper.due:
            while self.outbox.sent_n < self.mind.state.n:
                await self.outbox.wait_sent(self.mind.state.n)
            await self.own.keep()

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
        """Whether anything came before somebody has to be woken."""
        self._set_alarm(self.component.wake_at(self.mind.state))
        told = await self.inputs.get()
        if isinstance(told, Heard | Seen | Wake):
            waiting.append(told)
        else:
            waiting.extend(told)
        return bool(waiting)

    def _set_alarm(self, due: Now | None) -> None:
        """Look at the time then: one alarm for as long as it is the same moment, whatever is heard meanwhile."""
        if due == self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = None, due
        if due is not None:
            left_s = min((due - self.mind.now()) / second, clock_look_s)
            self._alarm = asyncio.get_running_loop().call_later(left_s, self._look)

    def _look(self) -> None:
        self._alarm_at = None
        if self.inputs.empty():  # otherwise there is something to look at already
            self.inputs.put_nowait(())

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
            await self.own.append(decided)
            self.outbox.sent(decided)
            if any(isinstance(event.fact, ResignationGranted) for event in decided.events):
                self.resigned.set()
            first = self.own.fence - len(decided.events) + 1
            log.debug("appended", events=len(decided.events), position=self.own.fence, cause=decided.events[0].cause)
            if self.hands:
                for index, event in enumerate(decided.events):
                    self.hands.act(msgspec.structs.replace(event, position=Position(first + index)))

    async def serve(self) -> None:
        """Answer pings and questions."""
        author, cluster = self.component.author, self.bus.cluster
        for name, query in self.component.queries.items():
            await self.bus.serve(ask(cluster, author, name), self._answerer(query))
        await self.bus.serve(ask(cluster, author, "summary"), self._summarize)
        for name, look in (self.hands.asks if self.hands else {}).items():
            await self.bus.serve(ask(cluster, author, name), _looker(look))
        await self.bus.serve(ping(cluster, author), self._pong)

    def _answerer(self, query: Query) -> Answerer:
        async def answer(question: bytes) -> bytes:
            try:
                content = queries.answer_ok(query(self.mind.state, question, self.mind.now()))
            except _NOT_ANSWERED as error:
                content = queries.answer_refused(str(error))
            await self.outbox.wait_sent(self.mind.state.n)
            return await self._confirmed(content)

        return answer

    async def _confirmed(self, content: bytes) -> bytes:
        """An answer, once the bus says that this is still the newest term.

        A process that was stopped for long, has resigned or is cut off would answer from what it knew then, beside the
        one that leads. Where another leads it says nothing: it is about to end.
        """
        if self.own.singleton:
            try:
                if await self.own.superseded():
                    await asyncio.get_running_loop().create_future()
            except NoAnswer as error:
                return queries.answer_refused(f"nobody can tell whether {self.node} leads still: {error}")
        return content

    async def _pong(self, _question: bytes) -> bytes:
        return queries.pack(self.mind.state.epoch)

    async def _summarize(self, question: bytes) -> bytes:
        known = await state_hash_in_turns(self.mind.state)
        return await self._answerer(partial(self._summary, known))(question)

    def _summary(self, known_hash: str, state: S, _question: bytes, _now: Now) -> queries.Summary:
        return queries.Summary(
            by=str(self.component.author),
            node=self.node,
            instance=self.instance,
            epoch=state.epoch,
            n=state.n,
            position=self.own.fence,
            heard=state.heard,
            state_hash=known_hash or state_hash(state),
            pid=os.getpid(),
            rss_kb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            started_at=self.presence.started_at,
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


Opened = Callable[[str, Bus, Author | None], AbstractAsyncContextManager[Recorder]]
"""Opens a store to record one author's log in it, or the whole stream."""


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
    chance: Callable[[], float] = random.random,
    opened: Opened = open_recorder,
) -> None:
    """Run a component until `stop` is set, or it was asked to resign. A singleton whose log another instance leads
    stands by.

    A singleton whose store and stream disagree leads nobody: it only answers what it is asked until `stop`.
    Raises Fenced if another instance owns the log, StreamDiverged or StoreDiverged if stream and store are found to
    disagree while it leads, LogUnreadable for a log of a newer release, OutcomeUnknown or BusClosed when the bus is
    lost, and whatever the hands raise: in each case the process must end; the next one rebuilds.
    """
    presence = Presence(component.author, node, instance, store, clock())
    own = OwnLog(component, bus, clock, chance, presence)
    if own.singleton:
        await presence.serve(bus)
    try:
        await _live(own, store, stop, ready, opened)
    except (StreamDiverged, StoreDiverged, StoreGap) as diverged:
        if not own.singleton or store is None or presence.standing == queries.LEADER:
            raise
        presence.diverged(f"{diverged}; nothing is decided here: stop it and use `busbar store repair`")
        log.error("diverged", by=str(component.author), why=presence.message)
        await stop.wait()


async def _live(
    own: OwnLog[S], store: str | None, stop: asyncio.Event, ready: Callable[[], None] | None, opened: Opened
) -> None:
    author, bus = own.component.author, own.bus
    async with AsyncExitStack() as stack:
        if store is not None:
            whole = author.kind is Kind.MASTER
            own.recorder = await stack.enter_async_context(opened(store, bus, None if whole else author))
            if opened is open_recorder:  # snapshots lie beside a file, and beside nothing else
                own.keeper = Keeper(own.mind, own.recorder, store)
        await own.rebuild()
        life = _Life(own, bus)
        try:
            async with asyncio.TaskGroup() as group:
                if own.recorder is not None:
                    group.create_task(own.recorder.run())
                if own.keeper is not None:
                    group.create_task(own.keeper.run())
                group.create_task(life.end(stop))
                await (own.stand_by() if own.singleton else own.begin_term())
                await life.lead(group, ready)
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
