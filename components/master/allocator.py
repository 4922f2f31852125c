"""Who is offered what is free: dominant resource fairness over roles, then over the frameworks of a role.

The dominant share of a role or framework is the largest part it holds of any one resource of the cluster, CPU, memory
or disk; ports do not count. Whoever is furthest behind comes first; of equals, who was given fewer offers so far; of
these, the first by name. (DRF: NSDI'11; Mesos: `hierarchical.cpp`, `sorter/drf/sorter.cpp`)

Rule of this room: whole numbers only, so that equal shares are equal; names decide what is left. It knows no master.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bus.nouns import AgentId, FrameworkId, Resources


class Claim(NamedTuple):
    """A framework as the allocator sees it."""

    framework: FrameworkId
    role: str
    held: Resources
    """What its tasks and its offers hold."""
    allocations: int
    """How many offers it was given so far."""
    wants: bool
    """Whether it takes part now: one that suppresses still counts for its role's share."""


class Pick(NamedTuple):
    """What is free on an agent goes to a framework."""

    agent: AgentId
    framework: FrameworkId
    resources: Resources


Filtered = Callable[[FrameworkId, AgentId, Resources], bool]
"""Whether the framework does not want this, or has not come to answer yet."""
_Key = tuple[int, int, str]


@dataclass(slots=True)
class _Standing:
    """Where a role or a framework stands."""

    cpu_milli: int = 0
    mem_mb: int = 0
    disk_mb: int = 0
    allocations: int = 0

    def take(self, resources: Resources, allocations: int) -> None:
        self.cpu_milli += resources.cpu_milli
        self.mem_mb += resources.mem_mb
        self.disk_mb += resources.disk_mb
        self.allocations += allocations


class Ranking:
    """All who take part, furthest behind first."""

    def __init__(self, claims: Iterable[Claim], capacity: Resources, weights: Mapping[str, float]) -> None:
        self._factors = _factors(capacity)
        self._roles: dict[str, _Standing] = {}
        self._frameworks: dict[FrameworkId, _Standing] = {}
        self._role_of: dict[FrameworkId, str] = {}
        self._wanting: dict[str, list[_Key]] = {}
        for claim in claims:
            self._add(claim)
        self._costs = _costs(self._roles, weights)
        self._order = sorted(self._role_key(role) for role in self._wanting)

    def _add(self, claim: Claim) -> None:
        self._roles.setdefault(claim.role, _Standing()).take(claim.held, claim.allocations)
        if not claim.wants:
            return
        standing = self._frameworks[claim.framework] = _Standing()
        standing.take(claim.held, claim.allocations)
        self._role_of[claim.framework] = claim.role
        insort(self._wanting.setdefault(claim.role, []), self._key(claim.framework))

    def __iter__(self) -> Iterator[FrameworkId]:
        for _, _, role in self._order:
            for _, _, framework in self._wanting[role]:
                yield FrameworkId(framework)

    def give(self, framework: FrameworkId, resources: Resources) -> None:
        """The framework is offered resources: it and its role stand further ahead."""
        role = self._role_of[framework]
        peers = self._wanting[role]
        _drop(peers, self._key(framework))
        _drop(self._order, self._role_key(role))
        self._frameworks[framework].take(resources, 1)
        self._roles[role].take(resources, 1)
        insort(peers, self._key(framework))
        insort(self._order, self._role_key(role))

    def _key(self, framework: FrameworkId) -> _Key:
        standing = self._frameworks[framework]
        return _share(standing, self._factors), standing.allocations, framework

    def _role_key(self, role: str) -> _Key:
        standing = self._roles[role]
        return _share(standing, self._factors) * self._costs[role], standing.allocations, role


def dominant_share_milli(held: Resources, capacity: Resources) -> int:
    """The dominant share in thousandths of the cluster, rounded down."""
    standing = _Standing()
    standing.take(held, 0)
    whole = math.prod(max(1, amount) for amount in (capacity.cpu_milli, capacity.mem_mb, capacity.disk_mb))
    return 1000 * _share(standing, _factors(capacity)) // whole


def _share(standing: _Standing, factors: tuple[int, int, int]) -> int:
    """The dominant share times the product of the cluster's amounts: whole, and comparable within one ranking."""
    cpu, mem, disk = factors
    return max(standing.cpu_milli * cpu, standing.mem_mb * mem, standing.disk_mb * disk)


def _factors(capacity: Resources) -> tuple[int, int, int]:
    """For each resource the product of the cluster's amounts of the others; 0 for one the cluster has none of."""
    amounts = (capacity.cpu_milli, capacity.mem_mb, capacity.disk_mb)
    whole = math.prod(max(1, amount) for amount in amounts)
    cpu, mem, disk = (whole // amount if amount > 0 else 0 for amount in amounts)
    return cpu, mem, disk


def _costs(roles: Iterable[str], weights: Mapping[str, float]) -> dict[str, int]:
    """What a share counts for each role: 1 / weight, as whole numbers in the same proportion."""
    milli = {role: round(weights.get(role, 1.0) * 1000) for role in roles}
    common = math.lcm(*milli.values())
    return {role: common // weight for role, weight in milli.items()}


def _drop(keys: list[_Key], key: _Key) -> None:
    del keys[bisect_left(keys, key)]


def allocate(free: Iterable[tuple[AgentId, Resources]], ranking: Ranking, filtered: Filtered) -> Iterator[Pick]:
    """For each agent in turn, the first framework in the ranking that has not filtered it gets the whole remainder."""
    for agent, resources in free:
        for framework in ranking:
            if not filtered(framework, agent, resources):
                ranking.give(framework, resources)
                yield Pick(agent, framework, resources)
                break
