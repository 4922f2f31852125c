"""Appending without a pause: the runtime's own loop, chain, outbox and recorder, on one server and on three.

Each round says the same events from one log, as fast as they are taken; the store follows as it does for a master.
Rule of this room: what is counted is acknowledged; at the end the store has every event, and its chain is verified.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bus.append import append_surely
from bus.events import Event, LeaderElected, TaskUpdated
from bus.jetstream import connect
from bus.nouns import AgentId, FrameworkId, Now, Position, TaskId, TaskState, second
from bus.port import Bus, Fence, Message
from bus.subjects import Author, Kind, own_log, subject_of
from components.component import Ask, Component, Input, Say, See, State
from components.runtime import live
from eventstore.recorder import Recorder, open_recorder
from eventstore.verify import verify
from ops.bench.appending import BODY
from ops.bench.crowd import status_of
from ops.bench.figures import Figure
from ops.bench.servers import Servers, servers

each_decision = 10
"""Events of one decision."""
elected_s = 30.0
"""For new servers to have a leader: they are silent until then, 4 to 9 s."""
look_s = 0.02
logs_at_once = 400
AUTHOR = Author(Kind.MASTER, "main")


class Progress:
    """What is acknowledged, and what of it the store has: the hands of a component that has none."""

    asks: Mapping[str, Ask] = {}

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self.first_at = self.last_at = 0.0
        self.acknowledged = 0
        self.behind_s: list[float] = []
        self._unstored: deque[tuple[Position, float]] = deque()

    async def run(self, _state: State, _see: See) -> None:
        """Look, for ever, how long ago the oldest event was acknowledged that is not stored."""
        while True:
            await asyncio.sleep(look_s)
            stored = self.recorder.writer.last if self.recorder else Position(0)
            while self._unstored and self._unstored[0][0] <= stored:
                self._unstored.popleft()
            self.behind_s.append(time.perf_counter() - self._unstored[0][1] if self._unstored else 0.0)

    def act(self, event: Event) -> None:
        """An event is acknowledged."""
        self.last_at = time.perf_counter()
        self.first_at = self.first_at or self.last_at
        self.acknowledged = event.n
        self._unstored.append((event.position, self.last_at))

    @asynccontextmanager
    async def opened(self, path: str, bus: Bus, author: Author | None) -> AsyncIterator[Recorder]:
        """The store, which is looked at."""
        async with open_recorder(path, bus, author) as recorder:
            self.recorder = recorder
            yield recorder


def talker(events: int, progress: Progress, rate: int | None) -> Component[State]:
    """Who says so many events, without being asked; so many a second, or as fast as they are taken."""
    began = 0

    def decide(state: State, _told: Input, _now: Now) -> Iterator[Say]:
        for number in range(each_decision):
            task = TaskId(f"bench.instance-{state.n}-{number}")
            fact = TaskUpdated(
                framework=FrameworkId("bench"),
                status=status_of(task, TaskState.RUNNING),
                agent=AgentId("a1"),
                acted_n=1,
            )
            yield Say(fact, to="bench")

    def wake_at(state: State) -> Now | None:
        nonlocal began
        began = began or time.time_ns() // 1000
        if state.n > events:
            return None
        return Now(began + state.n * second // rate) if rate else Now(0)

    return Component(
        author=AUTHOR,
        term=LeaderElected,
        start=State,
        fold=lambda _state, _event: None,
        decide=decide,
        wake_at=wake_at,
        check=lambda _state: None,
        hands=lambda: progress,
    )


async def sustained(directory: Path, count: int, sync: str, events: int, rounds: int) -> list[Figure]:
    """Events a second of one log, and how far the store is behind, on so many servers."""
    took = await _rounds(directory, count, sync, events, rounds)
    return [
        Figure(f"R{count}, sync_interval {sync}", "events/s", [rate for rate, *_ in took], _goal(sync, ">= 15,000")),
        Figure("  the store behind the log", "s", [each for _, behind, *_ in took for each in behind]),
        Figure("  the store behind the log, most", "s", [max(behind) for _, behind, *_ in took]),
        Figure("  CPU per event, log and store", "us", [1e6 * own / events for _, _, own, _ in took]),
        Figure("  CPU per event, servers", "us", [1e6 * bus / events for _, _, _, bus in took]),
    ]


async def paced(directory: Path, count: int, sync: str, events: int, rounds: int, rate: int) -> list[Figure]:
    """How far the store is behind a log that says so many events a second."""
    took = await _rounds(directory, count, sync, events, rounds, rate)
    name = f"R{count}, sync_interval {sync}, {rate:,} a second"
    return [
        Figure(name, "events/s", [said for said, *_ in took]),
        Figure("  the store behind it, most", "s", [max(behind) for _, behind, *_ in took], _goal(sync, "<= 1")),
    ]


def _goal(sync: str, goal: str) -> str:
    """The goals are for what is on the disk when it is answered."""
    return goal if sync == "always" else ""


async def _rounds(
    directory: Path, count: int, sync: str, events: int, rounds: int, rate: int | None = None
) -> list[tuple[float, list[float], float, float]]:
    """Each on servers of its own: events a second, how far the store was behind, CPU of the author, of the servers."""
    took = []
    for number in range(rounds):
        async with servers(directory / f"{number}", count, sync) as found:
            took.append(await _round(found, directory / f"{number}.db", events, rate))
    return took


async def _round(found: Servers, store: Path, events: int, rate: int | None) -> tuple[float, list[float], float, float]:
    progress, stop = Progress(), asyncio.Event()
    bus = await connect(found.administrator, name="bench", connect_s=elected_s)
    own, server = time.process_time(), found.cpu_s()
    component = talker(events, progress, rate)
    life = asyncio.create_task(
        live(component, bus, node="n1", instance="i1", store=str(store), stop=stop, opened=progress.opened)
    )
    while progress.acknowledged < events and not life.done():
        await asyncio.sleep(look_s)
    own, server = time.process_time() - own, found.cpu_s() - server
    last = (await bus.extent()).last
    while progress.recorder is not None and progress.recorder.writer.last < last and not life.done():
        await asyncio.sleep(look_s)
    stop.set()
    await life
    await bus.close()
    checked = await asyncio.to_thread(verify, store)
    assert checked.good, checked.finding
    assert checked.last == last > events, f"{checked.last} events are stored, {last} were said"
    return events / (progress.last_at - progress.first_at), progress.behind_s, own, server


async def crowded(directory: Path, count: int, sync: str, events: int, rounds: int) -> list[Figure]:
    """Events a second of many logs at once, each of which says one after the other: what agents do in a burst."""
    async with servers(directory, count, sync) as found:
        bus, rates = await connect(found.administrator, name="bench"), []
        said = events // logs_at_once * logs_at_once
        await _say_alone(bus, "first", 1)
        for number in range(rounds):
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for log in range(logs_at_once):
                    group.create_task(_say_alone(bus, f"a{number}-{log}", events // logs_at_once))
            rates.append(said / (time.perf_counter() - began))
        end = (await bus.extent()).last
        assert end == rounds * said + 1, f"{rounds * said + 1} events were acknowledged, the stream has {end}"
        await bus.close()
    return [Figure(f"R{count}, sync_interval {sync}, {logs_at_once} logs one event at a time", "events/s", rates)]


async def _say_alone(bus: Bus, name: str, events: int) -> None:
    author = Author(Kind.AGENT, name)
    subject, fence = (
        subject_of(bus.cluster, author, TaskUpdated.type, "main"),
        Fence(own_log(bus.cluster, author), Position(0)),
    )
    for _ in range(events):
        fence = fence._replace(last=await append_surely(bus, [Message(subject, BODY)], fence))
