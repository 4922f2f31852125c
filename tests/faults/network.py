"""Hosts as network namespaces on one bridge, made here and removed again; links that are cut, both ways or one way.

A cut is silent: nothing is refused, packets are lost, as with a pulled cable or a firewall that drops.
Rule of this room: only what this network made is touched, and it goes with it: processes, links, namespaces.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

NOWHERE = "02:00:00:00:00:01"
"""A hardware address that no host has: what is sent there arrives nowhere. (man 8 ip-neighbour)"""
gone_s = 10.0


class Host(NamedTuple):
    """One host: a namespace, its link to the bridge, its address."""

    name: str
    space: str
    link: str
    """On the bridge's side."""
    address: str


def why_not() -> str:
    """Why no network can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    probe = f"bbp{secrets.token_hex(2)}"
    tried = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return f"network namespaces cannot be made here: {tried.stderr.strip()}"
    _ip("netns", "del", probe)
    return ""


class Network:
    """Hosts that reach one another, and are reached from here."""

    def __init__(self, names: Sequence[str]) -> None:
        self.tag = f"bb{secrets.token_hex(2)}"
        subnet = _free_subnet()
        addresses = [str(address) for address in subnet.hosts()]
        self.gateway = addresses[-1]
        self._mask = subnet.prefixlen
        self.hosts = {
            name: Host(name, f"{self.tag}-{name}", f"{self.tag}-{name}", address)
            for name, address in zip(names, addresses, strict=False)
        }

    def make(self) -> None:
        """Bridge, namespaces, links, addresses."""
        _ip("link", "add", self.tag, "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/{self._mask}", "dev", self.tag)
        _ip("link", "set", self.tag, "up")
        for host in self.hosts.values():
            _ip("netns", "add", host.space)
            _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.space)
            _ip("link", "set", host.link, "master", self.tag, "up")
            _inside(host, "addr", "add", f"{host.address}/{self._mask}", "dev", "eth0")
            _inside(host, "link", "set", "lo", "up")
            _inside(host, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Everything, whatever of it was made."""
        spaces = [line.split()[0] for line in _ip("netns", "list").splitlines() if line.startswith(f"{self.tag}-")]
        for space in spaces:
            _end_all(space)
            _ip("netns", "del", space)
        links = [line.split(":")[1].strip().split("@")[0] for line in _ip("-o", "link", "show").splitlines()]
        for link in links:
            if link == self.tag or link.startswith(f"{self.tag}-"):
                subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)  # its peer may be first

    # ---- cuts -------------------------------------------------------------------------------------------------------

    def cut(self, name: str) -> None:
        """Nothing comes from or to a host any more."""
        _ip("link", "set", self.hosts[name].link, "nomaster")

    def mute(self, name: str, *towards: str) -> None:
        """Nothing that a host sends to these others arrives; what they send does."""
        for address in self._addresses(towards):
            _inside(self.hosts[name], "neigh", "replace", address, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def heal(self) -> None:
        """Everybody reaches everybody."""
        for host in self.hosts.values():
            _ip("link", "set", host.link, "master", self.tag)
            for line in _inside(host, "neigh", "show", "nud", "permanent").splitlines():
                _inside(host, "neigh", "del", line.split()[0], "dev", "eth0")

    def _addresses(self, names: Sequence[str]) -> list[str]:
        return [self.gateway if name == "here" else self.hosts[name].address for name in names]

    def command(self, name: str, *argv: str) -> tuple[str, ...]:
        """What runs a command on a host."""
        return ("ip", "netns", "exec", self.hosts[name].space, *argv)


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Hosts that are there meanwhile; afterwards nothing of them is left."""
    made = Network(names)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _inside(host: Host, *args: str) -> str:
    return _ip("-n", host.space, *args)


def _ip(*args: str) -> str:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(args)}: {done.stderr.strip()}"
    return done.stdout


def _free_subnet() -> ipaddress.IPv4Network:
    """A network that nothing here has an address in."""
    taken = _ip("-4", "-o", "addr", "show")
    for third in range(256):
        subnet = ipaddress.IPv4Network(f"10.213.{third}.0/24")
        if f" 10.213.{third}." not in taken:
            return subnet
    raise AssertionError("every network of 10.213.0.0/16 is in use here")


def _end_all(space: str) -> None:
    """Every process of a namespace, until there is none: the namespace is ours, and so are they."""
    deadline = time.monotonic() + gone_s
    while pids := _ip("netns", "pids", space).split():
        assert time.monotonic() < deadline, f"processes {pids} of {space} do not end"
        for pid in pids:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)  # between two looks at a condition
