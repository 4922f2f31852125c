"""How offers come and go: made to who is furthest behind, answered, taken back.

What a framework declines is filtered for it at least until the next multiple of the allocation interval, so that it
and the master never chase each other; everybody else is asked at once. All filters end at such multiples, where one
allocation serves everything that has become possible. (Mesos: `hierarchical.cpp`, which allocates at each interval)

Rule of this room: all free resources of an agent go into one offer, or into none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from bus.events import OfferDeclined, OfferMade, OfferRecovered, OfferRescinded
from bus.nouns import (
    AgentId,
    FrameworkId,
    Now,
    Offer,
    OfferId,
    Rescinded,
    Resources,
    second,
)
from components.component import Say
from components.master.allocator import Claim, Ranking, allocate
from components.master.config import MasterConfig
from components.master.state import Framework, MasterState, allocatable, changed_since, goes_on

takers_max = 100
"""Frameworks, and groups of frameworks whose offers time out, that one decision serves."""
picks_max = 4000
offers_bytes_max = 4 * 1024 * 1024
"""Offers of one decision."""
event_bytes_max = 256 * 1024
"""Offers of one event."""
rescinded_at_once_max = 10_000
"""Offers that one event takes back."""
refuse_s_default = 5.0
refuse_s_max = 365 * 24 * 3600.0


def next_tick(config: MasterConfig, at: Now) -> Now:
    """The first multiple of the allocation interval after a moment."""
    interval = round(config.allocation_interval_s * second)
    return Now((at // interval + 1) * interval)


def filter_until(config: MasterConfig, now: Now, refuse_s: float) -> Now:
    """When what is declined now can be offered again.

    Negative or no number: 5 s; more than a year: a year; 0: at the next tick. (Mesos: `Filters`, `recoverResources`)
    """
    if math.isnan(refuse_s) or refuse_s < 0:
        refuse_s = refuse_s_default
    if refuse_s == 0:
        return next_tick(config, now)
    seconds = max(config.allocation_interval_s, min(refuse_s, refuse_s_max))
    return next_tick(config, Now(now + round(seconds * second) - 1))


# ---- made --------------------------------------------------------------------------------------------------------


def make_offers(config: MasterConfig, state: MasterState, now: Now, since_n: int) -> Iterator[Say]:
    """Offer what a decision that began behind event `since_n` has made possible, or time has."""
    takers = [framework for framework in state.frameworks.values() if framework.wants]
    free = _free(state, takers, now, since_n) if takers else []
    if not free:
        return

    def filtered(framework: FrameworkId, agent: AgentId, resources: Resources) -> bool:
        kept_for = state.agents[agent].role
        if kept_for != "*" and not may_use(state.frameworks[framework].role, kept_for):
            return True
        filters = state.agents[agent].filters.get(framework, ())
        return any(entry.until > now and entry.resources.covers(resources) for entry in filters)

    batch = _Batch(state.n)
    more = None
    for pick in allocate(free, _ranking(config, state), filtered):
        if batch.full(pick.framework):
            more = pick.agent
            break
        batch.add(pick.framework, state, pick.agent, pick.resources)
    expires_at = Now(now + round(config.offer_timeout_s * second))
    groups = batch.groups()
    for index, (framework, offers) in enumerate(groups, 1):
        role, goes_on_with = state.frameworks[framework].role, more if index == len(groups) else None
        fact = OfferMade(framework=framework, role=role, offers=offers, expires_at=expires_at, more=goes_on_with)
        yield Say(fact, to=framework)


def may_use(role: str, kept_for: str) -> bool:
    """Whether a framework of a role may be offered what is kept for another: everybody's, its own, or its parents'.

    (Mesos: `docs/roles.md`, `docs/reservation.md`)
    """
    return kept_for == "*" or role == kept_for or role.startswith(f"{kept_for}/")


def _free(state: MasterState, takers: list[Framework], now: Now, since_n: int) -> list[tuple[AgentId, Resources]]:
    """What can be offered and was not looked at before: by the agents' names."""
    if any(framework.wanting_n > since_n for framework in takers):
        names = sorted(state.agents)
    else:
        found = set(changed_since(state, since_n))
        for framework in takers:
            found.update(AgentId(name) for name in framework.waits.until(now))
        if state.more is not None and goes_on(state, since_n):
            found.update(name for name in state.agents if name >= state.more.agent)
        names = sorted(found)
    return [(name, state.agents[name].free) for name in names if allocatable(state, state.agents[name])]


