"""Masters are killed while they commit, and their stores are flipped and cut: what is stored is right. (gate: proof 3)

    python -m tests.faults.stores --count 200 --seed 1

Beside a datacenter's own masters another one stands by and stores what is said; it is the one that is hit. What files
alone stand is `tests.eventstore.faults`.
Rule of this room: after each fault the file is verified before anybody opens it again, and compared with a store that
nothing was done to.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bus.credentials import write_credentials
from bus.nouns import FrameworkId, Position, TraceId
from bus.permits import Role
from bus.queries import DIVERGED, Instance
from bus.roll import roll_call
from bus.services import SchedulerLocated
from cli.processes import OWN_COMMAND
from eventstore.errors import StoreFailed, StoreRefused
from eventstore.store import open_reader
from eventstore.verify import Verdict, tail_events, verify
from tests.e2e.cluster import Cluster
from tests.faults.audit import audit_log, audit_stores
from tests.faults.checker import check, said
from tests.faults.customers import MARATHON, MASTER, Customer
from tests.faults.damage import flip, note, set_aside
from tests.faults.history import History
from tests.faults.report import options, say
from tests.faults.stage import Stage, ground, stage_at
from tests.identities import identity_of

NODE = "extra"
talkers = 8
"""Clients' words at once, so that there is something in every commit."""
grown_s = 60.0
moment_s = 0.15
"""A kill comes so long, at most, after a commit was seen."""
look_again_s = 0.01
DAMAGES = ("flip", "cut", "flip the journal")


