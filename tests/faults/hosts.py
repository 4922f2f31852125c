"""Hosts are cut off, both ways and one way, and healed: tasks run on, none runs twice in the end. (gate: proof 4)

    python -m tests.faults.hosts --count 2 --seed 1

Rule of this room: a cut lasts until what it must lead to is in the log; after each everything is healed, and the
processes on the machine are counted.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bus.events import AgentAdmitted, AgentMarked, Event, LeaderElected
from bus.nouns import AgentId
from bus.queries import AgentRow, unpack
from bus.subjects import ask
from tests.e2e.cluster import alive
from tests.faults.audit import no_old_word, processes_with
from tests.faults.customers import MARATHON, MASTER
from tests.faults.damage import note, servers_current
from tests.faults.fleet import AGENTS, MASTERS, Fleet, fleet
from tests.faults.history import History
from tests.faults.leaders import judge
from tests.faults.network import Network, network, why_not
from tests.faults.report import evidence, options, say, spread
from tests.faults.rounds import Work
from tests.faults.stage import Stage, stage_at

ping_s, pings = 1.0, 11
"""An agent is unreachable after 11 s: longer than a client needs to leave a server that is gone."""
PINGS = ("--ping-interval-s", str(ping_s), "--pings-missed-max", str(pings))
short_s = ping_s * pings / 2
behind_us = 12_000_000
"""How far behind others a client may be on the side of a stream's leader that was cut off: 10 s, and the time it takes
to be told. (ops/decisions/0012)"""
back_s = 120.0
led_s = 60.0
marked_s = 60.0
asked_s = 60.0


class Field(Stage):
    """A stage whose hosts can be cut off, with a service that runs all the time."""

    network: Network
    fleet: Fleet
    standing: Work

    @property
    def held(self) -> list[int]:
        """The processes of the service that are there."""
        return processes_with(self.standing.marker)


async def answered(field: Field) -> float:
    """How long until a request that is asked now is answered."""
    began = time.monotonic()
    while (await field.clients[0].write(MARATHON)).ended_at is None:
        assert time.monotonic() - began < asked_s, f"no request is answered for {asked_s:g} s"
    return time.monotonic() - began


async def _new_leader(field: Field, mark: int, old: str) -> float:
    def elects(event: Event) -> bool:
        return event.by == MASTER and isinstance(event.fact, LeaderElected) and event.fact.node != old

    began = time.monotonic()
    await field.observer.first(f"a master that is not on {old} leads", elects, mark=mark, within_s=led_s)
    return time.monotonic() - began


def _others(name: str) -> list[str]:
    return [each for each in (*MASTERS, *AGENTS) if each != name] + ["here"]


# ---- the leader's host ----------------------------------------------------------------------------------------------


async def cut_the_leader(field: Field, _chance: random.Random) -> str:
    """The leading master's host, with its server of the bus, reaches nobody."""
    return await _without_leader(field, lambda node: field.network.cut(node))


async def mute_the_leader(field: Field, _chance: random.Random) -> str:
    """What the leading master's host sends arrives nowhere; what is sent to it does."""
    return await _without_leader(field, lambda node: field.network.mute(node, *_others(node)))


async def deafen_the_leader(field: Field, _chance: random.Random) -> str:
    """What is sent to the leading master's host arrives nowhere; what it sends does."""

    def deafen(node: str) -> None:
        for other in (*MASTERS, *AGENTS):
            if other != node:
                field.network.mute(other, node)

    return await _without_leader(field, deafen)


async def part_the_leader(field: Field, _chance: random.Random) -> str:
    """The leading master's host is cut off from the other masters' only; agents and clients reach all."""

    def part(node: str) -> None:
        for other in MASTERS:
            if other != node:
                field.network.mute(other, node)
                field.network.mute(node, other)

    return await _without_leader(field, part)


async def _without_leader(field: Field, cut: Callable[[str], None]) -> str:
    node, before, mark = field.leader(MASTER).node, field.held, field.observer.mark
    cut(node)
    note(field, f"{node}, whose master leads, is cut off")
    led = await _new_leader(field, mark, node)
    requests = [await answered(field) for _ in range(3)]
    marked = _marked(field, mark)
    assert marked or field.held == before, f"the service's processes were {before} and are {field.held}"
    field.network.heal()
    note(field, "healed")
    await field.until("nothing runs twice", lambda: _doubled(field), within_s=back_s)
    lost = f"; {marked} agents that clung to it were marked" if marked else ""
    return f"{node}: led again in {led:.1f} s, then answered in {max(requests):.1f} s at most{lost}"


