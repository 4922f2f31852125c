"""Much to decide at once, and somebody who answers meanwhile: both get their turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from bus import codec
from bus.events import Event, LeaderElected
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Now, Position
from bus.port import Fence, Message
from bus.subjects import own_log
from components.component import Component, Heard, Input, Say, State, Wake
from components.runtime import live
from tests.simulation.clock import run_virtually, virtual_now
from tests.simulation.toys import PLAYER, WALL, BallReturned, BallServed, PointScored

balls = 1000


@dataclass(slots=True, kw_only=True)
class Machine(State):
    """It serves ball after ball, each a decision of its own that is due at once, until one comes back."""

    served: int = 0
    ended: bool = False


def fold(state: Machine, event: Event) -> None:
    match event.fact:
        case BallServed(rally=rally):
            state.served = rally
        case PointScored():
            state.ended = True


def decide(state: Machine, told: Input, now: Now) -> Iterator[Say]:
    match told:
        case Wake():
            yield Say(BallServed(rally=state.served + 1), to=WALL.id)
        case Heard(event=Event(fact=BallReturned())):
            yield Say(PointScored(rally=state.served))


def machine() -> Component[Machine]:
    return Component(
        author=PLAYER,
        term=LeaderElected,
        start=Machine,
        fold=fold,
        decide=decide,
        wake_at=lambda state: Now(0) if state.served < balls and not state.ended else None,
        check=lambda state: None,
    )


async def return_the_first(bus: MemoryBus) -> None:
    """The wall says so in its log as soon as it hears of one."""
    await anext(bus.follow(f"{own_log('dc', PLAYER)[:-1]}ball.served.{WALL.id}", after=Position(0)))
    back = Event(by=WALL, to=PLAYER.id, fact=BallReturned(rally=1), at=virtual_now(), n=1, epoch=1, last=True)
    said = Message(codec.subject("dc", back), codec.encode(back))
    await bus.append([said], Fence(own_log("dc", WALL), Position(0)))


def test_an_answer_is_heard_between_decisions_that_are_due_at_once() -> None:
    """A scheduler that takes the first of ten thousand offers, and wants no more, is not made the others."""

    async def play() -> list[str]:
        server, stop = MemoryServer("dc", virtual_now), asyncio.Event()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(
                live(machine(), MemoryBus(server), node="n", instance="i", store=None, stop=stop, clock=virtual_now)
            )
            await return_the_first(MemoryBus(server))
            await anext(MemoryBus(server).follow(f"{own_log('dc', PLAYER)[:-1]}point.scored._", after=Position(0)))
            stop.set()
        return [record.subject for record in server.records(own_log("dc", PLAYER))]

    said = run_virtually(play())
    assert sum(".ball.served." in subject for subject in said) < balls / 10
    assert sum(".point.scored." in subject for subject in said) == 1
