"""Servers of the bus are killed, damaged, emptied, filled up under load: nothing acknowledged is lost. (gate: proof 3)

    python -m tests.faults.servers --count 3 --seed 1

Rule of this room: each fault is on one node, or all servers die and come back; what must hold is that everything
asked meanwhile is answered once, and that all stores are the same in the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bus.ensemble import on_node
from bus.queries import DIVERGED, Instance
from bus.roll import roll_call
from tests.faults.customers import MARATHON, MASTER
from tests.faults.damage import (
    NODES,
    blocks,
    delete_node,
    end,
    flip,
    full,
    lead_stream,
    nobody_starts_again,
    note,
    send,
    servers_current,
    set_aside,
    small_disks,
    store_of,
    stream_leader,
)
from tests.faults.history import History
from tests.faults.leaders import judge
from tests.faults.report import options, say, spread
from tests.faults.rounds import Work
from tests.faults.stage import Stage, ground, stage_at, three_nodes

back_s = 90.0
detected_s = 60.0
small_mb = 128
SMALL = "n3"
"""The node whose disk is small."""


async def recovered(stage: Stage) -> None:
    """All servers are current, all instances there."""
    await stage.until("all servers are current", lambda: servers_current(stage), within_s=back_s)
    await stage.whole()


class Outcome(NamedTuple):
    """What a fault led to."""

    what: str
    answered_s: float | None = None
    """How long after it the next request was answered."""


async def answered_again(stage: Stage) -> float:
    """How long until a request that is asked now is answered."""
    began = time.monotonic()
    while (await stage.clients[0].write(MARATHON)).ended_at is None:
        assert time.monotonic() - began < back_s, f"no request is answered for {back_s:g} s"
    return time.monotonic() - began


# ---- the faults -----------------------------------------------------------------------------------------------------


async def kill_a_follower(stage: Stage, chance: random.Random) -> Outcome:
    """A server that does not lead the stream."""
    leader = await stream_leader(stage)
    node = chance.choice([node for node in NODES if node != leader])
    await send(stage, on_node("bus", node), signal.SIGKILL)
    return Outcome(f"{node} killed", await answered_again(stage))


async def kill_the_leader(stage: Stage, _chance: random.Random) -> Outcome:
    """The server that leads the stream."""
    node = await stream_leader(stage)
    await send(stage, on_node("bus", node), signal.SIGKILL)
    return Outcome(f"{node} killed", await answered_again(stage))


async def kill_all(stage: Stage, _chance: random.Random) -> Outcome:
    """Every server at once, as by a power cut."""
    for node in NODES:
        await send(stage, on_node("bus", node), signal.SIGKILL)
    return Outcome("n1, n2, n3 killed", await answered_again(stage))


async def kill_a_node(stage: Stage, chance: random.Random) -> Outcome:
    """The server of the bus and whatever leads and stands by on the same node."""
    node = chance.choice(NODES)
    names = [name for name in ("bus", "master", "marathon", "metronome") if name in ("bus", "master") or node != "n3"]
    for name in names:
        await send(stage, on_node(name, node), signal.SIGKILL)
    return Outcome(f"{node} killed", await answered_again(stage))


async def damage_a_block(stage: Stage, chance: random.Random) -> Outcome:
    """One bit of what a server has stored, while it is down; then it leads the stream, and a master reads all of it.

    Either nats-server itself finds it when it starts, and asks the others; or the reader finds the hole.
    """
    leader = await stream_leader(stage)
    node = chance.choice([node for node in NODES if node != leader])
    number = chance.choice((signal.SIGKILL, signal.SIGTERM))
    with nobody_starts_again(stage.data):
        await end(stage, on_node("bus", node), number)
        file = chance.choice(blocks(stage.data, node, stage.bus.cluster))
        offset = flip(file, chance, after=0.1, before=0.8)
        note(stage, f"one bit of {file.name} of {node} flipped at {offset}")
    await stage.until("all servers are current", lambda: servers_current(stage), within_s=back_s)
    await lead_stream(stage, node)
    found = await _read_anew(stage, chance.choice(NODES))
    if found.standing != DIVERGED:
        return Outcome(f"{node} after {number.name}: found by nats-server, which copied it from the others")
    assert "position" in found.message, found.message
    await _resync(stage, node)
    await end(stage, on_node("master", found.node), signal.SIGKILL)
    what = f"{node} after {number.name}: found by the master on {found.node}: {found.message.split(';')[0]}; resynced"
    return Outcome(what)


async def _read_anew(stage: Stage, node: str) -> Instance:
    """A master whose disk is empty reads the whole stream; what it says of itself when it has, or cannot."""
    with nobody_starts_again(stage.data):
        await end(stage, on_node("master", node), signal.SIGKILL)
        set_aside(store_of(stage.data, node))
    rows: list[Instance] = []

    async def unread() -> str:
        rows[:] = [row for row in await roll_call(stage.bus, MASTER) if row.node == node]
        upto = len(stage.observer.records)
        done = rows and (rows[0].standing == DIVERGED or rows[0].stored >= upto - 100)
        return "" if done else f"{[(row.standing, row.stored) for row in rows]} of {upto}"

    await stage.until(f"the master on {node} has read the stream", unread, within_s=detected_s)
    return rows[0]


async def _resync(stage: Stage, node: str) -> None:
    """As the runbook says: the damaged part of one node is set aside, and its server copies it from the others."""
    with nobody_starts_again(stage.data):
        await end(stage, on_node("bus", node), signal.SIGKILL)
        set_aside(stage.data / on_node("bus", node) / "jetstream")
    await stage.until("all servers are current", lambda: servers_current(stage), within_s=back_s)


async def truncate_a_store(stage: Stage, chance: random.Random) -> Outcome:
    """A master's store is cut short while it is down: it may not lead, says so, and is made anew."""
    node = chance.choice(NODES)
    with nobody_starts_again(stage.data):
        await end(stage, on_node("master", node), signal.SIGTERM)  # in good order: nothing is left beside the file
        store = store_of(stage.data, node)
        left = store.stat().st_size * chance.randrange(1, 9) // 10
        os.truncate(store, left)
        note(stage, f"the store of {node} cut to {left} bytes")
    message = await diverged(stage, node)
    with nobody_starts_again(stage.data):
        await end(stage, on_node("master", node), signal.SIGKILL)
        set_aside(store)
    return Outcome(f"{node}: {message.partition(': nothing')[0]}")


