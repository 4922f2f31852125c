"""A state in pieces is the state, and who makes them keeps nobody on the event loop waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.events import Event, LeaderElected
from bus.nouns import Now, Position
from bus.subjects import Author, Kind
from components.component import Component, State, apply, state_hash, state_hash_in_turns
from components.pieces import canonical, entries_max, packed
from components.snapshots import Snapshots

pytestmark = pytest.mark.timeout(60)
SIZES = (0, 1, 15, 16, entries_max, entries_max + 1, 2 * entries_max, 2 * entries_max + 16)
ME = Author(Kind.FRAMEWORK, "counter")


@dataclass(slots=True, kw_only=True)
class Thing:
    name: str
    members: set[str]


@dataclass(slots=True, kw_only=True)
class Large(State):
    """Much of everything a state is made of."""

    things: dict[str, Thing] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    inner: dict[str, dict[str, int]] = field(default_factory=dict)
    line: list[str] = field(default_factory=list)


COMPONENT: Component[Large] = Component(
    author=ME,
    term=LeaderElected,
    start=Large,
    fold=lambda _state, _event: None,
    decide=lambda _state, _told, _now: iter(()),
    wake_at=lambda _state: None,
    check=lambda _state: None,
)


def large(names: list[str]) -> Large:
    return Large(
        things={name: Thing(name=name, members={name, f"{name} too"}) for name in names},
        numbers={name: len(name) for name in reversed(names)},
        inner={"all": dict.fromkeys(names, 1)},
        line=names,
    )


def is_whole(state: Large) -> bool:
    """Whether the pieces are together what msgspec makes of the whole."""
    told, kept = msgspec.json.encode(state, order="deterministic"), msgspec.msgpack.encode(state)
    return (b"".join(canonical(state)), b"".join(packed(state))) == (told, kept)


@pytest.mark.parametrize("size", SIZES)
def test_pieces_are_the_whole(size: int) -> None:
    """Whatever fits in one piece, and whatever does not."""
    assert is_whole(large([f"name-{number}" for number in range(size)]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=3), unique=True, max_size=40))
def test_names_are_put_in_order_as_by_msgspec(names: list[str]) -> None:
    """Also those that are none of ours: as many more as a second piece needs stand beside them."""
    assert is_whole(large([*names, *(f"name-{number}" for number in range(entries_max))]))


def test_more_entries_than_a_short_map_has() -> None:
    """Its length takes four bytes."""
    state = Large(numbers={str(number): number for number in range(1 << 16)})
    assert is_whole(state)


def test_another_value_stands_in_place_of_a_field() -> None:
    state = large(["a"])
    assert b"".join(packed(state, numbers={})) == msgspec.msgpack.encode(Large(**fields_of(state) | {"numbers": {}}))


def fields_of(state: Large) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


async def turns_beside(work: asyncio.Task[object]) -> int:
    """How many turns another on the event loop has until it is done."""
    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_others_have_turns_while_a_state_is_hashed_or_kept(tmp_path: Path) -> None:
    """One for each piece, at least, of what is large; what comes out is what comes out at once."""
    state = large([f"name-{number}" for number in range(20 * entries_max)])
    snapshots = Snapshots(COMPONENT, tmp_path)
    hashing = asyncio.ensure_future(state_hash_in_turns(state))
    assert await turns_beside(hashing) >= 20
    assert hashing.result() == state_hash(state)
    packing = asyncio.ensure_future(snapshots.pack_in_turns(state, Position(7), b"p"))
    assert await turns_beside(packing) >= 20
    assert packing.result() == snapshots.pack(state, Position(7), b"p")


async def test_what_was_changed_meanwhile_is_not_taken(tmp_path: Path) -> None:
    """Half of it would be of before, half of after."""
    state = large([f"name-{number}" for number in range(20 * entries_max)])
    works = [
        asyncio.ensure_future(state_hash_in_turns(state)),
        asyncio.ensure_future(Snapshots(COMPONENT, tmp_path).pack_in_turns(state, Position(7), b"p")),
    ]
    await asyncio.sleep(0)
    apply(COMPONENT, state, Event(by=ME, to="_", fact=LeaderElected(epoch=1, node="n", instance="i"), at=Now(0), n=1))
    assert await asyncio.gather(*works) == ["", None]
