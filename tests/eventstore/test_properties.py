"""However a history is cut into batches, the file is the same."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.nouns import NOBODY, TaskState
from bus.subjects import Author
from eventstore.store import open_writer
from tests.eventstore.tale import (
    A1,
    A1_CMD,
    MARATHON,
    MASTER,
    Tale,
    app_updated,
    client_asks,
    info_of,
    launch,
    report,
    started,
    status,
)

TOLD = ("start", "ask", "launch", "report", "garbage", "replay", "forge")


@st.composite
def histories(draw: st.DrawFn) -> Tale:
    """What masters, schedulers, agents, clients and strangers may say, garbage and replays among it."""
    tale = Tale()
    for index, told in enumerate(draw(st.lists(st.sampled_from(TOLD), min_size=1, max_size=12))):
        match told:
            case "start":
                tale.say(draw(st.sampled_from([MASTER, A1, A1_CMD, MARATHON])), NOBODY, started(index + 1))
            case "ask":
                client_asks(tale)
            case "launch":
                launch(tale, info_of(f"t{index}"), f"o-{index}-0")
            case "report":
                running = status(f"t{index}", TaskState.RUNNING)
                report(tale, running, app_updated(running))
            case "garbage":
                tale.put(
                    draw(st.sampled_from(["dc.x", "dc.agent.a1.task.reported.main"])), draw(st.binary(max_size=40))
                )
            case "replay" if tale.records:
                again = draw(st.sampled_from(tale.records))
                tale.put(again.subject, again.body)
            case "forge" if tale.records:
                tale.put("dc.agent.a1.task.reported.main", draw(st.sampled_from(tale.records)).body)
    return tale


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """Batches that cover a history in order; they may overlap what was stored before."""
    batches, end = [], 0
    while end < length:
        start, stop = draw(st.integers(0, end)), draw(st.integers(end + 1, length))
        batches.append((start, stop))
        end = stop
    return batches


async def written(path: Path, tale: Tale, batches: list[tuple[int, int]], log: Author | None) -> list[str]:
    """What a store says in the end, the moment of its creation aside; reopened now and then."""
    records = tale.of(log) if log else tale.records
    for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        async with open_writer(path, cluster="dc", log=log) as writer:
            for start, stop in half:
                await writer.append(records[start:stop])
    with closing(sqlite3.connect(path)) as file:
        return [line for line in file.iterdump() if 'INSERT INTO "header"' not in line]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), tale=histories(), log=st.sampled_from([None, MASTER, A1]))
def test_any_batches_make_the_same_file(data: st.DataObject, tale: Tale, log: Author | None) -> None:
    """Split, repeated, overlapping, over two openings: events, chain, marks, mentions, types and authors are equal."""
    length = len(tale.of(log) if log else tale.records)
    batches = data.draw(cuts(length))
    with TemporaryDirectory() as directory:
        at_once = asyncio.run(written(Path(directory) / "one.db", tale, [(0, length)], log))
        in_parts = asyncio.run(written(Path(directory) / "two.db", tale, batches, log))
    assert in_parts == at_once
    assert len(at_once) > 20
