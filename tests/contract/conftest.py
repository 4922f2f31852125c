"""Every test here that takes a `place` runs on both bindings, and on the real one from both sides of the border."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from bus import jetstream
from tests.contract.places import CrossPlace, JetStreamPlace, MemoryPlace, Place, UserPlace

SIDES = {"jetstream": JetStreamPlace, "userspace": UserPlace, "across": CrossPlace}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing here may hang."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@asynccontextmanager
async def opened(name: str, data: Path) -> AsyncIterator[Place]:
    """One of the places by name."""
    place: MemoryPlace | JetStreamPlace = MemoryPlace() if name == "memory" else SIDES[name](data)
    if isinstance(place, JetStreamPlace):
        await place.open()
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture(autouse=True)
def _as_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy loses what is lost only between servers: nobody waits here as long as one server alone may take."""
    monkeypatch.setattr(jetstream, "append_alone_s", jetstream.append_s)


@pytest_asyncio.fixture(params=["memory", "jetstream", "userspace"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """Somewhere to run a bus: in memory, on a nats-server, or on one outside the stream's account."""
    async with opened(request.param, tmp_path) as place:
        yield place


@pytest_asyncio.fixture(params=["memory", "jetstream", "userspace", "across"])
async def asked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """The same, and where who asks and who answers are not in one account."""
    async with opened(request.param, tmp_path) as place:
        yield place


@pytest_asyncio.fixture
async def nats(tmp_path: Path) -> AsyncIterator[Place]:
    """A nats-server, for what only JetStream can meet."""
    async with opened("jetstream", tmp_path) as place:
        yield place


@pytest_asyncio.fixture(params=["jetstream", "userspace"])
async def real(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A nats-server, seen from both sides of the border."""
    async with opened(request.param, tmp_path) as place:
        yield place
