"""The gate and a real server: who is revoked is out at once, who says too much for a while, and all of it is said."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from bus import codec
from bus.access import AttemptRefused, IdentityResumed, IdentityRevoked, IdentitySuspended
from bus.configuration import ACCOUNTS, PID
from bus.events import Event
from bus.jetstream import connect
from bus.keyring import Wanted, issued
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Now, second
from bus.permits import Role
from bus.port import BusClosed, BusUnreachable, NoAnswer, NotPermitted
from bus.server import EmbeddedServer
from bus.subjects import CLUSTER, Author, Kind, ask
from components.master import MasterConfig, component, gate
from components.master.gate import Gate, reload
from components.master.identities import FounderSeen
from components.master.traffic import Traffic
from tests.components.driver import Stage

MASTER = Author(Kind.MASTER, "main")


class Place:
    """A server with a gate, whose words go to a bus in memory; the gate's time is what the test says."""

    def __init__(self, server):
        self.server, self.now = server, Now(2_000_000_000 * second)
        self.heard = MemoryServer(CLUSTER, lambda: self.now)
        bus = MemoryBus(self.heard)
        bus.me = "m-n1"
        self.stage = Stage(component(MasterConfig()), self.now)
        self.stage.begin()
        self.directory = server.data / "bus"
        self.gate = Gate(self.directory, server.keyring.issuer, bus, lambda: self.now)

    def identity(self, name, role):
        """Credentials of somebody whom the log knows."""
        where = self.server.administrator
        found = issued(self.server.keyring.authority, Wanted("", role, name), where)
        self.stage.see(FounderSeen(name=name, role=role, public=found.key.public))
        self.gate.show(self.stage.state)
        return found

    def revoke(self, known):
        fact = IdentityRevoked(name=known.name, role=Role(known.role), publics=(known.key.public,))
        self.gate.told(Event(by=MASTER, to="u-root", fact=fact, at=self.now))

    def said(self, fact):
        found = [codec.decode(each.subject, each.body, each.position).fact for each in self.heard.records()]
        return [each for each in found if isinstance(each, fact)]


@pytest.fixture
async def place(tmp_path):
    server = EmbeddedServer(tmp_path)
    await server.start()
    bus = await connect(server.administrator)
    try:
        yield Place(server)
    finally:
        await bus.close()
        await server.stop()


