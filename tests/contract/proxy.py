"""A proxy between a client and a nats-server that understands frames, so that exactly one append or message goes wrong.

(NATS client protocol: a line, and for PUB, HPUB, MSG, HMSG as many bytes as its last number says)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import NamedTuple


class Trouble(Enum):
    """What befalls the first append that passes."""

    REQUEST_LOST = "the request never arrives"
    ANSWER_LOST = "the request lands, its answer is lost"
    LATE_BEFORE_RETRY = "the request lands after its author gave up, before it tries again"
    LATE_AFTER_RETRY = "the request arrives after its author tried again"


class Frame(NamedTuple):
    """One unit of the protocol."""

    verb: str
    subject: str
    reply: str
    raw: bytes


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None at the end."""
    line = await reader.readline()
    if not line.endswith(b"\r\n"):
        return None
    words = line.decode().split()
    verb = words[0].upper()
    if verb not in ("PUB", "HPUB", "MSG", "HMSG"):
        return Frame(verb, "", "", line)
    numbers = 2 if verb.startswith("H") else 1
    names = words[1:-numbers]
    if verb.endswith("MSG"):
        names = [names[0], *names[2:]]  # without the subscription id
    body = await reader.readexactly(int(words[-1]) + 2)
    return Frame(verb, names[0], names[1] if len(names) > 1 else "", line + body)


class Link:
    """One client's connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.frozen = False
        self.held: list[Frame] = []
        self.acks: set[str] = set()
        """Reply subjects of appends that passed."""

    def cut(self) -> None:
        """The client loses this connection; what is on its way to the server stays on its way."""
        self.client.transport.abort()

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self.frozen = True

    def from_client(self, frame: Frame) -> None:
        """A frame on its way up."""
        if self.frozen:
            return
        if self.proxy.dies is not None and self.proxy.dies(frame):
            self.freeze()
            return
        if not frame.subject.startswith("dc."):
            self.server.write(frame.raw)
            return
        self.proxy.count()
        if self.proxy.trouble in (None, Trouble.ANSWER_LOST):
            self.server.write(frame.raw)
            if frame.reply:
                self.acks.add(frame.reply)
            return
        self.held.append(frame)
        if frame.reply:  # the last of its append
            self._meet(self.proxy.trouble)

    def _meet(self, trouble: Trouble | None) -> None:
        self.proxy.trouble = None
        if trouble is Trouble.REQUEST_LOST:
            self.held.clear()
        elif trouble is Trouble.LATE_BEFORE_RETRY:
            self.release()
            return  # cut once it has landed
        else:
            self.proxy.late = self
        self.cut()

    def release(self) -> None:
        """What was held arrives at the server."""
        for frame in self.held:
            self.server.write(frame.raw)
            if frame.reply:
                self.acks.add(frame.reply)
                self.proxy.landing.add(frame.reply)
        self.held.clear()

    def from_server(self, frame: Frame) -> None:
        """A frame on its way down."""
        if self.frozen:
            return
        if frame.subject in self.acks and self._is_lost(frame):
            return
        if self.proxy.drops is not None and frame.subject.startswith("dc.") and self.proxy.drops(frame):
            self.proxy.dropped += 1
            return
        self.client.write(frame.raw)
        if self.proxy.doubles is not None and frame.subject.startswith("dc.") and self.proxy.doubles(frame):
            self.client.write(frame.raw)

    def _is_lost(self, frame: Frame) -> bool:
        proxy = self.proxy
        if frame.subject in proxy.landing:
            proxy.landing.discard(frame.subject)
            proxy.late_answers.append(frame.raw)
            proxy.late_answered.set()
            self.cut()
            return True
        if proxy.trouble is Trouble.ANSWER_LOST:
            proxy.trouble = None
            self.cut()
            return True
        if proxy.late is not None and proxy.late is not self:
            proxy.late.release()
            proxy.late = None
        return False


class Proxy:
    """Listens on a port of its own and passes on to one server, until told otherwise."""

    def __init__(self, server_port: int, trouble: Trouble | None) -> None:
        self.server_port, self.trouble = server_port, trouble
        self.drops: Callable[[Frame], bool] | None = None
        """Asked for each message under `dc.` that comes down: lose it?"""
        self.dropped = 0
        self.doubles: Callable[[Frame], bool] | None = None
        """Asked for each message under `dc.` that comes down: deliver it twice?"""
        self.dies: Callable[[Frame], bool] | None = None
        """Asked for each frame that goes up: is the client dead before it sends it?"""
        self.moments: dict[int, Callable[[], None]] = {}
        """What happens just before the n-th message under `dc.` goes up."""
        self._counted = 0
        self.late: Link | None = None
        self.landing: set[str] = set()
        self.late_answers: list[bytes] = []
        self.late_answered = asyncio.Event()
        self.links: list[Link] = []
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def count(self) -> None:
        """A message under `dc.` is about to go up."""
        self._counted += 1
        happens = self.moments.pop(self._counted, None)
        if happens is not None:
            happens()

    @property
    def url(self) -> str:
        assert self._listening is not None
        return f"nats://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            to_client.transport.abort()
            return
        link = Link(self, to_client, to_server)
        self.links.append(link)
        up = asyncio.create_task(self._pump(from_client, link.from_client))
        down = asyncio.create_task(self._pump(from_server, link.from_server))
        self._tasks |= {up, down}
        down.add_done_callback(lambda _: to_client.transport.abort())

    async def _pump(self, reader: asyncio.StreamReader, pass_on: Callable[[Frame], None]) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while (frame := await read_frame(reader)) is not None:
                pass_on(frame)

    async def close(self) -> None:
        for link in self.links:
            link.cut()
            link.server.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
