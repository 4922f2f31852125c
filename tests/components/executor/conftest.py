"""Every test with real processes ends with none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from components.agent.mounts import check_unmounted
from components.executor.attach import shutdown_launcher
from tests.components.executor.place import Place, belonging, wait_until
from tests.components.executor.world import World


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user may pass through, as pytest's are not."""
    with tempfile.TemporaryDirectory(prefix="busbar-") as name:
        os.chmod(name, 0o755)
        yield Path(name)
        check_unmounted(name)  # before anything below it is deleted


@pytest.fixture
async def open_place(open_path: Path) -> AsyncIterator[Place]:
    """A work directory there."""
    given = Place(open_path / "a1")
    yield given
    await given.stack.aclose()
    await shutdown_launcher(str(given.work))
    await wait_until(lambda: not belonging(open_path), f"nobody left in {open_path}")


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
