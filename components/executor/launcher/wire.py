"""Lines of JSON over one connection of the launcher's socket.

Rule of this room: whoever does not follow is hung up on; everything said can be asked for again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

from components.executor.launcher.loop import READ, WRITE, Loop

line_bytes_max = 2 * 1024 * 1024
unsent_bytes_max = 16 * 1024 * 1024
lines_a_turn_max = 8
"""Lines heard from one connection before others get a turn."""

Message = dict[str, object]


class Connection:
    """One client: what it says comes as messages, what is said to it waits until it reads."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        hear: Callable[[Connection, Message], None],
        gone: Callable[[Connection], None],
    ) -> None:
        self._loop, self._sock, self._hear, self._gone = loop, sock, hear, gone
        self._heard = bytearray()
        self._unsent = bytearray()
        self._mask = READ
        self.open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def say(self, message: Message) -> None:
        """Send a message, now or when the other side reads."""
        if not self.open:
            return
        self._unsent += json.dumps(message).encode() + b"\n"
        if len(self._unsent) > unsent_bytes_max:
            self.close()
        else:
            self._send()

    def close(self) -> None:
        """Hang up. Safe to call twice."""
        if self.open:
            self.open = False
            self._loop.cancel(self)
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._gone(self)

    def _ready(self, mask: int) -> None:
        if mask & WRITE:
            self._send()
        if self.open and mask & ~WRITE:
            self._receive()

    def _send(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        mask = READ | WRITE if self._unsent else READ
        if mask != self._mask:
            self._mask = mask
            self._loop.watch(self._sock.fileno(), self._ready, mask)

    def _receive(self) -> None:
        try:
            received = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        self._heard += received
        if not received or len(self._heard) > line_bytes_max + len(received):
            self.close()
        else:
            self._take_lines()

    def _take_lines(self) -> None:
        """Hear some of the whole lines; if there are more, go on next turn."""
        for _ in range(lines_a_turn_max):
            end = self._heard.find(b"\n")
            if end < 0 or not self.open:
                return
            line = bytes(self._heard[:end])
            del self._heard[: end + 1]
            self._take(line)
        self._loop.alarm(self, 0.0, self._take_lines)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            self._hear(self, message)
        else:
            self.close()
