"""Where the stream begins: an administrator trims it at the front, and no reader skips ahead without a word."""

from __future__ import annotations

import pytest

from bus.nouns import Position
from tests.contract.places import Place, read
from tests.contract.speech import ALL, LEADER, LEADERS, chain, fence
from tests.contract.test_follow import fill

SLACK = 1000
"""What may stay before the position asked for."""


async def test_the_extent_of_a_stream(place: Place) -> None:
    """Nothing: it begins behind its end. Then from the first to the last, in bytes."""
    bus = await place.connect()
    nothing = await bus.extent()
    assert (nothing.first, nothing.last, nothing.size) == (1, 0, 0)
    last = await fill(bus, 10, size=100)
    found = await bus.extent()
    assert (found.first, found.last) == (1, last)
    assert 1000 <= found.size <= 3000


async def test_trimming_drops_the_front_and_nothing_else(place: Place) -> None:
    """All from the position asked for is there as it was, and the log goes on at the next position."""
    bus = await place.connect()
    last = await fill(bus, 5000)
    before = await read(bus, ALL, 1000, after=4000)
    await bus.trim(Position(4001))
    found = await bus.extent()
    assert 4001 - SLACK <= found.first <= 4001
    assert found.last == last
    assert await read(bus, ALL, 1000, after=4000) == before
    assert await bus.append([*chain(LEADER, "on")], fence(LEADER, last)) == last + 1
    assert (await read(bus, LEADERS, 1, after=last))[0].position == last + 1


async def test_a_position_behind_the_end_is_refused(place: Place) -> None:
    """A stream cannot begin behind its last message; nothing is dropped."""
    bus = await place.connect()
    await fill(bus, 10)
    with pytest.raises(ValueError, match="ends at position 10, it cannot begin at 11"):
        await bus.trim(Position(11))
    assert (await bus.extent()).first == 1
