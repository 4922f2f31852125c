"""TLS between hosts: who is trusted, who is refused and in which words, and certificates that change under way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from bus.authority import Authority
from bus.binary import find_binary
from bus.certificates import Pair, new_authority, new_server
from bus.configuration import Certificate, Login, Routes, Settings
from bus.credentials import Credentials
from bus.daemon import Daemon, write_secret
from bus.jetstream import JetStreamBus, connect
from bus.keyring import Wanted, administrator_of, issued
from bus.knock import answering
from bus.nouns import Position
from bus.permits import Role
from bus.port import BusClosed, BusUnreachable, Fence, Message, NoAnswer, OutcomeUnknown
from bus.server import free_ports

pytestmark = pytest.mark.timeout(90)
HERE, THERE = "127.0.0.1", "127.0.0.2"
LOG = "dc.framework.marathon.>"
NOW = datetime.now(UTC)
LONG_AGO, IN_A_WHILE = NOW - timedelta(days=4000), NOW + timedelta(days=30)
AUTHORITY = new_authority("dc", NOW)
OTHER = new_authority("dc", NOW)


@dataclass
class Server:
    """A nats-server that shows a certificate."""

    daemon: Daemon
    host: str
    port: int
    keys: Authority
    route_port: int = 0

    @property
    def name(self) -> str:
        return f"dc-{self.port}"

    @property
    def route(self) -> str:
        return f"{self.host}:{self.route_port}"

    @property
    def url(self) -> str:
        return f"tls://{self.host}:{self.port}"

    def show(self, pair: Pair | None, *trusted: Pair) -> Certificate | None:
        """What it shows from the next reload on, and whom it trusts."""
        if pair is None:
            return None
        files = Certificate(*(str(self.daemon.directory / name) for name in ("server.pem", "server.key", "ca.pem")))
        bundle = "".join(each.certificate for each in trusted)
        for file, text in zip(files, (*pair, bundle), strict=True):
            write_secret(Path(file), text.encode())
        return files

    async def start(self, pair: Pair | None, *trusted: Pair, routes: Routes | None = None) -> None:
        """Start it with this certificate; without one it offers no TLS."""
        self.daemon.claim()
        settings = Settings(
            name=self.name,
            listen=f"{self.host}:{self.port}",
            operator=self.keys.operator_text(),
            directory="",
            routes=routes,
            tls=self.show(pair, *trusted),
        )
        await self.daemon.launch(find_binary(), settings, self.keys.issuer().accounts_text({}))

    async def reload(self) -> None:
        """Have it read its certificates again; it has when this returns."""
        assert self.daemon.pid is not None
        before = self._reloads()
        os.kill(self.daemon.pid, signal.SIGHUP)
        async with asyncio.timeout(10):
            while self._reloads() == before:
                await asyncio.sleep(0.02)

    def _reloads(self) -> int:
        return self.daemon.log_file.read_text().count("Reloaded server configuration")

    async def stop(self) -> None:
        await self.daemon.end()
        self.daemon.release()

    def known(self, *trusted: Pair) -> Credentials:
        """Credentials of a framework that trusts these authorities."""
        where = Credentials(url=self.url, ca="".join(each.certificate for each in trusted))
        return issued(self.keys, Wanted("", Role.FRAMEWORK, "marathon"), where)

    async def make_stream(self, *trusted: Pair) -> None:
        bus = await connect(administrator_of(self.keys, self.known(*trusted)))
        await bus.close()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Callable[..., Server]]:
    """Servers of one cluster's keys, not started yet; none is left behind."""
    made: list[Server] = []
    keys = Authority.found("dc")

    def server(host: str = HERE) -> Server:
        port, route_port = free_ports(2)
        directory = tmp_path / str(port)
        directory.mkdir(mode=0o700)
        made.append(Server(Daemon(directory), host, port, keys, route_port))
        return made[-1]

    yield server
    for each in made:
        await each.stop()


