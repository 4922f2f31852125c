"""Whoever decides gives others on its event loop their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bus.events import Event, FrameworkSuppressed, LeaderElected
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import FrameworkId, Now, second
from bus.subjects import Author, Kind
from components.component import Component, Input, Say, State, Wake
from components.runtime import clock_look_s, live, system_clock
from tests.simulation.clock import run_virtually, virtual_now

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


def due_at(due: Now, decided: asyncio.Event) -> Component[State]:
    """Decides once, at a time."""

    def decide(state: State, told: Input, now: Now) -> Iterator[Say]:
        assert now >= due, f"woken at {now}, {due - now} us too soon"
        yield Say(FrameworkSuppressed(framework=FrameworkId("restless")))

    def fold(state: State, event: Event) -> None:
        if isinstance(event.fact, FrameworkSuppressed):
            decided.set()

    return Component(
        author=Author(Kind.FRAMEWORK, "restless"),
        term=LeaderElected,
        start=State,
        fold=fold,
        decide=decide,
        wake_at=lambda state: None if decided.is_set() else due,
        check=lambda state: None,
    )


def waited_s(*, for_s: int, set_by_s: int) -> float:
    """How long it takes until a decision is made that is due then, if ten seconds before now the clock is set."""

    async def main() -> float:
        loop, set_us = asyncio.get_running_loop(), 0
        decided, ready, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        component = due_at(Now(virtual_now() + for_s * second), decided)
        bus = MemoryBus(MemoryServer("dc", virtual_now))
        life = asyncio.create_task(
            live(
                component,
                bus,
                node="n1",
                instance="i1",
                store=None,
                stop=stop,
                ready=ready.set,
                clock=lambda: Now(virtual_now() + set_us),
            )
        )
        began = loop.time()
        await ready.wait()
        await asyncio.sleep(10)  # virtual
        set_us = set_by_s * second
        await decided.wait()
        took_s = loop.time() - began
        stop.set()
        await life
        await bus.close()
        return took_s

    waited: float = run_virtually(main())
    return waited


def test_who_is_due_decides_then() -> None:
    """Also behind more looks at the clock than one."""
    assert waited_s(for_s=300, set_by_s=0) == pytest.approx(300, abs=0.1)


def test_a_clock_that_was_set_is_noticed_within_a_minute() -> None:
    """A host that slept, or whose clock was wrong: nothing is heard, and time has come all the same."""
    assert waited_s(for_s=3600, set_by_s=3600) <= 10 + clock_look_s


def test_a_clock_that_was_set_back_lets_nobody_decide_too_soon() -> None:
    """The alarm was set by the old time."""
    assert waited_s(for_s=30, set_by_s=-5) == pytest.approx(35, abs=0.1)