def _marked(field: Field, mark: int) -> int:
    """How many agents were given up: each at most once. Whose server of the bus is cut off leaves it after up to 30 s,
    and is silent until then; the pings of these programs are shorter than any in use."""
    return sum(isinstance(told.event.fact, AgentMarked) for told in field.observer.since(mark))


# ---- an agent's host ------------------------------------------------------------------------------------------------


async def cut_an_agent_shortly(field: Field, chance: random.Random) -> str:
    """Shorter than its pings: nobody does anything about it."""
    agent, before, mark = chance.choice(AGENTS), field.held, field.observer.mark
    field.network.cut(agent)
    note(field, f"{agent} is cut off for {short_s:g} s")
    await asyncio.sleep(short_s)  # the fault itself is this long
    field.network.heal()
    note(field, "healed")
    await field.until("the agent answers", lambda: _silent(field, agent), within_s=back_s)
    assert not _marked(field, mark), f"{agent} was marked"
    assert field.held == before, f"the service's processes were {before} and are {field.held}"
    return f"{agent}: not marked, nothing replaced"


async def cut_an_agent(field: Field, _chance: random.Random) -> str:
    """Longer than its pings: it is marked, its tasks are replaced elsewhere; back, only one of each is left."""
    return await _without_agent(field, lambda agent: field.network.cut(agent))


async def mute_an_agent(field: Field, _chance: random.Random) -> str:
    """The same, but it hears everything all the time."""
    return await _without_agent(field, lambda agent: field.network.mute(agent, *_others(agent)))


async def deafen_an_agent(field: Field, _chance: random.Random) -> str:
    """The same, but it could say everything all the time."""

    def deafen(agent: str) -> None:
        for other in (*MASTERS, *AGENTS):
            if other != agent:
                field.network.mute(other, agent)

    return await _without_agent(field, deafen)


async def _without_agent(field: Field, cut: Callable[[str], None]) -> str:
    agent, mark = await _busiest(field), field.observer.mark
    before = field.held
    cut(agent)
    note(field, f"{agent} is cut off")
    began = time.monotonic()
    await field.observer.first(f"{agent} is marked", lambda event: _marks(event, agent), mark=mark, within_s=marked_s)
    marked = time.monotonic() - began
    await field.until("its tasks are replaced", lambda: _missing(field), within_s=back_s)
    assert all(map(alive, before)), "a task of a host that is cut off ended"
    began, mark = time.monotonic(), field.observer.mark
    field.network.heal()
    note(field, "healed")
    await field.observer.first(f"{agent} is back", lambda event: _admits(event, agent), mark=mark, within_s=back_s)
    await field.until("nothing runs twice", lambda: _doubled(field), within_s=back_s)
    return f"{agent}: marked after {marked:.1f} s; healed and nothing twice in {time.monotonic() - began:.1f} s"


def _marks(event: Event, agent: str) -> bool:
    return isinstance(event.fact, AgentMarked) and event.fact.agent == agent


def _admits(event: Event, agent: str) -> bool:
    return isinstance(event.fact, AgentAdmitted) and event.fact.agent == agent


async def _busiest(field: Field) -> str:
    """The agent with most tasks: one that has some."""
    rows = await _agents(field)
    busiest = max(rows, key=lambda row: (row.tasks, row.agent))
    assert busiest.tasks, "nobody has tasks"
    return str(busiest.agent)


async def _agents(field: Field) -> list[AgentRow]:
    answer = await field.bus.query(ask(field.bus.cluster, MASTER, "agents"), b"", timeout_s=5)
    return unpack(answer, list[AgentRow])


async def _silent(field: Field, agent: str) -> str:
    """What is wrong while an agent is not reached."""
    rows = {row.agent: row for row in await _agents(field)}
    if rows[AgentId(agent)].state != "ACTIVE":
        return f"{agent} is {rows[AgentId(agent)].state}"
    await field.bus.query(f"ping.{field.bus.cluster}.agent.{agent}", b"", timeout_s=2)
    return ""


async def _missing(field: Field) -> str:
    """What is wrong while the service does not have all its instances, by Marathon's count."""
    read = await field.clients[0].running_of(field.standing.app)
    return "" if read == field.standing.instances else f"{read} of {field.standing.instances} instances run"