@asynccontextmanager
async def connected(known: Credentials, **more: object) -> AsyncIterator[JetStreamBus]:
    bus = await connect(known, connect_s=8.0, make_stream=False, **more)  # type: ignore[arg-type]
    try:
        yield bus
    finally:
        await bus.close()


async def refusal(known: Credentials) -> str:
    """What a client says that must not get in, and that it says so at once."""
    began = asyncio.get_running_loop().time()
    with pytest.raises(BusUnreachable) as refused:
        async with connected(known):
            raise AssertionError("it got in")
    assert asyncio.get_running_loop().time() - began < 4, "it waited although nothing would change"
    return str(refused.value)


async def shown(server: Server, to: Server | None = None) -> bytes:
    """The certificate that a server shows now to clients, or to another server; DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if to is not None:
        context.load_cert_chain(to.daemon.directory / "server.pem", to.daemon.directory / "server.key")
    reader, writer = await asyncio.open_connection(server.host, server.route_port if to is not None else server.port)
    try:
        if to is None:
            await reader.readline()  # clients are greeted first, servers are not
        await writer.start_tls(context)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return found


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate)


async def say(bus: JetStreamBus, count: int = 1) -> Position:
    """Say something on the own log; where it ends then."""
    newest = await bus.last(LOG)
    fence = Fence(LOG, newest.position if newest else Position(0))
    return await bus.append([Message("dc.framework.marathon.app.told._", b"x" * 4000)] * count, fence)


# ---- who is let in, who is trusted ------------------------------------------------------------------------------


async def test_who_trusts_the_authority_speaks_and_reads_by_tls(servers: Callable[..., Server]) -> None:
    """Passport, log and questions are as on a bus without; the server is known by name and by address."""
    server = servers()
    await server.start(new_server(AUTHORITY, "localhost", NOW), AUTHORITY)
    await server.make_stream(AUTHORITY)
    known = server.known(AUTHORITY)
    by_name = msgspec.structs.replace(known, url=known.url.replace(HERE, "localhost"))
    for each in (known, by_name):
        async with connected(each) as bus:
            end = await say(bus, 50)
            newest = await bus.last(LOG)
            assert newest is not None
            assert newest.position == end


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        pytest.param(
            new_server(AUTHORITY, THERE, LONG_AGO),
            "shows a certificate that has expired: make new ones with `busbar hosts generate ... --rotate-tls`",
            id="expired",
        ),
        pytest.param(
            new_server(AUTHORITY, THERE, IN_A_WHILE),
            "shows a certificate that is not valid yet: look at the clocks of both hosts",
            id="too early",
        ),
        pytest.param(
            new_server(AUTHORITY, "127.0.0.3", NOW),
            "shows the certificate of another host: see who has the address",
            id="other host",
        ),
        pytest.param(
            new_server(OTHER, THERE, NOW),
            "shows a certificate that the authority in the credentials did not sign",
            id="other authority",
        ),
        pytest.param(None, "offers no TLS, and the credentials demand it", id="no TLS"),
    ],
)
async def test_a_server_that_cannot_be_trusted_is_refused_and_said_why(
    servers: Callable[..., Server], pair: Pair | None, why: str
) -> None:
    """At once, with the server's address and what to do."""
    server = servers(THERE)
    await server.start(pair, AUTHORITY)
    text = await refusal(server.known(AUTHORITY))
    assert f"{server.url} {why}" in text


async def test_a_passport_is_shown_to_no_server_that_offers_no_tls(servers: Callable[..., Server]) -> None:
    """Whoever stands between takes the greeting's offer away: nothing is said to him."""
    heard = bytearray()

    async def stand_between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"X","version":"2.15.1","nonce":"n","max_payload":1000,"auth_required":true}\r\n'
        )
        while more := await reader.read(1000):
            heard.extend(more)
        writer.close()

    door = await asyncio.start_server(stand_between, HERE, 0)
    known = servers().known(AUTHORITY)
    url = f"nats://{HERE}:{door.sockets[0].getsockname()[1]}"
    assert "offers no TLS" in await refusal(msgspec.structs.replace(known, url=url))
    door.close()
    await door.wait_closed()
    assert heard == b""


