"""Who connects and asks for nothing, or for half of something, is cut: what is open is bounded in time."""

import asyncio

import pytest

from bus.memory import MemoryServer
from bus.subjects import CLUSTER
from components.runtime import system_clock
from tests.components.gateway.house import gateway_on

pytestmark = pytest.mark.timeout(60)
POST = b"POST /v2/apps HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HALVES = {
    "nothing": b"",
    "half a head": b"GET /ping HTTP/1.1\r\nHost:",
    "half a body": POST + b"Content-Length: 99\r\n\r\n{",
    "half a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n{",
    "half of the next": b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ping HT",
}


@pytest.mark.parametrize("said", HALVES.values(), ids=HALVES)
async def test_who_does_not_finish_is_cut(said):
    """Without an answer, unless to what was whole."""
    async with gateway_on(MemoryServer(CLUSTER, system_clock), silent_s=0.2) as served:
        reader, writer = await asyncio.open_connection(*served.places["both"].split(":"))
        writer.write(said)
        answered = await reader.read()
        assert answered.count(b"HTTP/1.1 200") == said.count(b"/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.close()


async def test_who_waits_for_events_is_not_cut():
    """The request was whole: the silence is ours. Somebody who came later and said nothing is cut meanwhile."""
    async with gateway_on(MemoryServer(CLUSTER, system_clock), silent_s=0.1) as served:
        place = served.places["both"].split(":")
        stream, writer = await asyncio.open_connection(*place)
        writer.write(b"GET /v2/events?event_type=x HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        await stream.readuntil(b": attached")
        silent, other = await asyncio.open_connection(*place)
        assert await silent.read() == b""
        assert not stream.at_eof()
        writer.close()
        other.close()
