"""How fast a component's state comes back from its log: reading the store, decoding, folding, and all of it.

Rule of this room: the path measured is the one a start takes: `Recorder.recorded` into `Mind.remember`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bus import codec
from bus.nouns import AgentId, Now
from bus.port import Record
from bus.subjects import CLUSTER
from components import agent, executor, marathon, master, metronome
from components.component import Component, apply, state_hash
from components.mind import Mind
from eventstore.store import open_reader
from ops.bench.figures import Figure

Rebuilt = Component[Any]
goal_events_s = 100_000


def rebuild(data: Path, rounds: int) -> list[Figure]:
    """Events a second, of each log in the stores of a datacenter that is down."""
    figures: list[Figure] = []
    for name, component, store in _logs(data):
        figures += _of(name, component, store, rounds)
    return figures


def _logs(data: Path) -> Iterator[tuple[str, Rebuilt, Path]]:
    yield "master", master.component(master.MasterConfig()), data / "master" / "events.db"
    yield "marathon", marathon.component(marathon.MarathonConfig()), data / "marathon" / "events.db"
    yield "metronome", metronome.component(metronome.MetronomeConfig()), data / "metronome" / "events.db"
    work, id_ = data / "agents" / "a1", AgentId("a1")
    agent_config = agent.AgentConfig(id=id_, hostname="bench", work=str(work), executor_argv=("true",))
    yield "agent", agent.component(agent_config), work / "agent.db"
    executor_config = executor.ExecutorConfig(agent=id_, work=str(work / "executor"))
    yield "executor", executor.component(executor_config), work / "agent.executor.db"


def _of(name: str, component: Rebuilt, store: Path, rounds: int) -> list[Figure]:
    records = asyncio.run(_read(store, component))
    events = [codec.decode(record.subject, record.body, 0) for record in records]
    expected = state_hash(_remembered(component, records))
    assert expected == state_hash(_folded(component, events)), f"{name}: two ways to one state disagree"

    def all_of_it() -> None:
        assert _remembered(component, asyncio.run(_read(store, component))).n == len(events)

    rates = {
        "read from the store": lambda: asyncio.run(_read(store, component)),
        "decode": lambda: [codec.decode(record.subject, record.body, 0) for record in records],
        "fold": lambda: _folded(component, events),
    }
    parts = [Figure(f"  {what}", "events/s", _rates(rounds, len(events), do)) for what, do in rates.items()]
    whole = _rates(rounds, len(events), all_of_it)
    return [Figure(f"rebuild {name}, {len(events)} events", "events/s", whole, f">= {goal_events_s:,}"), *parts]


def _rates(rounds: int, events: int, do: Callable[[], object]) -> list[float]:
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        do()
        rates.append(events / (time.perf_counter() - began))
    return rates


async def _read(store: Path, component: Rebuilt) -> list[Record]:
    async with open_reader(store) as reader:
        return [record async for records in reader.records(author=component.author) for record in records]


def _remembered(component: Rebuilt, records: list[Record]) -> Any:
    mind = Mind(component, CLUSTER, lambda: Now(0))
    for record in records:
        mind.remember(record)
    assert mind.whole, "the log ends in the middle of a decision"
    return mind.state


def _folded(component: Rebuilt, events: list[Any]) -> Any:
    state = component.start()
    for event in events:
        apply(component, state, event)
    return state
