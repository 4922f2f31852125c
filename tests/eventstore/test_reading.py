"""What can be asked of a store: each answer is held against a plain search through the list of records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bus.codec import Foreign, decode
from bus.events import Event
from bus.nouns import NOBODY, Now
from bus.port import Record
from bus.queries import CountsRow
from bus.subjects import Kind, parse_subject
from eventstore import schema, store
from eventstore.mentions import mentions_of
from eventstore.store import Reader, open_reader, open_writer
from tests.eventstore.tale import (
    A1,
    A1_CMD,
    ALICE,
    MARATHON,
    MASTER,
    METRONOME,
    START,
    Tale,
    client_asks,
    idle_round,
    info_of,
    launch,
    started,
    status,
    task_updated,
    twelve_steps,
)


def busy_tale() -> Tale:
    """Several tasks and frameworks, some garbage, one event by a client whose clock is a year ahead."""
    tale, _ = twelve_steps()
    idle_round(tale, "o-9-0", METRONOME)
    tale.put("dc.agent.a1.task.reported.main", b"garbage")
    tale.put("dc.too.short", b"garbage")
    now, tale.now = tale.now, Now(tale.now + 365 * 86_400_000_000)
    client_asks(tale)
    tale.now = now
    for index in range(5):
        launch(tale, info_of(f"web.{index + 2}"), f"o-{index + 20}-0")
    return tale


TALE = busy_tale()


def read(record: Record) -> Event | None:
    try:
        return decode(*(record.subject, record.body, record.position))
    except Foreign:
        return None


def searched(test: Callable[[Record], bool]) -> list[Record]:
    return [record for record in TALE.records if test(record)]


def has(**tokens: str) -> Callable[[Record], bool]:
    """Whether a record's subject follows the grammar and has these tokens."""

    def test(record: Record) -> bool:
        if record.subject.count(".") != 5:
            return False
        subject = parse_subject(record.subject)
        found = {
            "kind": subject.author.kind,
            "id": subject.author.id,
            "noun": subject.noun,
            "participle": subject.participle,
            "to": subject.to,
        }
        return tokens.items() <= found.items()

    return test


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    async with open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer:
        await writer.append(TALE.records)
        async with open_reader(tmp_path / "s.db") as opened:
            yield opened


async def gathered(answer: AsyncIterator[list[Record]]) -> list[Record]:
    return [record async for records in answer for record in records]


async def test_the_header_says_what_it_is_a_copy_of(reader: Reader) -> None:
    header = reader.header()
    assert (header.format, header.cluster, header.mode, header.owner) == (1, "dc", "stream", None)
    assert header.created > 0


