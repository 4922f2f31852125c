"""Two toy components that use every part of the loop: a player who serves and scores, a wall that returns late.

The player serves rally 1; the wall waits a second and returns it; the player scores; its hands paint the board and
see it painted; then the player serves the next rally.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bus.events import AgentStarted, Event, Fact, LeaderElected, fact
from bus.nouns import NOBODY, Now, second
from bus.subjects import Author, Kind
from components.component import Ask, Component, Heard, Input, Say, See, Seen, Sight, State, Wake, sight

PLAYER = Author(Kind.FRAMEWORK, "player")
WALL = Author(Kind.AGENT, "wall")


@fact("ball.served", said="toy player, to the wall")
class BallServed(Fact, frozen=True):
    """A rally begins."""

    rally: int


@fact("ball.returned", said="toy wall, to the player")
class BallReturned(Fact, frozen=True):
    """The ball is on its way back."""

    rally: int


@fact("point.scored", said="toy player, to nobody")
class PointScored(Fact, frozen=True):
    """A rally is over."""

    rally: int


@sight("toy.painted")
class Painted(Sight, frozen=True):
    rally: int


@dataclass(slots=True, kw_only=True)
class PlayerState(State):
    served: int = 0
    scored: int = 0


def player_fold(state: PlayerState, event: Event) -> None:
    match event.fact:
        case BallServed(rally=rally):
            assert rally == state.served + 1
            state.served = rally
        case PointScored(rally=rally):
            assert rally == state.scored + 1
            state.scored = rally


def player_decide(rallies: int, state: PlayerState, told: Input, now: Now) -> Iterator[Say]:
    match told:
        case Wake():
            yield Say(BallServed(rally=1), to=WALL.id)
        case Heard(event=Event(fact=BallReturned(rally=rally))) if rally == state.scored + 1:
            yield Say(PointScored(rally=rally))
        case Seen(sight=Painted(rally=rally)) if rally == state.served and rally < rallies:
            yield Say(BallServed(rally=rally + 1), to=WALL.id)


@dataclass
class Board:
    """The player's world: painted rallies, in the order of painting."""

    painted: list[int] = field(default_factory=list)


class PlayerHands:
    """Paints what is scored; the newest score is pending until the next serve."""

    asks: Mapping[str, Ask] = {}

    def __init__(self, board: Board) -> None:
        import asyncio

        self.board = board
        self.todo: asyncio.Queue[int] = asyncio.Queue(16)

    async def run(self, state: PlayerState, see: See) -> None:
        if state.scored and state.scored == state.served:
            self.todo.put_nowait(state.scored)
        while True:
            rally = await self.todo.get()
            self.board.painted.append(rally)
            await see(Painted(rally=rally))

    def act(self, event: Event) -> None:
        if isinstance(event.fact, PointScored):
            self.todo.put_nowait(event.fact.rally)


def player(rallies: int, board: Board) -> Component[PlayerState]:
    """Serves this many rallies."""
    return Component(
        author=PLAYER,
        term=LeaderElected,
        start=PlayerState,
        fold=player_fold,
        decide=lambda state, told, now: player_decide(rallies, state, told, now),
        wake_at=lambda state: Now(0) if not state.served else None,
        check=lambda state: None,
        hands=lambda: PlayerHands(board),
    )


@dataclass(slots=True, kw_only=True)
class WallState(State):
    due: dict[int, Now] = field(default_factory=dict)
    taken: int = 0
    returned: int = 0


@fact("ball.taken", said="toy wall, to nobody")
class BallTaken(Fact, frozen=True):
    """The ball will be returned when due."""

    rally: int
    due: Now


def wall_fold(state: WallState, event: Event) -> None:
    match event.fact:
        case BallTaken(rally=rally, due=due):
            assert rally == state.taken + 1
            state.taken = rally
            state.due[rally] = due
        case BallReturned(rally=rally):
            del state.due[rally]
            state.returned += 1


def wall_decide(state: WallState, told: Input, now: Now) -> Iterator[Say]:
    match told:
        case Heard(event=Event(fact=BallServed(rally=rally))) if rally > state.taken:
            yield Say(BallTaken(rally=rally, due=Now(now + second)), to=NOBODY)
        case Wake():
            for rally in [r for r, due in sorted(state.due.items()) if due <= now]:
                yield Say(BallReturned(rally=rally), to=PLAYER.id)


def wall() -> Component[WallState]:
    """Returns every ball after a second."""
    return Component(
        author=WALL,
        term=AgentStarted,
        start=WallState,
        fold=wall_fold,
        decide=wall_decide,
        wake_at=lambda state: min(state.due.values(), default=None),
        check=lambda state: None,
    )