async def test_who_has_no_authority_is_told_so(servers: Callable[..., Server]) -> None:
    """Credentials from before, or `--bus` alone."""
    server = servers()
    await server.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY)
    text = await refusal(server.known())
    assert f"{server.url} wants TLS, and the credentials have no `ca` to know it by" in text


async def test_who_speaks_in_the_clear_is_not_heard(servers: Callable[..., Server]) -> None:
    """A client by hand that ignores what the greeting demands; to see who is there, the greeting is enough."""
    server = servers()
    await server.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY)
    reader, writer = await asyncio.open_connection(HERE, server.port)
    assert b'"tls_required":true' in await reader.readline()
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    with suppress(ConnectionError):
        assert b"PONG" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert await answering([server.url], 1, 2.0) == 1


async def test_of_several_servers_one_with_a_bad_certificate_is_passed_over(servers: Callable[..., Server]) -> None:
    """The others serve."""
    bad, good = servers(), servers()
    await bad.start(new_server(AUTHORITY, HERE, LONG_AGO), AUTHORITY)
    await good.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY)
    await good.make_stream(AUTHORITY)
    known = msgspec.structs.replace(good.known(AUTHORITY), url=f"{bad.url},{good.url}")
    async with connected(known) as bus:
        assert await say(bus) == 1


# ---- certificates change ----------------------------------------------------------------------------------------


async def test_a_new_certificate_is_shown_after_a_reload_and_no_link_is_lost(servers: Callable[..., Server]) -> None:
    """SIGHUP: whoever is there stays, a reader misses nothing; whoever comes, or comes again, sees the new one."""
    server = servers()
    old, new = new_server(AUTHORITY, HERE, NOW), new_server(AUTHORITY, HERE, NOW)
    await server.start(old, AUTHORITY)
    await server.make_stream(AUTHORITY)
    async with connected(server.known(AUTHORITY)) as bus:
        await say(bus, 20)
        assert await shown(server) == der(old)
        server.show(new, AUTHORITY)
        await server.reload()
        assert await shown(server) == der(new)
        assert await say(bus, 20) == 40
        assert bus.statistics().links == 1
        bus._link._abort()
        await bus._link.connected()
        assert await said_again(bus) == 41
        assert bus.statistics().links == 2


async def said_again(bus: JetStreamBus) -> Position:
    """Say something as soon as the link is there again."""
    async with asyncio.timeout(15):
        while True:
            with suppress(NoAnswer, OutcomeUnknown):
                return await say(bus)
            await asyncio.sleep(0.05)


async def test_an_authority_changes_in_three_rounds_and_nobody_is_shut_out(servers: Callable[..., Server]) -> None:
    """Trusted, then signing, then alone: in each round clients of this and of the last round get in; at the end what
    the old one signed is worth nothing, and who trusts only the old one is told to take the newest credentials."""
    server = servers(THERE)
    await server.start(new_server(AUTHORITY, THERE, NOW), AUTHORITY)
    await server.make_stream(AUTHORITY)
    rounds = [
        (AUTHORITY, (OTHER, AUTHORITY), [(AUTHORITY,), (OTHER, AUTHORITY)]),
        (OTHER, (OTHER, AUTHORITY), [(OTHER, AUTHORITY)]),
        (OTHER, (OTHER,), [(OTHER, AUTHORITY), (OTHER,)]),
    ]
    for signer, trusted, clients in rounds:
        server.show(new_server(signer, THERE, NOW), *trusted)
        await server.reload()
        for trusting in clients:
            async with connected(server.known(*trusting)) as bus:
                await say(bus)
    text = await refusal(server.known(AUTHORITY))
    assert "the credentials are older than its authority: use the newest" in text
    server.show(new_server(AUTHORITY, THERE, NOW), OTHER)
    await server.reload()
    assert "did not sign" in await refusal(server.known(OTHER))


