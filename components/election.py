"""Whether somebody leads, as far as one who stands by can tell: by pings, and by the leader's own last word.

Rule of this room: it decides when to try, never who leads; that is the fence's (architecture section 6). Being wrong
costs a change of leaders and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto

from bus.port import Bus, NoAnswer, NobodyThere
from bus.subjects import Author, own_log, ping

ping_s = 0.2
"""Between two pings of the leader."""
answer_s = 0.3
"""For one ping. The one that was on its way when the leader died is answered by nobody."""
nobody_max = 2
"""Pings in a row that nobody takes: the leader's process is gone."""
silence_s = 5.0
"""Without an answer, although the bus answers: the leader is stopped, or cut off."""
begin_s = 1.0
"""So long after a term began the lack of an answer says nothing: who was elected has first to begin answering."""
jitter_s = 0.1
"""At most so long the instances that saw the same wait before they try, each by chance."""


class _Heard(Enum):
    LEADER = auto()
    NOBODY = auto()
    SILENCE = auto()


class Watch:
    """One standby's watch over the leader of a log."""

    def __init__(self, bus: Bus, author: Author, chance: Callable[[], float]) -> None:
        self._bus, self._author, self._chance = bus, author, chance
        self.resigned = asyncio.Event()
        """Set while the log says that nobody leads."""

    async def until_leaderless(self, *, fresh: bool = False) -> str:
        """Wait until nobody leads; why it seems so. `fresh`: a term has just begun. Raises BusClosed."""
        time = asyncio.get_running_loop().time
        nobody, heard_at = 0, time()
        begun_at = heard_at + (begin_s if fresh else 0)
        while not self.resigned.is_set():
            heard = await self._ping()
            nobody = nobody + 1 if heard is _Heard.NOBODY and time() >= begun_at else 0
            if nobody >= nobody_max:
                await asyncio.sleep(jitter_s * self._chance())
                return "its process is gone"
            if heard is _Heard.LEADER:
                heard_at = time()
            elif time() - heard_at >= silence_s:
                if await self._bus_answers():
                    return f"it is silent for {silence_s:g} s"
                heard_at = time()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.resigned.wait(), ping_s)
        return "nobody leads"

    async def _ping(self) -> _Heard:
        try:
            await self._bus.query(ping(self._bus.cluster, self._author), b"", timeout_s=answer_s)
        except NobodyThere:
            return _Heard.NOBODY
        except NoAnswer:
            return _Heard.SILENCE
        return _Heard.LEADER

    async def _bus_answers(self) -> bool:
        """Whether it is the leader who is silent, and not the bus."""
        try:
            await self._bus.last(own_log(self._bus.cluster, self._author))
        except NoAnswer:
            return False
        return True
