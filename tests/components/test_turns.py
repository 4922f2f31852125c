"""Whoever decides gives others on its event loop their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bus.events import Event, FrameworkSuppressed, LeaderElected
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import FrameworkId, Now
from bus.subjects import Author, Kind
from components.component import Component, Input, Say, State, Wake
from components.runtime import live, system_clock

pytestmark = pytest.mark.timeout(30)
MANY = 40
"""Decisions that are due at once, each behind the one before."""


def restless(decided: list[int]) -> Component[State]:
    """Decides on nothing but time, and notes the turn of each decision."""

    def decide(state: State, told: Input, now: Now) -> Iterator[Say]:
        if isinstance(told, Wake):
            yield Say(FrameworkSuppressed(framework=FrameworkId("restless")))

    def fold(state: State, event: Event) -> None:
        if isinstance(event.fact, FrameworkSuppressed):
            decided.append(turn[0])

    return Component(
        author=Author(Kind.FRAMEWORK, "restless"),
        term=LeaderElected,
        start=State,
        fold=fold,
        decide=decide,
        wake_at=lambda state: Now(0) if len(decided) < MANY else None,
        check=lambda state: None,
    )


turn = [0]


async def test_between_two_decisions_that_are_due_at_once_others_have_a_turn() -> None:
    """One allocation of all agents is a dozen of them: together they would keep pings and answers waiting."""
    decided: list[int] = []
    stop, bus = asyncio.Event(), MemoryBus(MemoryServer("dc", system_clock))
    life = asyncio.create_task(live(restless(decided), bus, node="n1", instance="i1", store=None, stop=stop))
    while len(decided) < MANY:
        turn[0] += 1
        await asyncio.sleep(0)
    stop.set()
    await life
    await bus.close()
    assert len(set(decided)) == MANY
