"""An event loop whose time passes only when everybody waits: hours in milliseconds, the same every run.

What runs on it can be stopped as a process is: SIGSTOP takes its turns away, SIGCONT gives them back, and it goes on
as if nothing had been.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any

from bus.nouns import Now

EPOCH = Now(1_800_000_000_000_000)
"""When virtual time begins: 2027-01-15 08:00:00 UTC."""


class Deadlock(Exception):
    """Everybody waits and no timer is set: nothing would ever happen again."""


class Livelock(AssertionError):
    """Somebody is busy for ever, and never waits."""


steps_at_once_max = 100_000


class Activity:
    """Everything that runs in one context, and whether it gets its turns."""

    def __init__(self) -> None:
        self.held: list[asyncio.Handle] | None = None
        """The turns it did not get while it is stopped."""

    def stop(self) -> None:
        """Give it no turn any more."""
        if self.held is None:
            self.held = []

    def go_on(self) -> None:
        """Give it the turns it did not get, in their order, and those to come."""
        held, self.held = self.held or [], None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.turns(held)

    def context(self) -> Context:
        """A context whose tasks belong to this activity."""
        context = copy_context()
        context.run(_ACTIVITY.set, self)
        return context


_ACTIVITY: ContextVar[Activity | None] = ContextVar("activity", default=None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on virtual time: it waits for no file, no socket and no thread."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_s = 0.0
        self._steps = 0
        """Since time passed."""

    def time(self) -> float:
        return self._passed_s

    def now(self) -> Now:
        """Virtual time as components read it."""
        return Now(EPOCH + round(self._passed_s * 1_000_000))

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """What asyncio does, without its checks: half the time of a simulation is spent here."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def turns(self, handles: list[asyncio.Handle]) -> None:
        """Run these as soon as what is ready before them has run."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        """What asyncio does at each step, with a jump in place of waiting. (CPython: `base_events.py`)"""
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not ready and not self._stopping:
            if not scheduled:
                raise Deadlock
            self._passed_s, self._steps = max(self._passed_s, scheduled[0]._when), 0
        self._steps += 1
        if self._steps > steps_at_once_max:
            raise Livelock(f"{steps_at_once_max} steps at once: {ready[0]}")
        while scheduled and scheduled[0]._when <= self._passed_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                activity = handle._context.get(_ACTIVITY)
                if activity is None or activity.held is None:
                    handle._run()
                else:
                    activity.held.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their time comes."""


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on a fresh virtual loop."""
    runner = asyncio.Runner(loop_factory=VirtualLoop)
    try:
        return runner.run(main)
    finally:
        with suppress(Deadlock):  # who is stopped does not end when it is over
            runner.close()


def virtual_now() -> Now:
    """The clock of the virtual loop that runs this."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now()
