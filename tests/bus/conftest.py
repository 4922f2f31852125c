"""What the tests of the bus share: a server that knows the roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from bus.jetstream import connect
from bus.server import EmbeddedServer


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A server with a stream."""
    embedded = EmbeddedServer(tmp_path)
    await embedded.start()
    await (await connect(embedded.administrator)).close()
    try:
        yield embedded
    finally:
        await embedded.stop()
