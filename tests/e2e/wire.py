"""The NATS protocol by hand, for messages that no client library would send. (NATS client protocol)"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit


class Wire:
    """A socket with the cluster's credentials; whatever is written is what the server gets."""

    def __init__(self, credentials: Path) -> None:
        known = json.loads(credentials.read_text())
        address = urlsplit(known["url"])
        assert address.hostname is not None
        self._socket = socket.create_connection((address.hostname, address.port or 4222), timeout=10)
        self._answers = self._socket.makefile("rb")
        assert self._answers.readline().startswith(b"INFO ")
        login = {"user": known["user"], "pass": known["password"], "verbose": False, "pedantic": False, "headers": True}
        self._socket.sendall(b"CONNECT " + json.dumps(login).encode() + b"\r\n")
        self.flush()

    def publish(self, subject: str | bytes, body: bytes = b"", *, reply: str = "", header: bytes | None = None) -> None:
        """One message. A header goes as it is."""
        to = subject if isinstance(subject, bytes) else subject.encode()
        words = [b"PUB" if header is None else b"HPUB", to, *([reply.encode()] if reply else [])]
        if header is not None:
            words.append(b"%d" % len(header))
        words.append(b"%d" % (len(header or b"") + len(body)))
        self._socket.sendall(b" ".join(words) + b"\r\n" + (header or b"") + body + b"\r\n")

    def flush(self) -> None:
        """Wait until the server has taken everything. It must not have complained."""
        self._socket.sendall(b"PING\r\n")
        while (line := self._answers.readline()) != b"PONG\r\n":
            assert line == b"PING\r\n", f"the server says {line!r}"
            self._socket.sendall(b"PONG\r\n")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.close()
