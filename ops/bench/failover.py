"""How long a datacenter is without a master when the leading one is killed, on top of a long history.

The history is one datacenter's: a service of many instances, all running. Its agents and Marathon do not run here, and
nobody pings them within the measurement; Metronome does, and each time a run is asked for at the moment of the kill.
Rule of this room: what is measured is seen from outside, in the stream and in answers.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from random import Random

from bus import codec, queries
from bus.documents import JobRunSpec, JobSpec
from bus.events import Event, LeaderElected, OfferMade, TaskLaunched
from bus.jetstream import JetStreamBus, connect
from bus.keyring import PERSON, Wanted
from bus.nouns import JobId, Position
from bus.permits import Role
from bus.port import NoAnswer, NobodyThere
from bus.queries import LEADER, STANDBY, TasksQuestion
from bus.roll import roll_call
from bus.server import EmbeddedServer
from bus.services import JobRequested, JobSpecified, RunRequested
from bus.subjects import CLUSTER, ask, own_log
from cli.session import METRONOME, THE_MASTER, credentials_file, read_credentials
from eventstore.store import open_writer
from ops.bench.client import Client, client
from ops.bench.figures import SEED, Figure, one
from ops.bench.history import History
from ops.bench.site import usage_of

NODES = ("n1", "n2")
ready_s = 120.0
look_again_s = 0.05
commands_max = 10
request_step = 4
JOB = JobId("bench-failover")


class Process:
    """One component as a process of this measurement, started again whenever that is asked for."""

    def __init__(self, data: Path, name: str, *argv: str) -> None:
        self.argv = [
            sys.executable,
            "-P",
            "-m",
            "cli.main",
            "run",
            *argv,
            "--credentials",
            str(data / "keys" / f"{name}.json"),
        ]
        self.log = data / f"{name}.log"
        self.started: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.started = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.started is not None:
            self.started.kill()
            self.started.wait()


def failover(directory: Path, events: int, instances: int, times: int) -> Iterator[Figure]:
    """Figures of so many failovers behind a history of so many events, with so many tasks running."""
    directory.mkdir(parents=True)
    store, data = directory / "events.db", directory / "dc"
    asyncio.run(_make(store, events, instances))
    began = time.perf_counter()
    argv = [sys.executable, "-P", "-m", "cli.main", "store", "restore", str(store), "--data", str(data)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield one("store restore into a new cluster", "events/s", events / (time.perf_counter() - began))
    shutil.copytree(data / "master", data / "master-n2")
    yield from asyncio.run(_measure(data, times))


async def _make(store: Path, events: int, instances: int) -> None:
    history = History(agents=max(1, instances // 100), instances=instances)
    async with open_writer(store, cluster=CLUSTER, log=None) as writer:
        for records in history.grow(events):
            for start in range(0, len(records), 2000):
                await writer.append(records[start : start + 2000])


async def _measure(data: Path, times: int) -> list[Figure]:
    async with _datacenter(data) as (bus, masters):
        cold = await _until_both(bus, masters)
        async with client(bus) as found:
            await found.say(
                METRONOME, JobRequested(job=JobSpec(id=JOB, run=JobRunSpec(cpus=0.1, mem=32, disk=0, cmd="true")))
            )
            await found.hear("the job", lambda event: isinstance(event.fact, JobSpecified))
            told = await _traced(found, data, times)
            rounds = [await _once(bus, found, masters) for _ in range(times)]
            memory = [usage_of(process.started.pid) for process in masters.values() if process.started is not None]
    return [
        one("both masters ready, no snapshot", "s", cold),
        Figure("killed leader -> next term in the log", "s", [each[0] for each in rounds]),
        Figure("killed leader -> a question answered", "s", [each[1] for each in rounds]),
        Figure("killed leader -> first offer", "s", [each[2] for each in rounds], "<= 1"),
        Figure("killed leader -> a new run's task launched", "s", [each[3] for each in rounds], "<= 1"),
        Figure("killed master stands by again", "s", [each[4] for each in rounds]),
        Figure("memory of a master", "MB", [usage.rss_mb for usage in memory if usage is not None]),
        *told,
    ]


@asynccontextmanager
async def _datacenter(data: Path) -> AsyncIterator[tuple[JetStreamBus, dict[str, Process]]]:
    server = EmbeddedServer(data)
    await server.start()
    server.keyring.keep(_identities(), server.urls)
    masters = {node: _master(data, node) for node in NODES}
    metronome = Process(data, "metronome", "metronome", "--store", str(data / "metronome.db"))
    try:
        bus = await connect(read_credentials(credentials_file(str(data))), name="bench")
        try:
            for process in (*masters.values(), metronome):
                process.start()
            yield bus, masters
        finally:
            await bus.close()
    finally:
        for process in (*masters.values(), metronome):
            process.kill()
        await server.stop()


def _identities() -> Iterator[Wanted]:
    """Everybody who takes part, and who asks."""
    for node in NODES:
        yield Wanted(f"master-{node}.json", Role.MASTER, f"m-{node}")
    yield Wanted("metronome.json", Role.FRAMEWORK, METRONOME.id)
    yield Wanted(PERSON, Role.ADMIN, "u-bench")


def _master(data: Path, node: str) -> Process:
    store = data / ("master" if node == "n1" else f"master-{node}") / "events.db"
    given = ("master", "--node", node, "--store", str(store), "--ping-interval-s", "3600")
    return Process(data, f"master-{node}", *given)


async def _until_both(bus: JetStreamBus, masters: dict[str, Process]) -> float:
    """Wait until one master leads and the other stands by, everything folded; how long it took."""
    began = time.perf_counter()
    async with asyncio.timeout(ready_s):
        while sorted(each.standing for each in await roll_call(bus, THE_MASTER)) != [LEADER, STANDBY]:
            dead = [node for node, each in masters.items() if each.started is None or each.started.poll() is not None]
            assert not dead, f"masters on {dead} ended: read their logs"
            await asyncio.sleep(look_again_s)
    return time.perf_counter() - began


async def _once(
    bus: JetStreamBus, found: Client, masters: dict[str, Process]
) -> tuple[float, float, float, float, float]:
    """Kill the leader and ask for a run: seconds to the next term, an answer, an offer, a launch; to stand by again."""
    [leader] = [each.node for each in await roll_call(bus, THE_MASTER) if each.standing == LEADER]
    newest = await bus.last(own_log(bus.cluster, THE_MASTER))
    assert newest is not None, "the master has said something"
    seen = asyncio.create_task(_seen(bus, newest.position))
    await asyncio.sleep(0)
    masters[leader].kill()
    began = time.perf_counter()
    answered = asyncio.create_task(_answered(bus))
    await found.say(METRONOME, RunRequested(job=JOB))
    elected, offered, launched = await seen
    asked = await answered
    masters[leader].start()
    again = await _until_both(bus, masters)
    return elected - began, asked - began, offered - began, launched - began, again


async def _traced(found: Client, data: Path, times: int) -> list[Figure]:
    """Milliseconds to the twelve steps of a task that runs, out of a long history: the answer, and the command."""
    answer = await found.bus.query(
        ask(found.bus.cluster, THE_MASTER, "tasks"), queries.pack(TasksQuestion()), timeout_s=30
    )
    tasks = Random(SEED).sample([row.task for row in queries.unpack(answer, list[queries.TaskRow])], times)
    answers, commands = [], []
    for task in tasks:
        began = time.perf_counter()
        rows = (await found.trace(task)).rows
        answers.append(1000 * (time.perf_counter() - began))
        taken = {row.step for row in rows if row.position}
        assert taken >= set(range(request_step + 1, 13)), f"{task}: {rows}"
    for task in tasks[:commands_max]:
        argv = [sys.executable, "-P", "-m", "cli.main", "task", "trace", task, "--json", "--data", str(data)]
        began = time.perf_counter()
        await asyncio.to_thread(subprocess.run, argv, check=True, stdout=subprocess.DEVNULL)
        commands.append(1000 * (time.perf_counter() - began))
    return [
        Figure("task trace, the master's answer", "ms", answers, "<= 150"),
        Figure("task trace, the command", "ms", commands),
    ]


async def _seen(bus: JetStreamBus, after: Position) -> tuple[float, float, float]:
    """When the next term, its first offer and its first launch of a task are seen in the stream."""
    wanted: list[type] = [LeaderElected, OfferMade, TaskLaunched]
    moments: list[float] = []
    async with asyncio.timeout(ready_s), aclosing(bus.follow(own_log(bus.cluster, THE_MASTER), after=after)) as groups:
        async for records in groups:
            for record in records:
                event: Event = codec.decode(record.subject, record.body, record.position)
                if len(moments) < len(wanted) and isinstance(event.fact, wanted[len(moments)]):
                    moments.append(time.perf_counter())
            if len(moments) == len(wanted):
                break
    return moments[0], moments[1], moments[2]


async def _answered(bus: JetStreamBus) -> float:
    """When the master answers a question again."""
    subject = ask(bus.cluster, THE_MASTER, "frameworks")
    async with asyncio.timeout(ready_s):
        while True:
            with suppress(NobodyThere, NoAnswer):
                queries.unpack(await bus.query(subject, b"", timeout_s=1.0), list[queries.FrameworkRow])
                return time.perf_counter()
            await asyncio.sleep(0.01)  # the next try, as a client would
