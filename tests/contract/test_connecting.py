"""Getting onto the bus: who may, what the stream must promise, and what each refusal says."""

from __future__ import annotations

import asyncio
import json
import shutil
from contextlib import suppress

import msgspec
import nats as nats_py
import pytest

from bus.authority import Authority
from bus.configuration import ACCOUNTS
from bus.credentials import Credentials
from bus.following import sequences
from bus.jetstream import connect
from bus.keyring import Wanted, issued
from bus.nkey import For, Key
from bus.nouns import Position
from bus.permits import Role
from bus.port import BusClosed, BusUnreachable, StreamUnfit
from bus.server import EmbeddedServer, find_binary, free_port
from tests.contract.places import CLUSTER, JetStreamPlace, read
from tests.contract.speech import ALL, LEADER, chain, fence


async def refusal(known: Credentials | str, *, connect_s: float = 0.5) -> str:
    """What a connection that must not come about says; to an address, as nobody."""
    with pytest.raises((BusUnreachable, StreamUnfit)) as refused:
        await connect(Credentials(url=known) if isinstance(known, str) else known, connect_s=connect_s)
    return str(refused.value)


async def test_nobody_gets_in_without_the_credentials(nats: JetStreamPlace) -> None:
    """None, those of another cluster, somebody's passport with another key: refused at once, by name."""
    mine = nats.credentials
    assert await refusal(mine.url, connect_s=3600) == f"{mine.url} refused the credentials of nobody"
    stranger = issued(Authority.found(CLUSTER), Wanted("", Role.ADMIN, "u-eve"), mine)
    stolen = msgspec.structs.replace(mine, seed=Key.new(For.USER).seed)
    for known in (stranger, stolen, msgspec.structs.replace(mine, passport=mine.passport[:-2])):
        who = f"{known.name} ({known.role}): revoked, or of another cluster"
        assert await refusal(known, connect_s=3600) == f"{mine.url} refused the credentials of {who}"


async def test_the_server_itself_refuses_strangers(nats: JetStreamPlace) -> None:
    """Not only our client asks: a bare connection may neither read nor write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nats.credentials.port)
    info = json.loads((await reader.readline())[5:])
    assert info["auth_required"] is True
    writer.write(b'CONNECT {"verbose":false}\r\nSUB dc.> 1\r\nPUB dc.a.b.c.d._ 1\r\nx\r\nPING\r\n')
    assert b"-ERR 'Authorization Violation'" in await reader.read(1000)
    assert await reader.read(1000) == b""
    writer.close()
    assert await (await nats.connect()).last(ALL) is None


async def test_no_server_at_the_address() -> None:
    """The text names the address, the last error, and what to check."""
    url = f"nats://127.0.0.1:{free_port()}"
    text = await refusal(url)
    assert text.startswith(f"no NATS server answers at {url} within 0.5 s (")
    assert "Connect call failed" in text
    assert text.endswith("): check the address, and that the server runs")


async def test_something_else_at_the_address() -> None:
    """A program that is no NATS server is not waited for longer than asked."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "empty response from server when expecting INFO" in await refusal(f"nats://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:4222", "http://127.0.0.1:4222", "nats://", "nats://host", "nats://h:port"]
)
async def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    """With the form that is expected."""
    assert await refusal(url, connect_s=3600) == f"{url!r} is not the address of a bus: expected nats://HOST:PORT"


async def test_credentials_in_the_address_are_refused() -> None:
    """Addresses are logged; the refusal does not repeat it."""
    text = await refusal("nats://alice:secret@127.0.0.1:4222", connect_s=3600)
    assert "secret" not in text
    assert "credentials do not belong" in text


async def test_a_server_without_jetstream_keeps_no_stream() -> None:
    """It lets us in and cannot keep a log."""
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        find_binary(), "-a", "127.0.0.1", "-p", str(port), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        text = await refusal(f"nats://127.0.0.1:{port}", connect_s=2)
    finally:
        server.terminate()
        await server.wait()
    assert f"nats://127.0.0.1:{port} keeps no stream within 2 s" in text
    assert text.endswith("is JetStream enabled there, and the cluster's name right?")


async def test_who_only_asks_makes_no_stream(nats: JetStreamPlace) -> None:
    """A mistyped cluster name is said so, and leaves nothing on the server."""
    mistyped = msgspec.structs.replace(nats.credentials, cluster="typo")
    with pytest.raises(BusUnreachable, match=r"there is no LOG-TYPO.*and the cluster's name right\?"):
        await connect(mistyped, connect_s=0.5, make_stream=False)
    assert b"LOG-TYPO" not in await nats.api("STREAM.NAMES")


