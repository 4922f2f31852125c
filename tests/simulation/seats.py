"""Who lives in a simulated datacenter, and where: each process with how its component is built for a connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from bus.nouns import AgentId, Resources
from bus.port import Bus
from bus.subjects import Author, Kind
from components import agent, executor, marathon, master, metronome
from components.agent import AgentConfig
from components.component import Component
from components.executor import ExecutorConfig
from components.marathon import MarathonConfig
from components.master import MasterConfig
from components.master.hands import MasterHands
from components.metronome import MetronomeConfig
from tests.simulation.people import MARATHON, METRONOME
from tests.simulation.world import Machine, MachineHands

MASTER = Author(Kind.MASTER, "main")
SINGLETONS = (MASTER, Author(Kind.FRAMEWORK, MARATHON), Author(Kind.FRAMEWORK, METRONOME))
AGENTS = ("a1", "a2", "a3")
NODES = {"n1": ("main", MARATHON), "n2": ("main", MARATHON, METRONOME), "n3": ("main", METRONOME)}
"""Of a datacenter with three masters: which singletons have an instance where."""


class Seat(NamedTuple):
    """One process: its name, its host, and how its component is built for a connection."""

    who: str
    node: str
    build: Callable[[Bus], Component[Any]]


def seats(machines: Mapping[str, Machine], *, three: bool) -> list[Seat]:
    """Everybody, on one node or with the singletons on three."""
    builds = {"main": _master, MARATHON: _marathon, METRONOME: _metronome}
    if three:
        found = [Seat(f"{name}@{node}", node, builds[name]) for node, names in NODES.items() for name in names]
    else:
        found = [Seat(name, "n1", build) for name, build in builds.items()]
    for name, machine in machines.items():
        found.append(Seat(name, name, partial(_agent, name)))
        found.append(Seat(f"{name}-cmd", name, partial(_executor, name, machine)))
    return found


def _master(bus: Bus) -> Component[Any]:
    config = MasterConfig()
    return master.component(config, hands=lambda: MasterHands(config, bus, None))


def _marathon(_bus: Bus) -> Component[Any]:
    return marathon.component(MarathonConfig())


def _metronome(_bus: Bus) -> Component[Any]:
    return metronome.component(MetronomeConfig())


def _agent(name: str, _bus: Bus) -> Component[Any]:
    config = AgentConfig(
        id=AgentId(name),
        hostname=name,
        work=f"/{name}",
        executor_argv=("true",),
        resources=Resources(cpu_milli=12_000, mem_mb=12_000, disk_mb=4096, ports=((31000, 31049),)),
        sandbox_gc_s=600,
    )
    return agent.component(config)


def _executor(name: str, machine: Machine, _bus: Bus) -> Component[Any]:
    config = ExecutorConfig(agent=AgentId(name), work=f"/{name}")
    return executor.component(config, hands=lambda: MachineHands(machine))
