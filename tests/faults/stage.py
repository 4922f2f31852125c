"""A datacenter under faults: three nodes, an observer, clients, and who of the singletons is which process.

Rule of this room: a process is hit by the pid it said in the last roll call; a fault is noted in the history.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from bus.permits import Role
from bus.port import NoAnswer, NobodyThere
from bus.queries import LEADER, Instance
from bus.roll import roll_call
from bus.subjects import Author
from tests.e2e.cluster import Cluster, processes_under
from tests.faults.customers import MARATHON, MASTER, METRONOME, Customer, connect_as, customers, microseconds
from tests.faults.history import Fault, History
from tests.faults.observer import Observer, Waited
from tests.faults.report import evidence

SINGLETONS = {MASTER: 3, MARATHON: 2, METRONOME: 2}
"""How many instances of each there are on three nodes."""
NAMES = ("u-gate-1", "u-gate-2")
whole_s = 90.0
"""Until everybody is back: a supervisor waits up to 10 s before it starts again what ended often."""
look_again_s = 0.1
pace_s = 0.2
"""Between two rounds of a client's traffic."""


class Stage:
    """What a fault program has in its hands."""

    def __init__(self, data: Path, observer: Observer, clients: list[Customer], history: History) -> None:
        self.data, self.observer, self.clients, self.history = data, observer, clients, history
        self.bus = observer.bus
        self.instances: dict[Author, list[Instance]] = {}

    def leader(self, of: Author) -> Instance:
        """The process that leads by the log, as it said in the last roll call."""
        term = self.observer.leaders[of]
        found = [each for each in self.instances[of] if each.instance == term.instance]
        assert found, f"{of} is led by {term.instance} on {term.node}, which was in no roll call"
        return found[0]

    def hit(self, instance: Instance, number: signal.Signals) -> float:
        """Send a signal at once, and note it; when that was."""
        at = time.monotonic()
        os.kill(instance.pid, number)
        self.history.add(Fault(what=f"{number.name} to {instance.by} on {instance.node}", at=microseconds()))
        return at

    async def whole(self) -> None:
        """Wait until every instance is there, one leads each singleton, and knows it. Raises Waited."""

        async def all_there() -> str:
            for singleton, count in SINGLETONS.items():
                found = self.instances[singleton] = await roll_call(self.clients[0].bus, singleton)
                leaders = [each.instance for each in found if each.standing == LEADER]
                term = self.observer.leaders.get(singleton)
                if len(found) != count or len(leaders) != 1 or term is None or term.instance != leaders[0]:
                    return f"{singleton}: {[(each.node, each.standing, each.message) for each in found]}"
            return ""

        await self.until("every instance is there", all_there, within_s=whole_s)

    async def until(self, what: str, wrong: Callable[[], Awaitable[str]], *, within_s: float) -> float:
        """Look again and again until nothing is wrong; how long it took. Raises Waited with what still was."""
        began = time.monotonic()
        why = ""
        while time.monotonic() - began < within_s:
            try:
                why = await wrong()
            except (NoAnswer, NobodyThere) as error:
                why = str(error)
            if not why:
                return time.monotonic() - began
            await asyncio.sleep(look_again_s)
        raise Waited(f"{what}: not within {within_s:g} s: {why}")

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Every client asks and looks all the time meanwhile."""
        living = [asyncio.create_task(client.live(pace_s)) for client in self.clients]
        try:
            yield
        finally:
            for task in living:
                task.cancel()
            done = await asyncio.gather(*living, return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
                raise error


@asynccontextmanager
async def stage_at(data: Path, history: History, *, names: Sequence[str] = NAMES) -> AsyncIterator[Stage]:
    """Hands on a datacenter that runs. Clients of one name must be of one stage: they know their registers."""
    bus = await connect_as(Role.ADMINISTRATOR, "gate-observer", data)
    observer = Observer(bus)
    following = asyncio.create_task(observer.run())
    try:
        async with customers(data, names, history) as clients:
            await observer.to_head()
            yield Stage(data, observer, clients, history)
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await bus.close()


def three_nodes(data: Path) -> Cluster:
    """A datacenter of three nodes and three agents, not yet started."""
    return Cluster(data, agents=3, masters=3)


@contextmanager
def ground(name: str, cluster: Cluster, history: History) -> Iterator[None]:
    """A datacenter that is up meanwhile; nothing of it is left, but what shows why something went wrong."""
    with evidence(name, cluster.data, history):
        cluster.up()
        try:
            yield
        finally:
            cluster.down()
    assert processes_under(cluster.data) == [], "a process was left behind"
