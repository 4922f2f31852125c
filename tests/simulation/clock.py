"""An event loop whose time passes only when everybody waits: hours in milliseconds, the same every run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any

from bus.nouns import Now

EPOCH = Now(1_800_000_000_000_000)
"""When virtual time begins: 2027-01-15 08:00:00 UTC."""


class Deadlock(Exception):
    """Everybody waits and no timer is set: nothing would ever happen again."""


class _Selector(selectors.SelectSelector):
    """Jumps over waiting instead of waiting."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self.passed_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on virtual time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.passed_s

    def now(self) -> Now:
        """Virtual time as components read it."""
        return Now(EPOCH + round(self._virtual.passed_s * 1_000_000))


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_now() -> Now:
    """The clock of the virtual loop that runs this."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now()
