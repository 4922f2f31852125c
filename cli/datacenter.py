"""Which processes make a whole datacenter on one machine, and in which order they go.

    DATA/  lock  credentials.json  keys/  bus/  run/<name>.json  logs/<name>.log  master/  agents/a1/  marathon/
           metronome/
           of node n2: bus-n2/  master-n2/  marathon-n2/  metronome-n2/

Rule of this room: everything a datacenter leaves on a machine is under its data directory; tasks end before those who
would report them, the bus goes last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from bus.ensemble import nodes, on_node
from bus.keyring import FOUNDERS, ISSUER, PERSON, Wanted
from bus.nouns import PUBLIC_ROLE, Ranges, Resources, parse_resources, without
from bus.permits import Role
from bus.subjects import CLUSTER
from cli.output import Failure
from cli.processes import OWN_COMMAND, Process, end, forget_dead, recorded
from cli.users import USERS
from components.agent.shelf import wipe
from components.executor.attach import LauncherLost, shutdown_launcher

agents_default = 2
PUBLIC_ATTRIBUTES = "public_ip:true"
"""Of agents in the public zone. (DC/OS)"""
agents_max = 64
"""Agents on one machine; each is two processes."""
patience_s = 8.0
"""From SIGTERM to SIGKILL of a component."""
SCHEDULERS = ("marathon", "metronome")
standbys = 1
"""Of each scheduler, where there are several masters."""
PORTS: Ranges = ((31000, 32000),)
"""(Mesos: `constants.hpp` DEFAULT_PORTS)"""
GATEWAY = "gateway"
ENDING = (GATEWAY, "framework", "agent", "executor", "master", "bus")
"""Who ends after whom. An agent would start its executor again, so it goes first."""

Tell = Callable[[str], None]
Settled = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A datacenter as it shall run."""

    data: Path
    agents: int
    resources: Resources
    """Of this machine, split between the agents."""
    masters: int = 1
    """Nodes with a master and a server of the bus."""
    port: int | None = None
    """Where the bus (of n1) listens; None: where it did before, else where it likes."""
    cluster: str = CLUSTER
    master: tuple[str, ...] = ()
    """More options for `run master`."""
    unconfined: bool = False
    """Tasks can read what is in `data`."""
    public_agents: int = 0
    """Of the agents, so many of the last are in the public zone."""
    gateway_port: int | None = None
    """Where the gateway listens; None: there is none."""
    gateway_open: bool = False
    """Whoever reaches the gateway may speak."""

    @property
    def users(self) -> Path:
        """Who may speak through the gateway."""
        return self.data / USERS

    @property
    def key(self) -> Path:
        """What signs the cluster's checkpoints."""
        return self.data / "cluster.key"

    @property
    def agent_ids(self) -> list[str]:
        return [f"a{number}" for number in range(1, self.agents + 1)]

    @property
    def public_ids(self) -> list[str]:
        """The agents in the public zone."""
        return self.agent_ids[self.agents - self.public_agents :]

    @property
    def keys(self) -> Path:
        """Where the cluster's keys and its components' credentials are."""
        return self.data / "keys"

    def wanted(self, person: str) -> Iterator[Wanted]:
        """The identities of everybody who founds it: one a process, and the person who runs it."""
        for node in self.nodes_of("master"):
            yield Wanted(f"{on_node('master', node)}.json", Role.MASTER, f"m-{node}")
        for name in SCHEDULERS:
            for node in self.nodes_of(name):
                yield Wanted(f"{on_node(name, node)}.json", Role.FRAMEWORK, name)
        for agent_id in self.agent_ids:
            yield Wanted(f"{agent_id}.json", Role.AGENT, agent_id)
            yield Wanted(f"{agent_id}-cmd.json", Role.EXECUTOR, f"{agent_id}-cmd", agent_id)
        if self.gateway_port is not None:
            yield Wanted(f"{GATEWAY}.json", Role.GATEWAY, "g-main")
        yield Wanted(PERSON, Role.ADMIN, person)

    def nodes_of(self, singleton: str) -> list[str]:
        """Where instances of a singleton run: one leads, the others stand by."""
        return nodes(self.masters if singleton == "master" else min(self.masters, 1 + standbys))


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a datacenter was shared out: what an agent's tasks hold must still be there when it comes back."""

    agents: Annotated[int, Meta(ge=1, le=agents_max)]
    resources: str
    """In the form of `--resources`."""
    masters: int = 1
    public_agents: Annotated[int, Meta(ge=0, le=agents_max)] = 0
    gateway_port: int | None = None

    @classmethod
    def read(cls, data: Path) -> Shape | None:
        """As it was before, if there was a before. Raises Failure if the file that says so is damaged."""
        file = data / "shape.json"
        try:
            found = msgspec.json.decode(file.read_bytes(), type=cls)
            parse_resources(found.resources)
        except FileNotFoundError:
            return None
        except ValueError as error:  # msgspec's errors are among them
            raise Failure(
                f"{file} does not say how the datacenter was shared out: {error}",
                next_="remove it, and name --agents and --resources as they were",
            ) from None
        return found

    def write(self, data: Path) -> None:
        """For the next time."""
        fresh = data / "shape.json.new"
        fresh.write_bytes(msgspec.json.encode(self))
        fresh.replace(data / "shape.json")


