"""What one allocation leaves for the next, so that none begins anew: who is furthest behind, who is to be looked at.

Rule of this room: all of it follows from a state, and is made anew from any other one; no decision depends on whether
it was kept.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from bus.nouns import AgentId, FrameworkId
from components.master.allocator import Claim, Pick, Ranking
from components.master.state import Framework, MasterState, moved_since


class Ranked:
    """Of one state: its frameworks in the order they are served, and where an allocation was cut, who comes next."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._state: MasterState | None = None
        self._ranking: Ranking | None = None
        self._n = 0
        """Up to which event the ranking is."""
        self._given: set[FrameworkId] = set()
        """Who was given something in the ranking that may not be in the state: a decision may be left half made."""
        self._rest: Sequence[AgentId] = ()
        self._rest_n = -1

    def of(self, state: MasterState, revived: FrameworkId | None = None) -> Ranking:
        """The frameworks as they stand now, and one that revives as if it had. What it costs is what has changed since
        it was asked for."""
        ranking = self._ranking
        if ranking is None or self._state is not state or state.n < self._n:
            claims = map(_claim, state.frameworks.values())
            ranking = self._ranking = Ranking(claims, state.capacity, self._weights)
        else:
            ranking.resize(state.capacity)
            for name in sorted({*moved_since(state, self._n), *self._given}):
                framework = state.frameworks.get(name)
                if framework is not None:
                    ranking.put(_claim(framework))
            if len(ranking) > len(state.frameworks):
                ranking.keep(state.frameworks)
        self._state, self._n = state, state.n
        self._given.clear()
        if revived is not None:
            ranking.put(_claim(state.frameworks[revived])._replace(wants=True))
            self._given.add(revived)
        return ranking

    def given(self, picks: Iterator[Pick]) -> Iterator[Pick]:
        """The same picks, remembered until the state has them."""
        for pick in picks:
            self._given.add(pick.framework)
            yield pick

    def offered(self, state: MasterState, left_out: FrameworkId | None) -> None:
        """All that was given since `of` is in the state now, and nothing else is new there; but for what one framework
        was given last, if there was no room for it."""
        self._n = state.n
        self._given = set() if left_out is None else {left_out}

    def cut(self, n: int, names: Sequence[AgentId], at: AgentId) -> None:
        """Event `n` says that the allocation goes on with an agent. `names` are, from there on, all that have something
        to offer, ascending."""
        self._rest, self._rest_n = names[bisect_left(names, at) :], n

    def rest(self, state: MasterState, at: AgentId) -> Sequence[AgentId]:
        """All agents from `at` on that have something to offer, ascending, maybe with some that have not."""
        if self._state is state and self._rest_n == state.n:
            return self._rest
        return sorted(name for name in state.offerable if name >= at)


def _claim(framework: Framework) -> Claim:
    return Claim(framework.framework, framework.role, framework.held, framework.allocations, framework.wants)