def _ranking(config: MasterConfig, state: MasterState) -> Ranking:
    claims = [
        Claim(framework.framework, framework.role, framework.held, framework.allocations, framework.wants)
        for framework in state.frameworks.values()
    ]
    return Ranking(claims, state.capacity, config.weights)


class _Batch:
    """The offers of one allocation, by framework, cut into events."""

    def __init__(self, n: int) -> None:
        self.n, self.count, self.bytes = n, 0, 0
        self.offers: dict[FrameworkId, list[tuple[int, Offer]]] = {}

    def full(self, framework: FrameworkId) -> bool:
        """Whether the next offer has to wait for the next decision."""
        if self.count >= picks_max or self.bytes >= offers_bytes_max:
            return True
        return len(self.offers) >= takers_max and framework not in self.offers

    def add(self, framework: FrameworkId, state: MasterState, name: AgentId, resources: Resources) -> None:
        """One more offer."""
        agent = state.agents[name]
        offer = Offer(
            offer=OfferId(f"o-{self.n}-{self.count}"),
            agent=name,
            hostname=agent.hostname,
            resources=resources,
            attributes=agent.attributes,
            role=agent.role,
            region=agent.region,
            zone=agent.zone,
        )
        size = len(msgspec.msgpack.encode(offer))
        self.offers.setdefault(framework, []).append((size, offer))
        self.count += 1
        self.bytes += size

    def groups(self) -> list[tuple[FrameworkId, tuple[Offer, ...]]]:
        """The offers of each event."""
        groups: list[tuple[FrameworkId, tuple[Offer, ...]]] = []
        for framework, sized in self.offers.items():
            group: list[Offer] = []
            room = event_bytes_max
            for size, offer in sized:
                if group and size > room:
                    groups.append((framework, tuple(group)))
                    group, room = [], event_bytes_max
                group.append(offer)
                room -= size
            groups.append((framework, tuple(group)))
        return groups


# ---- taken back --------------------------------------------------------------------------------------------------


def rescind(
    state: MasterState, offers: Iterable[OfferId], reason: Rescinded, *, until: Now | None = None
) -> Iterator[Say]:
    """Take offers back, from each framework together."""
    by_framework: dict[FrameworkId, list[OfferId]] = {}
    for name in sorted(offers):
        by_framework.setdefault(state.offers[name].framework, []).append(name)
    for framework, names in sorted(by_framework.items()):
        for start in range(0, len(names), rescinded_at_once_max):
            chunk = tuple(names[start : start + rescinded_at_once_max])
            fact = OfferRescinded(framework=framework, offers=chunk, reason=reason, filter_until=until)
            yield Say(fact, to=framework)


def expire(config: MasterConfig, state: MasterState, now: Now) -> Iterator[Say]:
    """Take back what was not answered in time. (Mesos: `offer_timeout`)"""
    late = [OfferId(name) for name in state.expiring.until(now)]
    owners = list(dict.fromkeys(state.offers[name].framework for name in late))[:takers_max]
    now_due = [name for name in late if state.offers[name].framework in owners]
    yield from rescind(state, now_due, Rescinded.TIMEOUT, until=next_tick(config, now))


# ---- answered ----------------------------------------------------------------------------------------------------


def hear_decline(
    config: MasterConfig, state: MasterState, framework: Framework, fact: OfferDeclined, now: Now
) -> Iterator[Say]:
    """The offers that are the framework's are closed; of the others nothing is known any more."""
    yield from recover(state, framework.framework, fact.offers, filter_until(config, now, fact.refuse_s))


def recover(state: MasterState, framework: FrameworkId, names: tuple[OfferId, ...], until: Now) -> Iterator[Say]:
    """Close those of the offers that are the framework's."""
    own = tuple(name for name in dict.fromkeys(names) if _owner(state, name) == framework)
    if own:
        left = any(not state.offers[name].resources.empty for name in own)
        yield Say(OfferRecovered(framework=framework, offers=own, filter_until=until if left else None))


def _owner(state: MasterState, name: OfferId) -> FrameworkId | None:
    offer = state.offers.get(name)
    return offer.framework if offer is not None else None