class Member(NamedTuple):
    """One component of a datacenter: a process."""

    name: str
    role: str
    """What it is; schedulers are frameworks."""
    argv: tuple[str, ...]
    log: Path


def members(plan: Plan) -> list[Member]:
    """The components of a datacenter, the bus aside, in the order they start."""
    shares = zip(plan.agent_ids, split(plan.resources, plan.agents), strict=True)
    return [
        *_masters(plan),
        *(_agent(plan, agent_id, share) for agent_id, share in shares),
        *(member for name in SCHEDULERS for member in _instances(plan, name)),
        *_gateway(plan),
    ]


def _masters(plan: Plan) -> Iterator[Member]:
    """Each with what it signs with, and the server of the bus that it lets people into and keeps them out of."""
    given = ("--key", str(plan.key), "--issuer", str(plan.keys / ISSUER), "--founders", str(plan.keys / FOUNDERS))
    for node in plan.nodes_of("master"):
        where = ("--node", node) if plan.masters > 1 else ()
        gate = ("--gate", str(plan.data / on_node("bus", node)))
        yield _member(plan, on_node("master", node), "master", *plan.master, *given, *gate, *where)


def _instances(plan: Plan, name: str) -> Iterator[Member]:
    """A singleton's instances. One without others is on the node that this machine is."""
    for node in plan.nodes_of(name):
        where = ("--node", node) if plan.masters > 1 else ()
        yield _member(plan, on_node(name, node), name, *where)


def _gateway(plan: Plan) -> Iterator[Member]:
    """One, on the node that this machine is. It keeps nothing."""
    if plan.gateway_port is None:
        return
    who = ("--open",) if plan.gateway_open else ("--users", str(plan.users))
    common = ("--credentials", str(plan.keys / f"{GATEWAY}.json"))
    noted = ("--pid-file", str(plan.data / "run" / f"{GATEWAY}.json"), "--log-json")
    argv = (*OWN_COMMAND, "run", GATEWAY, "--port", str(plan.gateway_port), *who, *common, *noted)
    yield Member(GATEWAY, GATEWAY, argv, plan.data / "logs" / f"{GATEWAY}.log")


def _agent(plan: Plan, agent_id: str, share: Resources) -> Member:
    work = plan.data / "agents" / agent_id
    given = ("--id", agent_id, "--work", str(work), "--hostname", "127.0.0.1", "--resources", as_flag(share))
    seen = ("--unconfined",) if plan.unconfined else ("--hide", str(plan.data))
    public = ("--role", PUBLIC_ROLE, "--attributes", PUBLIC_ATTRIBUTES) if agent_id in plan.public_ids else ()
    return _member(plan, agent_id, "agent", *given, *public, *seen, store=work / "agent.db")


