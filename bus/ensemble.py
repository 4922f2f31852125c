"""The embedded bus of several nodes: three or five nats-servers that keep one stream together.

    DATA/ bus/ bus-n2/ bus-n3/    each server's configuration, log and JetStream files
    DATA/ bus/seats.json          where they listen for clients and for each other; 0600
    DATA/ keys/                   who is let in (`bus.keyring`)

Rule of this room: where one server listens the others are told, so places are chosen for all at once and remembered;
a copy of a data directory chooses its own. (nats-server: names are for ever, addresses are not)
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from bus.binary import ServerTrouble, find_binary
from bus.configuration import Login, Routes, Settings
from bus.credentials import Credentials
from bus.daemon import Daemon, PortTaken, write_secret
from bus.keyring import Keyring
from bus.knock import has_leader
from bus.server import free_ports, is_free, known_bus, other_count, port_tries_max, remember
from bus.subjects import CLUSTER

FIRST = "n1"
leader_s = 30.0
"""From the start of all to a leader of JetStream. (nats-server: 4 to 9 s for an election)"""
leader_pause_s = 0.1


def nodes(count: int) -> list[str]:
    """The names of so many nodes."""
    return [f"n{number}" for number in range(1, count + 1)]


def on_node(name: str, node: str) -> str:
    """What something of a node is called: the first node's has no suffix."""
    return name if node == FIRST else f"{name}-{node}"


class Seat(msgspec.Struct, frozen=True):
    """Where one server listens on the loopback."""

    node: str
    port: int
    """For clients."""
    route_port: int
    """For the other servers."""


class Seats(msgspec.Struct, frozen=True, kw_only=True):
    """Where all servers of one data directory listen, and how they know each other."""

    of: str
    """The directory that chose them. A copy of it must not meet the servers of the original."""
    password: str
    seats: tuple[Seat, ...]

    def moved(self, node: str) -> Seats:
        """The same with a new place for one of them."""
        port, route_port = free_ports(2)
        fresh = Seat(node, port, route_port)
        seats = tuple(fresh if seat.node == node else seat for seat in self.seats)
        return msgspec.structs.replace(self, seats=seats)


class Member:
    """One server of an ensemble."""

    def __init__(self, ensemble: Ensemble, node: str) -> None:
        self.node, self._ensemble = node, ensemble
        self.daemon = Daemon(ensemble.data / on_node("bus", node))
        self.log_file = self.daemon.log_file
        self.port = 0
        """Where it listens for clients."""

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self.daemon.pid

    async def start(self) -> None:
        """Start it again after it died, beside the others. Raises ServerTrouble."""
        await self._ensemble.start_again(self)

    async def wait(self) -> int:
        """Wait until the server has ended; its exit code, negative for a signal."""
        return await self.daemon.wait()


