"""Every test here that takes a `place` runs on both bindings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.places import JetStreamPlace, MemoryPlace, Place


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here may hang."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@pytest_asyncio.fixture(params=["memory", "jetstream"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Somewhere to run a bus: in memory, or on a nats-server."""
    if request.param == "memory":
        memory = MemoryPlace()
        yield memory
        await memory.close()
        return
    nats = JetStreamPlace(tmp_path)
    await nats.open()
    try:
        yield nats
    finally:
        await nats.close()


@pytest_asyncio.fixture
async def nats(tmp_path: Path) -> AsyncIterator[JetStreamPlace]:
    """A nats-server, for what only JetStream can meet."""
    nats = JetStreamPlace(tmp_path)
    await nats.open()
    try:
        yield nats
    finally:
        await nats.close()
