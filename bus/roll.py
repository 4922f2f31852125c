"""Who leads a singleton and who stands by: asked all at once.

Rule of this room: whoever answers is there, whoever does not within the time is not.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from bus import queries
from bus.port import Bus
from bus.queries import Instance, QueryRefused
from bus.subjects import Author, roll

roll_s = 0.5
"""How long instances may take to answer."""


async def roll_call(bus: Bus, singleton: Author, expected: int | None = None) -> list[Instance]:
    """The instances of a singleton that answer, by node: no longer waited for than until `expected` have.

    Raises bus.port.NoAnswer while the bus is away.
    """
    answers = await bus.roll(roll(bus.cluster, singleton), b"", wait_s=roll_s, expected=expected)
    found: list[Instance] = []
    for answer in answers:
        with suppress(QueryRefused, msgspec.DecodeError):  # of another release: it cannot be told what it is
            found.append(queries.unpack(answer, Instance))
    return sorted(found, key=lambda each: (each.node, each.instance))
