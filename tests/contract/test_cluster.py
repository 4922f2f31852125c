"""Three servers keep the stream: any one may die, freeze or lie, and what was acknowledged is there once, unchanged."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import count

import pytest

from bus import codec, trimming
from bus.append import append_surely
from bus.connection import Connection
from bus.credentials import Credentials
from bus.jetstream import JetStreamBus
from bus.keyring import Wanted, issued
from bus.nouns import Position
from bus.permits import Role
from bus.port import Fence, Message, NoAnswer, NobodyThere, NoQuorum, Record, StreamDiverged
from bus.replies import Send
from bus.stream import ApiError
from bus.subjects import Author, Kind, ask, own_log
from tests.contract.places import CLUSTER, until
from tests.contract.speech import ALL, LEADER, LEADERS, chain, fence, needles
from tests.contract.trio import NAMES, Node, Trio


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """Three servers for all tests here; each test leaves them whole."""
    trio = Trio(tmp_path_factory.mktemp("trio"))
    trio.open()
    try:
        yield trio
    finally:
        trio.close()


class Writer:
    """Appends one chain for ever, and remembers what was acknowledged."""

    def __init__(self, bus: JetStreamBus, author: Author) -> None:
        self.bus, self.author, self.acknowledged = bus, author, list[Message]()
        self.last, self.enough = Position(0), False

    async def write(self) -> None:
        prev = b""
        for size in count(1):
            if self.enough:
                return
            n = len(self.acknowledged) + 1
            messages = chain(self.author, *(f"word {n + i}" for i in range(size % 7 + 1)), n=n, prev=prev)
            self.last = await append_surely(self.bus, messages, fence(self.author, self.last))
            self.acknowledged += messages
            prev = codec.link(messages[-1].body)


class Reader:
    """Follows a log for ever, and remembers what came."""

    def __init__(self, bus: JetStreamBus, log: str, after: Position) -> None:
        self.bus, self.log, self.after, self.found = bus, log, after, list[Record]()

    async def read(self) -> None:
        async with aclosing(self.bus.follow(self.log, after=self.after)) as groups:
            async for records in groups:
                self.found += records

    def of(self, author: Author) -> list[bytes]:
        """The bodies of one author's messages."""
        log = own_log(CLUSTER, author)[:-1]
        return [record.body for record in self.found if record.subject.startswith(log)]


class Load:
    """One writer, two readers, one who asks and one who answers, each preferring another server."""

    def __init__(self, buses: list[JetStreamBus], author: Author, after: Position) -> None:
        self.buses, self.author, self.after = buses, author, after
        self.writer = Writer(buses[0], author)
        self.readers = [Reader(buses[1], ALL, after), Reader(buses[2], own_log(CLUSTER, author), after)]
        self.subject = ask(CLUSTER, author, "summary")
        self.answers = 0

    async def serve(self) -> None:
        async def shout(question: bytes) -> bytes:
            return question.upper()

        await self.buses[2].serve(self.subject, shout)

    async def ask(self) -> None:
        while True:
            with suppress(NoAnswer, NobodyThere):
                assert await self.buses[1].query(self.subject, b"a", timeout_s=1) == b"A"
                self.answers += 1
            await asyncio.sleep(0.02)

    async def goes_on(self) -> None:
        """Wait until something more was acknowledged, read by both, and answered."""
        acknowledged, answers = len(self.writer.acknowledged) + 20, self.answers + 1
        await until(lambda: len(self.writer.acknowledged) >= acknowledged and self.answers >= answers)
        await until(lambda: all(len(reader.of(self.author)) >= acknowledged for reader in self.readers))

    async def check(self) -> None:
        """Both readers have exactly what was acknowledged, in order, with no gap between positions."""
        sent = [message.body for message in self.writer.acknowledged]
        await until(lambda: all(len(reader.of(self.author)) >= len(sent) for reader in self.readers))
        for reader in self.readers:
            assert reader.of(self.author) == sent
        positions = [record.position for record in self.readers[0].found]
        assert positions == list(range(self.after + 1, self.after + 1 + len(positions)))


SIDES = {
    "kernel": (Role.ADMINISTRATOR, Role.ADMINISTRATOR, Role.ADMINISTRATOR),
    "userspace": (Role.AGENT, Role.VIEWER, Role.AGENT),
}
"""Who writes, who reads everything and asks, who reads the writer's log and answers: in the account of the stream,
where the servers push to readers, or outside of it, where readers pull."""
both_sides = pytest.mark.parametrize("side", list(SIDES))


@asynccontextmanager
async def load(trio: Trio, name: str, side: str = "kernel") -> AsyncIterator[Load]:
    """Work that goes on all the time; at the end it is checked."""
    author = Author(Kind.AGENT, f"{name}-{side}")
    await (await trio.connect()).close()  # the stream is there
    buses = [await trio.connect(first, role, author.id) for first, role in zip(NAMES, SIDES[side], strict=True)]
    try:
        working = Load(buses, author, (await buses[0].extent()).last)
        await working.serve()
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(working.writer.write())
            others = [group.create_task(reader.read()) for reader in working.readers]
            others.append(group.create_task(working.ask()))
            await working.goes_on()
            yield working
            working.writer.enough = True
            await writing
            await working.check()
            for task in others:
                task.cancel()
    finally:
        for bus in buses:
            await bus.close()


