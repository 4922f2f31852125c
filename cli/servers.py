"""Who keeps the stream.

Rule of this room: a bus without servers has none to tell of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bus.port import Bus, ClusterRow


@runtime_checkable
class Kept(Protocol):
    """A bus that knows which servers keep its stream."""

    async def servers(self) -> Sequence[ClusterRow]:
        """The servers that keep the stream. Raises NoAnswer."""


async def servers(bus: Bus) -> list[ClusterRow]:
    """The servers that keep the stream, by name; none where the bus has no servers to speak of."""
    if not isinstance(bus, Kept):
        return []
    return sorted(await bus.servers(), key=lambda each: each.name)
