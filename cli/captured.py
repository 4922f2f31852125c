"""A slice of history in a file: all that is needed to make its decisions again, anywhere.

    busbar capture 1 <length> <SHA-256 of what follows>\\n | zlib | MessagePack: whose logs, from where, the messages

Rule of this room: a file is read whole or refused with what is wrong with it; nothing of a damaged one is used.
"""

from __future__ import annotations

import re
import zlib
from hashlib import sha256
from pathlib import Path

import msgspec

from bus.nouns import Noun, Now, Position
from bus.port import Record

format_version = 1
_HEAD = re.compile(rb"busbar capture (\d{1,9}) (\d{1,18}) ([0-9a-f]{64})\n")
head_bytes_max = 128


class NotACapture(ValueError):
    """A file cannot be used as a capture; the text says why."""


class Start(Noun, frozen=True):
    """What a log's author remembered where the capture begins: one folded state for each of its later settings."""

    author: str
    settings: str
    position: Position
    """Of the last event folded into it."""
    content: bytes
    """As `components.snapshots` packs it."""


class Capture(Noun, frozen=True):
    """Messages of a stream, with whose logs among them are whole, so that they can be decided again."""

    cluster: str
    release: str
    made_at: Now
    first: Position
    last: Position
    """What it is about happened between these two."""
    authors: tuple[str, ...]
    """Whose logs, and what they heard, are in it."""
    records: tuple[tuple[Position, str, bytes], ...]
    noun: str = ""
    id: str = ""
    """What it is about, e.g. `task` and its id; empty: everything."""
    starts: tuple[Start, ...] = ()
    """Empty: all logs are in it from their beginnings."""

    def stream(self) -> list[Record]:
        """The messages, in the order of the stream."""
        return [Record(*record) for record in self.records]


def write(capture: Capture, path: Path) -> int:
    """Write a capture; how many bytes it has. Raises OSError."""
    content = zlib.compress(msgspec.msgpack.encode(capture), 9)
    head = f"busbar capture {format_version} {len(content)} {sha256(content).hexdigest()}\n".encode()
    return path.write_bytes(head + content)


def read(path: Path) -> Capture:
    """Read a capture. Raises NotACapture, OSError."""
    with path.open("rb") as file:
        head = _HEAD.fullmatch(file.readline(head_bytes_max))
        if head is None:
            raise NotACapture(f"{path} is not a capture: it does not begin with `busbar capture`")
        version, length, digest = int(head[1]), int(head[2]), head[3].decode()
        if version > format_version:
            raise NotACapture(
                f"{path} was written by a newer release: its form is {version}, this one reads up to {format_version}"
            )
        content = file.read(length + 1)
    if len(content) < length:
        raise NotACapture(f"{path} is cut off: {len(content)} of {length} bytes are there")
    if len(content) > length or sha256(content).hexdigest() != digest:
        raise NotACapture(f"{path} is damaged: its bytes are not those that were written")
    try:
        return msgspec.msgpack.decode(zlib.decompress(content), type=Capture)
    except (zlib.error, msgspec.DecodeError) as error:
        raise NotACapture(f"{path} holds something else: {error}") from None
