"""The places a bus can live: in memory, and on a real nats-server behind a proxy that makes trouble, seen from the
account of the stream and from outside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import nats

from bus.connection import identity
from bus.credentials import Credentials
from bus.jetstream import JetStreamBus, connect
from bus.keyring import Wanted, issued
from bus.memory import LOST, UNTOLD, Fate, Faults, MemoryBus, MemoryServer, late
from bus.nouns import MASTER, Now, Position
from bus.permits import Role
from bus.port import Bus, Message, Record
from bus.server import EmbeddedServer
from bus.subjects import Author, Kind, everything, own_log
from tests.contract.proxy import Proxy, Trouble

CLUSTER = "dc"
LEADER = Author(Kind.MASTER, MASTER)
"""Who speaks where everybody may say everything."""
SCHEDULER = Author(Kind.FRAMEWORK, "marathon")
"""Who speaks outside the stream's account."""
ROLES = {
    Kind.MASTER: Role.MASTER,
    Kind.AGENT: Role.AGENT,
    Kind.FRAMEWORK: Role.FRAMEWORK,
    Kind.CLIENT: Role.ADMIN,
}
"""What the authors of the tests are."""


class Place(Protocol):
    """Somewhere to run a bus, and the ways to disturb it that every binding must survive."""

    author: Author
    """Whose log the tests write here."""

    @property
    def log(self) -> str:
        """What the author said."""

    @property
    def all(self) -> str:
        """The largest log that the author may read: everything, or what it said."""

    async def connect(self, author: Author | None = None) -> Bus:
        """A connection without trouble, of the place's author or another one."""

    async def look(self) -> Bus:
        """A connection of somebody who may read and ask everything."""

    async def administrator(self) -> Bus:
        """A connection of who may change the stream itself."""

    async def troubled(self, trouble: Trouble) -> Bus:
        """A connection whose first append meets this trouble."""

    async def inject(self, subject: str, body: bytes) -> None:
        """Store a message that is nobody's event."""

    async def limit(self, bytes_max: int) -> None:
        """From now on the stream takes no more than this."""

    async def damage(self, needle: bytes) -> None:
        """A bit flips on the disk, in the one stored message that holds these bytes."""

    async def close(self) -> None:
        """Leave nothing behind."""


class _MemoryTrouble(Faults):
    """The same trouble, in memory."""

    def __init__(self, trouble: Trouble) -> None:
        self.fates = {
            Trouble.REQUEST_LOST: LOST,
            Trouble.ANSWER_LOST: UNTOLD,
            Trouble.LATE_BEFORE_RETRY: late(0.05),
            Trouble.LATE_AFTER_RETRY: late(0.5),
        }
        self.next: Fate | None = self.fates[trouble]

    async def append(self, messages: Sequence[Message]) -> Fate:
        fate, self.next = self.next or Fate(), None
        return fate


