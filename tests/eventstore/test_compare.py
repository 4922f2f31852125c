"""Where two stores part is found, whatever the reason, and what is no copy of the same is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nouns import NOBODY, Position
from eventstore.compare import difference, first_difference
from eventstore.errors import StoreRefused
from tests.eventstore.damage import change, make_store
from tests.eventstore.tale import A1, MARATHON, MASTER, Tale, started, twelve_steps


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_first_position_with_another_past_is_found_in_few_looks(end: int, parted: int) -> None:
    """As many looks as the position has binary digits, and two."""
    looks = 0

    def other(at: int) -> bytes:
        nonlocal looks
        looks += 1
        return b"same" if at < parted else b"different"

    found = first_difference(lambda _: b"same", other, Position(end))
    assert found == (parted if parted <= end else None)
    assert looks <= end.bit_length() + 2


async def test_equal_stores_do_not_differ(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    one, other = [await make_store(tmp_path / name, tale.records) for name in ("1.db", "2.db")]
    found = difference(one, other)
    assert (found.position, found.one.last, found.other.last) == (None, 19, 19)


async def test_one_that_is_the_beginning_of_the_other_does_not_differ(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    one = await make_store(tmp_path / "1.db", tale.records)
    other = await make_store(tmp_path / "2.db", tale.records[:11])
    found = difference(one, other)
    assert (found.position, found.one.last, found.other.last) == (None, 19, 11)
    assert difference(await make_store(tmp_path / "3.db", []), one).position is None


async def test_another_history_is_found_where_it_begins(tmp_path: Path) -> None:
    """And what each has there is told."""
    one, other = Tale(), Tale()
    for epoch in range(1, 30):
        one.say(MASTER, NOBODY, started(epoch))
        other.say(MASTER, NOBODY, started(epoch), after_us=1000 if epoch < 17 else 999)
    found = difference(
        await make_store(tmp_path / "1.db", one.records), await make_store(tmp_path / "2.db", other.records)
    )
    assert found.position == 17
    assert found.one.subject == found.other.subject == "dc.master.main.leader.elected._"
    assert found.one.digest != found.other.digest


async def test_a_damaged_body_under_an_intact_hash_is_found_by_who_suspects_it(tmp_path: Path) -> None:
    """A flipped byte changes no stored hash; verification names the position, and the two are compared there."""
    tale, _ = twelve_steps()
    one, other = [await make_store(tmp_path / name, tale.records) for name in ("1.db", "2.db")]
    change(other, "UPDATE event SET body = CAST(body || 'x' AS BLOB) WHERE position = 5")
    assert difference(one, other).position is None
    assert difference(one, other, suspects=(Position(5),)).position == 5
    assert difference(one, other, suspects=(Position(6),)).position is None


async def test_copies_of_one_log_are_compared_where_they_have_events(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    one = await make_store(tmp_path / "1.db", tale.of(A1), log=A1)
    other = await make_store(tmp_path / "2.db", tale.of(A1), log=A1)
    assert difference(one, other).position is None
    third = tale.of(A1)[2].position
    change(other, "UPDATE event SET chain = zeroblob(32) WHERE position >= ?", third)
    assert difference(one, other).position == third


async def test_what_is_not_of_one_stream_is_refused(tmp_path: Path) -> None:
    tale, _ = twelve_steps()
    stream = await make_store(tmp_path / "1.db", tale.records)
    log = await make_store(tmp_path / "2.db", tale.of(MARATHON), log=MARATHON)
    elsewhere = await make_store(tmp_path / "3.db", [], cluster="dd")
    with pytest.raises(StoreRefused, match=r"a copy of the whole stream, .* of the log of framework.marathon"):
        difference(stream, log)
    with pytest.raises(StoreRefused, match=r"of cluster 'dc', .* is of 'dd'"):
        difference(stream, elsewhere)
