"""nats-py's client, deaf to nothing the server delivers, and without detours between the socket and who listens.

Rule of this room: what is nats-py's stays nats-py's: the link, its identity, the subscriptions made again on a new one.
(nats-py 2.16: `client.py` _read_loop, _flush_pending)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from bus.replies import Send
from bus.slim import Client, ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError
from bus.trust import check_offers_tls
from bus.wire import Deliveries, Take, said

logging.getLogger("asyncio").addFilter(lambda line: "eof_received" not in line.getMessage())
"""asyncio's reader answers an end of TLS as it would one of TCP, and its own TLS complains of it each time."""


class TolerantClient(Client):  # type: ignore[misc]  # nats-py is untyped
    """A client whose reading is ended by no message, and that goes to no server it was not told of by its owner."""

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[bytes, Take] = {}
        self._ps = Deliveries(self, self._takers)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            check_offers_tls(info, "tls" in self.options or self._current_server.uri.scheme == "tls")
        info.pop("connect_urls", None)  # where servers reach one another is not where clients reach them
        await super()._process_info(info, initial_connection)

    async def _read_loop(self) -> None:
        """Messages go from the socket to who takes them in one turn of the event loop; the rest nats-py reads."""
        reader = self._transport._io_reader
        feed, come = reader.feed_data, bytes(reader._buffer)
        reader._buffer.clear()

        def read(data: bytes) -> None:
            if lines := self._ps.cut(data):
                feed(lines)

        reader.feed_data = read
        read(come)
        await super()._read_loop()

    async def hear(self, subject: str, take: Take) -> Any:
        """Have what is published under a subject taken as it is read, also after reconnects; the subscription."""
        sid = _name(self._sid + 1)
        self._takers[sid] = take
        try:
            return await self.subscribe(subject)
        except BaseException:
            self._takers.pop(sid, None)
            raise

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._takers.pop(_name(sid), None)

    def say(self, sends: Sequence[Send], reply: str) -> None:
        """Publish, the last one with the reply subject: all of it is in the socket's hands when this returns.

        Raises OutboundBufferLimitError while there is no link, ConnectionClosedError.
        """
        if self.is_closed:
            raise ConnectionClosedError
        if not self.is_connected:
            raise OutboundBufferLimitError
        if max(len(send.body) for send in sends) > self._max_payload:
            raise MaxPayloadError
        lines = [*map(said, sends[:-1]), said(sends[-1], reply)]
        lines[:0] = self._pending  # what nats-py has said before
        self._pending.clear()
        self._pending_data_size = 0
        try:
            self._transport.writelines(lines)
        except (OSError, RuntimeError):  # the transport is gone, and nobody has noticed yet
            raise OutboundBufferLimitError from None


def _name(sid: int) -> bytes:
    """How the server calls a subscription."""
    return b"%d" % sid
