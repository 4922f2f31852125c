"""How a person's wish becomes an event, and how its answer finds the way back.

    locate the scheduler ─► publish the request ─► the event with my `request` ─► events with my `trace`

Rule of this room: the inbox is read from a position taken before the request is published, so no answer is missed;
every wait is bounded; a request whose outcome is not known is said again under the same id, and done once.
(the stream stores an id once within two minutes, its addressee answers it the same way again for 24 hours)
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.events import Event, EventUnreadable, Fact, RequestRefused
from bus.nouns import FrameworkId, Position, Refusal, RequestId, TraceId
from bus.port import Message, NoQuorum, NotPermitted, OutcomeUnknown, Record
from bus.queries import FrameworkRow, Summary
from bus.services import SchedulerLocated
from bus.subjects import Author, inbox
from cli.output import Failure
from cli.servers import servers
from cli.session import THE_MASTER, NotThere, Session, title, wall_clock

answer_s = 10.0
"""How long a request may take to be stored and answered."""
lost_node_s = 30.0
"""The same where the bus has several servers, one of which may be lost meanwhile. (nats-server: 4 to 9 s until the
stream has a leader again; a client needs up to 14 s to notice that its server stands still)"""
again_s = 0.25
"""Between two tries to publish the same request."""


class Inbox:
    """What is said to me, from a position on, one event at a time."""

    def __init__(self, following: AsyncGenerator[Sequence[Record], None]) -> None:
        self._following = following
        self._waiting: deque[Record] = deque()
        self._next: asyncio.Task[Sequence[Record]] | None = None

    async def next(self, within_s: float) -> Event | None:
        """The next event that can be read; None if none came in time."""
        deadline = time.monotonic() + within_s
        while self._waiting or await self._more(deadline - time.monotonic()):
            record = self._waiting.popleft()
            try:
                return codec.decode(record.subject, record.body, record.position)
            except Foreign:
                continue  # garbage in my inbox is no answer; the owners of logs alarm it
            except Unreadable as unreadable:
                return unreadable.event
        return None

    async def _more(self, within_s: float) -> bool:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._following))
        done, _ = await asyncio.wait({self._next}, timeout=max(0.0, within_s))
        if not done:
            return False
        self._waiting.extend(self._next.result())
        self._next = None
        return True

    async def close(self) -> None:
        """Stop reading."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._following.aclose()


class Conversation:
    """One command's talk with one scheduler: all its events share a trace."""

    def __init__(self, session: Session, scheduler: Author, inbox_: Inbox, since: Position, patience_s: float) -> None:
        self.session, self.scheduler, self._inbox = session, scheduler, inbox_
        self.patience_s = patience_s
        """How long a request may take."""
        self._since = since
        """Behind which the inbox is read."""
        self.trace = TraceId(uuid4().hex)

    async def ask(self, fact: Fact, *, hints: Mapping[Refusal, str] | None = None) -> Event:
        """Publish a request; its answer. Raises Failure if it is refused or not answered, or NoQuorum."""
        request = self.session.request or RequestId(uuid4().hex)
        deadline = time.monotonic() + self.patience_s
        try:
            position = await self._say(fact, request, deadline)
        except NoQuorum:
            raise  # no try was taken by anybody
        except OutcomeUnknown as error:
            raise Failure(f"outcome unknown: {error}", next_=_ask_again(request)) from None
        answer = await self._answer(request, position, deadline)
        if answer is None:
            unanswered = (
                f"{title(self.scheduler)} did not answer within {self.patience_s:g} s; the request stands as event "
            )
            raise Failure(f"{unanswered}{position}", next_=f"{_ask_again(request)}; busbar events show {position}")
        return _accepted(answer, hints or {})

    async def _answer(self, request: RequestId, position: Position, deadline: float) -> Event | None:
        """What a request at a position was answered; None if there is no answer in time."""
        if position > self._since:
            return await _answer_in(self._inbox, request, deadline)
        mine = inbox(self.session.cluster, self.session.me.id)
        earlier = Inbox(self.session.bus.follow(mine, after=position))
        try:
            return await _answer_in(earlier, request, deadline)
        finally:
            await earlier.close()

    async def news(self, within_s: float) -> Event | None:
        """The next event of this trace that is addressed to me; None if none came in time."""
        deadline = time.monotonic() + within_s
        while event := await self._inbox.next(deadline - time.monotonic()):
            if event.trace == self.trace:
                return event
        return None

    async def locate(self) -> None:
        """Learn from the master how to reach the scheduler, and say so: step 1."""
        through = await _who_knows(self.session, self.scheduler)
        located = SchedulerLocated(framework=FrameworkId(self.scheduler.id), through=str(through))
        await self._say(located, RequestId(uuid4().hex), time.monotonic() + self.patience_s)

    async def _say(self, fact: Fact, request: RequestId, deadline: float) -> Position:
        event = Event(
            by=self.session.me,
            to=self.scheduler.id,
            fact=fact,
            at=wall_clock(),
            actor=self.session.actor,
            trace=self.trace,
            request=request,
        )
        return await _append(self.session, event, deadline)