def _member(plan: Plan, name: str, role: str, *given: str, store: Path | None = None) -> Member:
    file = store or plan.data / name / "events.db"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    common = ("--credentials", str(plan.keys / f"{name}.json"), "--store", str(file))
    noted = ("--pid-file", str(plan.data / "run" / f"{name}.json"), "--log-json")
    argv = (*OWN_COMMAND, "run", role, *given, *common, *noted)
    return Member(name, "framework" if role in SCHEDULERS else role, argv, plan.data / "logs" / f"{name}.log")


def as_flag(resources: Resources) -> str:
    """Resources in the text form that `--resources` takes."""
    return str(resources).replace("; ", ";")


def split(whole: Resources, parts: int) -> list[Resources]:
    """Equal parts of a machine; no port is in two of them."""
    numbers = [port for low, high in whole.ports for port in range(low, high + 1)]
    each = len(numbers) // parts
    return [
        Resources(
            cpu_milli=whole.cpu_milli // parts,
            mem_mb=whole.mem_mb // parts,
            disk_mb=whole.disk_mb // parts,
            ports=as_ranges(numbers[part * each : (part + 1) * each]),
        )
        for part in range(parts)
    ]


def as_ranges(numbers: Sequence[int]) -> Ranges:
    """Ascending numbers as ranges."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)


def free_ports(ports: Ranges = PORTS) -> Ranges:
    """Those of `ports` on which nobody on this machine listens now."""
    return without(ports, as_ranges(sorted(set(_listening()))))


def _listening() -> Iterator[int]:
    """Ports with a TCP listener. (linux: Documentation/networking/proc_net_tcp.rst)"""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, _, state, *_ = line.split()
                if state == "0A":
                    yield int(local.rpartition(":")[2], 16)


def works(data: Path) -> list[Path]:
    """Where the launchers of a data directory's executors live."""
    return sorted(path / "executor" for path in (data / "agents").glob("*"))


def tasks_left(data: Path) -> bool:
    """Whether a launcher may still have tasks."""
    return any(any(work.glob("tasks/*")) for work in works(data))


async def wind_up(data: Path, own: Callable[[], Iterable[Process]], settled: Settled, tell: Tell) -> None:
    """End every process of a datacenter in good order, whoever started it.

    `settled` is awaited once the tasks are ended: until what became of them is known.
    """
    for role in ENDING:
        await _end(data, own, role, tell)
        if role in ("framework", "executor"):  # an executor that saw its launcher go may have started another
            await _end_tasks(data, tell)
        if role == "framework":
            await settled()
    for work in works(data):  # every task has ended, and nobody is there who would remove what it was given
        wipe(str(work.parent))
    forget_dead(data / "run")


async def _end(data: Path, own: Callable[[], Iterable[Process]], role: str, tell: Tell) -> None:
    known = {process.pid: process for process in (*own(), *running(data)) if process.role == role and process.alive}
    if known:
        tell(f"stopping {', '.join(sorted(process.name for process in known.values()))}")
    for process in await end(known.values(), patience_s):
        tell(f"{process.name} did not end within {patience_s:g} s and was killed")


async def _end_tasks(data: Path, tell: Tell) -> None:
    for work in works(data):
        if any(work.glob("tasks/*")):
            tell(f"stopping the tasks of {work.parent.name}")
        try:
            await shutdown_launcher(str(work))
        except LauncherLost as error:
            tell(f"tasks may be left: {error}")


def running(data: Path) -> list[Process]:
    """The processes of a datacenter that run, as they wrote themselves down, or as an agent noted its executor."""
    noted = [process for path in (data / "agents").glob("*/executor.pid") if (process := _noted(path)) is not None]
    return list({process.pid: process for process in (*noted, *recorded(data / "run"))}.values())


def _noted(path: Path) -> Process | None:
    """An executor as its agent wrote it down, which it does before the executor itself can."""
    with suppress(OSError, msgspec.DecodeError, ValueError):
        note = msgspec.json.decode(path.read_bytes(), type=_Note)
        boot, _, ticks = note.began.partition(" ")
        process = Process(name=f"{path.parent.name}-cmd", role="executor", pid=note.pid, started=int(ticks), boot=boot)
        return process if process.alive else None
    return None


class _Note(msgspec.Struct):
    pid: int
    began: str
