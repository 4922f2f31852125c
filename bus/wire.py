"""Messages as bytes on a connection, and back: all that is said and heard takes this way.

nats-py makes of each delivery an object, an entry in a queue and a turn of a task: five times what it takes to cut the
message out and hand it over, and a master hears thousands a second.

Rule of this room: what cannot be read is passed on as far as it can; to judge a message is others' work.
(NATS client protocol: MSG, HMSG, PUB, HPUB; nats-server: client.go msgHeader)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bus.replies import Parcel, Send
from bus.slim import AWAITING_CONTROL_LINE, BadHeaderError, BadSubjectError, Parser, ProtocolError

Take = Callable[[Parcel], None]
"""Takes a message at once. Never raises."""

_END, _MESSAGES, _VERSION = b"\r\n", (b"MSG ", b"HMSG "), b"NATS/1.0"
_PUBLISHED, _OURS = b"NATS/1.0\r\n", b"\r\nBusbar-"
"""How headers begin that somebody published: what the server itself says has a status there. Those of a stored message
were for the server, fences and batches, and are not read; ours are."""
_NO_LINE = b"?\r\n"
"""That is what nats-py is told of what is neither a message nor a line."""
message_bytes_max = 64 * 1024 * 1024
"""Of one that comes: a hundred times what anybody may say here."""
line_bytes_max = 1024 * 1024
"""Of what is no message. The longest is INFO, which names every server of a cluster."""
_NO_SUBJECT = re.compile(r"[ \t\r\n]|\A\Z")


class Deliveries(Parser):  # type: ignore[misc]  # nats-py is untyped
    """What the server sent, piece by piece as the socket gave it: messages go to whoever takes what is delivered under
    their subscription's id; what else there is, nats-py reads line by line. Its own reading of messages ends at the
    first subject or header that it does not understand, without a word or again and again."""

    def __init__(self, client: Any, takers: Mapping[bytes, Take]) -> None:
        self._takers, self._rest, self._lost = takers, b"", False
        super().__init__(client)

    def reset(self) -> None:
        """Forget the beginning of what will not be continued: there is a new link."""
        super().reset()
        self._rest, self._lost = b"", False

    def cut(self, data: bytes) -> bytes:
        """Hand over the messages that have come whole with the next piece; what else has, in lines for `parse`.

        Behind what is neither nothing is read any more: where the next message would begin, nobody knows.
        """
        if self._lost:
            return b""
        rest, at, lines = self._rest + data, 0, b""
        try:
            while True:
                at = self._deliver(rest, at)
                end = rest.find(_END, at)
                if end < 0 or rest.startswith(_MESSAGES, at):
                    break  # more of it is on its way
                lines += rest[at : end + 2]
                at = end + 2
            if end < 0 and len(rest) - at > line_bytes_max:
                raise ProtocolError("nats: a line without an end")
        except ProtocolError:
            self._rest, self._lost = b"", True
            return lines + _NO_LINE
        self._rest = rest[at:]
        return lines

    async def parse(self, data: bytes = b"") -> None:
        """Read what `cut` has left. Raises ProtocolError, after which nothing comes until there is a new link."""
        self.buf.extend(data)
        try:
            await super().parse()
        except (ValueError, TypeError, AttributeError) as error:  # what nats-py makes of a line that is none
            raise ProtocolError(f"nats: {error!r}") from None
        if self.buf or self.state != AWAITING_CONTROL_LINE:
            raise ProtocolError("nats: unknown protocol")

    def _deliver(self, rest: bytes, at: int) -> int:
        """Hand over the messages that have come whole, up to the first that has not, or to something else: where that
        begins. Raises ProtocolError."""
        while rest.startswith(_MESSAGES, at):
            line = rest.find(_END, at)
            if line < 0:
                break
            words = rest[at:line].split(b" ")  # and not at form feeds, which the server takes for part of a subject
            headed = words[0] == b"HMSG"
            try:
                begin, size = line + 2, int(words[-1])
                body = begin + int(words[-2]) if headed else begin
                subject, sid, *reply = words[1 : -1 - headed]
            except (ValueError, IndexError):
                raise ProtocolError(f"nats: {rest[at:line]!r}") from None
            end = begin + size
            if not begin <= body <= end <= begin + message_bytes_max or len(reply) > 1:
                raise ProtocolError(f"nats: {rest[at:line]!r}")
            if len(rest) < end + 2:
                break
            if not rest.startswith(_END, end):
                raise ProtocolError(f"nats: {rest[at:line]!r} is longer")
            at = end + 2
            take = self._takers.get(sid)
            if take is not None:
                headers = headers_of(rest[begin:body]) if headed else {}
                take(Parcel(_text(subject), _text(reply[0]) if reply else "", rest[body:end], headers))
        return at


def headers_of(raw: bytes) -> dict[str, str]:
    """The headers that matter; `Status` and `Description` are what the server says itself."""
    if raw.startswith(_PUBLISHED) and _OURS not in raw:
        return {}
    first, *lines = _text(raw).split("\r\n")
    found = {}
    status, _, description = first.removeprefix(_VERSION.decode()).strip().partition(" ")
    if status.isdigit():
        found["Status"] = status
    if description:
        found["Description"] = description.strip()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value.strip()
    return found


def _text(raw: bytes) -> str:
    """UTF-8; what is not, as `\\xff`."""
    return raw.decode(errors="backslashreplace")


def said(send: Send, reply: str = "") -> bytes:
    """A message to be published. Raises BadSubjectError, BadHeaderError for what would be more than one line."""
    if _NO_SUBJECT.search(send.subject) or (reply and _NO_SUBJECT.search(reply)):
        raise BadSubjectError
    where = f"{send.subject} {reply}" if reply else send.subject
    if not send.headers:
        return b"PUB %b %d\r\n%b\r\n" % (where.encode(), len(send.body), send.body)
    lines = [f"{name}: {value}" for name, value in send.headers.items()]
    headers = "\r\n".join(["NATS/1.0", *lines, "\r\n"])
    if headers.count("\n") != len(lines) + 2 or headers.count("\r") != len(lines) + 2:
        raise BadHeaderError(str(send.headers))
    raw = headers.encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where.encode(), len(raw), len(raw) + len(send.body), raw, send.body)
