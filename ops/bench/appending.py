"""What our own bus costs above the client library: the same bytes under the same fence, through both.

Rule of this room: ours and plain take turns, round by round, on one server with `sync_interval: always`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats.aio.client import Client

from bus.connection import identity
from bus.credentials import Credentials
from bus.jetstream import JetStreamBus, connect
from bus.nouns import Position
from bus.port import Fence, Message
from bus.server import EmbeddedServer
from ops.bench.figures import Figure, ratio

BODY = bytes(400)
"""About an event."""
SIZES = (1, 10, 100, 1000)
"""Messages in one append."""

Append = Callable[[int], Awaitable[None]]


async def appending(data: Path, rounds: int, appends: int) -> list[Figure]:
    """Messages a second by size of the append, ours and plain."""
    server = EmbeddedServer(data)
    await server.start()
    try:
        return await _measured(server.administrator, rounds, appends)
    finally:
        await server.stop()


async def _measured(known: Credentials, rounds: int, appends: int) -> list[Figure]:
    bus = await connect(known)
    plain = Client()
    await plain.connect(known.url, **identity(known))
    try:
        ours, bare = _Ours(bus), _Plain(plain)
        figures = []
        for size in SIZES:
            times = max(3, appends // size)
            rates = [
                (await _rate(ours.append, size, times), await _rate(bare.append, size, times)) for _ in range(rounds)
            ]
            each = Figure(f"append, {size} at a time", "events/s", [rate for rate, _ in rates])
            base = Figure("  plain nats-py", "events/s", [rate for _, rate in rates])
            figures += [each, base, ratio("  ours to plain", each, base)]
        return figures
    finally:
        await plain.close()
        await bus.close()


async def _rate(append: Append, size: int, times: int) -> float:
    await append(size)
    began = time.perf_counter()
    for _ in range(times):
        await append(size)
    return size * times / (time.perf_counter() - began)


class _Ours:
    """Appends through the port."""

    def __init__(self, bus: JetStreamBus) -> None:
        self.bus, self.last = bus, Position(0)

    async def append(self, size: int) -> None:
        messages = [Message("dc.master.ours.task.updated.x", BODY)] * size
        self.last = await self.bus.append(messages, Fence("dc.master.ours.>", self.last))


class _Plain:
    """The same with nothing but nats-py."""

    def __init__(self, client: Client) -> None:
        self.client, self.last, self.count = client, 0, 0

    async def append(self, size: int) -> None:
        self.count += 1
        subject = "dc.master.plain.task.updated.x"
        fence = {
            "Nats-Expected-Last-Subject-Sequence": str(self.last),
            "Nats-Expected-Last-Subject-Sequence-Subject": "dc.master.plain.>",
        }
        batch = [{"Nats-Batch-Id": f"b{self.count}", "Nats-Batch-Sequence": str(k + 1)} for k in range(size)]
        headers = [fence] if size == 1 else [batch[0] | fence, *batch[1:-1], batch[-1] | {"Nats-Batch-Commit": "1"}]
        for header in headers[:-1]:
            await self.client.publish(subject, BODY, headers=header)
        answer = json.loads((await self.client.request(subject, BODY, timeout=5, headers=headers[-1])).data)
        self.last = answer["seq"]
