"""The event stream: one reader of Marathon's log for all who listen, and one more for each who was away. While nobody
listens nothing is read.

    log ─► hub: told once, the latest kept ─► queue of each listener ─► its connection
     └──► who resumes from further back reads the log itself, until the hub has what follows

Rule of this room: nothing is skipped. Who cannot be given what follows its last id is told so (410), and who does not
read is cut off with no more than a queue of what all share.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from bus import logs
from bus.app_rows import DeploymentRow
from bus.codec import event_in
from bus.events import Event
from bus.nouns import Position
from bus.port import NoAnswer, StreamTrimmed
from bus.queries import HistoryQuestion, HistoryRow, QueryRefused
from bus.services import DeploymentStarted
from bus.subjects import Author, Kind, own_log
from components.gateway.config import streams_max
from components.gateway.routes import Route
from components.gateway.shapes.events import Teller, Told, own
from components.gateway.shapes.times import zulu
from components.gateway.web.call import Call, HttpError
from components.gateway.web.client import MARATHON, Away, Client
from components.gateway.web.counted import COUNTED

log = logs.get_logger()

kept_max = 512
"""Groups that the hub keeps, for who comes back soon: fewer than one may leave unread."""
queue_max = 1024
"""Groups that wait for one listener. (Marathon: SSE backlog)"""
readers_max = 8
"""Who read the log themselves at the same time; the others wait."""
mentions_max = 12
"""Of a thing that is looked up: the first that was said of it says where it is."""
keep_alive_s = 15.0
MASTER = Author(Kind.MASTER, "main")


class Group(NamedTuple):
    """What one event of the log is told as."""

    position: Position
    told: tuple[Told, ...]
    raw: Event

    def text(self, wanted: frozenset[str]) -> bytes:
        """As it is sent to who wants these types (none: all of Marathon's): the last message bears the position."""
        chosen = [each for each in self.told if not wanted or each.type in wanted]
        if self.raw.type in wanted:
            chosen.append(own(self.raw))
        ids = [""] * (len(chosen) - 1) + [f"id: {self.position}\n"]
        return b"".join(_message(each, id_) for each, id_ in zip(chosen, ids, strict=False))


def _message(told: Told, id_: str = "") -> bytes:
    return f"event: {told.type}\n".encode() + b"data: " + msgspec.json.encode(told.content) + f"\n{id_}\n".encode()


class Listener:
    """Somebody who listens, and what waits for them."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self.wanted = wanted
        self.queue: asyncio.Queue[bytes] = asyncio.Queue(queue_max)
        self.cut: Callable[[], None] = lambda: None
        """Ends the connection, whatever it waits for."""
        self.end: Callable[[], None] = lambda: None
        """Ends the stream in good order."""

    def put(self, group: Group) -> bool:
        """Something happened; whether there was room for it. Who has not read for so long is cut off."""
        text = group.text(self.wanted)
        if text and self.queue.full():
            self.cut()
            return False
        if text:
            self.queue.put_nowait(text)
        return True


class Hub:
    """The one reader, and everybody it tells."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.log = own_log(client.bus.cluster, MARATHON)
        self.listeners: dict[Listener, None] = {}
        self._here: dict[Listener, None] = {}
        """These, and who is about to be one of them."""
        self._wanted, self._reading = asyncio.Event(), asyncio.Event()
        self._kept: deque[Group] = deque()
        self._kept_after = Position(0)
        """Everything behind this is kept."""
        self._turns = asyncio.Semaphore(readers_max)

    async def run(self) -> None:
        """Read for everybody while there is anybody, until cancelled."""
        while True:
            await self._wanted.wait()
            self._kept.clear()
            self._kept_after = await self._newest()
            self._reading.set()
            while self._here:
                await self._read_on()
            self._wanted.clear()
            self._reading.clear()

    async def _read_on(self) -> None:
        """Until something is said that nobody listens to."""
        after = self._kept[-1].position if self._kept else self._kept_after
        try:
            async with aclosing(self._read(after, Teller())) as groups:
                async for group in groups:
                    self._tell(group)
                    if not self._here:
                        return
        except StreamTrimmed as trimmed:
            self._kept.clear()
            self._kept_after = Position(trimmed.first - 1)
        for listener in list(self.listeners):
            listener.cut()  # what they missed is told to nobody: they come back, and learn it

    async def _newest(self) -> Position:
        while True:
            try:
                newest = await self.client.bus.last(self.log)
                return newest.position if newest else Position(0)
            except NoAnswer:
                await asyncio.sleep(1)

    def _tell(self, group: Group) -> None:
        self._kept.append(group)
        if len(self._kept) > kept_max:
            self._kept_after = self._kept.popleft().position
        for listener in list(self.listeners):
            if not listener.put(group):
                COUNTED.dropped += 1
                self.detach(listener)

    async def _read(self, after: Position, teller: Teller) -> AsyncGenerator[Group, None]:
        async with aclosing(self.client.bus.follow(self.log, after=after)) as groups:
            async for records in groups:
                for record in records:
                    event = event_in(record)
                    if event is not None:
                        await self._look_up(teller, event)
                        yield Group(record.position, tuple(teller.tell(event)), event)

    async def _going_on(self, teller: Teller) -> None:
        """Remember the deployments that go on."""
        with suppress(Away, QueryRefused):
            for row in await self.client.ask(MARATHON, "deployments", list[DeploymentRow]):
                teller.plans[row.deployment] = DeploymentStarted(
                    deployment=row.deployment,
                    deployment_version=row.version,
                    plan=row.plan,
                    changed=row.changed,
                    group=row.group,
                )

    async def _look_up(self, teller: Teller, event: Event) -> None:
        """A deployment that began before what is read: Marathon knows it while it goes on, a master's store always."""
        task = teller.unknown_task(event)
        if task is not None:
            await self._mentions(teller, "task", task)
        deployment = teller.unknown(event)
        if deployment is not None:
            await self._going_on(teller)
        if deployment is None or deployment in teller.plans:
            return
        await self._mentions(teller, "deployment", deployment)

    async def _mentions(self, teller: Teller, noun: str, id_: str) -> None:
        """Remember what was said first of a thing."""
        with suppress(Away, QueryRefused):
            question = HistoryQuestion(noun=noun, id=id_, limit=mentions_max)
            for row in await self.client.ask(MASTER, "history", list[HistoryRow], question, patience_s=0):
                found = event_in(row)
                if found is not None and found.by == MARATHON:
                    teller.remember(found)

    # ---- one listener ---------------------------------------------------------------------------------------------

    async def welcome(self, listener: Listener) -> None:
        """Somebody is about to listen: what is said from now on is read."""
        self._here[listener] = None
        self._wanted.set()
        await self._reading.wait()

    def attach(self, listener: Listener, after: Position | None) -> bool:
        """From now on, or from behind a position if all that follows it is kept."""
        if after is not None and after < self._kept_after:
            return False
        if after is not None:
            for group in self._kept:
                if group.position > after:
                    listener.put(group)
        self.listeners[listener] = None
        return True

    def close(self) -> None:
        """End every stream: there is another gateway, or will be."""
        for listener in list(self.listeners):
            listener.end()

    def detach(self, listener: Listener) -> None:
        """It listens no more."""
        self.listeners.pop(listener, None)
        self._here.pop(listener, None)

    async def told(self, listener: Listener, after: Position | None) -> AsyncGenerator[bytes, None]:
        """Everything behind a position, and then what happens; empty while nothing does. Raises StreamTrimmed."""
        if not self.attach(listener, after):
            assert after is not None, "who asks for nothing past is attached"
            async with self._turns, aclosing(self._read(after, Teller())) as groups:
                async for group in groups:
                    if text := group.text(listener.wanted):
                        yield text
                    if self.attach(listener, group.position):
                        break
        while True:
            try:
                async with asyncio.timeout(keep_alive_s):
                    text = await listener.queue.get()
            except TimeoutError:
                text = b": keep-alive\n\n"
            yield text

    async def check(self, after: Position) -> None:
        """Raises HttpError if what follows a position cannot be told: 410."""
        extent = await self.client.bus.extent()
        if after > extent.last:
            raise HttpError(410, f"Last-Event-ID {after}: the stream ends at {extent.last}, it is another")
        if after + 1 < extent.first:
            raise HttpError(
                410, f"Last-Event-ID {after}: what followed was trimmed away, the stream begins at {extent.first}"
            )


class EventStream(Response):
    """A stream that goes on."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, listener: Listener, after: Position | None, lines: Lines) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._listener, self._after, self._lines = hub, listener, after, lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the listener leaves, or is cut off. (ASGI)"""
        sending = asyncio.ensure_future(self._send(scope, send))
        leaving = asyncio.ensure_future(_left(receive))

        def cut() -> None:
            sending.cancel()
            self._lines.abort(scope)

        def end() -> None:
            sending.cancel()

        self._listener.cut, self._listener.end = cut, end
        COUNTED.streams += 1
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            COUNTED.streams -= 1
            self._hub.detach(self._listener)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        client = scope.get("client") or ("", 0)
        if not self._listener.wanted or "event_stream_attached" in self._listener.wanted:
            at = zulu(self._hub.client.clock())
            attached = {"eventType": "event_stream_attached", "remoteAddress": client[0], "timestamp": at}
            await send(_piece(_message(Told("event_stream_attached", attached))))
        else:
            await send(_piece(b": attached\n\n"))
        with suppress(StreamTrimmed):  # while it was read: the end of the stream, and 410 for who comes back
            async with aclosing(self._hub.told(self._listener, self._after)) as told:
                async for text in told:
                    await send(_piece(text))


def _piece(text: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": text, "more_body": True}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Lines:
    """The connections that are open, so that one can be cut."""

    def __init__(self) -> None:
        self._open: dict[tuple[object, object], asyncio.Transport] = {}

    def opened(self, peer: object, here: object, transport: asyncio.Transport) -> None:
        """Somebody came."""
        self._open[peer, here] = transport

    def closed(self, peer: object, here: object) -> None:
        """Somebody left."""
        self._open.pop((peer, here), None)

    def abort(self, scope: Scope) -> None:
        """Cut the line of a request: what was not sent is thrown away."""
        transport = self._open.get((scope.get("client"), scope.get("server")))
        if transport is not None:
            transport.abort()


LINES = Lines()


async def follow_events(call: Call) -> Response:
    """GET /v2/events."""
    if "text/event-stream" not in call.request.headers.get("accept", ""):
        raise HttpError(406, "expected Accept: text/event-stream")
    if COUNTED.streams >= streams_max:
        raise HttpError(503, f"{streams_max} streams are open", {"Retry-After": "10"})
    wanted = frozenset(call.all("event_type"))
    after = _after(call.request.headers.get("last-event-id") or call.one("lastEventId"))
    hub, listener = call.hub, Listener(wanted)
    try:
        await hub.welcome(listener)
        if after is not None:
            await hub.check(after)
    except BaseException:
        hub.detach(listener)
        raise
    return EventStream(hub, listener, after, LINES)


def _after(text: str | None) -> Position | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HttpError(400, f"Last-Event-ID {text[:100]!r}: expected the id of an event, a whole number")
    return Position(int(text))


ROUTES: Sequence[Route] = [
    Route(
        method="GET",
        path="/v2/events",
        handler=follow_events,
        about="What happens, as it happens (text/event-stream); Last-Event-ID resumes behind an event",
        answers={
            200: "a stream",
            406: "not asked for as text/event-stream",
            410: "what followed is not there any more",
        },
        query=("event_type", "lastEventId"),
    ),
]
