"""What clients did and saw, operation by operation, with the times at which they asked and knew.

Rule of this room: only what a client knows by itself. Times are of one monotonic clock of the machine, in microseconds.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bus.nouns import Position, RequestId


class Write(msgspec.Struct, tag=True, kw_only=True):
    """A request, and what became of it as far as the client knows."""

    client: str
    request: RequestId
    of: str
    """Who was asked, e.g. `framework.marathon`."""
    what: str
    register: str = ""
    """The thing that has a number for life, written by one client only and only ever upwards; empty for none."""
    value: int = 0
    asked_at: int
    stored: Position | None = None
    """Where the bus said it is. None: unknown."""
    ended_at: int | None = None
    """When its answer came. None: unknown."""
    answer: Position | None = None
    refused: str = ""


class Read(msgspec.Struct, tag=True, kw_only=True):
    """A question, and what was observed."""

    client: str
    of: str
    what: str
    asked_at: int
    ended_at: int | None = None
    """None: not answered."""
    registers: dict[str, int] = {}
    epoch: int = 0
    n: int = 0
    """Of a summary: how much of its log the answerer had folded."""
    why_not: str = ""


class Fault(msgspec.Struct, tag=True, kw_only=True):
    """What was done to the datacenter, for people who read a history."""

    what: str
    at: int


Operation = Write | Read | Fault


class History:
    """Operations in the order in which they were begun."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    @property
    def writes(self) -> list[Write]:
        return [each for each in self.operations if isinstance(each, Write)]

    @property
    def reads(self) -> list[Read]:
        return [each for each in self.operations if isinstance(each, Read)]

    def add(self, operation: Operation) -> None:
        """Begin an operation: what becomes of it is noted on it."""
        self.operations.append(operation)

    def save(self, path: Path) -> None:
        """One operation a line."""
        path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in self.operations))


def load(path: Path) -> History:
    """A history as it was saved."""
    history = History()
    history.operations = [msgspec.json.decode(line, type=Operation) for line in path.read_bytes().splitlines()]
    return history
