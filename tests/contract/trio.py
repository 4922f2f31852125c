"""Three real nats-servers that keep one stream, and the ways to take them away."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from bus.authority import Authority
from bus.configuration import ACCOUNTS, Login, Routes, Settings, text
from bus.credentials import Credentials
from bus.jetstream import JetStreamBus, connect
from bus.keyring import Wanted, issued
from bus.permits import Role
from bus.port import ClusterRow, NoAnswer, NobodyThere
from bus.server import find_binary, free_port
from tests.contract.places import CLUSTER

NAMES = ("n1", "n2", "n3")


class Node:
    """One of the servers."""

    def __init__(self, data: Path, name: str, port: int, route_port: int) -> None:
        self.data, self.name, self.port, self.route_port = data / name, name, port, route_port
        self.url = f"nats://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, routes: list[int], authority: Authority) -> None:
        """Write the configuration, as it is for every cluster."""
        self.data.mkdir(parents=True)
        settings = Settings(
            name=self.name,
            listen=f"127.0.0.1:{self.port}",
            operator=authority.operator_text(),
            directory=str(self.data),
            routes=Routes(
                CLUSTER,
                f"127.0.0.1:{self.route_port}",
                Login("route", "secret"),
                [f"127.0.0.1:{port}" for port in routes],
            ),
        )
        (self.data / "conf").write_text(text(settings))
        self.admit(authority.issuer().accounts_text({}))

    def admit(self, accounts: str) -> None:
        """Write down who is let in."""
        (self.data / ACCOUNTS).write_text(accounts)

    def start(self) -> None:
        """Start the server, again if it was killed."""
        command = [str(find_binary()), "--config", str(self.data / "conf")]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, ..."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """The server dies in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """The server ends in good order."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def flip(self, needle: bytes) -> None:
        """A bit of a stored message changes on the disk."""
        [block] = [path for path in self.data.rglob("*.blk") if "LOG-DC" in path.parts and needle in path.read_bytes()]
        content = bytearray(block.read_bytes())
        content[content.index(needle)] ^= 1
        block.write_bytes(content)


class Trio:
    """The servers, and the connections to them."""

    def __init__(self, data: Path) -> None:
        routes = [free_port() for _ in NAMES]
        self.authority = Authority.found(CLUSTER)
        self.nodes = {name: Node(data, name, free_port(), route) for name, route in zip(NAMES, routes, strict=True)}
        for node in self.nodes.values():
            node.configure(routes, self.authority)

    def open(self) -> None:
        for node in self.nodes.values():
            node.start()

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()

    async def connect(
        self, first: str = "n1", role: Role = Role.ADMINISTRATOR, name: str = "administrator"
    ) -> JetStreamBus:
        """A connection that prefers one server and knows them all."""
        start = NAMES.index(first)
        urls = ",".join(self.nodes[each].url for each in NAMES[start:] + NAMES[:start])
        known = issued(self.authority, Wanted("", role, name), Credentials(url=urls, replicas=3))
        return await connect(known, connect_s=30)

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

    async def lead(self, bus: JetStreamBus, name: str) -> None:
        """A certain server leads the stream."""
        preferred = json.dumps({"placement": {"preferred": name}}).encode()
        while (await self.leader(bus)).name != name:
            with suppress(NoAnswer, NobodyThere):
                await bus.query("$JS.API.STREAM.LEADER.STEPDOWN.LOG-DC", preferred, timeout_s=5)
            await asyncio.sleep(0.1)
