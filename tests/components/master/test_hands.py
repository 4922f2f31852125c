"""The hands ping on virtual time, and answer from a real store."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import pytest

from bus.codec import encode, link, subject
from bus.events import AgentRegistered
from bus.memory import Faults, MemoryBus, MemoryServer
from bus.nouns import AgentId, FrameworkId, TaskState, parse_resources
from bus.port import Message, Record
from bus.queries import HistoryQuestion, QueryRefused, pack
from bus.subjects import CLUSTER, Author, Kind, own_log, ping
from components.component import Sight
from components.master import MasterConfig, component
from components.master.decide import PingsMissed
from components.master.hands import MYSELF, MasterHands, pings_in_a_row_max
from components.runtime import live
from eventstore.store import open_writer
from tests.components.master.datacenter import Datacenter, info
from tests.simulation.clock import run_virtually, virtual_now

A1, F = Author(Kind.AGENT, "a1"), Author(Kind.FRAMEWORK, "f")


def datacenter() -> Datacenter:
    dc = Datacenter()
    dc.register("a1")
    dc.enroll("f")
    return dc


class Deaf(Faults):
    """Questions to some are never answered."""

    def __init__(self, *who: Author) -> None:
        self.who = {ping(CLUSTER, author) for author in who}

    async def ask(self, subject: str) -> bool:
        return subject not in self.who


async def pong(_question: bytes) -> bytes:
    return b""


Script = Callable[[MasterHands, MemoryBus, list[tuple[float, Sight]]], Awaitable[None]]


def watch(dc: Datacenter, script: Script, *, config: MasterConfig | None = None, faults: Faults | None = None):
    """What the hands saw, and after how many seconds, while a script ran."""

    async def run() -> list[tuple[float, Sight]]:
        loop = asyncio.get_running_loop()
        bus = MemoryBus(MemoryServer(CLUSTER, virtual_now), faults)
        seen: list[tuple[float, Sight]] = []

        async def see(sight: Sight) -> None:
            seen.append((round(loop.time(), 3), sight))

        hands = MasterHands(config or MasterConfig(), bus, None)
        task = loop.create_task(hands.run(dc.state, see))
        await asyncio.sleep(0)
        await script(hands, bus, seen)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await bus.close()
        return seen

    return run_virtually(run())


def missed(dc: Datacenter, author: Author, count: int = 5) -> PingsMissed:
    if author.kind is Kind.AGENT:
        return PingsMissed(
            kind=Kind.AGENT, id=author.id, since_n=dc.state.agents[AgentId(author.id)].admitted_n, missed=5, unheard=1
        )
    n = dc.state.frameworks[FrameworkId(author.id)].connected_n
    return PingsMissed(kind=Kind.FRAMEWORK, id=author.id, since_n=n, missed=count)


def test_who_does_not_answer_is_seen_after_five_pings():
    dc = datacenter()

    async def script(hands, bus, seen):
        await bus.serve(ping(CLUSTER, F), pong)
        await asyncio.sleep(76)

    assert watch(dc, script) == [(75, missed(dc, A1))]


class Counted(Faults):
    """How many questions begin in each turn of the loop."""

    def __init__(self) -> None:
        self.turn, self.begun = 0, Counter[int]()

    async def ask(self, subject: str) -> bool:
        self.begun[self.turn] += 1
        return True


def test_a_round_of_many_pings_leaves_turns_to_others():
    dc, count, counted = Datacenter(), 350, Counted()
    for number in range(count):
        dc.hear(Author(Kind.AGENT, f"n{number}"), AgentRegistered(hostname="n", resources=parse_resources("cpus:1")))

    async def script(hands, bus, seen):
        for number in range(count):
            await bus.serve(ping(CLUSTER, Author(Kind.AGENT, f"n{number}")), pong)
        await asyncio.sleep(15)
        for counted.turn in range(1, 100):
            await asyncio.sleep(0)

    watch(dc, script, faults=counted)
    assert sum(counted.begun.values()) >= count
    assert max(counted.begun.values()) <= pings_in_a_row_max


def test_one_answer_starts_the_count_anew():
    dc = datacenter()

    async def script(hands, bus, seen):
        await asyncio.sleep(70)
        await bus.serve(ping(CLUSTER, A1), pong)
        await bus.serve(ping(CLUSTER, F), pong)
        await asyncio.sleep(300)

    assert watch(dc, script) == []


def test_an_answer_that_never_comes_is_missed_too():
    dc = datacenter()

    async def script(hands, bus, seen):
        await bus.serve(ping(CLUSTER, A1), pong)
        await bus.serve(ping(CLUSTER, F), pong)
        await asyncio.sleep(120)

    assert watch(dc, script, faults=Deaf(F)) == [(90, missed(dc, F))]


def test_a_bus_that_is_down_is_nobodys_silence():
    """For an hour nothing arrives, not even the master's own ping; then all but one answer again."""
    dc = datacenter()
    down = Deaf(A1, F, MYSELF)

    async def script(hands, bus, seen):
        for author in (A1, F, MYSELF):
            await bus.serve(ping(CLUSTER, author), pong)
        await asyncio.sleep(3600)
        assert seen == []
        down.who = {ping(CLUSTER, F)}
        await asyncio.sleep(300)

    assert [sight for _, sight in watch(dc, script, faults=down)][:1] == [missed(dc, F)]


