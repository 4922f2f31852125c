"""A process that was stopped or died goes on from its newest snapshot, and nobody can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bus.codec import decode
from bus.events import Event, Fact, LeaderElected, fact
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Now
from bus.queries import LEADER, STANDBY, Instance, Summary, unpack
from bus.subjects import Author, Kind, ask, own_log, roll
from components import keeping
from components.component import Component, Input, Say, State, state_hash
from components.mind import Mind
from components.runtime import live, system_clock

COUNTER = Author(Kind.FRAMEWORK, "counter")
group_events = 10
bound_s = 20.0


@fact("number.counted", said="toy counter, to nobody")
class NumberCounted(Fact, frozen=True):
    """One more."""

    number: int


@dataclass(slots=True, kw_only=True)
class CounterState(State):
    number: int = 0


class Count:
    """A component that counts as far as it is told, ten numbers in a decision, and how often it folds."""

    def __init__(self, goal: int) -> None:
        self.goal, self.folds = goal, 0
        self.component: Component[CounterState] = Component(
            author=COUNTER,
            term=LeaderElected,
            start=CounterState,
            fold=self.fold,
            decide=self.decide,
            wake_at=lambda state: Now(0) if state.number < self.goal else None,
            check=lambda state: None,
        )

    def fold(self, state: CounterState, event: Event) -> None:
        self.folds += 1
        if isinstance(event.fact, NumberCounted):
            assert event.fact.number == state.number + 1
            state.number += 1

    def decide(self, state: CounterState, told: Input, now: Now) -> Iterator[Say]:
        for number in range(state.number + 1, min(state.number + group_events, self.goal) + 1):
            yield Say(NumberCounted(number=number))


class Place:
    """A bus, and the directory of a node."""

    def __init__(self, directory: Path) -> None:
        self.server, self.directory = MemoryServer("dc", system_clock), directory

    @asynccontextmanager
    async def alive(
        self, component: Component[Any], *, node: str = "n1", die: bool = False
    ) -> AsyncIterator[tuple[MemoryBus, asyncio.Event]]:
        """A component's process; it is stopped in good order at the end, or dies."""
        bus, stop = MemoryBus(self.server), asyncio.Event()
        store = str(self.directory / f"{node}.db")
        life = asyncio.create_task(live(component, bus, node=node, instance=f"i-{node}", store=store, stop=stop))
        try:
            yield bus, stop
        finally:
            if die:
                life.cancel()
            stop.set()
            with suppress(asyncio.CancelledError):
                await life
            await bus.close()

    async def summary(self) -> Summary | None:
        bus = MemoryBus(self.server)
        with suppress(Exception):
            return unpack(await bus.query(ask("dc", COUNTER, "summary"), b"", timeout_s=1), Summary)
        return None

    async def counted(self, number: int) -> None:
        """Wait until a number is in the stream."""
        await until(lambda: len(self.server.records("dc.framework.counter.number.>")) >= number)

    def snapshots(self, node: str = "n1") -> list[int]:
        """Up to which positions there are snapshots."""
        names = [path.name for path in (self.directory / f"{node}.db.snapshots").glob("*.snapshot")]
        return sorted(int(name.split("-")[1].partition(".")[0]) for name in names)

    def folded(self, component: Component[Any]) -> Mind[Any]:
        mind: Mind[Any] = Mind(component, "dc", system_clock)
        for record in self.server.records(own_log("dc", COUNTER)):
            mind.remember(record)
        return mind


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(bound_s):
        while not true():
            await asyncio.sleep(0.01)  # between two looks at a condition


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(keeping, "snapshot_events", 100)
    monkeypatch.setattr(keeping, "farewell_events", 30)
    return Place(tmp_path)


async def test_a_process_that_died_goes_on_from_its_snapshot(place):
    """It folds what came after, not what came before, and its state is the one a fold from the first event gives."""
    async with place.alive(Count(250).component, die=True):
        await place.counted(250)
        await until(lambda: bool(place.snapshots()))
    again = Count(260)
    async with place.alive(again.component):
        await place.counted(260)
        summary = await place.summary()
        expected = state_hash(place.folded(Count(0).component).state)
    assert 0 < again.folds <= 260 - 100 + 1, "more than the tail and the term was folded"
    assert summary is not None
    assert summary.state_hash == expected


async def test_a_stop_leaves_a_snapshot_of_everything(place):
    """The next start folds nothing but the word of farewell, if that, and its own term."""
    async with place.alive(Count(50).component):
        await place.counted(50)
    again = Count(50)
    async with place.alive(again.component):
        await until(lambda: again.folds > 0)
        assert again.folds == 1, "the term alone"


async def test_a_stop_after_little_leaves_none(place):
    async with place.alive(Count(20).component):
        await place.counted(20)
    assert place.snapshots() == []


async def test_a_snapshot_is_of_whole_decisions_that_are_in_the_store(place):
    async with place.alive(Count(1000).component):
        await place.counted(1000)
    records = {record.position: record for record in place.server.records()}
    kept = place.snapshots()
    assert kept
    assert all(decode(records[at].subject, records[at].body, at).last for at in kept)


async def test_who_stands_by_keeps_snapshots_too(place):
    """Beside its own store: so that it takes over as fast after a restart."""
    async with place.alive(Count(250).component) as (bus, _):
        await place.counted(1)
        async with place.alive(Count(250).component, node="n2", die=True):
            await place.counted(250)
            await until(lambda: bool(place.snapshots("n2")))
            answers = await bus.roll(roll("dc", COUNTER), b"", wait_s=0.5)
            assert sorted(unpack(answer, Instance).standing for answer in answers) == [LEADER, STANDBY]


async def test_a_mind_of_another_version_starts_from_the_first_event(place):
    """And is right: what was kept is of no use to it, nor is it looked at."""
    async with place.alive(Count(150).component):
        await place.counted(150)
    again = Count(150)
    other = replace(again.component, start=lambda: CounterState(answers={}, at=Now(1)))
    async with place.alive(other):
        await until(lambda: again.folds > 150)