@pytest.mark.timeout(120)
@both_sides
async def test_each_server_is_killed_in_turn_under_load(trio: Trio, side: str) -> None:
    """Append, follow, last, serve and query go on with the two that are left."""
    async with load(trio, "turns", side) as working:
        for node in trio.nodes.values():
            node.kill()
            await working.goes_on()
            node.start()
            await trio.whole(working.buses[0])
        newest = await working.buses[0].last(own_log(CLUSTER, working.author))
        assert newest is not None


@pytest.mark.timeout(120)
@both_sides
async def test_the_streams_leader_steps_down_again_and_again(trio: Trio, side: str) -> None:
    """Consumers are then on a server that does not lead: readers notice, and miss nothing; the newest message is never
    one that is older than what was acknowledged before it was asked for."""
    admin = await trio.connect()
    looks = 0

    async def look(writer: Writer) -> None:
        nonlocal looks
        log = own_log(CLUSTER, writer.author)
        while True:
            acknowledged = writer.last
            with suppress(NoAnswer):
                newest = await writer.bus.last(log)
                assert newest is not None
                assert newest.position >= acknowledged
                looks += 1

    try:
        async with load(trio, "stepping", side) as working:
            looking = asyncio.create_task(look(working.writer))
            for name in NAMES * 2:
                await trio.lead(admin, name)
                seen = looks
                await working.goes_on()
                await until(lambda seen=seen: looks > seen or looking.done())  # type: ignore[misc]
            assert not looking.done()
            looking.cancel()
    finally:
        await admin.close()


@pytest.mark.timeout(120)
@both_sides
async def test_the_streams_leader_freezes(trio: Trio, side: str) -> None:
    """The others elect; when it thaws it follows, and writes nothing of its own."""
    async with load(trio, "frozen", side) as working:
        leader = await trio.leader(working.buses[0])
        leader.signal(signal.SIGSTOP)
        try:
            await working.goes_on()
        finally:
            leader.signal(signal.SIGCONT)
        await working.goes_on()
        await trio.whole(working.buses[0])


@pytest.mark.timeout(120)
@both_sides
async def test_all_three_are_killed_and_come_back(trio: Trio, side: str) -> None:
    """What was acknowledged is on their disks."""
    async with load(trio, "dark", side) as working:
        trio.close()
        trio.open()
        await working.goes_on()
        await trio.whole(working.buses[0])


@pytest.mark.timeout(120)
async def test_with_two_of_three_gone_nothing_is_written_until_one_is_back(trio: Trio) -> None:
    """An append says so within a bounded time, in words in the end; nobody needs to do anything when one is back."""
    bus = await trio.connect()
    author = Author(Kind.AGENT, "quorum")
    under = Fence(own_log(CLUSTER, author), Position(0))
    try:
        leader = await trio.leader(bus)
        first, second = [node for node in trio.nodes.values() if node is not leader]
        first.kill()
        second.kill()
        with pytest.raises(NoQuorum, match="no majority of the bus's servers answers"):
            await append_surely(bus, chain(author, "a"), under, within_s=20)
        with pytest.raises(NoAnswer):
            await bus.last(ALL)
        first.start()
        position = await append_surely(bus, chain(author, "a"), under)
        second.start()
        await trio.whole(bus)
        newest = await bus.last(under.log)
        [said] = chain(author, "a")
        assert newest == Record(position, said.subject, said.body)
    finally:
        await bus.close()


@pytest.mark.timeout(120)
@both_sides
async def test_three_servers_are_trimmed_alike_under_load(trio: Trio, side: str) -> None:
    """Each begins at the same position afterwards; nothing that is to stay is lost, and writer and readers go on."""
    admin = await trio.connect("n3")
    try:
        filler, fenced = Author(Kind.AGENT, f"filler-{side}"), Position(0)
        for _ in range(4):
            fenced = await admin.append(needles(0, 1000, 100, filler), fence(filler, fenced))
        async with load(trio, "trimmed", side) as working:
            asked = Position((await admin.extent()).last - 10)
            await admin.trim(asked)
            await working.goes_on()
            begins = (await admin.extent()).first
            assert asked - 1000 <= begins <= asked
            for name in NAMES:
                await trio.whole(admin)
                await trio.lead(admin, name)
                assert (await admin.extent()).first == begins
    finally:
        await admin.close()


async def test_who_has_not_seen_a_trim_is_waited_for(trio: Trio) -> None:
    """One server does nothing for a while: nobody goes on as if it had done what was asked."""
    admin = await trio.connect("n1")
    try:
        await trio.whole(admin)
        leader = (await trio.leader(admin)).name
        others = [trio.nodes[name] for name in NAMES if name != leader]
        while not await waits_for(trio, admin, others[0]):
            others.reverse()  # who was stopped leads them no more
    finally:
        await admin.close()


