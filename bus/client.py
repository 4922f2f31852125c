"""nats-py's client, deaf to nothing the server delivers.

Whoever may publish can store a subject or a header that nats-py cannot read: its read loop then ends without a word,
or it reconnects and meets the same message again, for ever.
Rule of this room: what cannot be read is passed on as far as it can; to judge a message is others' work.
(nats-py 2.16: `client.py` _process_headers and _read_loop, `parser.py` MSG_RE)
"""

from __future__ import annotations

import logging
import re
from typing import Any

from bus.slim import Client, parser
from bus.trust import check_offers_tls

# Arguments end at spaces and tabs; nats-py also ends them at form feeds, which the server takes for part of a subject.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+(\S+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+(\S+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")

logging.getLogger("asyncio").addFilter(lambda line: "eof_received" not in line.getMessage())
"""asyncio's reader answers an end of TLS as it would one of TCP, and its own TLS complains of it each time."""

_PUBLISHED, _OURS = b"NATS/1.0\r\n", b"\r\nBusbar-"
"""How headers begin that somebody published: what the server itself says has a status there. Those of a stored message
were for the server, fences and batches, and are not read; ours are."""


class TolerantClient(Client):  # type: ignore[misc]  # nats-py is untyped
    """A client whose reading is ended by no message, and that goes to no server it was not told of by its owner."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            check_offers_tls(info, "tls" in self.options or self._current_server.uri.scheme == "tls")
        info.pop("connect_urls", None)  # where servers reach one another is not where clients reach them
        await super()._process_info(info, initial_connection)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if headers is not None and headers.startswith(_PUBLISHED) and _OURS not in headers:
            return None
        try:
            found: dict[str, str] | None = await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short, or not UTF-8
            return None
        return found

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        return super()._build_message(sid, _text(subject), _text(reply), data, headers)


def _text(raw: bytes) -> bytes:
    """UTF-8; what is not, as `\\xff`."""
    return raw.decode(errors="backslashreplace").encode()
