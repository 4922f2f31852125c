"""The NATS protocol by hand, for messages that no client library would send. (NATS client protocol)"""

from __future__ import annotations

import base64
import json
import socket
from types import TracebackType
from urllib.parse import urlsplit

from bus.credentials import Credentials


class Wire:
    """A socket with somebody's credentials; whatever is written is what the server gets."""

    def __init__(self, known: Credentials) -> None:
        address = urlsplit(known.urls[0])
        assert address.hostname is not None
        self._socket = socket.create_connection((address.hostname, address.port or 4222), timeout=10)
        self._answers = self._socket.makefile("rb")
        word, _, greeting = self._answers.readline().partition(b" ")
        assert word == b"INFO"
        signature = known.key.sign(json.loads(greeting)["nonce"].encode())
        sig = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        login = {"jwt": known.passport, "sig": sig, "verbose": False, "pedantic": False, "headers": True}
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
