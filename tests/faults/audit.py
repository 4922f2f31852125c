"""What must be true when the faults have stopped: of the log, of every master's store, of the processes on the machine.

Rule of this room: nothing is asked of a component. The log is read from the bus, stores are read as files, processes
are those the kernel knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bus import codec
from bus.codec import Foreign
from bus.events import LeaderElected
from bus.nouns import Now, Position
from bus.port import Record
from bus.subjects import Author
from cli.minds import mind_of
from components.component import state_hash
from components.master.books import check_all
from components.mind import Mind
from eventstore.store import Reader, open_reader
from eventstore.verify import verify
from tests.faults.customers import MARATHON, MASTER, METRONOME
from tests.simulation.ledger import Ledger

stored_s = 30.0
look_again_s = 0.1


class Recording(NamedTuple):
    """A stream as it was read, for an auditor of streams."""

    all: Sequence[Record]

    def records(self) -> Sequence[Record]:
        return self.all


def audit_log(records: Sequence[Record]) -> Ledger:
    """Every author's chain has no gap and no older term after a newer; offers, tasks and runs are never doubled."""
    assert [record.position for record in records] == list(range(1, len(records) + 1)), "positions have a gap"
    ledger = Ledger(Recording(records))  # type: ignore[arg-type]  # it asks no more of it
    ledger.audit()
    assert not ledger.foreign, f"{ledger.foreign}: messages that are nobody's event"
    return ledger


class Folded(NamedTuple):
    """What one store says of one singleton at one position."""

    author: str
    n: int
    epoch: int
    hash: str


async def audit_stores(stores: Sequence[Path], upto: Position) -> list[Folded]:
    """Every store verifies, all are the same up to a position, fold to the same states, and the books balance."""
    await asyncio.gather(*(_stored(store, upto) for store in stores))
    chains, folds = [], []
    for store in stores:
        verdict = await asyncio.to_thread(verify, store)
        assert verdict.good, f"{store}: {verdict.finding}"
        async with open_reader(store) as reader:
            chains.append(await reader.chain_at(upto))
            folds.append([await _folded(reader, author, upto) for author in (MASTER, MARATHON, METRONOME)])
    assert len(set(chains)) == 1, f"the chains of {[str(store) for store in stores]} differ at {upto}: {chains}"
    for other in folds[1:]:
        assert other == folds[0], f"{other}\n{folds[0]}"
    return folds[0]


async def _stored(store: Path, upto: Position) -> None:
    """Wait until a store is that far: its master writes it a moment after the stream."""
    async with asyncio.timeout(stored_s):
        while True:
            async with open_reader(store) as reader:
                if await reader.last() >= upto:
                    return
            await asyncio.sleep(look_again_s)


async def _folded(reader: Reader, author: Author, upto: Position) -> Folded:
    """A singleton's state from its log alone."""
    mind = None
    async for records in reader.records(author=author, to=upto):
        for record in records:
            if mind is None:
                mind = Mind(mind_of(_settings(record)), reader.header().cluster, lambda: Now(0))
            mind.remember(record)
    assert mind is not None, f"{author} has no log"
    if author == MASTER:
        check_all(mind.state)
    return Folded(str(author), mind.state.n, mind.state.epoch, state_hash(mind.state))


def _settings(record: Record) -> str:
    fact = codec.decode(record.subject, record.body, record.position).fact
    assert isinstance(fact, LeaderElected), f"the first word of a log is {fact.type}"
    return fact.settings


def no_old_word(records: Sequence[Record], author: Author) -> int:
    """Nothing of an older term lies behind the first event of a newer one; how many terms there were."""
    epoch = 0
    for record in records:
        try:
            event = codec.decode(record.subject, record.body, record.position)
        except Foreign:
            continue
        if event.by == author:
            assert event.epoch >= epoch, f"#{record.position} {event.type} is of term {event.epoch}, after term {epoch}"
            epoch = event.epoch
    return epoch


def processes_with(marker: str) -> list[int]:
    """The processes that have a text in their command line; their children, which have it until they execute
    something else, are not counted."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in path.joinpath("cmdline").read_bytes():
                parents[int(path.name)] = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it ended meanwhile
    return sorted(pid for pid, parent in parents.items() if parent not in parents)