@pytest.mark.parametrize("chunk", [1, 3, 1000])
async def test_records_are_selected_by_what_the_subject_says(
    reader: Reader, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By author, kind, noun, participle, addressee, and any of them together, in chunks of any size."""
    monkeypatch.setattr(store, "chunk_events", chunk)
    assert await gathered(reader.records()) == TALE.records
    for author in (MASTER, A1, A1_CMD, ALICE, METRONOME):
        found = await gathered(reader.records(author=author))
        assert found == searched(has(kind=author.kind, id=author.id)) != []
    assert await gathered(reader.records(noun="task")) == searched(has(noun="task")) != []
    assert await gathered(reader.records(participle="reported")) == searched(has(participle="reported")) != []
    assert await gathered(reader.records(kind="framework")) == searched(has(kind="framework")) != []
    assert await gathered(reader.records(to_whom="a1")) == searched(has(to="a1")) != []
    assert await gathered(reader.records(noun="offer", participle="made")) == searched(
        has(noun="offer", participle="made")
    )
    assert await gathered(reader.records(author=MASTER, noun="offer", to_whom="metronome")) == searched(
        has(kind="master", noun="offer", to="metronome")
    )
    assert await gathered(reader.records(kind="agent", noun="task")) == searched(has(kind="agent", noun="task")) != []


async def test_what_nobody_said_is_an_empty_answer(reader: Reader) -> None:
    assert await gathered(reader.records(noun="quota")) == []
    assert await gathered(reader.records(author=MASTER._replace(id="other"))) == []
    assert await gathered(reader.records(since=Now(2**62))) == []


async def test_records_are_selected_by_position(reader: Reader) -> None:
    """Behind `after`, up to and with `to`."""
    assert await gathered(reader.records(after=3, to=7)) == TALE.records[3:7]
    assert await gathered(reader.records(after=3, to=9, noun="task")) == [
        record for record in TALE.records[3:9] if has(noun="task")(record)
    ]
    assert await gathered(reader.records(after=len(TALE.records))) == []
    assert await gathered(reader.records(after=5, to=5)) == []


async def test_records_are_selected_by_time(reader: Reader) -> None:
    """Each by its own author's clock; what has no time is where it lies."""
    since, until = Now(START + 7_000), Now(TALE.now - 7_000)

    def within(record: Record) -> bool:
        event = read(record)
        return event is not None and since <= event.at < until

    first, *_, last = searched(within)
    wanted = searched(
        lambda record: within(record) or (read(record) is None and first.position < record.position < last.position)
    )
    assert await gathered(reader.records(since=since, until=until)) == wanted
    assert await gathered(reader.records(noun="task", since=since, until=until)) == [
        record for record in wanted if has(noun="task")(record)
    ]
    ahead = await gathered(reader.records(since=Now(TALE.now + 1)))
    assert [parse_subject(record.subject).author for record in ahead] == [ALICE, ALICE]


async def test_the_history_of_a_thing_is_what_mentions_it(reader: Reader) -> None:
    """Tasks, apps, offers, traces, requests: the events whose fields name them; garbage names nothing."""
    for noun, id_ in (("task", "web.1"), ("app", "/web"), ("offer", "o-1-0"), ("trace", "call-1"), ("request", "r1")):
        wanted = searched(
            lambda record, it=(noun, id_): (event := read(record)) is not None and it in mentions_of(event)
        )
        assert await reader.mentions(noun, id_) == wanted != []
        assert await reader.mentions(noun, id_, limit=1) == wanted[:1]
        assert await reader.mentions(noun, id_, after=wanted[0].position) == wanted[1:]
    assert await reader.mentions("task", "web.99") == []


async def test_the_history_of_a_component_is_also_what_it_said_and_was_told(reader: Reader) -> None:
    """An agent's first words name no agent: they are its own."""
    for noun, author in (("agent", A1), ("framework", MARATHON)):
        wanted = searched(
            lambda record, noun=noun, author=author: (
                (event := read(record)) is not None
                and (author in (event.by,) or event.to == author.id or (noun, author.id) in mentions_of(event))
            )
        )
        assert await reader.mentions(noun, author.id) == wanted != []
        assert await reader.mentions(noun, author.id, after=wanted[2].position, limit=3) == wanted[3:6]


async def test_positions_and_times_are_found(reader: Reader) -> None:
    assert await reader.last() == len(TALE.records)
    assert await reader.at_position(4) == TALE.records[3]
    assert await reader.at_position(0) is None
    assert await reader.at_position(10_000) is None
    event = read(TALE.records[6])
    assert event is not None
    assert await reader.position_before(event.at) == 6
    assert await reader.position_before(Now(event.at + 1)) == 7
    assert await reader.position_before(START) == 0


async def test_events_are_counted_by_kind_and_type(reader: Reader) -> None:
    """Foreign messages are nobody's and are not counted."""
    counted: dict[tuple[str, str], int] = {}
    for event in filter(None, map(read, TALE.records)):
        counted[event.by.kind.value, event.type] = counted.get((event.by.kind.value, event.type), 0) + 1
    assert await reader.counts() == [
        CountsRow(kind=kind, type=type_, count=count) for (kind, type_), count in sorted(counted.items())
    ]


async def test_readers_see_what_is_written_meanwhile(tmp_path: Path) -> None:
    """A reader that was opened first sees each batch once it is written, and half of one never."""
    tale = Tale()
    for index in range(200):
        tale.say(MASTER, "marathon", task_updated(status(f"t{index}", "TASK_RUNNING")))  # type: ignore[arg-type]
    async with (
        open_writer(tmp_path / "s.db", cluster="dc", log=None) as writer,
        open_reader(tmp_path / "s.db") as reader,
    ):
        answer = reader.records()

        async def write() -> None:
            for start in range(0, 200, 10):
                await writer.append(tale.records[start : start + 10])

        async def look() -> None:
            while (last := await reader.last()) < 200:
                assert last % 10 == 0
                assert await gathered(reader.records(to=last)) == tale.records[:last]

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(look())
        assert await gathered(answer) == tale.records


async def test_a_store_is_read_with_nothing_else_running(tmp_path: Path) -> None:
    """Also from a path that means something in a URI."""
    path = tmp_path / "100% #1?.db"
    tale, _ = twelve_steps()
    async with open_writer(path, cluster="dc", log=None) as writer:
        await writer.append(tale.records)
    async with open_reader(path) as first, open_reader(path) as second:
        assert await gathered(first.records()) == await gathered(second.records()) == tale.records


async def test_one_authors_log_is_read_like_any_store(tmp_path: Path) -> None:
    """The reader does not ask which mode it is."""
    mine = TALE.of(MARATHON)
    async with open_writer(tmp_path / "s.db", cluster="dc", log=MARATHON) as writer:
        await writer.append(mine)
    async with open_reader(tmp_path / "s.db") as reader:
        assert reader.header().owner == MARATHON
        assert await gathered(reader.records(author=MARATHON)) == mine
        assert await reader.last() == mine[-1].position
        assert [row.kind for row in await reader.counts()] == [Kind.FRAMEWORK] * len(await reader.counts())


async def test_the_write_ahead_log_stays_small_under_constant_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads are short, so the writer can always move its log into the file."""
    monkeypatch.setattr(schema, "wal_pages_max", 50)
    tale = Tale()
    for epoch in range(1, 2001):
        tale.say(MASTER, NOBODY, started(epoch))
    path, sizes = tmp_path / "s.db", []
    async with open_writer(path, cluster="dc", log=None) as writer, open_reader(path) as reader:
        for start in range(0, 2000, 10):
            await writer.append(tale.records[start : start + 10])
            assert len(await gathered(reader.records(after=start))) == 10
            sizes.append(path.with_name("s.db-wal").stat().st_size)
    assert max(sizes) < 100 * 4120


async def test_numbers_beyond_every_position_are_harmless(reader: Reader) -> None:
    """Whoever asks over the bus may send any whole number."""
    huge = 2**64
    assert await reader.mentions("task", "web.1", after=huge) == []
    assert await reader.mentions("task", "web.1", limit=-1) == []
    assert await reader.mentions("task", "web.1", limit=huge) != []
    assert await reader.at_position(huge) is None
    assert await gathered(reader.records(after=-huge, to=huge, since=Now(-huge), until=Now(huge))) == TALE.records
    assert await gathered(reader.records(after=huge)) == []
