"""The messages that a bus in memory keeps, by position: appended at the end, trimmed at the front, lost on request.

Rule of this room: positions are never given twice, and never move.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from bus.nouns import Now, Position
from bus.port import Extent, Message, Record, StreamDiverged, StreamFull
from bus.subjects import matches

falls_under = lru_cache(maxsize=65536)(matches)
"""Whether a filter leaves a subject; asked for the same pairs again and again."""


class Kept:
    """A stream of messages."""

    def __init__(self, bytes_max: int | None) -> None:
        self.bytes_max = bytes_max
        self._records: list[Record] = []
        self._stored_at: list[Now] = []
        self._trimmed = 0
        self._bytes = 0
        self._lost: dict[Position, None] = {}
        self._newest: dict[str, Position] = {}

    @property
    def last(self) -> Position:
        """The position of the newest message; 0 if there is none."""
        return Position(self._trimmed + len(self._records))

    @property
    def first(self) -> Position:
        """The position of the oldest message; last + 1 if there is none."""
        return Position(self._trimmed + 1)

    def extent(self) -> Extent:
        """What the stream holds. Raises StreamDiverged."""
        self.check_whole()
        return Extent(self.first, self.last, self._bytes, self.bytes_max or 0)

    def trim(self, first: Position) -> None:
        """Drop the messages before `first`."""
        if first > self.last:
            raise ValueError(f"the stream ends at position {self.last}, it cannot begin at {first}")
        gone = max(0, first - self.first)
        self._bytes -= sum(len(record.body) for record in self._records[:gone])
        del self._records[:gone], self._stored_at[:gone]
        self._trimmed += gone
        self._lost = {position: None for position in self._lost if position >= first}
        self._newest.clear()

    def records(self, log: str | None = None) -> list[Record]:
        """Everything that was said and not trimmed, or what falls under `log`."""
        return self.behind(log, Position(0)) if log else list(self._records)

    def behind(self, log: str, after: Position) -> list[Record]:
        """What falls under `log` behind a position."""
        found = (
            record for record in self._records[max(0, after - self._trimmed) :] if falls_under(log, record.subject)
        )
        return [record for record in found if record.position not in self._lost]

    def newest(self, log: str) -> Position:
        """The position of the newest message under `log`; 0 if there is none."""
        if log not in self._newest:
            there = (record for record in reversed(self._records) if record.position not in self._lost)
            found = (record.position for record in there if falls_under(log, record.subject))
            self._newest[log] = next(found, Position(0))
        return self._newest[log]

    def count(self, log: str) -> int:
        """How many messages there are under `log`."""
        return len(self.behind(log, Position(0)))

    def first_since(self, at: Now) -> Position:
        """The position of the first message stored at or after a time; last + 1 if there is none."""
        stored = (index for index, stored_at in enumerate(self._stored_at) if stored_at >= at)
        return Position(self._trimmed + next(stored, len(self._records)) + 1)

    def lose(self, position: Position) -> None:
        """A stored message is damaged on the disk and dropped without a word."""
        self._lost[position] = None
        self._newest.clear()

    def check_whole(self) -> None:
        """Raises StreamDiverged if positions are missing."""
        if self._lost:
            count = len(self._records) - len(self._lost)
            raise StreamDiverged(f"the stream has {count} messages at positions {self.first} to {self.last}")

    @property
    def newest_at(self) -> Now:
        """When the newest message was stored; it must be there."""
        return self._stored_at[-1]

    def keep(self, messages: Sequence[Message], at: Now) -> None:
        """Store messages at the end, not before those stored already. Raises StreamFull."""
        size = sum(len(message.body) for message in messages)
        if self.bytes_max is not None and self._bytes + size > self.bytes_max:
            raise StreamFull(f"the stream holds {self._bytes} bytes, at most {self.bytes_max} are allowed")
        self._bytes += size
        at = max(at, self.newest_at) if self._stored_at else at
        for message in messages:
            record = Record(Position(self.last + 1), message.subject, message.body)
            self._records.append(record)
            self._stored_at.append(at)
            for log in self._newest:
                if falls_under(log, record.subject):
                    self._newest[log] = record.position
