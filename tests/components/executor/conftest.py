"""Every test with real processes ends with none."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.nouns import TaskId
from components.agent.sandbox import Sandboxes
from components.executor.attach import shutdown_launcher
from tests.components.executor.place import Place, belonging, wait_until
from tests.components.executor.world import World


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user may pass through, as pytest's are not.

    It is deleted as a sandbox is: not if anything is mounted in it, and then the test fails.
    """
    work = tempfile.mkdtemp(prefix="busbar-")
    os.chmod(work, 0o755)
    sandboxes = Sandboxes(work)
    sandboxes.prepare()
    path = Path(sandboxes.all) / "open"
    path.mkdir()
    yield path
    sandboxes.delete([TaskId(path.name)])
    for directory in (sandboxes.all, sandboxes.trash, work):
        os.rmdir(directory)


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
