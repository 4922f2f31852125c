"""What befalls processes, drawn from one seed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from tests.simulation.process import Crash


@dataclass
class Sky:
    """The same seed brings the same weather. `storm` ends when the faults are to stop."""

    random: Random
    crash_per_step: float = 0.006
    lost_per_append: float = 0.05
    slow_per_step: float = 0.1
    slow_s: float = 0.3
    losses_known: tuple[str, ...] = ("request", "answer", "late")
    losers: str = ""
    """Only processes whose names end so lose appends."""
    storm: bool = True
    crashes: int = 0
    losses: int = 0

    def weather(self, who: str) -> Exposed:
        """The weather of one process."""
        return Exposed(self, who)


class Exposed:
    """One process under the sky."""

    def __init__(self, sky: Sky, who: str) -> None:
        self.sky, self.who = sky, who

    async def at(self, where: str) -> None:
        sky = self.sky
        if not sky.storm:
            return
        if sky.random.random() < sky.slow_per_step:
            await asyncio.sleep(sky.random.random() * sky.slow_s)  # virtual
        if sky.random.random() < sky.crash_per_step:
            sky.crashes += 1
            raise Crash(f"{self.who}: {where}")

    def lost(self) -> str | None:
        sky = self.sky
        if not (sky.storm and self.who.endswith(sky.losers)) or sky.random.random() >= sky.lost_per_append:
            return None
        sky.losses += 1
        return sky.random.choice(sky.losses_known)
