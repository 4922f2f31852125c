"""Commands that look how a task is: executed as it is, where it is, one for each purpose at a time.

Rule of this room: nothing of it is on the disk and nothing of it is told twice; who hears no answer asks again. What a
command leaves behind is its task's, by its environment, and ends with it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from components.executor.launcher import birth, tree
from components.executor.launcher.birth import Newborn, Order
from components.executor.launcher.loop import Loop
from components.executor.launcher.spawning import Spawning

Message = dict[str, object]


class _Look:
    """One execution."""

    __slots__ = ("late", "newborn", "number", "purpose")

    def __init__(self, purpose: tuple[str, str], number: int, newborn: Newborn | Spawning) -> None:
        self.purpose, self.number, self.newborn, self.late = purpose, number, newborn, False


class Checks:
    """The checks that are being executed."""

    def __init__(self, loop: Loop, tell: Callable[[Message], None]) -> None:
        self._loop, self._tell = loop, tell
        self._looks: dict[int, _Look] = {}
        """By pid."""

    def begin(self, order: Order, why: str, number: int, timeout_s: float) -> None:
        """Execute a check; one of the same task, for the same reason, that is still there is killed and not told of."""
        purpose = (order.task, why)
        for look in [look for look in self._looks.values() if look.purpose == purpose]:
            self._give_up(look)
        try:
            newborn = birth.bear(order)
        except (OSError, LookupError, ValueError) as error:
            self._say(number, None, str(error))
            return
        look = self._looks[newborn.pid] = _Look(purpose, number, newborn)
        if timeout_s > 0:
            self._loop.alarm(
                ("check", newborn.pid), time.monotonic() + timeout_s, lambda: self._expire(look, timeout_s)
            )
        newborn.go()

    def reaped(self, pid: int, status: int) -> None:
        """A child ended; nothing happens if it was no check."""
        look = self._looks.pop(pid, None)
        if look is None:
            return
        self._loop.cancel(("check", pid))
        why = look.newborn.outcome()
        if not look.late:
            self._say(look.number, None if why else status, why or "")

    def _expire(self, look: _Look, timeout_s: float) -> None:
        self._give_up(look)
        self._say(look.number, None, f"no answer within {timeout_s:g} s")

    def _give_up(self, look: _Look) -> None:
        """SIGKILL to its process group, and to what descends from it and left the group. It is reaped later."""
        look.late = True
        pid = look.newborn.pid
        main = tree.look(pid)
        for process in tree.with_descendants([main] if main is not None else []):
            tree.send(process, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)

    def _say(self, number: int, status: int | None, message: str) -> None:
        self._tell({"say": "checked", "check": number, "status": status, "message": message})
