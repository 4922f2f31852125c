"""A knock at a server's door, by hand: whether it answers, and has JetStream at work.

Rule of this room: each knock has a bound, and a door that stays shut is an answer, never an error.
(NATS client protocol; nats-server `jetstream_api.go`: only the leader of all JetStream answers `$JS.API.INFO`)
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from bus.credentials import Credentials

jetstream_s = 2.0
"""For the servers of a cluster to answer through their leader."""


async def has_leader(port: int, known: Credentials) -> bool:
    """Whether JetStream has a leader, so that streams can be made and found."""
    inbox = f"_INBOX_{known.name}.door"
    question = f"SUB {inbox} 1\r\nPUB $JS.API.INFO {inbox} 0\r\n\r\nPING\r\n".encode()
    return await _said(port, known, question, b'"memory"', jetstream_s)


async def _said(port: int, known: Credentials, question: bytes, wanted: bytes, within_s: float) -> bool:
    """Whether the answer to a question holds what is wanted."""
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                hello = _hello(await reader.readline(), known)
                writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\n" + question)
                while line := await reader.readline():
                    if line.startswith((wanted, b"-ERR")) or wanted in line or b'"error"' in line:
                        return wanted in line
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError, KeyError):
        pass
    return False


def _hello(greeting: bytes, known: Credentials) -> dict[str, object]:
    """Who knocks: the server's nonce, signed. Raises ValueError or KeyError for what is no greeting of a server."""
    word, _, info = greeting.partition(b" ")
    if word != b"INFO":
        raise ValueError("not a NATS server")
    signature = known.key.sign(json.loads(info)["nonce"].encode())
    sig = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
    return {"jwt": known.passport, "sig": sig, "verbose": False, "pedantic": False}


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