class MemoryPlace:
    """The bus in memory, which lets everybody do everything."""

    author = LEADER
    log = own_log(CLUSTER, LEADER)
    all = everything(CLUSTER)

    def __init__(self) -> None:
        self.server = MemoryServer(CLUSTER, lambda: Now(time.time_ns() // 1000))
        self.buses: list[MemoryBus] = []

    async def connect(self, author: Author | None = None) -> Bus:
        self.buses.append(MemoryBus(self.server))
        return self.buses[-1]

    async def look(self) -> Bus:
        return await self.connect()

    async def administrator(self) -> Bus:
        return await self.connect()

    async def troubled(self, trouble: Trouble) -> Bus:
        self.buses.append(MemoryBus(self.server, _MemoryTrouble(trouble)))
        return self.buses[-1]

    async def inject(self, subject: str, body: bytes) -> None:
        self.server.inject(subject, body)

    async def limit(self, bytes_max: int) -> None:
        self.server.bytes_max = bytes_max

    async def damage(self, needle: bytes) -> None:
        [damaged] = [record.position for record in self.server.records() if needle in record.body]
        self.server.lose(damaged)

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()


class JetStreamPlace:
    """A nats-server of our own, and a proxy in front of it; everybody is its administrator."""

    author = LEADER

    def __init__(self, data: Path) -> None:
        self.server = EmbeddedServer(data, cluster=CLUSTER)
        self.proxies: list[Proxy] = []
        self.buses: list[JetStreamBus] = []
        self._everybody: Credentials | None = None

    @property
    def all(self) -> str:
        return everything(CLUSTER)

    @property
    def log(self) -> str:
        """What the author said."""
        return own_log(CLUSTER, self.author)

    @property
    def credentials(self) -> Credentials:
        """Of the administrator."""
        return self.server.administrator

    async def open(self) -> None:
        await self.server.start()

    def identity(self, author: Author) -> Credentials:
        """As whom an author is known here: always the same."""
        self._everybody = self._everybody or self.credentials
        return self._everybody

    def issued(self, role: Role, name: str, agent: str = "") -> Credentials:
        """New credentials for this server."""
        return issued(self.server.keyring.authority, Wanted("", role, name, agent), self.credentials)

    async def connect(
        self, author: Author | None = None, *, url: str | None = None, on_lost: Callable[[str], None] | None = None
    ) -> JetStreamBus:
        return await self.join(self.identity(author or self.author), url=url, on_lost=on_lost)

    async def join(
        self, known: Credentials, *, url: str | None = None, on_lost: Callable[[str], None] | None = None
    ) -> JetStreamBus:
        """A connection of whose credentials these are, past the proxies or through one."""
        known = msgspec.structs.replace(known, url=url or known.url)
        bus = await connect(known, name="test", on_lost=on_lost)
        self.buses.append(bus)
        return bus

    async def look(self) -> JetStreamBus:
        return await self.connect()

    async def administrator(self) -> JetStreamBus:
        return await self.join(self.credentials)

    async def kill(self) -> None:
        """The server dies in the middle of whatever it does."""
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
        await self.server.wait()

    async def proxy(self, trouble: Trouble | None = None) -> Proxy:
        proxy = Proxy(self.credentials.port, trouble)
        await proxy.open()
        self.proxies.append(proxy)
        return proxy

    async def troubled(self, trouble: Trouble) -> Bus:
        return await self.connect(url=(await self.proxy(trouble)).url)

    async def api(self, what: str, body: bytes = b"") -> bytes:
        """What an administrator asks the server, past the binding."""
        return await self._ask(f"$JS.API.{what}", body)

    async def inject(self, subject: str, body: bytes) -> None:
        await self._ask(subject, body)

    async def publish(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """What an administrator sends by hand, and waits for no answer."""
        async with self._client() as client:
            await client.publish(subject, body, headers=headers)
            await client.flush()

    async def _ask(self, subject: str, body: bytes) -> bytes:
        async with self._client() as client:
            answer: bytes = (await client.request(subject, body, timeout=5)).data
        return answer

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[nats.NATS]:
        client = await nats.connect(self.credentials.url, **identity(self.credentials))
        try:
            yield client
        finally:
            await client.close()

    async def limit(self, bytes_max: int) -> None:
        info = json.loads(await self.api("STREAM.INFO.LOG-DC"))
        config = info["config"] | {"max_bytes": bytes_max}
        answer = json.loads(await self.api("STREAM.UPDATE.LOG-DC", json.dumps(config).encode()))
        assert "error" not in answer, answer

    async def damage(self, needle: bytes) -> None:
        await self.kill()
        [block] = [path for path in self.server.data.rglob("*.blk") if needle in path.read_bytes()]
        content = bytearray(block.read_bytes())
        content[content.index(needle)] ^= 1
        block.write_bytes(content)
        for index in self.server.data.rglob("index.db"):
            index.unlink()  # so that the server looks at the messages themselves, and finds out
        await self.server.start()

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()
        for proxy in self.proxies:
            await proxy.close()
        await self.server.stop()


class UserPlace(JetStreamPlace):
    """The same server, where everybody is who the passport says, and most are outside the stream's account."""

    author = SCHEDULER

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._known: dict[Author, Credentials] = {}

    @property
    def all(self) -> str:
        return self.log

    async def open(self) -> None:
        await super().open()
        await self.administrator()  # the stream is there

    def identity(self, author: Author) -> Credentials:
        if author not in self._known:
            name = "m-n1" if author.kind is Kind.MASTER else author.id
            self._known[author] = self.issued(ROLES[author.kind], name)
        return self._known[author]

    async def look(self) -> JetStreamBus:
        return await self.join(self.issued(Role.VIEWER, "u-viewer"))


class CrossPlace(UserPlace):
    """A master in the stream's account, and who asks it from outside."""

    author = LEADER

    @property
    def all(self) -> str:
        return everything(CLUSTER)


async def read(bus: Bus, log: str, count: int, *, after: int = 0) -> list[Record]:
    """The next `count` messages of a log; fails if a group brings more."""
    found: list[Record] = []
    following = bus.follow(log, after=Position(after))
    try:
        while len(found) < count:
            found += await anext(following)
    finally:
        await following.aclose()
    assert len(found) == count, f"{len(found)} messages where {count} were expected"
    return found


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to come true."""
    while not condition():
        await asyncio.sleep(0.01)