async def test_the_stream_is_made_as_the_log_needs_it(nats: JetStreamPlace) -> None:
    """By whoever comes first, also if two come at once; later ones find it fit."""
    await asyncio.gather(*(nats.connect() for _ in range(5)))
    config = json.loads(await nats.api("STREAM.INFO.LOG-DC"))["config"]
    wanted = {
        "subjects": [ALL],
        "storage": "file",
        "num_replicas": 1,
        "retention": "limits",
        "discard": "new",
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "deny_delete": True,
        "deny_purge": True,
        "allow_atomic": True,
        "allow_direct": True,
        "allow_rollup_hdrs": False,
    }
    assert {name: config[name] for name in wanted} == wanted
    assert config["max_bytes"] in [(16 << 30) >> halved for halved in range(11)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"max_age": 3_600_000_000_000}, "max_age is 3600000000000, must be 0"),
        ({"discard": "old", "max_msgs": 5}, "discard is 'old', must be 'new'"),
        ({"deny_delete": False}, "deny_delete is False, must be True"),
        ({"deny_purge": False}, "deny_purge is False, must be True"),
        ({"allow_atomic": False}, "allow_atomic is False, must be True"),
        ({"allow_direct": False}, "allow_direct is False, must be True"),
        ({"storage": "memory"}, "storage is 'memory', must be 'file'"),
        ({"subjects": ["dc.master.>"]}, "subjects is ['dc.master.>'], must be ['dc.>']"),
        ({"retention": "interest"}, "retention is 'interest', must be 'limits'"),
        ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1, must be -1"),
        ({"deny_purge": False, "allow_rollup_hdrs": True}, "allow_rollup_hdrs is True, must be False"),
        ({"allow_msg_ttl": True}, "allow_msg_ttl is True, must be False"),
        ({"duplicate_window": 1_000_000_000}, "duplicate_window is 1000000000, must be 120000000000"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_stream_that_promises_less_is_refused(
    nats: JetStreamPlace, change: dict[str, object], text: str
) -> None:
    """Each property the log needs, by its name, with what it is and what it must be."""
    config: dict[str, object] = {
        "name": "LOG-DC",
        "subjects": [ALL],
        "storage": "file",
        "discard": "new",
        "deny_delete": True,
        "deny_purge": True,
        "allow_atomic": True,
        "allow_direct": True,
    }
    made = json.loads(await nats.api("STREAM.CREATE.LOG-DC", json.dumps(config | change).encode()))
    assert "error" not in made, made
    refused = await refusal(nats.credentials, connect_s=3600)
    assert refused.startswith("stream LOG-DC: ")
    assert text in refused


async def test_a_stream_has_the_room_that_is_wished_for(nats: JetStreamPlace) -> None:
    """And keeps it, whatever is wished for later; more than the server has is refused, and without a wish halved."""

    async def room_of(cluster: str, room: int | None) -> int:
        bus = await connect(msgspec.structs.replace(nats.credentials, cluster=cluster), room=room)
        try:
            return (await bus.extent()).room
        finally:
            await bus.close()

    assert await room_of("small", 32 << 20) == 32 << 20
    assert await room_of("small", 64 << 20) == 32 << 20
    with pytest.raises(StreamUnfit, match=r"LOG-HUGE.*no room for 1152921504606846976 bytes"):
        await room_of("huge", 1 << 60)
    rooms: list[int] = []
    with suppress(StreamUnfit):  # together more than most disks; on some of them nothing is left in the end
        for number in range(8):
            rooms.append(await room_of(f"c{number}", None))
    assert rooms
    assert all(room in [(16 << 30) >> halved for halved in range(11)] for room in rooms)
    assert rooms == sorted(rooms, reverse=True)


async def test_replicas_need_a_cluster(nats: JetStreamPlace) -> None:
    """One server alone keeps no stream on three: that is said at once."""
    three = msgspec.structs.replace(nats.credentials, cluster="east", replicas=3)
    with pytest.raises(StreamUnfit, match="replicas > 1 not supported in non-clustered mode"):
        await connect(three, connect_s=3600)


async def test_the_first_server_that_answers_is_taken(nats: JetStreamPlace) -> None:
    """Of several addresses; one is nobody's, one takes the call and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    mine = nats.credentials
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as mute:
        urls = [f"nats://127.0.0.1:{free_port()}", f"nats://127.0.0.1:{mute.sockets[0].getsockname()[1]}", mine.url]
        for order in (urls, urls[::-1]):
            bus = await nats.connect(url=", ".join(order))
            assert bus.statistics().links == 1
            assert [row.leader for row in await bus.servers()] == [True]
            await bus.close()


@pytest.mark.parametrize("url", ["nats://127.0.0.1:4222,", "nats://127.0.0.1:4222,nats://a:b@127.0.0.1:4223"])
async def test_each_of_several_addresses_is_checked(url: str) -> None:
    """A wrong one is not found out when the others are gone."""
    text = await refusal(url, connect_s=3600)
    assert "is not the address of a bus" in text or "credentials do not belong" in text


async def test_clusters_on_one_server_are_worlds_apart(nats: JetStreamPlace) -> None:
    """Each has its own stream, positions and subjects."""
    east = await connect(msgspec.structs.replace(nats.credentials, cluster="east"))
    west = await nats.connect()
    try:
        await west.append(chain(LEADER, "a"), fence(LEADER, 0))
        assert await east.last("east.>") is None
        assert await east.first_since(0) == 1  # type: ignore[arg-type]
    finally:
        await east.close()


async def test_readers_leave_no_consumers_behind(nats: JetStreamPlace) -> None:
    """Whoever ends a reader ends its consumer on the server."""
    bus = await nats.connect()
    await bus.append(chain(LEADER, "a"), fence(LEADER, 0))
    for _ in range(3):
        groups = bus.follow(ALL, after=Position(0))
        await anext(groups)
        await groups.aclose()
    await bus.last(ALL)
    while json.loads(await nats.api("CONSUMER.NAMES.LOG-DC"))["consumers"]:
        pass


async def test_changed_credentials_end_a_connection_for_good(nats: JetStreamPlace) -> None:
    """A server that came back with another cluster's keys will never let it in again: the process must end."""
    told: list[str] = []
    bus = await nats.connect(on_lost=told.append)
    waiting = asyncio.create_task(anext(bus.follow(ALL, after=Position(0))))
    await nats.server.stop()
    shutil.rmtree(nats.server.keyring.directory)
    (nats.server.data / "bus" / ACCOUNTS).unlink()
    nats.server, nats._everybody = EmbeddedServer(nats.server.data), None
    await nats.server.start()
    with pytest.raises(BusClosed, match="refuses the credentials of administrator"):
        await waiting
    assert "refuses the credentials of administrator" in told[-1]
    assert await (await nats.connect()).last(ALL) is None


async def test_the_library_beneath_still_has_what_we_reach_into() -> None:
    """Private parts of nats-py are used, each for a trap it leaves open; a new release must not lose them."""
    client = nats_py.NATS()
    assert client._transport is None
    assert client._reconnection_task is None
    assert client._current_server is None
    for method in (client._process_headers, client._build_message, client._process_info):
        assert callable(method)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("$JS.ACK.LOG-DC.c1.1.22.11.1795373419899545883.0", (22, 11)),
        ("$JS.ACK.hub.ACC.LOG-DC.c1.1.22.11.1795373419899545883.0", (22, 11)),
        ("$JS.ACK.hub.ACC.LOG-DC.c1.1.22.11.1795373419899545883.0.random", (22, 11)),
        ("_INBOX.abc", None),
        ("", None),
    ],
)
def test_sequences_are_read_from_the_reply_subject(reply: str, expected: tuple[int, int] | None) -> None:
    """Both forms of it; anything else is no pushed message. (ADR-15)"""
    assert sequences(reply) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"Status": "100"},
        {"Status": "100", "Description": "Idle Heartbeat", "Nats-Last-Consumer": "0"},
        {"Status": "409", "Description": "Consumer Deleted"},
        {"Nats-Sequence": "7", "Nats-Stream": "OTHER"},
        {"Nats-Consumer-Stalled": "dc.master.main.a.b._"},
    ],
    ids=str,
)
async def test_a_stored_message_with_forged_headers_is_a_message(nats: JetStreamPlace, headers: dict[str, str]) -> None:
    """It looks like the server's own signals; readers take it like any other and go on."""
    bus = await nats.connect()
    await bus.append(chain(LEADER, "a"), fence(LEADER, 0))
    await nats.publish("dc.client.u-eve.a.b.main", b"", headers)
    await bus.append(chain(LEADER, "a", "b")[1:], fence(LEADER, 1))
    assert [record.position for record in await read(bus, ALL, 3)] == [1, 2, 3]
    assert bus.statistics().consumers == 1


async def test_a_garbage_message_to_a_readers_inbox_changes_nothing(nats: JetStreamPlace) -> None:
    """Somebody who learns the inbox cannot make the reader skip or double anything."""
    bus, other = await nats.connect(), await nats.connect()
    groups = bus.follow(ALL, after=Position(0))
    waiting = asyncio.create_task(anext(groups))
    subscribed: list[str] = []
    while not subscribed:
        await other.last(ALL)
        subs = [sub.subject for sub in bus._link._client._subs.values()]
        subscribed = [subject for subject in subs if "_INBOX_" in subject and not subject.endswith("*")]
    await nats.publish(subscribed[0], b"garbage")
    await other.append(chain(LEADER, *"abc"), fence(LEADER, 0))
    found = list(await waiting)
    while len(found) < 3:
        found += await anext(groups)
    assert [record.position for record in found] == [1, 2, 3]
    await groups.aclose()