async def waits_for(trio: Trio, admin: JetStreamBus, node: Node) -> bool:
    """Stop one: it is waited for; False if it leads the servers, so that nothing can be asked."""
    others = len(NAMES) - 1
    node.signal(signal.SIGSTOP)
    try:
        seen = asyncio.create_task(trimming.seen_by_all(admin._stream, others))
        answers = 0
        while not seen.done() and answers < 40:  # enough for who waits to have been answered, too
            answers += await taking_part(admin) == others - 1
            await asyncio.sleep(0.01)
        waiting = not seen.done()
    finally:
        node.signal(signal.SIGCONT)
    await asyncio.wait({seen})
    await trio.whole(admin)
    assert waiting or isinstance(seen.exception(), NoAnswer), "it went on without one"
    return waiting


async def taking_part(admin: JetStreamBus) -> int:
    """How many servers have joined the one that leads, so far."""
    with suppress(NoAnswer, ApiError):
        return trimming.taking_part(await admin._stream.ask(f"CONSUMER.INFO.{admin._stream.name}.{trimming.BARRIER}"))
    return 0


@pytest.mark.timeout(120)
async def test_flipped_bits_on_two_servers_reach_no_reader_unnoticed(trio: Trio) -> None:
    """One was killed and looks at its messages when it starts, one trusts its index: whoever leads, every reader gets
    exactly what was appended or is told that something is missing. (The last test here: two servers stay damaged)"""
    bus = await trio.connect("n1")
    try:
        after = last = (await bus.extent()).last
        fenced = Position(0)
        for batch in range(20):  # a file of the server's holds 8 MiB
            last = fenced = await bus.append(needles(batch * 1000, 1000, 1000), fence(LEADER, fenced))
        await trio.lead(bus, "n1")
        for name, needle, end in (("n2", b"needle 0005", Node.kill), ("n3", b"needle 0006", Node.stop)):
            await trio.whole(bus)
            end(trio.nodes[name])
            trio.nodes[name].flip(needle)
            trio.nodes[name].start()
        await trio.whole(bus)
        for log in (ALL, LEADERS):
            assert await until_diverged(bus, log, after, last) == ""
        await trio.lead(bus, "n2")
        for log in (ALL, LEADERS):
            told = await until_diverged(bus, log, after, last)  # its first file may have begun with trimmed messages
            assert "messages at positions " in told or "it was trimmed to " in told
        await trio.lead(bus, "n3")
        told = await until_diverged(bus, ALL, after, last)
        assert told in ("", f"{ALL}: position {after + 8} follows position {after + 6}")
        told = await until_diverged(bus, LEADERS, after, last)
        assert told in ("", f"{LEADERS}: 1 of 20000 messages up to position {last} are missing")
        await trio.lead(bus, "n1")
        for log in (ALL, LEADERS):
            assert await until_diverged(bus, log, after, last) == ""
    finally:
        await bus.close()


async def until_diverged(bus: JetStreamBus, log: str, after: Position, last: Position) -> str:
    """What a reader is told; nothing if it gets everything, and it is what was appended."""
    reader = Reader(bus, log, after)
    reading = asyncio.create_task(reader.read())
    await until(lambda: reading.done() or len(reader.found) == last - after)
    if reading.done():
        with pytest.raises(StreamDiverged) as diverged:
            reading.result()
        return str(diverged.value)
    reading.cancel()
    wanted = [message.body for batch in range(20) for message in needles(batch * 1000, 1000, 1000)]
    assert [record.body for record in reader.found] == wanted
    return ""


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.AGENT])
async def test_a_server_that_lost_the_others_is_not_held_for_led(trio: Trio, role: Role) -> None:
    """It goes on to tell what the stream is like, from its own copy: who believes that stays with it for ever."""
    await (await trio.connect()).close()
    link = Connection(issued(trio.authority, Wanted("", role, "a1"), Credentials(url=trio.nodes["n1"].url)), None)
    await link.open(name="test", connect_s=10)
    try:
        for name in ("n2", "n3"):
            trio.nodes[name].kill()
        await _answered(link)
        assert not await link._is_led()
        for name in ("n2", "n3"):
            trio.nodes[name].start()
        while not await link._is_led():
            await asyncio.sleep(0.05)  # between two looks at a condition
    finally:
        await link.close()


async def _answered(link: Connection) -> None:
    """Wait until a server that lost its leader says so, or what it knows: at first it says nothing."""
    where = "$JS.API.INFO" if link.in_kernel else f"log.{CLUSTER}.info"
    while True:
        with suppress(NoAnswer, NobodyThere):
            answer = json.loads((await link.ask(Send(where, b""), timeout_s=2)).body)
            if "error" in answer or ("cluster" in answer and not answer["cluster"].get("leader")):
                return
        await asyncio.sleep(0.05)