@asynccontextmanager
async def running(place):
    task = asyncio.create_task(place.gate.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def ended(bus):
    """Wait until a connection is closed for good; why."""
    async with asyncio.timeout(20):
        while True:
            try:
                await bus.extent()
            except NoAnswer:
                pass  # while the server reads its accounts again, questions on their way through it are lost
            except BusClosed as closed:
                return str(closed)


async def test_who_is_revoked_is_out_and_others_stay(place):
    """The live connection is closed, a new one is refused, and nobody else is told to go."""
    bob, ann = place.identity("u-bob", Role.VIEWER), place.identity("u-ann", Role.VIEWER)
    async with running(place):
        gone, stays = await connect(bob), await connect(ann)
        place.revoke(bob)
        assert "revoked" in await ended(gone)
        with pytest.raises(BusUnreachable, match="refused the credentials of u-bob"):
            await connect(bob, connect_s=5)
        await stays.extent()
        assert stays.statistics().links == 1
        await gone.close()
        await stays.close()


async def test_a_new_gate_keeps_out_whom_the_log_says(place):
    """Whatever the server was told last: a master that starts, leads or stands by, brings it to what is folded."""
    bob = place.identity("u-bob", Role.VIEWER)
    place.stage.state.identities[bob.key.public].revoked_at = place.now
    place.gate.show(place.stage.state)
    async with running(place):
        await until(lambda: _kept_out(place))
    text = (place.directory / ACCOUNTS).read_text()
    assert "seed" not in text
    assert bob.seed not in text


def _kept_out(place):
    return place.server.keyring.issuer.accounts_text(place.gate.revoked) == (place.directory / ACCOUNTS).read_text()


async def test_what_the_server_refuses_is_said_with_the_name(place):
    """Who, what, how often; the attempt itself brings nothing about."""
    bob = place.identity("u-bob", Role.VIEWER)
    async with running(place):
        bus = await connect(bob)
        subject = f"{CLUSTER}.client.u-bob.app.requested.marathon"
        with pytest.raises(NotPermitted, match=r"u-bob \(viewer\) may not say"):
            await bus.query(subject, b"", timeout_s=5)
        await until(lambda: place.said(AttemptRefused))
        await bus.close()
    [attempt] = place.said(AttemptRefused)
    assert (attempt.what, attempt.subject, attempt.name) == ("publish", subject, "u-bob")
    assert attempt.public == bob.key.public


async def test_who_says_too_much_is_suspended_and_comes_back(place):
    """Everybody else goes on meanwhile; afterwards the same key opens the bus again."""
    bob, ann = place.identity("u-bob", Role.VIEWER), place.identity("u-ann", Role.VIEWER)
    place.gate._permits = {role: permit._replace(messages_s=20) for role, permit in place.gate._permits.items()}
    async with running(place):
        loud, quiet = await connect(bob), await connect(ann)

        async def flood():
            with suppress(BusClosed):
                while True:
                    with suppress(Exception):
                        await loud.query(ask(CLUSTER, MASTER, "agents"), b"", timeout_s=1)
                    loud._link.check()

        async with asyncio.timeout(30):
            await flood()
        [suspended] = place.said(IdentitySuspended)
        assert suspended.name == "u-bob"
        assert "20 are allowed" in suspended.why
        await quiet.extent()
        assert quiet.statistics().links == 1
        with pytest.raises(BusUnreachable):
            await connect(bob, connect_s=5)
        place.now = Now(suspended.until)
        await until(lambda: place.said(IdentityResumed))
        back = await _connected(bob)
        for bus in (loud, quiet, back):
            await bus.close()


async def _connected(known):
    async with asyncio.timeout(20):
        while True:
            with suppress(BusUnreachable):
                return await connect(known, connect_s=5)


async def test_too_many_connections_of_one_are_too_much(place):
    bob = place.identity("u-bob", Role.VIEWER)
    place.gate._permits = {role: permit._replace(connections=3) for role, permit in place.gate._permits.items()}
    async with running(place):
        buses = [await connect(bob) for _ in range(4)]
        await until(lambda: place.said(IdentitySuspended))
        for bus in buses:
            await bus.close()
    assert "4 connections, and 3 are allowed" in place.said(IdentitySuspended)[0].why


@pytest.mark.parametrize(("times", "wait_s"), [(0, 10), (1, 20), (4, 160), (5, 300), (20, 300)])
def test_who_does_it_again_is_kept_out_longer(times, wait_s):
    offence = gate._Offence(times=times, last=Now(0))
    kept = Gate.__new__(Gate)
    kept.clock = lambda: Now(1)
    assert kept._suspend("u-bob", "U", "why", offence).until == 1 + wait_s * second


def test_the_pid_of_another_process_is_not_told(tmp_path):
    """The file may be of yesterday: whoever has the number now must not be ended by a SIGHUP."""
    assert not reload(tmp_path)
    (tmp_path / PID).write_text("garbage")
    assert not reload(tmp_path)
    told = []
    before = signal.signal(signal.SIGHUP, lambda *_: told.append(1))
    try:
        (tmp_path / PID).write_text(str(os.getpid()))
        assert not reload(tmp_path)
        assert told == []
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_whose_a_connection_is_is_known_of_each_server_anew(tmp_path):
    """A server numbers its connections from the beginning: who had the number before has not said that."""
    server, traffic = EmbeddedServer(tmp_path), Traffic(tmp_path / "bus")
    await server.start()
    known = {
        name: issued(server.keyring.authority, Wanted("", Role.VIEWER, name), server.administrator)
        for name in ("u-a", "u-b", "u-c")
    }
    names = {one.key.public: name for name, one in known.items()}
    await server.stop()

    async def there(*whose):
        """A new server with these connections on it, one after the other, and the names of who has any."""
        await server.start()
        buses = [await connect(server.administrator)]
        for name in whose:
            here = msgspec.structs.replace(known[name], url=server.administrator.url)
            buses.append(await connect(here))
            found = await traffic.look()
        for bus in buses:
            await bus.close()
        await server.stop()
        return {names[public]: usage.connections for public, usage in found.items() if public in names}

    assert await there("u-a", "u-b", "u-b") == {"u-a": 1, "u-b": 2}
    assert await there("u-b", "u-c", "u-a") == {"u-a": 1, "u-b": 1, "u-c": 1}


async def test_a_look_at_known_connections_has_no_passports_verified(place):
    """The server verifies the signature of each one that it tells."""
    asked = []

    class Told(Traffic):
        async def _ask(self, how):
            asked.append(how)
            return await super()._ask(how)

    traffic = Told(place.directory)
    await traffic.look()
    await traffic.look()
    another = await connect(place.identity("u-new", Role.VIEWER))
    await traffic.look()
    await traffic.look()
    await another.close()
    assert asked == ["", "auth=1&", "", "", "auth=1&", ""]
