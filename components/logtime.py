"""What time it is on a log whose clock was wrong.

An event is never before the one before it. So where the clock is behind the newest event (it was set back, or whoever
led before was ahead), the log cannot follow it. If its time stood still until the clock has caught up, nothing that is
due would happen meanwhile: an hour without offers, after a clock that was an hour ahead for a moment. So it goes on, at
half its pace, and comes to agree with the clock again. (NTP slews a clock for the same reason)

Rule of this room: wherever the clock is not behind, the clock is right.
"""

from __future__ import annotations

from collections.abc import Callable

from bus.nouns import Now


class LogTime:
    """A clock that does not fall behind the newest event, and does not stand still for it."""

    def __init__(self, clock: Callable[[], Now], newest: Callable[[], Now]) -> None:
        self._clock, self._newest = clock, newest
        self._looked_at = clock()
        self._ahead = 0

    def __call__(self) -> Now:
        clock = self._clock()
        passed, self._looked_at = max(0, clock - self._looked_at), clock
        self._ahead = max(0, self._ahead - passed // 2, self._newest() - clock)
        return Now(clock + self._ahead)
