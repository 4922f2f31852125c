"""Who is offered what is free: dominant resource fairness over roles, then over the frameworks of a role.

The dominant share of a role or framework is the largest part it holds of any one resource of the cluster, CPU, memory
or disk; ports do not count. Whoever is furthest behind comes first; of equals, who was given fewer offers so far; of
these, the first by name. (DRF: NSDI'11; Mesos: `hierarchical.cpp`, `sorter/drf/sorter.cpp`)

Rule of this room: whole numbers only, so that equal shares are equal; names decide what is left. It knows no master.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

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


class Pick(msgspec.Struct, frozen=True, gc=False):
    """What is free on an agent goes to a framework."""

    agent: AgentId
    framework: FrameworkId
    resources: Resources


Filtered = Callable[[FrameworkId, AgentId], bool]
"""Whether the framework does not want what is free there, or is to answer first what it was offered there."""
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


@dataclass(slots=True)
class _Role:
    """A role: where it stands, and its frameworks that take part, furthest behind first."""

    role: str
    cost: int
    standing: _Standing = field(default_factory=_Standing)
    members: int = 0
    wanting: list[_Key] = field(default_factory=list)
    key: _Key | None = None
    """Its entry in the order of the roles, while any of its frameworks takes part."""


@dataclass(slots=True)
class _Known:
    """A framework as it was counted, and where it is in the order."""

    standing: _Standing
    role: _Role
    key: _Key | None = None
    """Its entry in the order of its role, while it takes part."""

    def says(self, claim: Claim) -> bool:
        """Whether a claim says nothing new."""
        standing, held = self.standing, claim.held
        return (
            claim.wants == (self.key is not None)
            and claim.allocations == standing.allocations
            and (held.cpu_milli, held.mem_mb, held.disk_mb) == (standing.cpu_milli, standing.mem_mb, standing.disk_mb)
            and claim.role == self.role.role
        )


class Ranking:
    """All who take part, furthest behind first. Kept up to date: what a change costs does not depend on the others.

    Only another capacity moves everybody.
    """

    def __init__(self, claims: Iterable[Claim], capacity: Resources, weights: Mapping[str, float]) -> None:
        self._weights = {role: round(weight * 1000) for role, weight in weights.items()}
        self._common = math.lcm(1000, *self._weights.values())
        self._known: dict[FrameworkId, _Known] = {}
        self._roles: dict[str, _Role] = {}
        self._order: list[_Key] = []
        self.capacity = capacity
        self._factors = _factors(capacity)
        for claim in claims:
            self.put(claim)

    def __iter__(self) -> Iterator[FrameworkId]:
        for _, _, role in self._order:
            for _, _, framework in self._roles[role].wanting:
                yield FrameworkId(framework)

    def __len__(self) -> int:
        """How many there are, whether they take part or not."""
        return len(self._known)

    def resize(self, capacity: Resources) -> None:
        """The cluster has other amounts: all shares are others."""
        if capacity == self.capacity:
            return
        self.capacity, self._factors = capacity, _factors(capacity)
        for role in self._roles.values():
            role.wanting.clear()
        for framework, known in self._known.items():
            if known.key is not None:
                known.key = self._key(framework, known.standing)
                known.role.wanting.append(known.key)
        self._order.clear()
        for role in self._roles.values():
            role.wanting.sort()
            role.key = None
            self._place(role)

    def put(self, claim: Claim) -> None:
        """Somebody is new, or claims something else than before."""
        known = self._known.get(claim.framework)
        if known is not None:
            if known.says(claim):
                return
            self._withdraw(known)
        role = self._roles.get(claim.role)
        if role is None:
            weight = self._weights.get(claim.role, 1000)
            role = self._roles[claim.role] = _Role(claim.role, self._common // weight)
        role.members += 1
        role.standing.take(claim.held, claim.allocations)
        known = self._known[claim.framework] = _Known(_Standing(), role)
        known.standing.take(claim.held, claim.allocations)
        if claim.wants:
            known.key = self._key(claim.framework, known.standing)
            _add(role.wanting, known.key)
        self._place(role)

    def keep(self, frameworks: Container[FrameworkId]) -> None:
        """All others are gone."""
        for framework in [name for name in self._known if name not in frameworks]:
            self._withdraw(self._known.pop(framework))

    def give(self, framework: FrameworkId, resources: Resources) -> None:
        """The framework is offered resources: it and its role stand further ahead, until it claims something else."""
        known = self._known[framework]
        role = known.role
        assert known.key is not None, f"{framework} takes no part"
        _drop(role.wanting, known.key)
        known.standing.take(resources, 1)
        role.standing.take(resources, 1)
        known.key = self._key(framework, known.standing)
        _add(role.wanting, known.key)
        self._place(role)

    def _withdraw(self, known: _Known) -> None:
        standing, role = known.standing, known.role
        role.standing.cpu_milli -= standing.cpu_milli
        role.standing.mem_mb -= standing.mem_mb
        role.standing.disk_mb -= standing.disk_mb
        role.standing.allocations -= standing.allocations
        role.members -= 1
        if known.key is not None:
            _drop(role.wanting, known.key)
        self._place(role)
        if not role.members:
            del self._roles[role.role]

    def _key(self, framework: FrameworkId, standing: _Standing) -> _Key:
        return _share(standing, self._factors), standing.allocations, framework

    def _place(self, role: _Role) -> None:
        """After any change of a role: where it is in the order."""
        key = None
        if role.wanting:
            key = _share(role.standing, self._factors) * role.cost, role.standing.allocations, role.role
        if key == role.key:
            return
        if role.key is not None:
            _drop(self._order, role.key)
        if key is not None:
            _add(self._order, key)
        role.key = key


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


def _drop(keys: list[_Key], key: _Key) -> None:
    """Mostly it is the first: who was furthest behind,"""
    del keys[0 if keys[0] == key else bisect_left(keys, key)]


def _add(keys: list[_Key], key: _Key) -> None:
    """and then often the last."""
    if keys and key < keys[-1]:
        insort(keys, key)
    else:
        keys.append(key)


def allocate(free: Iterable[tuple[AgentId, Resources]], ranking: Ranking, filtered: Filtered) -> Iterator[Pick]:
    """For each agent in turn, the first framework in the ranking that has not filtered it gets the whole remainder."""
    for agent, resources in free:
        for framework in ranking:
            if not filtered(framework, agent):
                ranking.give(framework, resources)
                yield Pick(agent, framework, resources)
                break