class Ensemble:
    """Several nats-servers of one data directory, as long as this process wants them to run."""

    def __init__(self, data: Path, *, count: int, cluster: str = CLUSTER, port: int | None = None) -> None:
        self.data, self.cluster, self.port = data, cluster, port
        self.members = [Member(self, node) for node in nodes(count)]
        self.keyring = Keyring(data, cluster)
        self.urls: Sequence[str] = ()
        self.moved: Callable[[], None] = lambda: None
        """Told when a server had to go elsewhere."""
        self._file = data / "bus" / "seats.json"
        self._seats: Seats | None = None

    @property
    def administrator(self) -> Credentials:
        """Credentials that open everything, for who holds these servers."""
        return self.keyring.administrator(self.urls)

    async def start(self) -> None:
        """Start all; the cluster can store when this returns. Raises ServerTrouble."""
        binary = find_binary()
        try:
            for member in self.members:
                member.daemon.claim()
            known = known_bus(self.data, self.cluster)
            if known is not None and len(known.urls) != len(self.members):
                raise other_count(self.data, len(known.urls), len(self.members))
            await self._start(binary)
        except OSError as error:
            await self.stop()
            raise ServerTrouble(f"{error.filename or self.data}: {error.strerror}") from None
        except BaseException:
            await self.stop()
            raise

    async def _start(self, binary: Path) -> None:
        seats = self._known() or self._chosen()
        for _ in range(port_tries_max):
            seats = self._as_asked(seats)
            try:
                await _all([self._launch(binary, member, seats) for member in self.members])
            except PortTaken:
                await _all([member.daemon.end() for member in self.members])
                seats = self._chosen()
                continue
            self._remember(seats)
            return await self._until_led()
        raise ServerTrouble(f"no free ports were found on 127.0.0.1 in {port_tries_max} tries")

    def _known(self) -> Seats | None:
        """As they sat the last time; None for a copy, and for the first time."""
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=Seats)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ServerTrouble(f"{self._file} does not say where servers listen ({error}): remove it") from None
        wanted = [member.node for member in self.members]
        return found if found.of == self._identity() and [seat.node for seat in found.seats] == wanted else None

    def _identity(self) -> str:
        """This very directory: a copy of it is another, also under the same path."""
        return f"{self.data.resolve()} {self.data.stat().st_ino}"

    def _chosen(self) -> Seats:
        ports = free_ports(2 * len(self.members))
        places = zip(self.members, ports[::2], ports[1::2], strict=True)
        seats = tuple(Seat(member.node, port, route_port) for member, port, route_port in places)
        return Seats(of=self._identity(), password=secrets.token_hex(32), seats=seats)

    def _as_asked(self, seats: Seats) -> Seats:
        """With the first server where it was asked to be. Raises ServerTrouble if that is taken."""
        if self.port is None:
            return seats
        if not is_free(self.port):
            raise ServerTrouble(f"port {self.port} of 127.0.0.1 is taken: choose another")
        first, *others = seats.seats
        return msgspec.structs.replace(seats, seats=(msgspec.structs.replace(first, port=self.port), *others))

    async def _launch(self, binary: Path, member: Member, seats: Seats) -> None:
        seat = next(seat for seat in seats.seats if seat.node == member.node)
        login = Login("route", seats.password)
        routes = [_loopback(seat.route_port) for seat in seats.seats]
        settings = Settings(
            name=f"{self.cluster}-{member.node}",
            listen=_loopback(seat.port),
            operator=self.keyring.authority.operator_text(),
            directory=str(member.daemon.directory),
            routes=Routes(self.cluster, _loopback(seat.route_port), login, routes),
        )
        member.port = seat.port
        try:
            await member.daemon.launch(binary, settings, self.keyring.issuer.accounts_text({}))
        except PortTaken:
            raise
        except ServerTrouble as trouble:
            raise ServerTrouble(f"{member.node}: {trouble}") from None

    def _remember(self, seats: Seats) -> None:
        self._seats = seats
        write_secret(self._file, msgspec.json.format(msgspec.json.encode(seats)) + b"\n")
        self.urls = remember(self.data, self.cluster, [seat.port for seat in seats.seats])

    async def _until_led(self) -> None:
        first, known = self.members[0], self.administrator
        try:
            async with asyncio.timeout(leader_s):
                while not await has_leader(first.port, known):
                    await asyncio.sleep(leader_pause_s)
        except TimeoutError:
            raise ServerTrouble(
                f"the {len(self.members)} nats-servers of {self.data} have elected no leader within {leader_s:g} s: "
                f"see {first.log_file}"
            ) from None

    async def start_again(self, member: Member) -> None:
        """Start one server beside the others, elsewhere if its place was taken meanwhile. Raises ServerTrouble."""
        assert self._seats is not None, "not started"
        seats = self._seats
        binary = find_binary()
        for _ in range(port_tries_max):
            try:
                return await self._launch(binary, member, seats)
            except PortTaken:
                seats = seats.moved(member.node)
                self._remember(seats)
                self.moved()
            except OSError as error:
                raise ServerTrouble(f"{error.filename or self.data}: {error.strerror}") from None
        raise ServerTrouble(f"no free ports were found on 127.0.0.1 in {port_tries_max} tries")

    async def stop(self) -> None:
        """End all in good order. Safe to call twice."""
        await _all([member.daemon.end() for member in self.members])
        for member in self.members:
            member.daemon.release()


def _loopback(port: int) -> str:
    return f"127.0.0.1:{port}"


async def _all(work: Sequence[Awaitable[None]]) -> None:
    """Do all at once; afterwards raise what went wrong: a taken port before anything else, for it can be mended."""
    done = await asyncio.gather(*work, return_exceptions=True)
    wrong = [each for each in done if isinstance(each, BaseException)]
    for each in sorted(wrong, key=lambda each: not isinstance(each, PortTaken)):
        raise each