def _ask_again(request: RequestId) -> str:
    return f"ask again with --request {request}: it is done once"


async def _answer_in(inbox_: Inbox, request: RequestId, deadline: float) -> Event | None:
    while event := await inbox_.next(deadline - time.monotonic()):
        if event.request == request:
            return event
    return None


async def _append(session: Session, event: Event, deadline: float) -> Position:
    """Publish a client's event, again under the same request id while the outcome is unknown.

    Raises NoQuorum if it was surely never stored, OutcomeUnknown if nobody can tell.
    """
    message = Message(codec.subject(session.cluster, event), codec.encode(event), event.request)
    unknown: OutcomeUnknown | None = None
    while True:
        try:
            return await session.bus.append([message], None)
        except NoQuorum as error:
            unknown = unknown or error
        except OutcomeUnknown as error:
            unknown = error
        if time.monotonic() >= deadline:
            raise unknown
        await asyncio.sleep(again_s)


async def _who_knows(session: Session, scheduler: Author) -> Author:
    """The component that tells how to reach a scheduler: the master, or the scheduler itself while no master is there.

    Raises Failure if neither knows it.
    """
    try:
        frameworks = await session.ask(THE_MASTER, "frameworks", list[FrameworkRow])
    except NotThere:
        await session.ask(scheduler, "summary", Summary)
        return scheduler
    if any(row.framework == scheduler.id for row in frameworks):
        return THE_MASTER
    raise Failure(f"{scheduler.id} is not registered with the master", next_="busbar framework list")


def _accepted(event: Event, hints: Mapping[Refusal, str]) -> Event:
    match event.fact:
        case RequestRefused(reason=Refusal.LOCKED, message=message, held_by=(holder, *_)):
            way = f"busbar deployment watch {holder}, then again; or --force, which stops {holder} where it is"
            raise Failure(f"{Refusal.LOCKED}: {message}", next_=way)
        case RequestRefused(reason=reason, message=message, also=also):
            others = [f"{reason}: {each}" for each in also]
            raise Failure(f"{reason}: {message}", also=others, next_=hints.get(reason, ""))
        case EventUnreadable(message=message):
            raise Failure(f"{event.by.id} cannot read the request: {message}", next_="install the same release")
        case _:
            return event


@asynccontextmanager
async def conversation(session: Session, scheduler: Author) -> AsyncIterator[Conversation]:
    """A talk with a scheduler that has been located; what it says to me from now on is heard."""
    async with talking(session, scheduler) as talk:
        try:
            await talk.locate()
        except NotPermitted:
            raise Failure(
                f"{session.me.id} may ask {scheduler.id} for nothing: that takes an operator",
                next_="an admin can say otherwise: busbar access token create --client NAME --role operator",
            ) from None
        yield talk


@asynccontextmanager
async def talking(session: Session, scheduler: Author) -> AsyncIterator[Conversation]:
    """A talk with one who owns a log; what it says to me from now on is heard."""
    mine = inbox(session.cluster, session.me.id)
    newest = await session.bus.last(mine)
    since = newest.position if newest else Position(0)
    patience_s = lost_node_s if len(await servers(session.bus)) > 1 else answer_s
    talk = Conversation(session, scheduler, Inbox(session.bus.follow(mine, after=since)), since, patience_s)
    try:
        yield talk
    finally:
        await talk._inbox.close()
