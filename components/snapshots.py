"""Folded state in files, so that a start or a look into the past need not fold a whole log.

    FILE.snapshots/<author>-<position>.<version>.snapshot

    busbar snapshot 1\\n | SHA-256 of what follows | MessagePack: what it is of, the answers, the state

Rule of this room: a snapshot is a cache, never the truth. One that is damaged, of other code or settings, or not of
this store's log is passed over, and what it would have saved is folded.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Generic, NamedTuple

import msgspec

from bus import logs
from bus.codec import Foreign, Unreadable, decode, link
from bus.events import FACTS, Event, Fact, LeaderResigned
from bus.nouns import Now, Position
from bus.port import Record
from components.component import Answer, Component, S
from components.garbage import no_collection
from components.mind import Mind
from components.pieces import in_turns, packed
from components.versions import version_of
from eventstore.store import Reader

log = logs.get_logger()

snapshot_events = 50_000
"""Events of one log from one snapshot to the next."""
newest_kept = 3
kept_positions = 50_000
"""Further back one snapshot is kept of so many positions: what lies between two is folded in half a second."""
leftover_s = 3600.0
"""After which a file that was never renamed is nobody's."""
MAGIC = b"busbar snapshot 1\n"
_digest_bytes = 32
_encode = msgspec.msgpack.Encoder().encode
_NAME = re.compile(r"(?P<author>[a-z]+\.[a-z0-9-]+)-(?P<position>\d{12,19})\.(?P<version>[0-9a-f]{16})\.snapshot")


class Packed(NamedTuple):
    """A state as bytes, and the event it was folded up to."""

    position: Position
    content: bytes


class Snapshot(NamedTuple, Generic[S]):
    """A folded state, and the record in the store of the last event folded into it."""

    state: S
    record: Record


class Unfit(Exception):
    """A file is no snapshot that can be used here; the text says why."""


class _Answered(NamedTuple):
    """An answer; which fact it is stands beside it."""

    answered: str
    """Who asked, and the request."""
    at: Now
    to: str
    type: str
    fact: msgspec.Raw


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """What stands in a file."""

    version: str
    author: str
    position: Position
    n: int
    prev: bytes
    """What the next event of the log carries as `prev`."""
    answers: list[_Answered]
    state: msgspec.Raw


class _File(NamedTuple):
    """A snapshot by its name."""

    path: Path
    position: int
    version: str


def resume(mind: Mind[S], snapshot: Snapshot[S]) -> None:
    """Let a mind go on from a snapshot as if it had remembered everything up to there."""
    event = _read_event(snapshot.record)
    mind.state, mind.prev, mind.heard = snapshot.state, link(snapshot.record.body), snapshot.state.heard
    mind.whole, mind.resigned = event.last, isinstance(event.fact, LeaderResigned)


def snapshots_of(store: str | Path) -> Path:
    """Where the snapshots of a store lie."""
    return Path(f"{store}.snapshots")


