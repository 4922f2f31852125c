"""Several hosts as one datacenter: which host is which node, who speaks from it, and what its server is told.

Rule of this room: what is made once is kept in one file (0600), so that a host can be replaced without a word to the
others; a node's name outlives its machine. (nats-server: servers know each other, and who stores what, by name)
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bus.configuration import Certificate, Login, Routes, Settings
from bus.ensemble import nodes
from bus.keyring import Wanted
from bus.permits import Role
from bus.subjects import CLUSTER
from cli.datacenter import GATEWAY, SCHEDULERS
from cli.output import Failure, wrong_usage

masters_allowed = (1, 3, 5)
agent_id_max = 59
"""Its executor's is four characters longer."""
CERTIFICATE, KEY, AUTHORITIES = "server.pem", "server.key", "ca.pem"
"""Files of a server: what it shows, and what others' certificates are held against."""
_TAKEN = {"main": "the master", "marathon": "the scheduler marathon", "metronome": "the scheduler metronome"}
"""Ids are unique across kinds."""
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")


class Paths(NamedTuple):
    """Where things are on every host."""

    venv: str = "/opt/busbar"
    """The Python environment that has busbar-os, and with it nats-server."""
    config: str = "/etc/busbar"
    data: str = "/var/lib/busbar"

    @property
    def bus(self) -> str:
        """What the server of the bus reads and writes, and the master beside it."""
        return f"{self.data}/bus"


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """An identity that nobody of the fleet has any more; whoever has its key is let in until it is revoked."""

    name: str
    role: Role
    host: str
    public: str
    agent: str = ""
    """Of an executor: whose."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hosts of one datacenter."""

    cluster: str = CLUSTER
    masters: tuple[str, ...]
    """Hosts in the order of their nodes: the first is n1."""
    agents: tuple[str, ...] = ()
    port: int = 4222
    route_port: int = 6222
    route_password: str
    watched: str
    """The secret path under which each server tells its own host who is connected."""
    gone: tuple[Gone, ...] = ()

    @property
    def hosts(self) -> list[str]:
        """Every host once, masters first."""
        return list(dict.fromkeys((*self.masters, *self.agents)))

    @property
    def nodes(self) -> dict[str, str]:
        """The node that each master's host is."""
        return dict(zip(self.masters, nodes(len(self.masters)), strict=True))

    def schedulers_on(self, host: str) -> bool:
        """Whether marathon and metronome run here: on the first two nodes, one leads and one stands by."""
        return host in self.masters[:2]

    def agent_id(self, host: str) -> str:
        """What the agent of a host is called."""
        return re.sub(r"[^a-z0-9]+", "-", host)[:agent_id_max].strip("-")

    def url(self, host: str | None = None) -> str:
        """Where the bus is from a host: its own server first, else each host begins with another one."""
        first = self.hosts.index(host) % len(self.masters) if host is not None else 0
        return ",".join(f"tls://{each}:{self.port}" for each in (*self.masters[first:], *self.masters[:first]))

    def wanted(self, host: str) -> Iterator[Wanted]:
        """Who speaks on the bus from a host: one a process."""
        if host in self.nodes:
            yield Wanted("master.json", Role.MASTER, f"m-{self.nodes[host]}")
        if self.schedulers_on(host):
            for name in SCHEDULERS:
                yield Wanted(f"{name}.json", Role.FRAMEWORK, name)
            yield Wanted(f"{GATEWAY}.json", Role.GATEWAY, f"g-{self.nodes[host]}")
        if host in self.agents:
            agent = self.agent_id(host)
            yield Wanted("agent.json", Role.AGENT, agent)
            yield Wanted("agent-cmd.json", Role.EXECUTOR, f"{agent}-cmd", agent)

    def server(self, host: str, paths: Paths, operator: str) -> Settings:
        """The nats-server of a master's host."""
        routes = Routes(
            self.cluster,
            f"{host}:{self.route_port}",
            Login("route", self.route_password),
            [f"{each}:{self.route_port}" for each in self.masters],
        )
        return Settings(
            name=f"{self.cluster}-{self.nodes[host]}",
            listen=f"{host}:{self.port}",
            operator=operator,
            directory=paths.bus,
            routes=routes if len(self.masters) > 1 else None,
            watched=f"/{self.watched}",
            tls=Certificate(*(f"{paths.config}/{name}" for name in (CERTIFICATE, KEY, AUTHORITIES))),
        )


def parse_hosts(text: str, option: str) -> tuple[str, ...]:
    """Names or addresses of hosts, separated by commas. Raises click.UsageError."""
    hosts = tuple(each.strip().lower() for each in text.split(",")) if text else ()
    for host in hosts:
        if not (_NAME.match(host) or _is_address(host)):
            raise wrong_usage(f"{option}: {host!r} is not the name or IPv4 address of a host")
    if len(set(hosts)) < len(hosts):
        raise wrong_usage(f"{option}: a host is named twice in {text}")
    return hosts


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def new_fleet(masters: Sequence[str], agents: Sequence[str], **chosen: Any) -> Fleet:
    """A fleet with secrets of its own; what is not chosen is as it usually is. Raises click.UsageError."""
    if len(masters) not in masters_allowed:
        raise wrong_usage(f"--masters names {len(masters)} hosts: expected 1, 3 or 5")
    return checked(
        Fleet(
            masters=tuple(masters),
            agents=tuple(agents),
            route_password=secrets.token_hex(32),
            watched=secrets.token_hex(16),
            **{name: value for name, value in chosen.items() if value is not None},
        )
    )


def changed(before: Fleet, masters: Sequence[str], agents: Sequence[str], **chosen: Any) -> Fleet:
    """The same fleet on other hosts: a new host takes the place of the one that is gone. Raises click.UsageError."""
    for name, value in chosen.items():
        if value not in (None, getattr(before, name)):
            option = name.replace("_", "-")
            raise wrong_usage(f"--{option} {value}: this datacenter was generated with {getattr(before, name)}")
    if len(masters) != len(before.masters):
        raise wrong_usage(
            f"--masters names {len(masters)} hosts, and the datacenter has {len(before.masters)} master nodes: "
            "hosts can be replaced, their number cannot be changed"
        )
    fresh = iter([host for host in masters if host not in before.masters])
    placed = tuple(host if host in masters else next(fresh) for host in before.masters)
    return checked(msgspec.structs.replace(before, masters=placed, agents=tuple(agents)))


def checked(fleet: Fleet) -> Fleet:
    """A fleet in which every agent has a name of its own. Raises click.UsageError."""
    named = dict(_TAKEN)
    for host in fleet.agents:
        other = named.setdefault(fleet.agent_id(host), host)
        if other != host:
            raise wrong_usage(f"--agents: {other} and the agent of {host} would both be called {fleet.agent_id(host)}")
    return fleet


def read_fleet(file: Path) -> Fleet | None:
    """As it was written the last time; None if it never was. Raises Failure if the file is damaged."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Fleet)
    except FileNotFoundError:
        return None
    except ValueError as error:  # msgspec's errors are among them
        raise Failure(
            f"{file} does not describe a fleet: {error}", next_="restore it, or generate anew in another directory"
        ) from None
