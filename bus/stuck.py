"""A nats-server that refuses to store although its disk has room again.

A write that failed once is an error nats-server keeps until it ends: it takes no message any more, and answers none.
One of several gives JetStream up altogether, says so once, and lags behind the others from then on.
(nats-server 2.15: `filestore.go`, "Critical write error"; `jetstream.go`, handleOutOfSpace)
Rule of this room: it only looks; who holds the server ends it and starts it anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

room_bytes = 1024 * 1024
"""Free space that is enough to go on with."""
_REFUSED = b"[ERR] JetStream failed to store a msg"
_GIVEN_UP = (b"resources, will be DISABLED", b"ritical write error")
_BEGUN = b"[INF] Starting nats-server"


class Stuck:
    """What the log of one server says about it, line by line as it is written."""

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        self._read = 0
        """Bytes of the log that count no more."""
        self._given_up = False
        """Whether the server of now has given JetStream up."""

    def look(self) -> bool:
        """Whether it stores nothing although there is room: it gave up, or refused a message since the last look."""
        with suppress(FileNotFoundError):
            said = self._news()
            given_up = self._has_given_up(said)
            self._given_up = given_up and not self._has_room()
            return self._has_room() and (given_up or _REFUSED in said)
        return False

    def _news(self) -> bytes:
        """What was said since the last look."""
        size, from_ = self.log_file.stat().st_size, self._read
        self._read = size
        with self.log_file.open("rb") as log:
            log.seek(from_ if from_ <= size else 0)  # a new log begins at its beginning
            return log.read()

    def _has_given_up(self, said: bytes) -> bool:
        begun, given_up = said.rfind(_BEGUN), max(map(said.rfind, _GIVEN_UP))
        return given_up > begun if max(begun, given_up) >= 0 else self._given_up

    def _has_room(self) -> bool:
        disk = os.statvfs(self.log_file.parent)
        return disk.f_bavail * disk.f_frsize >= room_bytes
