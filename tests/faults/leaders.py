"""Who leads is killed at each of the twelve steps: nothing is lost, nothing is done twice. (gate: proof 2)

    python -m tests.faults.leaders --count 3 --seed 1

Rule of this room: a kill is by pid, in the moment the step's event is seen on the bus; afterwards everything is
counted.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bus.events import Event, LeaderElected, OfferMade
from bus.subjects import Author
from tests.faults.audit import Folded, audit_log, audit_stores
from tests.faults.checker import check, said
from tests.faults.customers import MARATHON, MASTER, METRONOME
from tests.faults.history import Fault, History
from tests.faults.observer import Told, Trap
from tests.faults.report import options, say, spread
from tests.faults.rounds import Work
from tests.faults.stage import SINGLETONS, Stage, ground, stage_at, three_nodes
from tests.faults.steps import BEFORE_WORK, STEPS, Stepper

OFFERS_FOLLOW = (1, 4)
"""The steps at which a dead master has offered nothing yet for what is asked: the next one must."""
sprung_s = 60.0
led_s = 60.0
probe_s = 0.1
probe_pause_s = 0.01


class Pair(NamedTuple):
    """Who is killed, and at which step, on the way through which scheduler."""

    victim: Author
    step: int
    scheduler: Author

    def __str__(self) -> str:
        return f"{self.victim.id} at step {self.step} ({STEPS[self.step]}, {self.scheduler.id})"


@dataclass
class Times:
    """How long after kills it took until the next leader was at work."""

    first_event: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    first_offer: list[float] = field(default_factory=list)
    first_answer: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[str]:
        """For a report."""
        return [
            *(spread(f"{who}: kill to the new leader's first event", found) for who, found in self.first_event.items()),
            *(spread(f"{who}: kill to the first answer", found) for who, found in self.first_answer.items()),
            spread("main: kill to the new leader's first offer, where offers were wanted", self.first_offer),
        ]


def pairs(chance: random.Random) -> list[Pair]:
    """Every component at every step, in an order by chance; the master's on the way through either scheduler."""
    found = []
    for step in STEPS:
        found.append(Pair(MASTER, step, chance.choice((MARATHON, METRONOME))))
        found += [Pair(scheduler, step, scheduler) for scheduler in (MARATHON, METRONOME)]
    chance.shuffle(found)
    return found


async def one_round(stage: Stage, pair: Pair, name: str, times: Times) -> None:
    """Arm, work, kill at the step, and count what came of it."""
    await stage.whole()
    client, observer = stage.clients[0], stage.observer
    work = Work(name, stage.data.parent / f"{name}.txt", mark=observer.mark)
    await work.prepare(client)
    victims: list[tuple[str, float]] = []
    stepper = Stepper(work, pair.scheduler)

    def kill(_event: Event) -> None:
        victim = stage.leader(pair.victim)
        victims.append((victim.instance, stage.hit(victim, signal.SIGKILL)))

    trap = observer.trap = Trap(lambda event: stepper.step(event) == pair.step, kill)
    mark = observer.mark
    if pair.step in BEFORE_WORK:
        await _register_again(stage, pair.scheduler)
        await asyncio.wait_for(asyncio.shield(trap.sprung), sprung_s)
    asking = asyncio.gather(work.ask_app(client), work.ask_run(stage.clients[1]))
    await asyncio.wait_for(asyncio.shield(trap.sprung), sprung_s)
    [(killed, at)] = victims
    measuring = asyncio.create_task(_measure(stage, pair, work, killed, at, mark, times))
    await asking
    await measuring
    await work.done(observer)
    await observer.to_head()
    work.check(observer)
    await work.remove(client, observer)


async def _register_again(stage: Stage, scheduler: Author) -> None:
    """Stop a scheduler's leader in good order: who follows registers, and gets a round of offers (steps 2 and 3)."""
    stage.hit(stage.leader(scheduler), signal.SIGTERM)


