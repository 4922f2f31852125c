"""What one gateway counts of itself.

Rule of this room: counters of a process, lost with it.
"""

from __future__ import annotations

from collections import Counter


class Counted:
    """Answers by code, and streams."""

    def __init__(self) -> None:
        self.codes: Counter[int] = Counter()
        self.streams = 0
        self.dropped = 0
        """Streams that were ended because nobody read them."""

    def counters(self) -> dict[str, int]:
        """By name, for metrics."""
        found = {f"busbar.gateway.responses.{code}": count for code, count in sorted(self.codes.items())}
        return found | {"busbar.gateway.streams.dropped": self.dropped}


COUNTED = Counted()
