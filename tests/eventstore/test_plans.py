"""Every question is answered by an index, in the order of the stream: SQLite's own plans are read."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from bus.nouns import Now
from bus.subjects import Kind
from eventstore import selection
from eventstore.selection import Query, Selection, page
from eventstore.store import open_writer
from tests.eventstore.tale import A1, MASTER, Tale, started, twelve_steps

TYPES = [("master", "task", "launched"), ("agent", "task", "delivered"), ("executor", "task", "reported")]


def paged(**tokens: object) -> Query:
    return page(Selection(**tokens), TYPES, after=0, to=1000, limit=100)  # type: ignore[arg-type]  # checked by the class


QUESTIONS = {
    "everything": (paged(), "INTEGER PRIMARY KEY"),
    "by author": (paged(author=A1), "event_by_author"),
    "by author and type": (paged(author=MASTER, noun="task", participle="launched"), "event_by_author"),
    "by addressee": (paged(to_whom="a1"), "event_by_addressee"),
    "by noun": (paged(noun="task"), "event_by_type"),
    "by participle": (paged(participle="launched"), "event_by_type"),
    "by type": (paged(noun="task", participle="launched"), "event_by_type"),
    "by kind": (paged(kind="agent"), "event_by_type"),
    "of no known type": (paged(noun="nothing"), "event_by_type"),
    "since": (paged(since=Now(5)), "INTEGER PRIMARY KEY"),
    "by noun, since, until": (paged(noun="task", since=Now(5), until=Now(9)), "event_by_type"),
    "where times lie": (selection.extent(Selection(since=Now(5))), "event_by_time"),
    "of a task": (selection.mentioning("task", "t", after=0, limit=10), "PRIMARY KEY"),
    "of an agent": (selection.mentioning("agent", "a1", after=0, limit=10), "event_by_addressee"),
    "the latest by": (selection.latest((Kind.MASTER, "offer", "made"), before=9, author="main"), "event_by_type"),
    "the latest to": (selection.latest((Kind.MASTER, "offer", "made"), before=9, to_whom="x"), "event_by_type"),
    "at a position": (selection.at_position(1), "INTEGER PRIMARY KEY"),
    "between positions": (selection.between(1, 2), "INTEGER PRIMARY KEY"),
    "before a time": (selection.position_before(5), "event_by_time"),
    "counts": (selection.COUNTS, "event_by_type"),
    "ends of logs": (selection.ENDS, "event_by_author"),
}


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[sqlite3.Connection]:
    """A store of one task's history, opened by SQLite alone."""
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(twelve_steps()[0].records)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        yield connection


def plan(file: sqlite3.Connection, query: Query) -> list[str]:
    return [str(detail) for *_, detail in file.execute(f"EXPLAIN QUERY PLAN {query.sql}", query.values)]


@pytest.mark.parametrize("name", QUESTIONS)
async def test_a_question_searches_an_index(file: sqlite3.Connection, name: str) -> None:
    """No table is scanned but those of types and authors, which are short; nothing is sorted but one page."""
    query, index = QUESTIONS[name]
    steps = plan(file, query)
    assert any(index in step for step in steps), steps
    for step in steps:
        assert not step.startswith("SCAN event"), steps
        assert not step.startswith("SCAN mention"), steps
        assert "TEMP B-TREE" not in step or "AS named" in query.sql, steps  # which sorts one page


async def test_the_foreign_have_an_index_of_their_own(file: sqlite3.Connection) -> None:
    """It holds nothing but them, so reading all of it is reading them."""
    for query in (selection.FOREIGN_COUNTS, selection.foreign(after=0, limit=10)):
        assert any("event_foreign" in step for step in plan(file, query))


async def test_the_end_is_found_at_once(file: sqlite3.Connection) -> None:
    """The last position is the end of the table, not a walk through it."""
    for query in (selection.LAST, selection.TAIL):
        steps = list(file.execute(f"EXPLAIN {query.sql}", query.values))
        assert "Last" in {opcode for _, opcode, *_ in steps}, steps


async def test_a_selection_of_too_many_types_reads_the_stream_in_order(tmp_path: Path) -> None:
    """Whoever floods the stream with types that nobody knows cannot make a question too long for SQLite."""
    tale = Tale()
    for index in range(700):
        tale.put(f"dc.client.u-eve.task.kind{index}.main", b"")
    tale.say(MASTER, "a1", started())
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(tale.records)
    types = [("client", "task", f"kind{index}") for index in range(700)]
    query = page(Selection(noun="task"), types, after=0, to=1000, limit=1000)
    with closing(sqlite3.connect(tmp_path / "s.db")) as file:
        assert plan(file, query) == ["SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]
        assert len(list(file.execute(*query))) == 700