def test_who_is_marked_is_left_alone_and_who_is_back_is_watched_anew():
    dc = datacenter()

    async def script(hands, bus, seen):
        await bus.serve(ping(CLUSTER, F), pong)
        await asyncio.sleep(76)
        mark = dc.lose("a1")[0]
        hands.act(mark)
        await asyncio.sleep(1000)
        assert len(seen) == 1
        for event in dc.register("a1", answers=mark.position):
            hands.act(event)
        await asyncio.sleep(90)

    seen = watch(dc, script)
    assert [sight.since_n for _, sight in seen] == [2, dc.state.agents[AgentId("a1")].admitted_n]


def test_a_framework_that_is_back_is_watched_again():
    dc = datacenter()

    async def script(hands, bus, seen):
        await bus.serve(ping(CLUSTER, A1), pong)
        for event in dc.silence("f") + dc.reconcile("f"):
            hands.act(event)
        await asyncio.sleep(76)

    assert watch(dc, script) == [(75, missed(dc, F))]


def test_a_master_marks_an_agent_whose_process_is_gone():
    """Mind, hands and loop together: five pings at 15 s, and the mark is in the log."""

    async def run() -> list[str]:
        server = MemoryServer(CLUSTER, virtual_now)
        bus, stop, config = MemoryBus(server), asyncio.Event(), MasterConfig()
        master = component(config, partial(MasterHands, config, bus, None))
        await server_said_registered(server)
        life = asyncio.get_running_loop().create_task(
            live(master, bus, node="n", instance="i", store=None, stop=stop, clock=virtual_now)
        )
        await asyncio.sleep(80)
        stop.set()
        await life
        await bus.close()
        return [record.subject for record in server.records(own_log(CLUSTER, master.author))]

    assert run_virtually(run()) == [
        "dc.master.main.leader.elected._",
        "dc.master.main.agent.admitted.a1",
        "dc.master.main.agent.marked.a1",
        "dc.master.main.leader.resigned._",
    ]


async def server_said_registered(server: MemoryServer) -> None:
    dc = Datacenter()
    event = dc.said(A1, AgentRegistered(hostname="h", resources={"cpu_milli": 1000}))  # type: ignore[arg-type]
    event = msgspec.structs.replace(event, at=virtual_now(), last=True)
    server.append([Message(subject(CLUSTER, event), encode(event))], None)


# ---- questions to the store


@pytest.fixture
async def hands(tmp_path):
    """Hands whose store holds the master's own log of one task's life."""
    dc = Datacenter()
    dc.register("a1")
    dc.enroll("marathon")
    dc.launch("marathon", "a1", info("t1"))
    dc.report("a1", "t1", TaskState.FINISHED)
    path = str(tmp_path / "store.db")
    async with open_writer(path, cluster=CLUSTER, log=dc.component.author) as writer:
        await writer.append(chained(dc))
    return MasterHands(MasterConfig(), MemoryBus(MemoryServer(CLUSTER, lambda: dc.now)), path)


def chained(dc: Datacenter) -> list[Record]:
    records, prev = [], b""
    for event in dc.log:
        event = msgspec.structs.replace(event, prev=prev)
        body = encode(event)
        prev = link(body)
        records.append(Record(event.position, subject(CLUSTER, event), body))
    return records


async def test_the_history_of_a_task_comes_page_by_page(hands):
    ask = hands.asks["history"]
    question = HistoryQuestion(noun="task", id="t1", limit=1)
    subjects = []
    while page := await ask(pack(question)):
        assert len(page) == 1
        subjects += [row.subject for row in page]
        question = msgspec.structs.replace(question, after=page[-1].position)
    assert [subject.split(".", 3)[3] for subject in subjects] == ["task.launched.a1", "task.updated.marathon"]
    assert await ask(pack(HistoryQuestion(noun="task", id="t1", after=2**64 - 1))) == []


async def test_counts_and_traces_come_from_the_store(hands):
    counts = {row.type: row.count for row in await hands.asks["counts"](pack(None))}
    assert counts["agent.admitted"] == 1
    trace = await hands.asks["trace"](pack("t1"))
    assert trace.task == "t1"
    with pytest.raises(QueryRefused, match="no event in this store mentions task t2"):
        await hands.asks["trace"](pack("t2"))


async def test_a_question_of_another_shape_is_refused(hands):
    with pytest.raises(msgspec.DecodeError):
        await hands.asks["history"](pack({"noun": 7}))


async def test_without_a_store_there_is_no_history(tmp_path):
    bus = MemoryBus(MemoryServer(CLUSTER, lambda: 0))
    with pytest.raises(QueryRefused, match="nowhere"):
        await MasterHands(MasterConfig(), bus, None).asks["counts"](b"")
    with pytest.raises(QueryRefused, match="there is no such store"):
        await MasterHands(MasterConfig(), bus, str(tmp_path / "none.db")).asks["counts"](b"")
