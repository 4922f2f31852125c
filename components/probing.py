"""Looks over the network: whether a port takes connections, and what an HTTP server answers to GET.

Rule of this room: every look opens a connection of its own, is bounded in bytes, and ends with its task; how long it
may take says who asks. A certificate is not verified: the question is who lives, not who it is. (Mesos and Marathon)
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from functools import cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

head_bytes_max = 64 * 1024
redirects_max = 10
AGENT = "busbar-check"


class ProbeFailed(Exception):
    """No answer, or none that can be understood; the text says what came instead."""


class Answer(NamedTuple):
    """What an HTTP server answered."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes = b""


async def connect(host: str, port: int) -> None:
    """Whether a port takes connections. Raises ProbeFailed."""
    _, writer = await _opened(host, port, None)
    await _hang_up(writer)


async def get(
    url: str, *, follow: bool = False, interim: bool = False, body_bytes_max: int = 0, host_header: str | None = None
) -> Answer:
    """One answer to GET; of its body as much as is wanted. Raises ProbeFailed.

    `follow`: go where redirections lead. `interim`: an answer below 200 is an answer; else the one behind it is.
    """
    for _ in range(redirects_max + 1):
        answer = await _get(url, interim, body_bytes_max, host_header)
        location = answer.headers.get("location")
        if not (follow and 300 <= answer.status < 400 and location):
            return answer
        url, host_header = _onward(url, location), None
    raise ProbeFailed(f"more than {redirects_max} redirections")


def _onward(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ProbeFailed(f"redirected to {location[:200]!r}: {error}") from None


async def _get(url: str, interim: bool, body_bytes_max: int, host_header: str | None) -> Answer:
    try:
        parts = urlsplit(url)
        secure, host, port = parts.scheme == "https", parts.hostname, parts.port
    except ValueError as error:
        raise ProbeFailed(f"{url}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ProbeFailed(f"{url}: not an address of http or https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = host_header or parts.netloc.rpartition("@")[2]
    reader, writer = await _opened(host, port or (443 if secure else 80), _unverified() if secure else None)
    try:
        asked = (
            f"GET {path} HTTP/1.1\r\nHost: {named}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        writer.write(asked.encode("utf-8", "replace"))
        await writer.drain()
        status, headers = await _head(reader)
        while 100 <= status < 200 and not interim:
            status, headers = await _head(reader)
        body = await _body(reader, headers, body_bytes_max) if body_bytes_max else b""
        return Answer(status, headers, body)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise ProbeFailed(_words(error)) from None
    finally:
        await _hang_up(writer)


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers. (RFC 9112)"""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        raise ProbeFailed(f"no HTTP: {lines[0][:100]!r}")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], most: int) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _chunks(reader, most)
    length = min(most, int(headers["content-length"])) if "content-length" in headers else most
    body = b""
    while len(body) < length and (more := await reader.read(length - len(body))):
        body += more
    return body


async def _chunks(reader: asyncio.StreamReader, most: int) -> bytes:
    body = b""
    while len(body) < most:
        size = int((await reader.readline()).partition(b";")[0], 16)
        if size == 0:
            break
        body += await reader.readexactly(min(size, most - len(body)))
        if len(body) < most:
            await reader.readline()
    return body


async def _opened(
    host: str, port: int, secure: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(host, port, ssl=secure, limit=head_bytes_max)
    except (OSError, UnicodeError, ValueError) as error:
        raise ProbeFailed(_words(error)) from None


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close at once: nobody waits for the other side's farewell."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


def _words(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "hung up without a whole answer"
    if isinstance(error, asyncio.LimitOverrunError):
        return f"the head of the answer is longer than {head_bytes_max} bytes"
    return str(error) or type(error).__name__


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
