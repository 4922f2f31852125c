"""Three real nats-servers that keep one stream, and the ways to take them away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

from bus.jetstream import JetStreamBus, connect
from bus.port import ClusterRow, NoAnswer
from bus.server import find_binary, free_port
from tests.contract.places import CLUSTER

NAMES = ("n1", "n2", "n3")
USER, PASSWORD = "busbar", "secret"


class Node:
    """One of the servers."""

    def __init__(self, data: Path, name: str, port: int, route_port: int) -> None:
        self.data, self.name, self.port, self.route_port = data / name, name, port, route_port
        self.url = f"nats://127.0.0.1:{port}"
        self._process: asyncio.subprocess.Process | None = None

    def configure(self, routes: list[int]) -> None:
        """Write the configuration: every append on the disk before its answer."""
        self.data.mkdir(parents=True)
        known = ", ".join(f'"nats://{USER}:{PASSWORD}@127.0.0.1:{port}"' for port in routes)
        (self.data / "conf").write_text(
            f"""\
server_name: {self.name}
listen: "127.0.0.1:{self.port}"
authorization {{ user: {USER}, password: {PASSWORD} }}
jetstream {{ store_dir: {json.dumps(str(self.data))}, sync_interval: always }}
cluster {{
  name: dc
  listen: "127.0.0.1:{self.route_port}"
  authorization {{ user: {USER}, password: {PASSWORD} }}
  routes: [{known}]
}}
log_file: {json.dumps(str(self.data / "log"))}
max_payload: 1MB
ping_interval: "10s"
feature_flags {{ js_ack_fc_v2: false }}
"""
        )

    async def start(self) -> None:
        """Start the server, again if it was killed."""
        self._process = await asyncio.create_subprocess_exec(
            find_binary(), "--config", self.data / "conf", stderr=asyncio.subprocess.DEVNULL
        )

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, ..."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """The server dies in the middle of whatever it does."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """The server ends in good order."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    def flip(self, needle: bytes) -> None:
        """A bit of a stored message changes on the disk; the server looks at the messages when it starts."""
        [block] = [path for path in self.data.rglob("*.blk") if "msgs" in path.parts and needle in path.read_bytes()]
        content = bytearray(block.read_bytes())
        content[content.index(needle)] ^= 1
        block.write_bytes(content)
        for index in block.parent.glob("index.db"):
            index.unlink()


class Trio:
    """The servers, and the connections to them."""

    def __init__(self, data: Path) -> None:
        routes = [free_port() for _ in NAMES]
        self.nodes = {name: Node(data, name, free_port(), route) for name, route in zip(NAMES, routes, strict=True)}
        for node in self.nodes.values():
            node.configure(routes)
        self.buses: list[JetStreamBus] = []

    async def open(self) -> None:
        for node in self.nodes.values():
            await node.start()

    async def connect(self, first: str = "n1") -> JetStreamBus:
        """A connection that prefers one server and knows them all."""
        start = NAMES.index(first)
        urls = ",".join(self.nodes[name].url for name in NAMES[start:] + NAMES[:start])
        bus = await connect(urls, cluster=CLUSTER, user=USER, password=PASSWORD, connect_s=30, replicas=3)
        self.buses.append(bus)
        return bus

    async def rows(self, bus: JetStreamBus) -> list[ClusterRow]:
        """Who keeps the stream; asked until somebody leads it."""
        while True:
            with suppress(NoAnswer):
                return await bus.servers()
            await asyncio.sleep(0.05)

    async def leader(self, bus: JetStreamBus) -> Node:
        """Who leads the stream."""
        [leader] = [row.name for row in await self.rows(bus) if row.leader]
        return self.nodes[leader]

    async def whole(self, bus: JetStreamBus) -> None:
        """Wait until all three have everything."""
        while not all(row.current and row.lag == 0 for row in await self.rows(bus)):
            await asyncio.sleep(0.05)

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()
        for node in self.nodes.values():
            await node.kill()


def is_alive(pid: int) -> bool:
    """Whether a process is there."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
