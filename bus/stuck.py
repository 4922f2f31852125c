"""A nats-server that refuses to store although its disk has room again.

A write that failed once is an error nats-server keeps until it ends: it takes no message any more, and answers none.
(nats-server 2.15: `filestore.go`, "Critical write error")
Rule of this room: it only looks; who holds the server ends it and starts it anew.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

room_bytes = 1024 * 1024
"""Free space that is enough to go on with."""
_REFUSED = b"[ERR] JetStream failed to store a msg"


class Stuck:
    """What the log of one server says about it, line by line as it is written."""

    def __init__(self, log_file: Path) -> None:
        self.log_file = log_file
        self._read = 0
        """Bytes of the log that count no more."""

    def look(self) -> bool:
        """Whether it refused a message since the last look, while there was room."""
        with suppress(FileNotFoundError):
            size, from_ = self.log_file.stat().st_size, self._read
            self._read = size
            disk = os.statvfs(self.log_file.parent)
            if disk.f_bavail * disk.f_frsize >= room_bytes:
                return _REFUSED in self._said(from_ if from_ <= size else 0)  # a new log begins at its beginning
        return False

    def _said(self, from_: int) -> bytes:
        with self.log_file.open("rb") as log:
            log.seek(from_)
            return log.read()
