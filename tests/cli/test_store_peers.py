"""`busbar store trim` and `diff --peer`: commands that need masters who answer, here on the bus in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bus import codec, queries
from bus.events import Event, Fact, FrameworkRemoved, LogKept
from bus.memory import MemoryBus
from bus.nouns import NOBODY, FrameworkId, Now, Position
from bus.queries import DIVERGED, LEADER, STANDBY, ChainQuestion, ChainRow, HistoryRow, Instance, PageQuestion
from bus.subjects import CLUSTER, Author, ask_instance, roll
from cli.session import THE_MASTER
from eventstore.store import open_reader
from tests.cli.mouth import Mouth
from tests.eventstore.damage import change, make_store
from tests.eventstore.tale import A1, ALICE, MARATHON, MASTER, client_asks, started
from tests.eventstore.tale import Tale as Told

pytestmark = pytest.mark.timeout(60)


class Tale(Told):
    """A tale whose owners say what they have heard."""

    def hear(self, by: Author, heard: int, fact: Fact | None = None, to: str = NOBODY) -> Position:
        event = Event(by=by, to=to, fact=fact or LogKept(), at=Now(self.now + 1000), heard=Position(heard))
        self.now = event.at
        n, link = self._ends.get(by, (0, b""))
        event = msgspec.structs.replace(event, n=n + 1, prev=link, epoch=1)
        body = codec.encode(event)
        self._ends[by] = (event.n, codec.link(body))
        return self.put(codec.subject("dc", event), body)


def long_tale() -> Tale:
    """The master and Marathon have heard everything up to 30, an agent up to 20; 41 events in all."""
    tale = Tale()
    for author in (MASTER, MARATHON, A1):
        tale.say(author, NOBODY, started())
    while len(tale.records) < 36:
        client_asks(tale)
    tale.hear(A1, 20)
    for author in (MASTER, MARATHON):
        tale.hear(author, 30)
    tale.hear(MASTER, 30)
    return tale


class Place:
    """A stream, its copy in a file, and masters who answer."""

    def __init__(self, tmp_path: Path) -> None:
        self.mouth, self.data = Mouth(), tmp_path
        self.file = tmp_path / "master" / "events.db"

    async def tell(self, tale: Told) -> None:
        self.file.parent.mkdir()
        await make_store(self.file, tale.records)
        for record in tale.records:
            self.mouth.server.inject(record.subject, record.body)

    async def trim(self, *args: object) -> str:
        """What a command that succeeds says."""
        result = await self.mouth("store", "trim", "--data", str(self.data), "--yes", *map(str, args))
        assert result.exit_code == 0, result.output + result.stderr
        return result.stdout

    async def refused(self, *args: object) -> str:
        """What a command that fails says; the stream is as it was."""
        before = self.mouth.server.records()
        result = await self.mouth("store", *map(str, args), "--data", str(self.data))
        assert result.exit_code in (1, 2), result.output
        assert self.mouth.server.records() == before
        return result.stderr

    @asynccontextmanager
    async def master(self, node: str, file: Path | None = None, **more: object) -> AsyncIterator[None]:
        """A master on a node, with the store of the place or another."""
        bus, path = MemoryBus(self.mouth.server), file or self.file
        async with open_reader(path) as reader:
            row = Instance(
                by="master.main",
                node=node,
                instance=node,
                standing=LEADER if node == "n1" else STANDBY,
                epoch=1,
                n=1,
                position=Position(1),
                stored=await reader.last(),
            )
            row = msgspec.structs.replace(row, **more)

            async def chain(question: bytes) -> object:
                positions = msgspec.msgpack.decode(question, type=ChainQuestion).positions
                return [ChainRow(position=each, chain=await reader.chain_at(each) or "") for each in positions]

            async def page(question: bytes) -> object:
                asked = msgspec.msgpack.decode(question, type=PageQuestion)
                record = await reader.at_position(asked.after + 1)
                return (
                    [HistoryRow(position=record.position, subject=record.subject, body=record.body)] if record else []
                )

            async def here(_question: bytes) -> object:
                return row

            await bus.serve(roll(CLUSTER, THE_MASTER), _answering(here))
            for name, answer in (("chain", chain), ("page", page)):
                await bus.serve(ask_instance(CLUSTER, THE_MASTER, node, name), _answering(answer))
            try:
                yield
            finally:
                await bus.close()


def _answering(answer: Callable[[bytes], object]) -> Callable[[bytes], object]:
    async def answered(question: bytes) -> bytes:
        return queries.answer_ok(await answer(question))

    return answered


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    await place.tell(long_tale())
    return place


# ---- trim ------------------------------------------------------------------------------------------------------------


async def test_the_stream_begins_where_it_was_to_begin_and_the_store_keeps_all(place: Place) -> None:
    async with place.master("n1"):
        before = place.file.read_bytes()
        assert "the stream begins at position 20 now" in await place.trim("--before", 20)
        assert place.mouth.server.first == 20
        assert place.file.read_bytes() == before
        assert "there is nothing before 20 to drop" in await place.refused("trim", "--before", 20, "--yes")


async def test_a_dry_run_drops_nothing_and_says_who_holds_the_rest(place: Place) -> None:
    async with place.master("n1"):
        said = await place.trim("--before", 20, "--dry-run")
        assert "would drop positions 1 to 19 of the stream; every master's store keeps them" in said
        assert "agent.a1 has heard everything up to position 20 only" in said
        assert place.mouth.server.first == 1


async def test_an_owner_that_has_not_heard_so_far_holds_it_back(place: Place) -> None:
    """Named, with how far it is possible; not for one of which a person says that it has ended."""
    async with place.master("n1"):
        said = await place.refused("trim", "--before", 21, "--yes")
        assert "nothing was trimmed: agent.a1 has heard everything up to position 20 only; up to 20" in said
        assert "--ended agent.a1" in said
        said = await place.refused("trim", "--before", 35, "--yes")
        assert "agent.a1 has heard everything up to position 20 only, and 2 more" in said
        await place.trim("--before", 30, "--ended", "agent.a1")
        assert place.mouth.server.first == 30


async def test_an_owners_last_event_is_kept(tmp_path: Path) -> None:
    """Its fence is looked for there: one that is quiet says `log.kept` before it can be passed."""
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.hear(A1, 1)
    while len(tale.records) < 20:
        client_asks(tale)
    tale.hear(MASTER, 20)
    place = Place(tmp_path)
    await place.tell(tale)
    async with place.master("n1"):
        said = await place.refused("trim", "--before", 15, "--yes")
        assert "agent.a1 has heard everything up to position 1 only" in said


async def test_who_has_heard_nothing_holds_back_what_is_addressed_to_it_only(tmp_path: Path) -> None:
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    for _ in range(10):
        tale.say(ALICE, NOBODY, LogKept())
    tale.say(ALICE, "a1", LogKept())
    tale.say(A1, NOBODY, started())
    tale.hear(MASTER, 12)
    place = Place(tmp_path)
    await place.tell(tale)
    async with place.master("n1"):
        said = await place.refused("trim", "--before", 13, "--yes")
        assert "agent.a1 has not heard what position 12 says to it, and 1 more; up to 12 it is possible" in said
        await place.trim("--before", 12)


async def test_a_framework_that_was_removed_holds_nothing_back(tmp_path: Path) -> None:
    tale = Tale()
    tale.say(MASTER, NOBODY, started())
    tale.say(MARATHON, NOBODY, started())
    for _ in range(10):
        tale.say(ALICE, NOBODY, LogKept())
    removed = FrameworkRemoved(framework=FrameworkId("marathon"), message="gone for a week")
    tale.hear(MASTER, 12, removed, to="marathon")
    place = Place(tmp_path)
    await place.tell(tale)
    async with place.master("n1"):
        await place.trim("--before", 12)


async def test_every_master_must_have_stored_it(place: Place, tmp_path: Path) -> None:
    async with place.master("n1"), place.master("n2", stored=Position(18)):
        said = await place.refused("trim", "--before", 20, "--yes")
        assert "the master on n2 has stored positions up to 18, not up to 19" in said
    async with place.master("n1"), place.master("n2", standing=DIVERGED, message="position 7 is other"):
        assert "the master on n2 is diverged: position 7 is other" in await place.refused(
            "trim", "--before", 20, "--yes"
        )
    other = Tale()
    for epoch in range(1, 42):
        other.say(MASTER, NOBODY, started(epoch))
    async with place.master("n1"), place.master("n2", await make_store(tmp_path / "other.db", other.records)):
        said = await place.refused("trim", "--before", 20, "--yes")
        assert "the master on n2 has another history up to position 19" in said
    assert "of as many masters only none answered" in await place.refused("trim", "--before", 20, "--yes")


async def test_the_own_store_is_verified_first(place: Place) -> None:
    async with place.master("n1"):
        change(place.file, "UPDATE event SET at = 1 WHERE position = 9")
        said = await place.refused("trim", "--before", 20, "--yes")
        assert "position 9: its column at is 1" in said
        assert "nothing was trimmed" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--before", "42"], "the stream ends at position 41: it cannot begin at 42"),
        (["--before", "1"], "the stream begins at position 1 already"),
        (["--before", "now"], "name a position, or a time in the past"),
        (["--before", "soon"], "'soon' is not a moment"),
        (["--before", "2199-01-01"], "is in the future"),
        (["--before", "1999-01-01"], "is before the first event"),
        (["--before", "20", "--ended", "nobody"], "'nobody' is not an author"),
        ([], "Missing option '--before'"),
    ],
)
async def test_what_cannot_be_meant_is_refused(place: Place, args: list[str], says: str) -> None:
    async with place.master("n1"):
        assert says in await place.refused("trim", *args, "--yes")


async def test_nobody_who_could_be_asked_is_a_no(place: Place) -> None:
    async with place.master("n1"):
        assert "nobody was there to be asked" in await place.refused("trim", "--before", 20)


# ---- diff --peer -----------------------------------------------------------------------------------------------------


async def test_a_peer_with_the_same_history_does_not_differ(place: Place) -> None:
    async with place.master("n1"), place.master("n2"):
        found = await place.mouth.json("store", "diff", "--peer", "n2", "--data", str(place.data))
        assert (found["position"], found["other"]["last"], found["one"]["good"]) == (None, 41, True)


async def test_the_first_difference_to_a_peer_is_found_over_the_bus(place: Place, tmp_path: Path) -> None:
    tale = long_tale()
    tale.records = tale.records[:25]
    tale.say(ALICE, NOBODY, LogKept())
    tale.say(ALICE, NOBODY, LogKept())
    async with place.master("n1"), place.master("n2", await make_store(tmp_path / "other.db", tale.records)):
        assert "the first difference is at position 26" in await place.refused("diff", "--peer", "n2")


async def test_a_damaged_own_store_is_told_from_its_peer(place: Place, tmp_path: Path) -> None:
    """Its stored hashes are right still: the bytes at the bad position are compared."""
    good = await make_store(tmp_path / "good.db", long_tale().records)
    change(place.file, "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = 9")
    async with place.master("n2", good):
        said = await place.refused("diff", "--peer", "n2")
        assert "the first difference is at position 9" in said
        assert "busbar store repair --data" in said


async def test_a_peer_that_is_not_there_is_named(place: Place) -> None:
    async with place.master("n1"):
        assert "no master runs on n3; there are: n1" in await place.refused("diff", "--peer", "n3")