async def diverged(stage: Stage, node: str) -> str:
    """What the master of a node says of its store, once it has found that it is wrong."""
    messages: list[str] = []

    async def unnoticed() -> str:
        rows = [row for row in await roll_call(stage.bus, MASTER) if row.node == node]
        messages[:] = [row.message for row in rows if row.standing == DIVERGED]
        return "" if messages else f"{[(row.standing, row.message) for row in rows]}"

    await stage.until(f"the master on {node} is DIVERGED", unnoticed, within_s=detected_s)
    return messages[0]


async def lose_a_node(stage: Stage, chance: random.Random) -> Outcome:
    """The disk of a node is lost: bus and store are empty when they come back."""
    node = chance.choice(NODES)
    with nobody_starts_again(stage.data):
        for name in ("bus", "master"):
            await end(stage, on_node(name, node), signal.SIGKILL)
        delete_node(stage.data, node)
        note(stage, f"everything of {node} deleted")
    began = time.monotonic()
    await recovered(stage)
    return Outcome(f"{node}: back with everything in {time.monotonic() - began:.1f} s")


async def fill_a_disk(stage: Stage, _chance: random.Random) -> Outcome:
    """The disk of a node is full, and has room again: the others go on, and it catches up by itself."""
    with full([stage.data / on_node(name, SMALL) for name in ("bus", "master")]):
        note(stage, f"the disk of {SMALL} is full")
        meanwhile = await answered_again(stage)
        more = [await answered_again(stage) for _ in range(20)]
    note(stage, f"the disk of {SMALL} has room again")
    return Outcome(f"{SMALL}: while full then answered in {max(more):.1f} s at most", meanwhile)


FAULTS: tuple[Callable[[Stage, random.Random], Awaitable[Outcome]], ...] = (
    kill_a_follower,
    kill_the_leader,
    kill_all,
    kill_a_node,
    damage_a_block,
    truncate_a_store,
    lose_a_node,
    fill_a_disk,
)


# ---- the program ----------------------------------------------------------------------------------------------------


async def one_fault(stage: Stage, name: str, number: int, chance: random.Random) -> Outcome:
    """Work is asked for just before a fault, and done after it."""
    await recovered(stage)
    client, observer = stage.clients[0], stage.observer
    work = Work(f"{name.replace('_', '-')}-{number}", stage.data.parent / f"{name}-{number}.txt", mark=observer.mark)
    await work.prepare(client)
    asking = asyncio.gather(work.ask_app(client), work.ask_run(stage.clients[1]))
    inject = next(fault for fault in FAULTS if fault.__name__ == name)
    outcome = await inject(stage, chance)
    began = time.monotonic()
    await recovered(stage)
    took = time.monotonic() - began
    await asking
    await work.done(observer)
    await observer.to_head()
    work.check(observer)
    await work.remove(client, observer)
    answered = f"; answered again in {outcome.answered_s:.1f} s" if outcome.answered_s is not None else ""
    say(f"{number:4} {name}: {outcome.what}{answered}; whole {took:.1f} s later")
    return outcome


async def play(data: Path, names: Sequence[str], chance: random.Random, history: History) -> dict[str, list[float]]:
    """One fault after another on a datacenter that runs."""
    times: dict[str, list[float]] = defaultdict(list)
    async with stage_at(data, history) as stage:
        await recovered(stage)
        async with stage.traffic():
            for number, name in enumerate(names, 1):
                outcome = await one_fault(stage, name, number, chance)
                if outcome.answered_s is not None:
                    times[name].append(outcome.answered_s)
        for each in await judge(stage):
            say(f"{each.author}: {each.n} events, {each.epoch} terms, state {each.hash[:16]} in three stores")
    return times


def run(data: Path, names: Sequence[str], seed: int) -> None:
    """A datacenter of three nodes with these faults; nothing of it is left afterwards."""
    history = History()
    with ExitStack() as stack:
        if fill_a_disk.__name__ in names:
            stack.enter_context(small_disks([data / on_node(name, SMALL) for name in ("bus", "master")], small_mb))
        stack.enter_context(ground(f"servers-seed{seed}", three_nodes(data), history))
        times = asyncio.run(play(data, names, random.Random(seed), history))
    say(f"{len(names)} faults, {len(history.writes)} requests and {len(history.reads)} reads in the history")
    for name, found in sorted(times.items()):
        say(spread(f"{name}: fault to the first answer", found))


def main() -> None:
    """Each fault so many times."""
    asked = options(__doc__ or "", 3)
    say(f"seed {asked.seed}, {asked.count} times each")
    names = [fault.__name__ for fault in FAULTS for _ in range(asked.count)]
    if os.geteuid() != 0:
        say("not root: no small file system can be mounted, so no disk is filled")
        names = [name for name in names if name != fill_a_disk.__name__]
    random.Random(asked.seed).shuffle(names)
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", names, asked.seed)


if __name__ == "__main__":
    main()
