"""What befalls processes and their bus, drawn from one seed.

At every step a process may die or be slow, and every append may be lost, late or doubled. A storm adds what takes its
time: processes stopped as by SIGSTOP, killed, cut off, with wrong clocks; a bus without a quorum.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from random import Random

from bus.nouns import Now, second
from tests.simulation.clock import Activity, virtual_now
from tests.simulation.line import SILENT, TOLD, Crash, Fate

LOSSES = ("request", "answer", "late", "twice")
PAUSE, KILL, CUT, NO_QUORUM, CLOCK = "pauses", "kills", "cuts", "outages", "clock jumps"
STORMS = (PAUSE, KILL, CUT, NO_QUORUM, CLOCK)
late_s = 60.0
"""How long an append may be on its way."""
meets_again_s = 2.0
hour_us = 3600 * second


@dataclass
class Sky:
    """The same seed brings the same weather. `storm` ends when the faults are to stop."""

    random: Random
    crash_per_step: float = 0.006
    lost_per_append: float = 0.05
    slow_per_step: float = 0.1
    slow_s: float = 0.3
    losses_known: tuple[str, ...] = LOSSES
    losers: str = ""
    """Only processes whose names end so lose appends."""
    storms: tuple[str, ...] = ()
    every_s: float = 10.0
    """Between two of them, on average."""
    intruders_s: float = 0.0
    """The same of foreign messages; 0: there are none."""
    storm: bool = True
    quorum: bool = True
    counts: Counter[str] = field(default_factory=Counter)
    exposed: dict[str, Exposed] = field(default_factory=dict)

    @classmethod
    def drawn(cls, random: Random) -> Sky:
        """Some faults and not others, many or few: each seed its own climate."""
        return cls(
            random,
            crash_per_step=random.choice([0.0, 0.0005, 0.002]),
            lost_per_append=random.choice([0.0, 0.02, 0.1]),
            slow_per_step=random.choice([0.01, 0.1]),
            slow_s=random.choice([0.1, 0.5]),
            storms=tuple(kind for kind in STORMS if random.random() < 0.6),
            every_s=random.choice([4.0, 8.0, 20.0]),
            intruders_s=random.choice([0.0, 5.0]),
        )

    def weather(self, who: str) -> Exposed:
        """The weather of one process."""
        self.exposed[who] = Exposed(self, who)
        return self.exposed[who]

    def calm(self) -> None:
        """No more faults, and those there are end."""
        self.storm, self.quorum = False, True
        for one in self.exposed.values():
            one.clear_up()

    async def brew(self, whom: Sequence[Sequence[str]]) -> None:
        """Let it storm, for ever: each time one kind of storm befalls one of the groups in `whom` together."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self.random.expovariate(1 / self.every_s))
                if self.storm and self.storms:
                    self._strike(group, self.random.choice(self.storms), self.random.choice(whom))

    def _strike(self, group: asyncio.TaskGroup, kind: str, whom: Sequence[str]) -> None:
        self.counts[kind] += 1
        struck = [self.exposed[who] for who in whom]
        if kind == KILL:
            for one in struck:
                one.kill()
        elif kind == PAUSE:
            one = self.random.choice(struck)
            group.create_task(one.hold(self._span_s(60)))
        elif kind == CUT:
            ways = self.random.choice(["both", "out", "in"])
            span_s = self._span_s(60)
            for one in struck:
                group.create_task(one.cut(ways, span_s))
        elif kind == NO_QUORUM:
            group.create_task(self._lose_quorum(self._span_s(30)))
        elif kind == CLOCK:
            off_us, span_s = round((2 * self.random.random() - 1) * hour_us), self._span_s(60)
            for one in struck:
                if "@" in one.who:
                    group.create_task(one.jump(off_us, span_s))

    def _span_s(self, most_s: float) -> float:
        """From a second up, short ones as likely as long ones."""
        return float(most_s ** self.random.random())

    async def _lose_quorum(self, span_s: float) -> None:
        if self.quorum:
            self.quorum = False
            await asyncio.sleep(span_s)
            self.quorum = True


class Exposed:
    """One process under the sky: whether it runs, whom it reaches, and what its clock says."""

    def __init__(self, sky: Sky, who: str) -> None:
        self.sky, self.who = sky, who
        self.activity = Activity()
        self.mute = self.deaf = False
        """Nothing it sends arrives; nothing reaches it."""
        self.clock_off_us = 0
        self.die: Callable[[], None] = lambda: None
        """What a kill does to the process that runs now."""

    async def at(self, where: str) -> None:
        sky = self.sky
        if not sky.storm:
            return
        if sky.random.random() < sky.slow_per_step:
            await asyncio.sleep(sky.random.random() * sky.slow_s)  # virtual
        if sky.random.random() < sky.crash_per_step:
            sky.counts["crashes"] += 1
            raise Crash(f"{self.who}: {where}")

    def fate(self) -> Fate:
        sky = self.sky
        if not sky.quorum:
            return SILENT
        if not (sky.storm and self.who.endswith(sky.losers)) or sky.random.random() >= sky.lost_per_append:
            return TOLD
        sky.counts["losses"] += 1
        lost = sky.random.choice(sky.losses_known)
        return self._fate(lost)

    def _fate(self, lost: str) -> Fate:
        late = late_s ** self.sky.random.random()
        match lost:
            case "request":
                return SILENT
            case "answer":
                return Fate((0.0,), told=False)
            case "late":
                return Fate((late,))
            case "twice":
                return Fate((0.0, late))
            case _:
                return Fate((), lie=True)

    def reaches_bus(self) -> bool:
        return self.sky.quorum and not (self.mute or self.deaf)

    async def hears_bus(self) -> None:
        while not self.sky.quorum or self.deaf:
            await asyncio.sleep(0.5)  # virtual

    async def meets_again(self) -> None:
        await asyncio.sleep(self.sky.random.random() * meets_again_s)  # virtual

    def sees(self) -> bool:
        """Whether it runs, and the stream reaches it."""
        return self.reaches_bus() and self.activity.held is None

    def now(self) -> Now:
        return Now(virtual_now() + self.clock_off_us)

    def context(self) -> Context:
        self.activity = Activity()
        return self.activity.context()

    def kill(self) -> None:
        """SIGKILL, also of what is stopped."""
        self.die()
        self.activity.go_on()

    async def hold(self, span_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        activity = self.activity
        activity.stop()
        await asyncio.sleep(span_s)
        activity.go_on()

    async def cut(self, ways: str, span_s: float) -> None:
        """A cable that carries nothing, or only one way."""
        self.mute, self.deaf = self.mute or ways != "in", self.deaf or ways != "out"
        await asyncio.sleep(span_s)
        self.mute = self.deaf = False

    async def jump(self, off_us: int, span_s: float) -> None:
        """A clock that is wrong, until somebody sets it right."""
        self.clock_off_us = off_us
        await asyncio.sleep(span_s)
        self.clock_off_us = 0

    def clear_up(self) -> None:
        """Everything is as it should be."""
        self.mute = self.deaf = False
        self.clock_off_us = 0
        self.activity.go_on()
