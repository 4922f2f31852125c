"""What `busbar hosts generate` writes, started for real: each host is an address of the loopback.

The command lines are those of the units; systemd itself is not needed.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import ssl
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from bus.configuration import ACCOUNTS
from bus.daemon import write_secret
from tests.e2e.cluster import Cluster, alive, processes_under, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
MASTERS, AGENT, NEW = ("127.0.0.2", "127.0.0.3", "127.0.0.4"), "127.0.0.5", "127.0.0.6"
SCRIPTS = sysconfig.get_path("scripts")
HOLD = "while :; do sleep 1; done"


def free_everywhere() -> int:
    """A port that nobody has on any of the hosts."""
    while True:
        with ExitStack() as stack, suppress(OSError):
            probe = stack.enter_context(socket.socket())
            probe.bind((MASTERS[0], 0))
            port: int = probe.getsockname()[1]
            for host in MASTERS[1:]:
                stack.enter_context(socket.socket()).bind((host, port))
            return port


def agent_id(host: str) -> str:
    return host.replace(".", "-")


class Hosts:
    """Processes of several hosts on this machine, as their units would start them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for host in MASTERS:
            self.install(host)
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def install(self, host: str) -> None:
        """What the bus reads is where the bus writes; who is let in stays as it is there."""
        bus = self.place / host / "bus"
        bus.mkdir(exist_ok=True)
        for file in (self.place / "fleet" / host / "bus").iterdir():
            if file.name != ACCOUNTS or not (bus / ACCOUNTS).exists():
                write_secret(bus / file.name, self._here(file.read_text(), host).encode())

    def start(self, host: str, unit: str, instance: str = "") -> None:
        """Start the command of a unit: paths are the host's own."""
        text = (self.place / "fleet" / host / "units" / f"busbar-{unit}.service").read_text()
        lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        for line in (lines["ExecStartPre"], lines["ExecStart"]):
            argv = shlex.split(self._here(line.replace("%i", instance), host))
            if line is lines["ExecStartPre"]:
                subprocess.run(argv, check=True)
        with (self.place / host / f"{unit}.log").open("ab") as log:
            self.processes[host, unit] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _here(self, line: str, host: str) -> str:
        for there, here in (
            ("/opt/busbar/bin", SCRIPTS),
            ("/etc/busbar", str(self.place / "fleet" / host / "config")),
            ("/var/lib/busbar", str(self.place / host)),
        ):
            line = line.replace(there, here)
        return line

    def reload(self, host: str, unit: str) -> None:
        """What ExecReload of the unit does."""
        self.processes[host, unit].send_signal(signal.SIGHUP)

    def end(self, unit: str) -> None:
        """SIGTERM to all of a unit, then wait."""
        ended = [process for (_, name), process in self.processes.items() if name == unit]
        for process in ended:
            process.terminate()
        for process in ended:
            process.wait(20)


@contextmanager
def started(place: Path) -> Iterator[Hosts]:
    """A datacenter of three masters and an agent; nothing of it is left afterwards."""
    hosts = Hosts(place)
    try:
        for host in MASTERS:
            hosts.start(host, "bus")
        for host in MASTERS:
            hosts.start(host, "master")
        for host in MASTERS[:2]:
            hosts.start(host, "marathon")
            hosts.start(host, "metronome")
        hosts.start(AGENT, "agent@", agent_id(AGENT))
        yield hosts
    finally:
        for unit in ("marathon", "metronome", "agent@"):
            hosts.end(unit)
        for host in (AGENT, NEW):
            empty(place / host / "agents" / agent_id(host))
        for unit in ("master", "bus"):
            hosts.end(unit)


def empty(work: Path) -> None:
    """End what an agent leaves: its executor, then its launcher with the tasks. (ops/runbook.md)"""
    pids = [int(line.split()[0]) for line in processes_under(work)]
    for pid in sorted(pids, reverse=True):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_for("the executor and its launcher are gone", lambda: not any(map(alive, pids)))


def rotate(hosts: Hosts, cluster: Cluster, *given: str) -> None:
    """New certificates, shown after a reload; the processes that were there are there, and nothing is wrong."""
    port = int(given[given.index("--port") + 1])
    before, pids = [shown(host, port) for host in MASTERS], {key: each.pid for key, each in hosts.processes.items()}
    cluster.run("hosts", "generate", *given, "--rotate-tls")
    for host in MASTERS:
        hosts.reload(host, "bus")
    wait_for("each shows a new one", lambda: not {shown(host, port) for host in MASTERS} & set(before))
    wait_for("all is well with them", cluster.all_well)
    cluster.run("app", "scale", "/hold", "1")
    assert {key: each.pid for key, each in hosts.processes.items() if each.poll() is None} == pids


def replace_agent(hosts: Hosts, cluster: Cluster, *given: str) -> None:
    """Another host in the place of the agent's. The keys that were named are revoked: who has them is out. The new one
    is let in, though nobody told the servers."""
    content = cluster.ask("hosts", "generate", *(NEW if each == AGENT else each for each in given))
    assert {each["name"] for each in content["gone"]} == {agent_id(AGENT), f"{agent_id(AGENT)}-cmd"}
    for each in content["gone"]:
        cluster.run("access", "revoke", "--key", each["public"])
    wait_for("the old agent is out", lambda: hosts.processes[AGENT, "agent@"].poll())
    assert "authentication revoked" in (hosts.place / AGENT / "agent@.log").read_text()
    hosts.start(NEW, "agent@", agent_id(NEW))
    wait_for("the new one is in", lambda: agent_id(NEW) in [each["agent"] for each in cluster.ask("node", "list")])


def shown(host: str, port: int) -> bytes:
    """The certificate of a server, DER: any server's, as it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), timeout=5) as plain:
        plain.makefile("rb", buffering=0).readline()
        with context.wrap_socket(plain) as secure:
            found = secure.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_generated_hosts_are_a_datacenter(tmp_path: Path) -> None:
    """Everything answers, an app runs; the first host goes whole and work goes on, as it does over new certificates."""
    ports = ("--port", str(free_everywhere()), "--route-port", str(free_everywhere()))
    given = ("--masters", ",".join(MASTERS), "--agents", AGENT, *ports, "-o", str(tmp_path / "fleet"))
    Cluster(tmp_path).run("hosts", "generate", *given)
    for host in (*MASTERS, AGENT, NEW):
        (tmp_path / host).mkdir()
    with started(tmp_path) as hosts:
        opened = {"BUSBAR_CREDENTIALS": str(tmp_path / "fleet" / "admin.json")}
        cluster = Cluster(tmp_path, env=os.environ | opened)
        wait_for("all is well", lambda: cluster.all_well() and cluster.ask("node", "list"))
        assert {each["name"] for each in cluster.look()["servers"]} == {"dc-n1", "dc-n2", "dc-n3"}
        cluster.add_app(id="/hold", cmd=HOLD, cpus=0.1, mem=32, instances=1)
        [task] = cluster.running("/hold")
        for unit in ("bus", "master", "marathon", "metronome"):
            hosts.processes[MASTERS[0], unit].kill()
        cluster.run("app", "scale", "/hold", "2")
        assert task in cluster.running("/hold")
        for unit in ("bus", "master", "marathon", "metronome"):
            hosts.processes[MASTERS[0], unit].wait()
            hosts.start(MASTERS[0], unit)
        wait_for("all is well again", cluster.all_well)
        rotate(hosts, cluster, *given)
        assert task in cluster.running("/hold")
        cluster.run("app", "remove", "/hold")
        replace_agent(hosts, cluster, *given)
    assert processes_under(tmp_path) == []
