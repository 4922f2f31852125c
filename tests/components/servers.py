"""Little servers on loopback, for checks that look over the network."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Reply = Callable[[str], bytes]
"""The bytes that answer a GET of a path; empty: hang up without an answer."""


def ok(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """One that listens."""

    def __init__(self) -> None:
        self.reply: Reply = lambda _path: ok()
        self.asked: list[str] = []
        """The paths, in order."""
        self.changed = asyncio.Condition()
        self.port = 0
        self.listening: asyncio.Server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            writer.write(self.reply(path))
            await writer.drain()
            async with self.changed:
                self.asked.append(path)
                self.changed.notify_all()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def wait_asked(self, times: int) -> None:
        """Until it was asked so many times in all."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= times)


@asynccontextmanager
async def serving(secure: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of 127.0.0.1."""
    server = Server()
    listening = server.listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=secure)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def free_port() -> int:
    """A port that nobody listens at."""
    async with serving() as server:
        return server.port
