"""A server that is cut off from the others is left: it takes calls, and can do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bus import connection
from bus.binary import find_binary
from bus.configuration import Login, Routes, Settings
from bus.connection import Connection
from bus.credentials import Credentials
from bus.daemon import Daemon
from bus.jetstream import connect
from bus.keyring import Wanted, issued
from bus.permits import Role
from bus.server import EmbeddedServer, free_port, free_ports

pytestmark = pytest.mark.timeout(60)
CLUSTER = "dc"


class Lone(Daemon):
    """One server of three whose others it never meets, and the address of another that has everything."""

    url: str
    other: str
    known: Credentials
    """Of somebody both let in."""


@pytest_asyncio.fixture(params=[Role.ADMINISTRATOR, Role.AGENT])
async def lone(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Lone]:
    """Both are there, under the same keys; who goes there is in the stream's account, or outside."""
    whole = EmbeddedServer(tmp_path / "whole", cluster=CLUSTER)
    await whole.start()
    await (await connect(whole.administrator)).close()  # the stream is there
    port, *routes = free_port(), *free_ports(3)
    server = Lone(tmp_path / "lone")
    server.url, server.other = f"nats://127.0.0.1:{port}", whole.urls[0]
    where = Credentials(url=f"{server.url},{server.other}")
    server.known = issued(whole.keyring.authority, Wanted("", request.param, "a1"), where)
    server.claim()
    others = [f"127.0.0.1:{each}" for each in routes]
    settings = Settings(
        name="dc-n1",
        listen=f"127.0.0.1:{port}",
        operator=whole.keyring.authority.operator_text(),
        directory=str(tmp_path / "lone"),
        routes=Routes(CLUSTER, others[0], Login("route", "secret"), others),
    )
    await server.launch(find_binary(), settings, whole.keyring.issuer.accounts_text({}))
    try:
        yield server
    finally:
        await server.end()
        server.release()
        await whole.stop()


async def test_whoever_connects_goes_on_to_a_server_that_knows_the_stream(lone: Lone) -> None:
    """The first address answers, and has no leader: the second is asked."""
    bus = await connect(lone.known)
    try:
        assert (await bus.extent()).last == 0
    finally:
        await bus.close()


async def test_whoever_is_connected_leaves_a_server_that_stays_without_a_leader(
    lone: Lone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its echoes come, so nothing else would show it."""
    monkeypatch.setattr(connection, "led_look_s", 0.5)
    monkeypatch.setattr(connection, "watch_answer_s", 0.5)
    told: list[str] = []
    link = Connection(lone.known, told.append)
    await link.open(name="test", connect_s=10)
    try:
        assert link.server == lone.url
        async with asyncio.timeout(30):
            while link.server != lone.other or not await link._is_led():
                await asyncio.sleep(0.05)  # between two looks at a condition
        assert told[0] == f"{lone.url} has no majority of the servers with it: another is tried"
    finally:
        await link.close()
