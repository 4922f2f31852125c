"""The NATS protocol by hand, as anybody: what no client library would send, and what the server says to it.

(NATS client protocol; nats-server: auth.go processClientOrLeafAuthentication)
"""

from __future__ import annotations

import base64
import json
import select
import socket
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bus.credentials import Credentials

patience_s = 5.0
CRLF = b"\r\n"


class Closed(Exception):
    """The server has closed the connection; the text is its last word."""


class Heard(NamedTuple):
    """A message that came."""

    subject: str
    reply: str
    header: bytes
    body: bytes

    @property
    def status(self) -> str:
        """Of a word of the server itself, e.g. 503."""
        words = self.header.split(CRLF)[0].split()
        return words[1].decode() if len(words) > 1 else ""


class Wire:
    """A socket; whatever is written is what the server gets."""

    def __init__(self, known: Credentials, **login: Any) -> None:
        """Raises Closed if the server does not let it in. `login` is said instead of the passport."""
        address = urlsplit(known.urls[0])
        assert address.hostname is not None
        self.name = known.name
        self._socket = socket.create_connection((address.hostname, address.port or 4222), timeout=patience_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self.heard: list[Heard] = []
        self.errors: list[str] = []
        self._pongs = self._subscriptions = self._questions = 0
        nonce = json.loads(self._line(patience_s).removeprefix(b"INFO "))["nonce"]
        words = login or {"jwt": known.passport, "sig": _signature(known, nonce)}
        self.write(b"CONNECT " + json.dumps({**_GREETING, **words}).encode() + CRLF)
        self.flush()

    # ---- said ------------------------------------------------------------------------------------------------------

    def write(self, raw: bytes) -> None:
        """These bytes. Raises Closed."""
        try:
            self._socket.sendall(raw)
        except OSError as error:
            raise Closed(self.errors[-1] if self.errors else str(error)) from None

    def publish(self, subject: str, body: bytes = b"", *, reply: str = "", header: bytes = b"") -> None:
        """One message; its header goes as it is."""
        self.write(message(subject, body, reply=reply, header=header))

    def subscribe(self, subject: str) -> None:
        """Hear a subject."""
        self._subscriptions += 1
        self.write(f"SUB {subject} {self._subscriptions}\r\n".encode())

    def flush(self) -> list[str]:
        """Wait until the server has taken everything; what it complained of meanwhile. Raises Closed."""
        before, pongs = len(self.errors), self._pongs + 1
        self.write(b"PING\r\n")
        self._read_until(lambda: self._pongs >= pongs, patience_s)
        assert self._pongs >= pongs, "the server does not answer"
        return self.errors[before:]

    def ask(
        self, subject: str, body: bytes = b"", *, header: bytes = b"", within_s: float = patience_s
    ) -> Heard | None:
        """The first answer to a message; None if there is none, or it is refused."""
        inbox = f"_INBOX_{self.name}.ask{self._questions}"
        self._questions += 1
        self.subscribe(inbox)
        errors = len(self.errors)
        self.publish(subject, body, reply=inbox, header=header)
        self._read_until(lambda: bool(self._to(inbox)) or len(self.errors) > errors, within_s)
        self.write(f"UNSUB {self._subscriptions}\r\n".encode())
        return next(iter(self._to(inbox)), None)

    def _to(self, subject: str) -> list[Heard]:
        return [each for each in self.heard if each.subject == subject]

    # ---- heard -----------------------------------------------------------------------------------------------------

    def listen(self, within_s: float) -> None:
        """Take what comes in a time. Raises Closed."""
        self._read_until(lambda: False, within_s)

    def listen_until(self, done: Any, within_s: float = patience_s) -> None:
        """Take what comes until something is so. Raises Closed."""
        self._read_until(done, within_s)

    def _read_until(self, done: Any, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not done() and (left_s := deadline - time.monotonic()) > 0:
            line = self._line(left_s)
            if line:
                self._take(line, left_s)

    def _take(self, line: bytes, within_s: float) -> None:
        word, _, rest = line.partition(b" ")
        match word.upper():
            case b"PING":
                self.write(b"PONG\r\n")
            case b"PONG":
                self._pongs += 1
            case b"-ERR":
                self.errors.append(rest.decode().strip("'"))
            case b"MSG" | b"HMSG":
                self.heard.append(self._message(rest.split(), word.upper() == b"HMSG", within_s))

    def _message(self, words: list[bytes], has_header: bool, within_s: float) -> Heard:
        size, header = int(words[-1]), int(words[-2]) if has_header else 0
        reply = words[2].decode() if len(words) == (5 if has_header else 4) else ""
        self._fill(size + 2, max(within_s, 1.0))
        content = bytes(self._buffer[:size])
        del self._buffer[: size + 2]
        return Heard(words[0].decode(), reply, content[:header], content[header:])

    def _line(self, within_s: float) -> bytes:
        """The next line; nothing if none comes in a time."""
        deadline = time.monotonic() + within_s
        while CRLF not in self._buffer:
            if not self._more(deadline - time.monotonic()):
                return b""
        end = self._buffer.index(CRLF)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _fill(self, size: int, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while len(self._buffer) < size:
            assert self._more(deadline - time.monotonic()), "half a message came"

    def _more(self, within_s: float) -> bool:
        if not select.select([self._socket], [], [], max(within_s, 0))[0]:
            return False
        try:
            found = self._socket.recv(1 << 20)
        except OSError:
            found = b""
        if not found:
            raise Closed(self.errors[-1] if self.errors else "closed")
        self._buffer += found
        return True

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


_GREETING = {
    "verbose": False,
    "pedantic": False,
    "headers": True,
    "no_responders": True,
    "lang": "hand",
    "version": "1",
}


def _signature(known: Credentials, nonce: str) -> str:
    return base64.urlsafe_b64encode(known.key.sign(nonce.encode())).rstrip(b"=").decode()


def message(subject: str, body: bytes = b"", *, reply: str = "", header: bytes = b"") -> bytes:
    """A message as it goes over the wire."""
    words = ["HPUB" if header else "PUB", subject, *([reply] if reply else []), *([str(len(header))] if header else [])]
    return " ".join([*words, str(len(header) + len(body))]).encode() + CRLF + header + body + CRLF


def headers(fields: Mapping[str, str], first: str = "NATS/1.0") -> bytes:
    """A block of headers."""
    lines = [first, *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def is_let_in(known: Credentials, **login: Any) -> bool:
    """Whether the server lets somebody in."""
    try:
        with Wire(known, **login):
            return True
    except Closed:
        return False
