"""How fast a component's state comes back from its log: reading the store, decoding, folding, and all of it.

Rule of this room: the path measured is the one a start takes: `Recorder.recorded` into `Mind.remember`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

from bus import codec
from bus.events import Event
from bus.nouns import AgentId, Now
from bus.port import Record
from bus.subjects import CLUSTER, own_log
from components import agent, executor, marathon, master, metronome
from components.component import Component, State, apply, state_hash
from components.garbage import no_collection
from components.mind import Mind
from eventstore.store import open_reader
from ops.bench.figures import Figure
from ops.bench.site import Site

Rebuilt = Component[Any]
goal_events_s = 150_000
patience_s = 30.0


def rebuild(data: Path, rounds: int) -> list[Figure]:
    """Events a second, of each log in the stores of a datacenter that is down."""
    figures: list[Figure] = []
    for name, component, store in _logs(data):
        figures += asyncio.run(_of(name, component, store, rounds))
    return figures


async def stored(site: Site) -> None:
    """Wait until each of the stores has its log as far as it was said by now."""
    async with site.bus() as bus:
        for _, component, store in _logs(site.data):
            newest = await bus.last(own_log(CLUSTER, component.author))
            assert newest is not None, f"{component.author} has said nothing"
            async with asyncio.timeout(patience_s), open_reader(str(store)) as reader:
                while await reader.last() < newest.position:
                    await asyncio.sleep(0.1)


def _logs(data: Path) -> Iterator[tuple[str, Rebuilt, Path]]:
    yield "master", master.component(master.MasterConfig()), data / "master" / "events.db"
    yield "marathon", marathon.component(marathon.MarathonConfig()), data / "marathon" / "events.db"
    yield "metronome", metronome.component(metronome.MetronomeConfig()), data / "metronome" / "events.db"
    work, id_ = data / "agents" / "a1", AgentId("a1")
    agent_config = agent.AgentConfig(id=id_, hostname="bench", work=str(work), executor_argv=("true",))
    yield "agent", agent.component(agent_config), work / "agent.db"
    executor_config = executor.ExecutorConfig(agent=id_, work=str(work / "executor"))
    yield "executor", executor.component(executor_config), work / "agent.executor.db"


async def _of(name: str, component: Rebuilt, store: Path, rounds: int) -> list[Figure]:
    state = await _rebuilt(store, component)
    expected, events = state_hash(state), state.n
    del state  # from here on as at a start: nothing else is in memory
    whole = [await _timed(events, _rebuilt(store, component)) for _ in range(rounds)]
    reading = [await _timed(events, _read(store, component)) for _ in range(rounds)]
    records = await _read(store, component)
    decoding = [await _timed(events, _decode(records)) for _ in range(rounds)]
    told = [codec.decode(record.subject, record.body, 0) for record in records]
    folding = [await _timed(events, _folded(component, told)) for _ in range(rounds)]
    assert expected == state_hash(await _folded(component, told)), f"{name}: two ways to one state disagree"
    return [
        Figure(f"rebuild {name}, {events} events", "events/s", whole),
        Figure("  read from the store", "events/s", reading),
        Figure("  decode", "events/s", decoding),
        Figure(f"  fold {name}", "events/s", folding, f">= {goal_events_s:,}"),
    ]


async def _timed(events: int, work: Coroutine[None, None, object]) -> float:
    began = time.perf_counter()
    made = await work
    took_s = time.perf_counter() - began
    del made  # after the clock stopped: a start throws nothing away
    return events / took_s


async def _rebuilt(store: Path, component: Rebuilt) -> State:
    mind = Mind(component, CLUSTER, lambda: Now(0))
    async with open_reader(store) as reader:
        with no_collection():
            async for records in reader.records(author=component.author):
                for record in records:
                    mind.remember(record)
    assert mind.whole, "the log ends in the middle of a decision"
    state: State = mind.state
    return state


async def _read(store: Path, component: Rebuilt) -> list[Record]:
    async with open_reader(store) as reader:
        return [record async for records in reader.records(author=component.author) for record in records]


async def _decode(records: list[Record]) -> None:
    for record in records:
        codec.decode(record.subject, record.body, 0)


async def _folded(component: Rebuilt, events: list[Event]) -> State:
    state: State = component.start()
    with no_collection():
        for event in events:
            apply(component, state, event)
    return state