async def _measure(stage: Stage, pair: Pair, work: Work, killed: str, at: float, mark: int, times: Times) -> None:
    """When the next leader says its first word, offers, and answers. Not where no standby was left to follow."""
    probing = asyncio.create_task(_first_answer(stage, pair.victim, at))
    elected = await stage.observer.first(
        f"a new leader of {pair.victim}", lambda event: _elects(event, pair.victim, killed), mark=mark, within_s=led_s
    )
    answered = await probing
    if pair.step in BEFORE_WORK and pair.victim != MASTER:
        return
    times.first_event[pair.victim.id].append(elected.seen_at - at)
    times.first_answer[pair.victim.id].append(answered)
    if pair.victim == MASTER and pair.step in OFFERS_FOLLOW:
        await work.done(stage.observer)
        times.first_offer += _first_offer(stage.observer.since(mark), elected, at)


def _first_offer(story: Sequence[Told], elected: Told, at: float) -> list[float]:
    """How long after the kill the new leader offered; nothing if the dead one had been faster."""
    offers = [told for told in story if isinstance(told.event.fact, OfferMade) and told.seen_at > at]
    return [offers[0].seen_at - at] if offers and offers[0].event.epoch == elected.event.epoch else []


def _elects(event: Event, singleton: Author, killed: str) -> bool:
    fact = event.fact
    return isinstance(fact, LeaderElected) and event.by == singleton and fact.instance != killed


async def _first_answer(stage: Stage, of: Author, at: float) -> float:
    """How long after a kill a request that was made after it is answered: of the master, which has no clients, a
    question."""
    client = stage.clients[1]
    while (await (client.sum_up(of, probe_s) if of == MASTER else client.write(of))).ended_at is None:
        await asyncio.sleep(probe_pause_s)
    return time.monotonic() - at


async def judge(stage: Stage, where: Sequence[Path] = (), *, behind_us: int = 0) -> list[Folded]:
    """Everything is held against everything: the log, the clients' histories, the stores."""
    await stage.whole()
    end = await stage.observer.to_head()
    records = stage.observer.records[:end]
    audit_log(records)
    wrong = check(stage.history, said(records), behind_us=behind_us)
    assert not wrong, "\n".join(wrong)
    return await audit_stores(where or stores(stage.data), end)


def stores(data: Path) -> list[Path]:
    """The masters' stores of a datacenter."""
    return [data / name / "events.db" for name in ("master", "master-n2", "master-n3")]


async def play(data: Path, wanted: Sequence[Pair], history: History) -> tuple[Times, list[Folded]]:
    """Kill at each of these pairs, one after another, on a datacenter that runs."""
    times = Times()
    async with stage_at(data, history) as stage:
        await stage.whole()
        async with stage.traffic():
            for number, pair in enumerate(wanted, 1):
                history.add(Fault(what=f"round {number}: {pair}", at=time.monotonic_ns() // 1000))
                began = time.monotonic()
                await one_round(stage, pair, f"gate-{number}", times)
                say(f"{number:4} {pair}: right, {time.monotonic() - began:.1f} s")
        folded = await judge(stage)
    return times, folded


def run(data: Path, wanted: Iterable[Pair], seed: int) -> None:
    """A datacenter of three nodes, killed at each of these pairs; nothing of it is left afterwards."""
    history, chosen = History(), list(wanted)
    with ground(f"leaders-seed{seed}", three_nodes(data), history):
        times, folded = asyncio.run(play(data, chosen, history))
    killed = {singleton.id: sum(pair.victim == singleton for pair in chosen) for singleton in SINGLETONS}
    say(f"killed {killed}, {len(history.writes)} requests and {len(history.reads)} reads in the history")
    for each in folded:
        say(f"{each.author}: {each.n} events, {each.epoch} terms, state {each.hash[:16]} in three stores")
    for line in times.lines():
        say(line)


def main() -> None:
    """Every pair, so many times."""
    asked = options(__doc__ or "", 3)
    say(f"seed {asked.seed}, {asked.count} times each")
    chance = random.Random(asked.seed)
    wanted = [pair for _ in range(asked.count) for pair in pairs(chance)]
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", wanted, asked.seed)


if __name__ == "__main__":
    main()
