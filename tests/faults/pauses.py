"""Who leads is stopped for long, followed by another, and wakes: it says nothing any more. (gate: proof 2)

    python -m tests.faults.pauses --count 5 --seed 1

Rule of this room: the process is the same before and after its pause, and knows nothing of it.
"""

from __future__ import annotations

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bus.events import Event, LeaderElected
from bus.queries import Instance
from bus.roll import roll_call
from bus.subjects import Author
from tests.e2e.cluster import alive
from tests.faults.audit import no_old_word
from tests.faults.customers import MARATHON, MASTER, METRONOME
from tests.faults.history import History
from tests.faults.leaders import judge
from tests.faults.report import options, say, spread
from tests.faults.rounds import Work
from tests.faults.stage import Stage, ground, stage_at, three_nodes

pause_s = 8.0
"""Longer than standbys bear silence. (`components.election.silence_s`)"""
led_s = 30.0
bowed_s = 30.0


async def one_pause(stage: Stage, victim: Author, name: str) -> tuple[float, float]:
    """Stop a leader under work, let another follow, wake it; how long until it was followed, and until it knew it."""
    await stage.whole()
    client, observer = stage.clients[0], stage.observer
    work = Work(name, stage.data.parent / f"{name}.txt", mark=observer.mark)
    await work.prepare(client)
    stopped = stage.leader(victim)
    mark = observer.mark
    at = stage.hit(stopped, signal.SIGSTOP)
    asking = asyncio.gather(work.ask_app(client), work.ask_run(stage.clients[1]))
    try:
        followed = await observer.first(
            f"a new leader of {victim}", lambda event: _elects(event, victim, stopped), mark=mark, within_s=led_s
        )
        await asyncio.sleep(max(0.0, at + pause_s - time.monotonic()))  # the fault itself is this long
    finally:
        woken = stage.hit(stopped, signal.SIGCONT)
    await stage.until("the old leader ends or follows", lambda: _still_leads(stage, stopped), within_s=bowed_s)
    bowed = time.monotonic()
    await asking
    await work.done(observer)
    await observer.to_head()
    work.check(observer)
    no_old_word(observer.records, victim)
    await work.remove(client, observer)
    return followed.seen_at - at, bowed - woken


async def _still_leads(stage: Stage, stopped: Instance) -> str:
    """What is wrong while the woken process still believes that it leads."""
    if not alive(stopped.pid):
        return ""
    rows = await roll_call(stage.clients[0].bus, _author(stopped))
    leads = [row for row in rows if row.instance == stopped.instance and row.standing == "LEADER"]
    return f"{stopped.by} on {stopped.node} says that it leads" if leads else ""


def _author(instance: Instance) -> Author:
    return next(author for author in (MASTER, MARATHON, METRONOME) if str(author) == instance.by)


def _elects(event: Event, singleton: Author, stopped: Instance) -> bool:
    fact = event.fact
    return isinstance(fact, LeaderElected) and event.by == singleton and fact.instance != stopped.instance


async def play(data: Path, victims: Sequence[Author], history: History) -> tuple[list[float], list[float]]:
    """One pause after another on a datacenter that runs."""
    followed, bowed = [], []
    async with stage_at(data, history) as stage:
        await stage.whole()
        async with stage.traffic():
            for number, victim in enumerate(victims, 1):
                until_followed, until_bowed = await one_pause(stage, victim, f"pause-{number}")
                followed.append(until_followed)
                bowed.append(until_bowed)
                say(f"{number:4} {victim.id} stopped {pause_s:g} s: followed in {until_followed:.1f} s")
        await judge(stage)
    return followed, bowed


def run(data: Path, victims: Sequence[Author], seed: int) -> None:
    """A datacenter of three nodes whose leaders are stopped; nothing of it is left afterwards."""
    history = History()
    with ground(f"pauses-seed{seed}", three_nodes(data), history):
        followed, bowed = asyncio.run(play(data, victims, history))
    say(f"{len(victims)} pauses, {len(history.writes)} requests and {len(history.reads)} reads in the history")
    say(spread("stop to the new leader's first event", followed))
    say(spread("wake to the old leader's end", bowed))


def main() -> None:
    """Each singleton's leader, so many times."""
    asked = options(__doc__ or "", 5)
    say(f"seed {asked.seed}, {asked.count} times each")
    chance = random.Random(asked.seed)
    victims = [victim for _ in range(asked.count) for victim in (MASTER, MARATHON, METRONOME)]
    chance.shuffle(victims)
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", victims, asked.seed)


if __name__ == "__main__":
    main()