class Snapshots(Generic[S]):
    """The snapshots of one component's log in one directory."""

    def __init__(self, component: Component[S], directory: Path) -> None:
        self.component, self.directory = component, directory
        self.version = version_of(component)
        self._writing = asyncio.Lock()

    def pack(self, state: S, position: Position, prev: bytes) -> Packed:
        """A state as bytes. It must be whole: its last event ended a decision and lies at `position`."""
        return Packed(position, b"".join(self._pieces(state, position, prev)))

    async def pack_in_turns(self, state: S, position: Position, prev: bytes) -> Packed | None:
        """The same, with turns for others on the event loop; None if the state was changed meanwhile."""
        n = state.n
        content = b"".join([piece async for piece in in_turns(self._pieces(state, position, prev))])
        return Packed(position, content) if state.n == n else None

    def _pieces(self, state: S, position: Position, prev: bytes) -> Iterator[bytes]:
        """As `_Content` reads it: the answers stand before the state, with their types."""
        told = [_packed(answered, answer) for answered, answer in state.answers.items()]
        head = (self.version, str(self.component.author), position, state.n, prev, told)
        yield _array_head(len(head) + 1) + _encode(head)[len(_array_head(len(head))) :]
        yield from packed(state, answers={})

    def unpack(self, content: bytes) -> tuple[S, bytes]:
        """The state in what `pack` made, and what the next event carries as `prev`. Raises Unfit."""
        found = _content(content)
        if (found.version, found.author) != (self.version, str(self.component.author)):
            raise Unfit(f"the state of {found.author} was folded by other code than this release's")
        return self._state(found), found.prev

    async def write(self, packed: Packed) -> None:
        """Write a snapshot, one at a time, and thin out the older ones. A disk that refuses is logged, no more."""
        async with self._writing:
            try:
                await asyncio.to_thread(self._write, packed)
            except OSError as error:
                log.warning("no snapshot written", directory=str(self.directory), why=str(error))

    def _write(self, packed: Packed) -> None:
        self.directory.mkdir(exist_ok=True, mode=0o700)
        path = self.directory / f"{self.component.author}-{packed.position:012}.{self._short}.snapshot"
        small = zlib.compress(packed.content, 1)
        _write_durably(path, MAGIC + sha256(small).digest() + small)
        self._thin()

    async def newest(self, reader: Reader, to: Position | None = None) -> Snapshot[S] | None:
        """The newest snapshot that fits the store, of an event up to `to`; what does not fit is logged."""
        files = [file for file in self._files() if file.version == self._short and (to is None or file.position <= to)]
        for file in sorted(files, key=lambda file: file.position, reverse=True):
            try:
                return await self._read(file, reader)
            except (Unfit, OSError) as error:
                log.warning("snapshot ignored", file=str(file.path), why=str(error))
        return None

    async def _read(self, file: _File, reader: Reader) -> Snapshot[S]:
        content = await asyncio.to_thread(_open, file.path)
        if (content.version, content.author) != (self.version, str(self.component.author)):
            raise Unfit(f"it is of {content.author}, version {content.version}")
        record = await reader.at_position(content.position)
        if content.position != file.position or record is None or link(record.body) != content.prev:
            raise Unfit(f"the store has another event at position {content.position}")
        state = await asyncio.to_thread(self._state, content)
        if _read_event(record).n != state.n or state.n != content.n:
            raise Unfit(f"its state is of event {state.n}, not of {content.n}")
        return Snapshot(state, record)

    def _state(self, content: _Content) -> S:
        try:
            with no_collection():
                state = msgspec.msgpack.decode(content.state, type=type(self.component.start()))
                state.answers = {each.answered: Answer(each.at, each.to, _fact(each)) for each in content.answers}
        except msgspec.DecodeError as error:
            raise Unfit(f"its state does not read: {error}") from None
        return state

    @property
    def _short(self) -> str:
        return self.version[:16]

    def _files(self) -> list[_File]:
        """The snapshots of this log, of whatever version."""
        found = (_NAME.fullmatch(path.name) for path in _listed(self.directory))
        mine = [match for match in found if match and match["author"] == str(self.component.author)]
        return [_File(self.directory / match[0], int(match["position"]), match["version"]) for match in mine]

    def _thin(self) -> None:
        """Keep the newest and, further back, some; of other versions only the newest."""
        files = sorted(self._files(), key=lambda file: file.position)
        own = [file for file in files if file.version == self._short]
        others = [file for file in files if file.version != self._short]
        further_back = {file.position // kept_positions: file for file in own}
        kept = {*own[-newest_kept:], *further_back.values(), *others[-newest_kept:]}
        for file in files:
            if file not in kept:
                file.path.unlink(missing_ok=True)
        for path in self.directory.glob("*.new"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - leftover_s:
                    path.unlink()


def _listed(directory: Path) -> Sequence[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        log.warning("snapshots cannot be read", directory=str(directory), why=str(error))
        return ()


def _write_durably(path: Path, content: bytes) -> None:
    """A file is there whole or not at all."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _array_head(length: int) -> bytes:
    """How a short array begins. (MessagePack specification: fixarray)"""
    return bytes([0x90 | length])


def _open(path: Path) -> _Content:
    whole = path.read_bytes()
    head, content = whole[: len(MAGIC) + _digest_bytes], memoryview(whole)[len(MAGIC) + _digest_bytes :]
    if head != MAGIC + sha256(content).digest():
        raise Unfit("its bytes are not what was written")
    try:
        return _content(zlib.decompress(content))
    except zlib.error as error:
        raise Unfit(f"it has another form: {error}") from None


def _content(content: bytes | memoryview) -> _Content:
    try:
        return msgspec.msgpack.decode(content, type=_Content)
    except msgspec.DecodeError as error:
        raise Unfit(f"it has another form: {error}") from None


def _read_event(record: Record) -> Event:
    try:
        return decode(record.subject, record.body, 0)
    except (Foreign, Unreadable) as error:
        raise Unfit(f"its last event cannot be read: {error}") from None


def _packed(answered: str, answer: Answer) -> _Answered:
    return _Answered(answered, answer.at, answer.to, answer.fact.type, msgspec.Raw(_encode(answer.fact)))


def _fact(answered: _Answered) -> Fact:
    fact = FACTS.get(answered.type)
    if fact is None:
        raise msgspec.DecodeError(f"{answered.type!r} is no fact")
    return _reader(fact).decode(answered.fact)


@cache
def _reader(fact: type[Fact]) -> msgspec.msgpack.Decoder[Fact]:
    return msgspec.msgpack.Decoder(fact)
