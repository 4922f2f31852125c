"""A short version of `python -m tests.eventstore.faults`: kills during commits, flipped bits, cut files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.eventstore.faults import cuts, fills, flips, kills

pytestmark = pytest.mark.timeout(120)


@pytest.mark.slow
async def test_a_writer_killed_while_it_commits_loses_nothing_it_has_said(tmp_path: Path) -> None:
    """What it said is stored is there after each of 20 kills, in whole batches, and verifies."""
    assert await kills(tmp_path, 20, random.Random(7)) > 0


async def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    await flips(tmp_path, 60, random.Random(7))


async def test_a_cut_file_is_found(tmp_path: Path) -> None:
    await cuts(tmp_path, 30, random.Random(7))


async def test_a_full_disk_stores_no_half_batch(tmp_path: Path) -> None:
    assert await fills(tmp_path, 10, random.Random(7)) > 0