@dataclass
class Extra:
    """A master that stands by, started and ended here."""

    stage: Stage
    process: asyncio.subprocess.Process | None = None

    @property
    def store(self) -> Path:
        return self.stage.data / f"master-{NODE}" / "events.db"

    async def start(self) -> None:
        """Start it."""
        self.store.parent.mkdir(exist_ok=True)
        argv = (*OWN_COMMAND, "run", "master", "--node", NODE, "--store", str(self.store), "--log-json")
        given = ("--credentials", str(self._credentials()), "--key", str(self.stage.data / "cluster.key"))
        with (self.stage.data / "logs" / f"master-{NODE}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*argv, *given, stdout=log, stderr=log)

    def _credentials(self) -> Path:
        """Its own, beside those of the others."""
        file = self.stage.data / "keys" / f"master-{NODE}.json"
        if not file.exists():
            write_credentials(file, identity_of(self.stage.data, Role.MASTER, f"m-{NODE}"))
        return file

    async def end(self, number: signal.Signals) -> None:
        """End it, and wait until it has."""
        assert self.process is not None, "it runs"
        if self.process.returncode is None:
            self.process.send_signal(number)
        await self.process.wait()

    async def last(self) -> Position:
        """How far its store is."""
        try:
            async with open_reader(self.store) as reader:
                return await reader.last()
        except (StoreFailed, StoreRefused):  # not made yet
            return Position(0)

    async def wait_grown(self, beyond: int) -> None:
        """Wait until it has committed more than it had."""
        async with asyncio.timeout(grown_s):
            while await self.last() <= beyond:
                assert self.process is None or self.process.returncode is None, "it ended by itself: see its log"
                await asyncio.sleep(look_again_s)

    async def said(self) -> Instance | None:
        """What it says of itself; None while it does not answer."""
        rows = await roll_call(self.stage.bus, MASTER)
        return next((row for row in rows if row.node == NODE), None)


@asynccontextmanager
async def talk(client: Customer) -> AsyncIterator[None]:
    """Much is said meanwhile, by clients."""

    async def one(number: int) -> None:
        located = SchedulerLocated(framework=FrameworkId(MARATHON.id), through="master.main")
        while True:
            await client.tell(MARATHON, located, TraceId(f"talk-{number}"))

    talking = [asyncio.create_task(one(number)) for number in range(talkers)]
    try:
        yield
    finally:
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


async def kill_while_committing(extra: Extra, chance: random.Random) -> int:
    """SIGKILL a moment after a commit; what it had stored is there, whole; how many events it has then."""
    before = await extra.last()
    await extra.wait_grown(before)
    await asyncio.sleep(chance.uniform(0, moment_s))  # the fault's moment, by chance
    committed = await extra.last()
    await extra.end(signal.SIGKILL)
    verdict = await asyncio.to_thread(verify, extra.store)
    assert verdict.good, f"after a kill: {verdict.finding}"
    assert verdict.last >= committed, f"{committed} was committed, the store ends at {verdict.last}"
    await _same_as_first(extra, verdict)
    await extra.start()
    return verdict.last


async def _same_as_first(extra: Extra, verdict: Verdict) -> None:
    """What is stored is what the first master stored, too."""
    first = extra.stage.data / "master" / "events.db"
    async with asyncio.timeout(grown_s), open_reader(first) as reader:
        while (chain := await reader.chain_at(verdict.last)) is None and verdict.last:
            await asyncio.sleep(look_again_s)
    assert chain is None or chain == verdict.chain, f"the chains differ at {verdict.last}"


async def damage(extra: Extra, what: str, chance: random.Random) -> str:
    """Its file is changed while it is down: it is found before it is used, or nothing that is stored has changed."""
    await extra.wait_grown(await extra.last())
    await extra.end(signal.SIGKILL if what == "flip the journal" else signal.SIGTERM)
    where = _change(extra.store, what, chance)
    note(extra.stage, f"{what}: {where}")
    verdict = _verified(extra.store)
    upto = len(extra.stage.observer.records)
    await extra.start()
    row = await _read(extra, upto)
    if verdict is not None and verdict.good:
        assert row.standing != DIVERGED, f"{where}: nothing is wrong, and it says {row.message}"
        return "harmless"
    found = row.standing == DIVERGED
    assert found or _is_old(verdict), f"{where}: {verdict and verdict.finding} was not found: {row}"
    await extra.end(signal.SIGTERM)
    set_aside(extra.store)
    await extra.start()
    row = await _read(extra, upto)
    assert row.standing != DIVERGED, row.message
    return "found before it was used" if found else f"named by verify, older than the {tail_events} a start looks at"


def _is_old(verdict: Verdict | None) -> bool:
    """Whether what is wrong lies before the newest events, which are all that a start verifies."""
    position = verdict.finding.position if verdict and verdict.finding else None
    return verdict is not None and position is not None and position <= verdict.last - tail_events


def _change(store: Path, what: str, chance: random.Random) -> str:
    """Change a file of a store."""
    journal = store.with_name(f"{store.name}-wal")
    if what == "cut":
        left = store.stat().st_size * chance.randrange(1, 10) // 10
        with store.open("r+b") as file:
            file.truncate(left)
        return f"{store.name} cut to {left} bytes"
    file_hit = journal if what == "flip the journal" and journal.exists() and journal.stat().st_size else store
    return f"one bit of {file_hit.name} flipped at {flip(file_hit, chance)}"


def _verified(store: Path) -> Verdict | None:
    """What verification says; None if the file is no store any more."""
    try:
        return verify(store)
    except (StoreFailed, StoreRefused):
        return None


async def _read(extra: Extra, upto: int) -> Instance:
    """What it says of itself once it has read everything, or cannot."""
    rows: list[Instance] = []

    async def unread() -> str:
        row = await extra.said()
        rows[:] = [row] if row else []
        return "" if row and (row.standing == DIVERGED or row.stored >= upto) else f"{row} of {upto}"

    await extra.stage.until("the damaged master has read everything, or says why not", unread, within_s=grown_s)
    return rows[0]


# ---- the program ----------------------------------------------------------------------------------------------------


async def play(data: Path, kills: int, damages: int, chance: random.Random, history: History) -> Counter[str]:
    """So many kills, then so many damages of each kind."""
    counted: Counter[str] = Counter()
    async with stage_at(data, history) as stage:
        extra = Extra(stage)
        await extra.start()
        async with stage.traffic(), talk(stage.clients[0]):
            for number in range(1, kills + 1):
                stored = await kill_while_committing(extra, chance)
                counted["killed while committing: whole, and right"] += 1
                if number % 20 == 0:
                    say(f"{number:4} kills, {stored} events in the store")
            for what in DAMAGES * damages:
                counted[f"{what}: {await damage(extra, what, chance)}"] += 1
        end = await stage.observer.to_head()
        audit_log(stage.observer.records[:end])
        wrong = check(history, said(stage.observer.records[:end]))
        assert not wrong, "\n".join(wrong)
        await audit_stores([data / "master" / "events.db", extra.store], end)
        await extra.end(signal.SIGTERM)
    return counted


def run(data: Path, kills: int, damages: int, seed: int) -> None:
    """A datacenter with one more master, which is hit; nothing of it is left afterwards."""
    history = History()
    with ground(f"stores-seed{seed}", Cluster(data, agents=1), history):
        counted = asyncio.run(play(data, kills, damages, random.Random(seed), history))
    for what, count in sorted(counted.items()):
        say(f"{what}: {count}")


def main() -> None:
    """So many kills, and a tenth of it of each damage."""
    asked = options(__doc__ or "", 200)
    say(f"seed {asked.seed}, {asked.count} kills")
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", asked.count, max(1, asked.count // 10), asked.seed)


if __name__ == "__main__":
    main()
