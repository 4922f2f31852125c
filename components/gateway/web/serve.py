"""One gateway's life: the bus, the ports, and the end of both.

Rule of this room: it listens once it hears the bus, ends when either ends, and leaves no request half answered.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bus import logs
from bus.nouns import Now
from bus.permits import GATEWAYS
from bus.port import Bus
from bus.queries import LEADER, Instance, answer_ok
from bus.subjects import Author, roll
from components.gateway.config import GatewayConfig
from components.gateway.routes import BOTH, MARATHON, METRONOME, Table
from components.gateway.web.client import Client
from components.gateway.web.house import House
from components.gateway.web.people import People
from components.gateway.web.stream import LINES, Hub
from components.gateway.web.table import ROUTES

log = logs.get_logger()

backlog = 1024
connections_max = 4096
"""At the same time; more are told 503."""
farewell_s = 3
date_s = 1.0
"""How old the date of an answer may be: it has seconds."""


class PortTaken(Exception):
    """Somebody else listens there; the text says where."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(backlog)
    except OSError as error:
        listening.close()
        raise PortTaken(f"{host}:{port}: {error.strerror or error}") from None
    return listening


class Gateway:
    """Everything that one process serves."""

    def __init__(
        self,
        config: GatewayConfig,
        bus: Bus,
        me: Author,
        clock: Callable[[], Now],
        *,
        node: str = "",
        instance: str = "",
    ) -> None:
        self.config, self.bus, self.me, self.clock, self.node, self.instance = config, bus, me, clock, node, instance
        self.client = Client(bus, me, clock, answer_s=config.answer_s)
        self.hub = Hub(self.client)
        people, table = People(config.users), Table(ROUTES)
        self.houses = {
            api: House(table, self.hub, people, config, api)
            for api, port in (
                (BOTH, config.port),
                (MARATHON, config.marathon_port),
                (METRONOME, config.metronome_port),
            )
            if port is not None
        }
        self.places: dict[str, str] = {}
        """`host:port` by API, once it listens."""
        self._started_at = clock()

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop`. Raises PortTaken, BusClosed, StreamDiverged."""
        servers = [self._server(api, house) for api, house in self.houses.items()]
        hearing = asyncio.ensure_future(self._hear())
        stopping = asyncio.create_task(stop.wait())
        serving = [asyncio.create_task(server.serve([socket_])) for server, socket_ in servers]
        try:
            await self.bus.serve(roll(self.bus.cluster, GATEWAYS), self._present)
            log.info("listening", by=str(self.me), **self.places)
            if ready is not None:
                ready()
            await asyncio.wait({hearing, stopping, *serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.hub.close()
            for server, _ in servers:
                server.leave()
            await asyncio.gather(*serving, return_exceptions=True)
            stopping.cancel()
            ended = hearing.done()
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                if ended:
                    hearing.result()

    async def _hear(self) -> None:
        """What is said to the gateway, and what Marathon says to who listens. Raises BusClosed, StreamDiverged."""
        both = {asyncio.ensure_future(self.client.hear()), asyncio.ensure_future(self.hub.run())}
        try:
            ended, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def _server(self, api: str, house: House) -> tuple[_Server, socket.socket]:
        port = {BOTH: self.config.port, MARATHON: self.config.marathon_port, METRONOME: self.config.metronome_port}[api]
        assert port is not None, "who has no port has no house"
        socket_ = listen(self.config.host, port)
        house.place = self.places[api] = f"{self.config.host}:{socket_.getsockname()[1]}"
        settings = uvicorn.Config(
            house,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=_Line,
            ws="none",
            server_header=False,
            limit_concurrency=connections_max,
            timeout_keep_alive=self.config.silent_s,  # type: ignore[arg-type]
            timeout_graceful_shutdown=farewell_s,
        )
        return _Server(settings), socket_

    async def _present(self, _question: bytes) -> bytes:
        return answer_ok(
            Instance(
                by=str(self.me),
                node=self.node,
                instance=self.instance,
                standing=LEADER,
                epoch=0,
                n=0,
                position=self.client.position,
                pid=os.getpid(),
                started_at=self._started_at,
                message=", ".join(f"http://{place}" for place in self.places.values()),
            )
        )


class _Line(H11Protocol):
    """A connection that can be cut, and is when a request does not come, or not the whole of it."""

    late: asyncio.TimerHandle | None = None
    """When it is cut. (uvicorn itself only counts from an answer to the next request)"""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody came. (asyncio.Protocol)"""
        super().connection_made(transport)
        LINES.opened(self.client, self.server, transport)
        self._await_rest()

    def data_received(self, data: bytes) -> None:
        """Somebody said something: the whole request, or a part. (asyncio.Protocol)"""
        super().data_received(data)
        self._await_rest()

    def _await_rest(self) -> None:
        halfway = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if halfway and self.late is None:
            self.late = self.loop.call_later(self.timeout_keep_alive, self.transport.close)
        elif not halfway and self.late is not None:
            self.late.cancel()
            self.late = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Somebody left. (asyncio.Protocol)"""
        if self.late is not None:
            self.late.cancel()
        LINES.closed(self.client, self.server)
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """One whose process has its own signals, and that sleeps while nobody asks: uvicorn looks ten times a second
    whether it should end."""

    def __init__(self, settings: uvicorn.Config) -> None:
        super().__init__(settings)
        self._left = asyncio.Event()

    def leave(self) -> None:
        """End, once what is asked is answered."""
        self.should_exit = True
        self._left.set()

    async def main_loop(self) -> None:
        """Until it should end, tell what time it is in each answer."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(date_s):
                    await self._left.wait()

    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Leave them alone."""
        from contextlib import nullcontext

        return nullcontext()  # type: ignore[return-value]
