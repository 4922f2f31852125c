"""Who says how much to a server of the bus, as it counts itself.

The server tells it on a port of the loopback, under a path that only its configuration names.
(nats-server: monitor.go Connz, `http_base_path`, `ports_file_dir`)

Rule of this room: a look is bounded, and a server that does not tell is no error: the next look asks again.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

answer_s = 2.0
answer_bytes_max = 8 * 1024 * 1024
page = 1024
"""Connections in one answer: the ones that said most come first."""
known_max = 64 * page
"""Connections of which it is known whose they are, or were."""
_BASE = re.compile(r'^http_base_path: "(?P<path>[^"]+)"', re.M)


class Usage(NamedTuple):
    """What one identity does at one server."""

    messages_s: float
    connections: int


class _Counted(NamedTuple):
    messages: int
    at_s: float


class Traffic:
    """The connections of one server, compared with the last look."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._before: dict[int, _Counted] = {}
        self._server = ""
        self._who: dict[int, str] = {}
        """Public key by connection of that server."""

    async def look(self) -> dict[str, Usage]:
        """By public key. Empty if the server does not tell."""
        try:
            async with asyncio.timeout(answer_s):
                rows = await self._rows()
        except (OSError, ValueError, TimeoutError, KeyError, StopIteration):
            return {}
        return self._compared(rows, time.monotonic())

    async def _rows(self) -> list[dict[str, Any]]:
        """The connections, and of each whose it is: that is asked for only when there is a new one, because the server
        looks at the signature of every passport to tell it. Raises OSError, ValueError, KeyError."""
        found = await self._ask("")
        if found["server_id"] != self._server or not _connections(found).keys() <= self._who.keys():
            found = await self._ask("auth=1&")
            if found["server_id"] != self._server or len(self._who) > known_max:
                self._server, self._who = found["server_id"], {}
            self._who |= {cid: row.get("authorized_user", "") for cid, row in _connections(found).items()}
        return [row | {"authorized_user": self._who[cid]} for cid, row in _connections(found).items()]

    def _compared(self, rows: list[dict[str, Any]], now_s: float) -> dict[str, Usage]:
        said: dict[str, float] = {}
        count: dict[str, int] = {}
        seen: dict[int, _Counted] = {}
        for row in rows:
            public, cid, messages = row.get("authorized_user", ""), row["cid"], row.get("in_msgs", 0)
            seen[cid] = _Counted(messages, now_s)
            before = self._before.get(cid)
            rate = (messages - before.messages) / max(now_s - before.at_s, 0.001) if before else 0.0
            said[public] = said.get(public, 0.0) + rate
            count[public] = count.get(public, 0) + 1
        self._before = seen
        return {public: Usage(said[public], count[public]) for public in said if public}

    async def _ask(self, how: str) -> dict[str, Any]:
        """Raises OSError, ValueError, KeyError."""
        where = self._where()
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        try:
            path = f"{where.path}/connz?{how}limit={page}&sort=msgs_from"
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {where.hostname}\r\n\r\n".encode())
            answer = await _all_of(reader)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            raise ValueError("the server does not tell who is connected")
        content: dict[str, Any] = json.loads(body)
        return content

    def _where(self) -> Any:
        pid = int((self.directory / "nats-server.pid").read_text())
        ports = json.loads((self.directory / f"nats-server_{pid}.ports").read_text())
        path = _BASE.search((self.directory / "nats-server.conf").read_text())
        if path is None or not ports.get("monitoring"):
            raise ValueError("the server has no such port")
        parts = urlsplit(ports["monitoring"][0])
        return parts._replace(path=path["path"])


def _connections(found: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {row["cid"]: row for row in found.get("connections") or ()}


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while piece := await reader.read(65536):
        found += piece
        if len(found) > answer_bytes_max:
            raise ValueError("the server tells too much")
    return bytes(found)
