"""A server that says what no server says: the link to it is given up, and the next one works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.connection import Connection
from bus.credentials import Credentials
from bus.replies import Send

INFO = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
GARBAGE = (
    b"WHAT\r\n",
    b"MSG a 1 -15\r\n",
    b"MSG a 1 99999999999\r\n",
    b"HMSG a 1 9 2\r\nxx\r\n",
    b"MSG a 1 1\r\nxx\r\n",
    b"-ERR\r\n",
    b"-ERR '\xff'\r\n",
    b"INFO {\r\n",
    b"INFO []\r\n",
    b"\x00" * 70_000 + b"\r\n",
    b"MSG " * 300_000,
)


class Server:
    """Answers pings and hands what is published to its subscribers; the first client to have done so is told this."""

    def __init__(self, garbage: bytes) -> None:
        self.garbage, self.links = garbage, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.links += 1
        number, subscribed = self.links, dict[bytes, bytes]()
        writer.write(INFO)
        while line := await reader.readline():
            verb, *words = line.split()
            if verb == b"PING":
                writer.write(b"PONG\r\n")
            elif verb == b"SUB":
                subscribed[words[1]] = words[0]
            elif verb == b"PUB":
                body = await reader.readexactly(int(words[-1]) + 2)
                for sid, subject in subscribed.items():
                    if words[0].startswith(subject.removesuffix(b"*")):
                        writer.write(b"MSG %b %b %b\r\n%b" % (words[0], sid, words[-1], body))
                if number == 1:
                    writer.write(self.garbage)
        writer.close()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listener:
        yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
async def test_the_link_is_given_up_and_the_next_one_works(garbage: bytes) -> None:
    """What comes behind it on the old one is not read; who listens hears on the new one."""
    server, told, came = Server(garbage), list[str](), list[bytes]()
    async with listening(server) as url:
        link = Connection(Credentials(url=url), told.append)
        await link.open(name="test", connect_s=10)
        await link.subscribe("a", lambda parcel: came.append(parcel.body))
        await link.echo(timeout_s=10)
        async with asyncio.timeout(30):
            while link.links < 2:
                await asyncio.sleep(0.01)
        await link.send(Send("a", b"sense"))
        await link.echo(timeout_s=10)
        await link.close()
    assert came == [b"sense"]
    assert server.links == 2
    assert len(told) == 1, told
