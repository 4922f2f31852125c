"""A datacenter that is down is damaged on its disk, and made whole by the documented command. (gate: proof 3)

    python -m tests.faults.repairs --count 3 --seed 1

Of one node and of three: a bit of the bus's files, a bit of a store, a store cut short, a store that is gone.
Rule of this room: what clients were told before is compared, event by event, with what is there after the repair.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bus.port import Record
from tests.e2e.cluster import Cluster
from tests.faults.audit import audit_log, audit_stores
from tests.faults.checker import check, said
from tests.faults.customers import METRONOME
from tests.faults.damage import NODES, blocks, flip, store_of
from tests.faults.history import History
from tests.faults.report import evidence, options, say
from tests.faults.rounds import Work
from tests.faults.stage import Stage, stage_at

events_min = 400
worked_s = 60.0


def flip_the_stream(data: Path, node: str, chance: random.Random) -> str:
    """One bit of what a server has stored."""
    file = chance.choice(blocks(data, node, "dc"))
    return f"one bit of {file.name} of the bus of {node} flipped at {flip(file, chance, after=0.1, before=0.9)}"


def flip_the_store(data: Path, node: str, chance: random.Random) -> str:
    """One bit of a master's store."""
    return f"one bit of the store of {node} flipped at {flip(store_of(data, node), chance)}"


def cut_the_store(data: Path, node: str, chance: random.Random) -> str:
    """A master's store ends too early."""
    store = store_of(data, node)
    left = store.stat().st_size * chance.randrange(1, 10) // 10
    with store.open("r+b") as file:
        file.truncate(left)
    return f"the store of {node} cut to {left} bytes"


def lose_the_store(data: Path, node: str, chance: random.Random) -> str:
    """A master's store is gone."""
    store_of(data, node).unlink()
    return f"the store of {node} deleted"


DAMAGES: tuple[Callable[[Path, str, random.Random], str], ...] = (
    flip_the_stream,
    flip_the_store,
    cut_the_store,
    lose_the_store,
)


class Case(NamedTuple):
    """What is done to a datacenter of how many masters."""

    masters: int
    damage: str

    def __str__(self) -> str:
        return f"{self.damage}, {self.masters} masters"


async def work(data: Path, history: History, name: str) -> list[Record]:
    """Some work with clients' traffic; everything that was said then."""
    names = (f"u-{name}-1", f"u-{name}-2")
    async with stage_at(data, history, names=names) as stage:
        client, observer = stage.clients[0], stage.observer
        done = Work(name, data.parent / f"{name}.txt", mark=observer.mark)
        async with stage.traffic():
            await done.prepare(client)
            await asyncio.gather(done.ask_app(client), done.ask_run(stage.clients[1]))
            await done.done(observer)
            before = len(observer.records)
            await observer.until(
                "some traffic", lambda: len(observer.records) >= before + events_min, within_s=worked_s
            )
        await observer.to_head()
        done.check(observer)
        await done.remove(client, observer)
        await _quiet(stage)
        return list(observer.records)


async def _quiet(stage: Stage) -> None:
    """One more answer: everything before it is decided."""
    while (await stage.clients[0].write(METRONOME)).ended_at is None:
        continue
    await stage.observer.to_head()


def one_case(data: Path, case: Case, chance: random.Random) -> str:
    """Up, work, down, damage, repair, up, work, down; what was wrong and what was done about it."""
    cluster, history = Cluster(data, agents=1, masters=case.masters), History()
    with evidence(f"repairs-{case.damage}", data, history):
        cluster.up()
        before = asyncio.run(work(data, history, "before"))
        cluster.down()
        inject = next(damage for damage in DAMAGES if damage.__name__ == case.damage)
        what = inject(data, chance.choice(NODES[: case.masters]), chance)
        repaired = json.loads(cluster.run("store", "repair", "--json"))
        again = json.loads(cluster.run("store", "repair", "--dry-run", "--json"))
        assert again["wrong"] == [], f"{what}: after the repair {again['wrong']}"
        cluster.up()
        try:
            after = asyncio.run(work(data, history, "after"))
            assert after[: len(before)] == before, f"{what}: what was said before is not what is there now"
            audit_log(after)
            wrong = check(history, said(after))
            assert not wrong, "\n".join(wrong)
            stores = [store_of(data, node) for node in NODES[: case.masters]]
            asyncio.run(audit_stores(stores, after[-1].position))
        finally:
            cluster.down()
    steps = "; ".join(step.partition(" anew")[0].replace(f"{data}/", "") for step in repaired["steps"])
    return f"{what}: {steps or 'nothing to do'}"


def run(directory: Path, cases: Sequence[Case], seed: int) -> None:
    """One datacenter after another."""
    chance = random.Random(seed)
    for number, case in enumerate(cases, 1):
        say(f"{number:4} {case}: {one_case(directory / f'data-{number}', case, chance)}")


def main() -> None:
    """Each damage, of one node and of three, so many times."""
    asked = options(__doc__ or "", 3)
    say(f"seed {asked.seed}, {asked.count} times each")
    cases = [Case(masters, damage.__name__) for damage in DAMAGES for masters in (1, 3)] * asked.count
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory), cases, asked.seed)


if __name__ == "__main__":
    main()