async def _doubled(field: Field) -> str:
    """What is wrong while there are more processes, or fewer, than there should be."""
    wrong = await _missing(field)
    there = field.held
    return wrong or ("" if len(there) == field.standing.instances else f"processes {there}")


FAULTS: tuple[Callable[[Field, random.Random], Awaitable[str]], ...] = (
    cut_the_leader,
    mute_the_leader,
    deafen_the_leader,
    part_the_leader,
    cut_an_agent_shortly,
    cut_an_agent,
    mute_an_agent,
    deafen_an_agent,
)


# ---- the program ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def field_at(data: Path, history: History) -> AsyncIterator[Field]:
    """Six hosts with a datacenter on them, and a service of three instances."""
    with network((*MASTERS, *AGENTS)) as net:
        async with fleet(data, net, PINGS) as there, stage_at(data, history) as stage:
            field = Field(stage.data, stage.observer, stage.clients, history)
            field.network, field.fleet = net, there
            await field.until("the datacenter is up", lambda: _agents_missing(field), within_s=back_s)
            await field.whole()
            field.standing = Work("standing", data / "standing.txt", mark=field.observer.mark)
            await field.standing.ask_app(field.clients[0])
            await field.until("the service runs", lambda: _doubled(field), within_s=back_s)
            yield field


async def _agents_missing(field: Field) -> str:
    rows = await _agents(field)
    return "" if sum(row.state == "ACTIVE" for row in rows) == len(AGENTS) else f"{[row.agent for row in rows]}"


async def recovered(field: Field) -> None:
    """All servers are current, all instances there, all agents admitted."""
    await field.until("all servers are current", lambda: servers_current(field), within_s=back_s)
    await field.whole()
    await field.until("all agents are there", lambda: _agents_missing(field), within_s=back_s)


async def one_fault(field: Field, name: str, number: int, chance: random.Random) -> float:
    """A cut, its healing, and work after it; how long until everything was whole again."""
    await recovered(field)
    observer = field.observer
    inject = next(fault for fault in FAULTS if fault.__name__ == name)
    what = await inject(field, chance)
    began = time.monotonic()
    await recovered(field)
    took = time.monotonic() - began
    work = Work(f"{name.replace('_', '-')}-{number}", field.data / f"{name}-{number}.txt", mark=observer.mark)
    await work.prepare(field.clients[0])
    await asyncio.gather(work.ask_app(field.clients[0]), work.ask_run(field.clients[1]))
    await work.done(observer)
    await observer.to_head()
    work.check(observer)
    await work.remove(field.clients[0], observer)
    no_old_word(observer.records, MASTER)
    wrong = await _doubled(field)
    assert not wrong, wrong
    say(f"{number:4} {name}: {what}; whole {took:.1f} s later")
    return took


async def play(data: Path, names: Sequence[str], chance: random.Random, history: History) -> dict[str, list[float]]:
    """One cut after another."""
    times: dict[str, list[float]] = defaultdict(list)
    async with field_at(data, history) as field:
        async with field.traffic():
            for number, name in enumerate(names, 1):
                times[name].append(await one_fault(field, name, number, chance))
        for each in await judge(field, field.fleet.stores(), behind_us=behind_us):
            say(f"{each.author}: {each.n} events, {each.epoch} terms, state {each.hash[:16]} in three stores")
    return times


def run(data: Path, names: Sequence[str], seed: int) -> None:
    """Six hosts with these cuts; nothing of them is left afterwards."""
    history = History()
    with evidence(f"hosts-seed{seed}", data, history):
        times = asyncio.run(play(data, names, random.Random(seed), history))
    assert processes_with(str(data)) == [], "a process was left behind"
    say(f"{len(names)} cuts, {len(history.writes)} requests and {len(history.reads)} reads in the history")
    for name, found in sorted(times.items()):
        say(spread(f"{name}: healed to everything whole", found))


def main() -> None:
    """Each cut so many times."""
    asked = options(__doc__ or "", 2)
    if reason := why_not():
        return say(f"skipped: {reason}")
    say(f"seed {asked.seed}, {asked.count} times each")
    names = [fault.__name__ for fault in FAULTS for _ in range(asked.count)]
    random.Random(asked.seed).shuffle(names)
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", names, asked.seed)
    return None


if __name__ == "__main__":
    main()
