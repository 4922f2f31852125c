"""A datacenter of several hosts: on each its processes, kept running as an init system would.

    n1, n2, n3: nats-server, master; marathon and metronome on n1 and n2        a1, a2, a3: an agent each

Rule of this room: a host's processes reach others only over the network; what a host keeps is in its own directory.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from bus.authority import Authority, write_keys
from bus.binary import find_binary
from bus.certificates import new_authority, new_server
from bus.configuration import ACCOUNTS, Certificate, Login, Routes, Settings, text
from bus.credentials import Credentials, write_credentials
from bus.daemon import write_secret
from bus.ensemble import nodes
from bus.keyring import AUTHORITY, PERSON, Wanted, issued
from bus.permits import Role
from cli.processes import OWN_COMMAND
from eventstore.signing import new_key
from tests.faults.network import Network

MASTERS = ("n1", "n2", "n3")
AGENTS = ("a1", "a2", "a3")
SCHEDULERS = {"marathon": ("n1", "n2"), "metronome": ("n1", "n2")}
CLIENTS, ROUTES = 4222, 6222
restart_s = 0.3
RESOURCES = "cpus:2;mem:1024;disk:1024;ports:[31000-31099]"


class Fleet:
    """The processes of all hosts."""

    def __init__(self, data: Path, network: Network, pings: Sequence[str]) -> None:
        self.data, self.network, self.pings = data, network, pings
        self._authority = Authority.found("dc")
        self._signer = new_authority("dc", datetime.now(UTC))
        self._routes = Login("route", secrets.token_hex(16))
        self._keeping: list[asyncio.Task[None]] = []
        assert list(MASTERS) == nodes(3), "as nodes are called"

    def stores(self) -> list[Path]:
        """The masters' stores."""
        return [self.data / node / "master.db" for node in MASTERS]

    def write(self) -> None:
        """Directories, configurations, credentials, the cluster's keys."""
        self.data.mkdir(parents=True)
        (self.data / "logs").mkdir()
        (self.data / "keys").mkdir(mode=0o700)
        new_key(self.data / "cluster.key")
        write_keys(self.data / "keys" / AUTHORITY, self._authority)
        self._write_credentials(self.data, Wanted(PERSON, Role.ADMIN, "u-gate"), MASTERS[0])
        for host in (*MASTERS, *AGENTS):
            (self.data / host).mkdir()
            for wanted in self._wanted(host):
                self._write_credentials(self.data / host, wanted, host)
        for node in MASTERS:
            self._write_server(node)

    def _wanted(self, host: str) -> Iterator[Wanted]:
        """The identities of the components of one host."""
        if host in AGENTS:
            yield Wanted("agent.json", Role.AGENT, host)
            yield Wanted("agent-cmd.json", Role.EXECUTOR, f"{host}-cmd", host)
            return
        yield Wanted("master.json", Role.MASTER, f"m-{host}")
        for name, where in SCHEDULERS.items():
            if host in where:
                yield Wanted(f"{name}.json", Role.FRAMEWORK, name)

    def _write_credentials(self, directory: Path, wanted: Wanted, first: str) -> None:
        order = sorted(MASTERS, key=lambda node: node != first)
        url = ",".join(f"tls://{self.network.hosts[node].address}:{CLIENTS}" for node in order)
        where = Credentials(url=url, replicas=3, ca=self._signer.certificate)
        write_credentials(directory / wanted.file, issued(self._authority, wanted, where))

    def _write_server(self, node: str) -> None:
        settings = self._settings(node)
        directory = Path(settings.directory)
        directory.mkdir()
        (directory / "nats-server.conf").write_text(text(settings))
        (directory / ACCOUNTS).write_text(self._authority.issuer().accounts_text({}))
        assert settings.tls is not None, "hosts speak by TLS"
        shown = new_server(self._signer, self.network.hosts[node].address, datetime.now(UTC))
        for file, pem in zip(settings.tls, (*shown, self._signer.certificate), strict=True):
            write_secret(Path(file), pem.encode())

    def _settings(self, node: str) -> Settings:
        others = [f"{self.network.hosts[each].address}:{ROUTES}" for each in MASTERS]
        address, directory = self.network.hosts[node].address, self.data / node / "bus"
        return Settings(
            name=f"dc-{node}",
            listen=f"{address}:{CLIENTS}",
            operator=self._authority.operator_text(),
            directory=str(directory),
            routes=Routes("dc", f"{address}:{ROUTES}", self._routes, others),
            tls=Certificate(*(str(directory / name) for name in ("server.pem", "server.key", "ca.pem"))),
        )

    def start(self) -> None:
        """Start everything; it is kept running until `stop`."""
        binary = str(find_binary())
        for node in MASTERS:
            self._keep(f"bus-{node}", node, binary, "--config", str(self.data / node / "bus" / "nats-server.conf"))
            self._component(f"master-{node}", node, "master", "--key", str(self.data / "cluster.key"), *self.pings)
        for name, where in SCHEDULERS.items():
            for node in where:
                self._component(f"{name}-{node}", node, name)
        for agent in AGENTS:
            given = ("--id", agent, "--hostname", self.network.hosts[agent].address, "--resources", RESOURCES)
            self._component(agent, agent, "agent", *given, "--work", str(self.data / agent / "work"))

    def _component(self, name: str, host: str, role: str, *given: str) -> None:
        place = ("--credentials", str(self.data / host / f"{role}.json"), "--node", host, "--log-json")
        store = ("--store", str(self.data / host / f"{role}.db"))
        self._keep(name, host, *OWN_COMMAND, "run", role, *given, *place, *store)

    def _keep(self, name: str, host: str, *argv: str) -> None:
        self._keeping.append(asyncio.create_task(self._kept(name, self.network.command(host, *argv))))

    async def _kept(self, name: str, argv: Sequence[str]) -> None:
        """Start a process again whenever it ends, until cancelled."""
        while True:
            with (self.data / "logs" / f"{name}.log").open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            try:
                await process.wait()
            except asyncio.CancelledError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
                raise
            await asyncio.sleep(restart_s)

    async def stop(self) -> None:
        """End what is kept; executors, launchers and tasks end with their hosts."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)


@asynccontextmanager
async def fleet(data: Path, network: Network, pings: Sequence[str]) -> AsyncIterator[Fleet]:
    """A datacenter on these hosts that is being started."""
    found = Fleet(data, network, pings)
    found.write()
    found.start()
    try:
        yield found
    finally:
        await found.stop()
