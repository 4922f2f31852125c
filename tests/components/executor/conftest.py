"""Every test with real processes ends with none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from components.executor.attach import shutdown_launcher
from tests.components.executor.place import Place, belonging, wait_until
from tests.components.executor.world import World


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    given = Place(tmp_path)
    yield given
    await given.stack.aclose()
    await shutdown_launcher(str(given.work))
    await wait_until(lambda: not belonging(tmp_path), f"nobody left in {tmp_path}")


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    given = World(place)
    await given.begin()
    yield given
    await given.die()
