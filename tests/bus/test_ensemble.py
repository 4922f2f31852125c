"""Three embedded nats-servers: one cluster, found again where it was, met by no other."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from bus import ensemble as ensembles
from bus.credentials import Credentials, read_credentials
from bus.ensemble import Ensemble, Seats, on_node
from bus.keyring import Wanted
from bus.knock import answering, has_leader
from bus.permits import Role
from bus.server import EmbeddedServer, ServerTrouble, free_port, free_ports, remember

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def running(data: Path, *, cluster: str = "dc", port: int | None = None) -> AsyncIterator[Ensemble]:
    """Three servers that are stopped whatever happens."""
    three = Ensemble(data, count=3, cluster=cluster, port=port)
    try:
        await three.start()
        yield three
    finally:
        await three.stop()


def credentials(three: Ensemble, node: str = "n1") -> Credentials:
    """What a component on a node is given."""
    file = f"{on_node('marathon', node)}.json"
    three.keyring.keep([Wanted(file, Role.FRAMEWORK, "marathon")], three.urls)
    return read_credentials(three.data / "keys" / file)


def seats(data: Path) -> Seats:
    return msgspec.json.decode((data / "bus" / "seats.json").read_bytes(), type=Seats)


async def led(three: Ensemble) -> bool:
    """Wait until they have a leader: a killed one is succeeded after 4 to 9 s."""
    first = three.members[0]
    async with asyncio.timeout(30):
        while not await has_leader(first.port, three.administrator):
            await asyncio.sleep(0.1)
    return True


async def test_three_servers_are_one_cluster_and_can_store(tmp_path: Path) -> None:
    """Each node's credentials name its own server first; nobody else may read them; one may die and come back."""
    async with running(tmp_path) as three:
        assert await led(three)
        known = credentials(three)
        assert (known.replicas, len(known.urls), known.port) == (3, 3, three.members[0].port)
        for node, member in zip(("n1", "n2", "n3"), three.members, strict=True):
            own = credentials(three, node)
            assert own.port == member.port
            assert sorted(own.urls) == sorted(known.urls)
        for secret in ("keys/marathon.json", "keys/marathon-n2.json", "bus/seats.json", "bus-n3/nats-server.conf"):
            assert stat.S_IMODE((tmp_path / secret).stat().st_mode) == 0o600
        assert await answering(known.urls, 3, 5) == 3
        victim = three.members[2]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        assert await victim.wait() == -signal.SIGKILL
        assert await answering(known.urls, 3, 5) == 2
        await victim.start()
        assert await answering(known.urls, 3, 5) == 3
        assert credentials(three) == known


async def test_a_server_whose_place_was_taken_meanwhile_comes_back_elsewhere(tmp_path: Path) -> None:
    """The others keep their places, and everybody's credentials say the new one."""
    async with running(tmp_path) as three:
        before, victim = credentials(three), three.members[1]
        credentials(three, "n2")
        assert victim.pid is not None
        port = victim.port
        os.kill(victim.pid, signal.SIGKILL)
        await victim.wait()
        with socket.create_server(("127.0.0.1", port)):
            await victim.start()
            assert victim.port != port
            three.keyring.move(three.urls)
            after = read_credentials(tmp_path / "keys" / "marathon.json")
            assert [a == b for a, b in zip(before.urls, after.urls, strict=True)] == [True, False, True]
            assert read_credentials(tmp_path / "keys" / "marathon-n2.json").port == victim.port
            assert await led(three)


async def test_places_that_are_taken_are_chosen_anew_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes a route port before its server does: nobody is left with an address that is not true."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = free_ports(5)
        choices = [[*first, taken.getsockname()[1]], free_ports(6)]
        wanted = choices[1][::2]
        monkeypatch.setattr(ensembles, "free_ports", lambda _count: choices.pop(0))
        async with running(tmp_path) as three:
            assert [member.port for member in three.members] == wanted
            assert await led(three)


async def test_a_copy_of_a_data_directory_does_not_meet_the_original(tmp_path: Path) -> None:
    """Other places, another password between the servers; what was stored and who is let in are the same."""
    async with running(tmp_path / "one") as original:
        before = credentials(original)
        routes = seats(tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        async with running(tmp_path / "two") as copy:
            after = credentials(copy)
            assert not set(before.urls) & set(after.urls)
            assert seats(tmp_path / "two").password != routes.password
            assert (after.passport, after.seed) == (before.passport, before.seed)
            assert await led(copy)


async def test_the_first_server_listens_where_it_was_asked_to(tmp_path: Path) -> None:
    """A port that was asked for is not silently replaced."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerTrouble, match=f"^port {port} of 127.0.0.1 is taken: choose another$"):
            await Ensemble(tmp_path, count=3, port=port).start()
    port = free_port()
    async with running(tmp_path, port=port) as three:
        assert credentials(three).port == port


async def test_one_server_and_three_do_not_share_a_directory(tmp_path: Path) -> None:
    """What one alone has stored is not in the cluster of three, and the other way round."""
    (tmp_path / "one").mkdir()
    alone = EmbeddedServer(tmp_path / "one")
    await alone.start()
    with pytest.raises(ServerTrouble, match="is in use by process"):
        await Ensemble(tmp_path / "one", count=3).start()
    await alone.stop()
    with pytest.raises(ServerTrouble, match="holds the bus of one server, and cannot be that of 3"):
        await Ensemble(tmp_path / "one", count=3).start()
    (tmp_path / "two").mkdir()
    remember(tmp_path / "two", "dc", [1, 2, 3])
    with pytest.raises(ServerTrouble, match="holds the bus of 3 servers, and cannot be that of 1"):
        await EmbeddedServer(tmp_path / "two").start()


async def test_a_server_that_cannot_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    """Its node, its own words."""
    (tmp_path / "bus-n2").mkdir()
    (tmp_path / "bus-n2" / "jetstream").write_bytes(b"no directory")
    three = Ensemble(tmp_path, count=3)
    with pytest.raises(ServerTrouble, match=r"^n2: nats-server ended at once: .*JetStream.*bus-n2/nats-server.log$"):
        await three.start()
    assert [member.pid for member in three.members] == [None, None, None]


async def test_damaged_seats_are_said_so(tmp_path: Path) -> None:
    """Nothing is chosen over what somebody may need."""
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus" / "seats.json").write_bytes(b"{")
    with pytest.raises(ServerTrouble, match=r"seats\.json does not say where servers listen"):
        await Ensemble(tmp_path, count=3).start()


async def test_who_does_not_greet_does_not_answer() -> None:
    """A stopped process is there for the kernel only; nobody waits for it longer than said."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        assert await answering([url, f"nats://127.0.0.1:{free_port()}"], 2, 0.2) == 0