async def test_who_finds_no_server_to_trust_any_more_ends_and_says_why(servers: Callable[..., Server]) -> None:
    """Started again it has the newest credentials, which it would never look for by itself."""
    server = servers()
    await server.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY)
    await server.make_stream(AUTHORITY)
    told: list[str] = []
    async with connected(server.known(AUTHORITY), on_lost=told.append) as bus:
        await say(bus)
        server.show(new_server(OTHER, HERE, NOW), OTHER)
        await server.reload()
        assert await say(bus) == 2
        bus._link._abort()
        with pytest.raises(BusClosed, match="did not sign"):
            await said_again(bus)
    assert "did not sign" in told[-1]


# ---- between servers --------------------------------------------------------------------------------------------


def peers(server: Server) -> set[str]:
    """The servers that a server has routes with, by name. (nats-server: monitor.go HandleRoutez)"""
    directory = server.daemon.directory
    [base] = re.findall(r'http_base_path: "(.*)"', (directory / "nats-server.conf").read_text())
    [monitoring] = json.loads((directory / f"nats-server_{server.daemon.pid}.ports").read_bytes())["monitoring"]
    with urllib.request.urlopen(f"{monitoring}{base}/routez") as answer:
        return {route["remote_name"] for route in json.load(answer)["routes"]}


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(look):
            await asyncio.sleep(0.05)


async def test_servers_know_one_another_by_their_certificates(servers: Callable[..., Server]) -> None:
    """Two of one authority have routes; the third knows the password, has a certificate of another authority, and stays
    alone. Who shows none is not answered."""
    first, second, third = all_ = servers(), servers(), servers()
    routes = Routes("dc", "", Login("route", "secret"), [each.route for each in all_])
    for each, by in zip(all_, (AUTHORITY, AUTHORITY, OTHER), strict=True):
        await each.start(new_server(by, HERE, NOW), AUTHORITY, routes=routes._replace(listen=each.route))
    refused = "failed to verify certificate: x509: certificate signed by unknown authority"
    await until(lambda: peers(first) == {second.name} and peers(second) == {first.name})
    await until(lambda: refused in first.daemon.log_file.read_text() and refused in second.daemon.log_file.read_text())
    assert peers(third) == set()
    assert await route_by_hand(first) == b""


async def test_a_route_is_kept_over_a_new_certificate_and_made_again_with_it(servers: Callable[..., Server]) -> None:
    """Each server shows the new one to the other from the next route on."""
    first, second = both = servers(), servers()
    routes = Routes("dc", "", Login("route", "secret"), [each.route for each in both])
    for each in both:
        await each.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY, routes=routes._replace(listen=each.route))
    await until(lambda: peers(first) == {second.name})
    fresh = new_server(AUTHORITY, HERE, NOW)
    first.show(fresh, AUTHORITY)
    await first.reload()
    assert peers(first) == {second.name}
    assert await shown(first, second) == der(fresh)
    await second.stop()
    await until(lambda: peers(first) == set())
    await second.start(new_server(AUTHORITY, HERE, NOW), AUTHORITY, routes=routes._replace(listen=second.route))
    await until(lambda: peers(first) == {second.name})


async def route_by_hand(server: Server) -> bytes:
    """What is answered to who knows the password and shows no certificate."""
    context = ssl.create_default_context(cadata=AUTHORITY.certificate)
    reader, writer = await asyncio.open_connection(server.host, server.route_port)
    try:
        await writer.start_tls(context, server_hostname=server.host)
        writer.write(b'CONNECT {"user":"route","pass":"secret","name":"dc-x","tls_required":true}\r\nPING\r\n')
        return await asyncio.wait_for(reader.read(), 10)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.close()
