"""A knock at a server's door, by hand: whether it answers, lets somebody in, and has JetStream at work.

Rule of this room: each knock has a bound, and a door that stays shut is an answer, never an error.
(NATS client protocol; nats-server `jetstream_api.go`: only the leader of all JetStream answers `$JS.API.INFO`)
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from bus.configuration import Login

handshake_s = 0.5
"""For one try to log in; another program on the port may never answer."""
jetstream_s = 2.0
"""For the servers of a cluster to answer through their leader."""
_INBOX = "_INBOX.door"


async def lets_in(port: int, login: Login) -> bool:
    """Whether the server on a port of the loopback lets a user in."""
    return await _said(port, login, b"PING\r\n", b"PONG", handshake_s)


async def has_leader(port: int, login: Login) -> bool:
    """Whether JetStream has a leader, so that streams can be made and found."""
    question = f"SUB {_INBOX} 1\r\nPUB $JS.API.INFO {_INBOX} 0\r\n\r\nPING\r\n".encode()
    return await _said(port, login, question, b'"memory"', jetstream_s)


async def _said(port: int, login: Login, question: bytes, wanted: bytes, within_s: float) -> bool:
    """Whether the answer to a question holds what is wanted."""
    hello = {"user": login.user, "pass": login.password, "verbose": False, "pedantic": False}
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                if not (await reader.readline()).startswith(b"INFO "):
                    return False
                writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\n" + question)
                while line := await reader.readline():
                    if line.startswith((wanted, b"-ERR")) or wanted in line or b'"error"' in line:
                        return wanted in line
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        pass
    return False


async def answering(urls: Iterable[str], enough: int, within_s: float) -> int:
    """How many of the servers answer; no more are waited for once `enough` do."""
    knocks = [asyncio.create_task(_greets(url)) for url in urls]
    found = 0
    try:
        async with asyncio.timeout(within_s):
            for knock in asyncio.as_completed(knocks):
                found += await knock
                if found >= enough:
                    break
    except TimeoutError:
        pass
    finally:
        for knock in knocks:
            knock.cancel()
        await asyncio.gather(*knocks, return_exceptions=True)
    return found


async def _greets(url: str) -> bool:
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            return (await reader.readline()).startswith(b"INFO ")
        finally:
            writer.close()
    except (OSError, ValueError):
        return False
