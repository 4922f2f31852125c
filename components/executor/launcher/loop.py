"""One thread's turn: file descriptors that became ready, then alarms whose time has come."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Hashable

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Loop:
    """Calls back when a file descriptor is ready or an alarm is due."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._alarms: dict[Hashable, tuple[float, Callable[[], None]]] = {}

    def watch(self, fd: int, callback: Callable[[int], None], mask: int = READ) -> None:
        """Call back with the ready mask, again and again, until `unwatch`. A second call changes the mask."""
        if fd in self._watched:
            self._poll.modify(fd, mask)
        else:
            self._poll.register(fd, mask)
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Forget a file descriptor; before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def alarm(self, key: Hashable, at: float, callback: Callable[[], None]) -> None:
        """Call back once at a moment of the monotonic clock. One alarm for a key: the latest set."""
        self._alarms[key] = (at, callback)

    def cancel(self, key: Hashable) -> None:
        """No alarm for the key."""
        self._alarms.pop(key, None)

    def turn(self) -> None:
        """Wait until something is ready or due, then call back."""
        for fd, mask in self._poll.poll(self._patience_s()):
            callback = self._watched.get(fd)
            if callback is not None:
                callback(mask)
        now = time.monotonic()
        for key, (at, due) in list(self._alarms.items()):
            if at <= now and self._alarms.get(key) == (at, due):
                del self._alarms[key]
                due()

    def _patience_s(self) -> float | None:
        if not self._alarms:
            return None
        return max(0.0, min(at for at, _ in self._alarms.values()) - time.monotonic())
