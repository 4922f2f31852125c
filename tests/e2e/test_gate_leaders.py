"""The gate, in short: leaders killed at a few of the twelve steps and one stopped for 8 s. (long: make gate-leaders)"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.faults.history import History
from tests.faults.leaders import Times, judge, one_round, pairs
from tests.faults.pauses import one_pause
from tests.faults.report import drawn_seed, say
from tests.faults.stage import SINGLETONS, ground, stage_at, three_nodes

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROUNDS = 6


def test_leaders_die_and_stand_still_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    """Two kills of each singleton at steps drawn by chance, and a pause; then log, histories and stores are held
    against one another."""
    seed, history = drawn_seed(), History()
    chance, data = random.Random(seed), tmp_path / "data"
    drawn = pairs(chance)
    each = [[pair for pair in drawn if pair.victim == singleton][: ROUNDS // 3] for singleton in SINGLETONS]
    sample = [pair for some in each for pair in some]

    async def play() -> None:
        async with stage_at(data, history) as stage:
            await stage.whole()
            async with stage.traffic():
                for number, pair in enumerate(sample, 1):
                    say(str(pair))
                    await one_round(stage, pair, f"gate-{number}", Times())
                await one_pause(stage, chance.choice(list(SINGLETONS)), "pause")
            await judge(stage)

    with ground(f"leaders-seed{seed}", three_nodes(data), history):
        asyncio.run(play())
