"""How offers come and go: made to who is furthest behind, answered, taken back.

What a framework declines is filtered for it at least until the next multiple of the allocation interval, so that it
and the master never chase each other; everybody else is asked at once. All filters end at such multiples, where one
allocation serves everything that has become possible. (Mesos: `hierarchical.cpp`, which allocates at each interval)
What gets free on an agent while a framework is to answer what it was offered there waits for that answer, for as long
at most: then it is offered with the rest, not piece by piece as tasks end.

Rule of this room: all free resources of an agent go into one offer, or into none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from bus.events import FrameworkRevived, FrameworkSuppressed, OfferDeclined, OfferMade, OfferRecovered, OfferRescinded
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
from components.master.allocator import allocate
from components.master.config import MasterConfig
from components.master.ranked import Ranked
from components.master.state import Framework, MasterState, changed_since, goes_on, moved_since, owned, tick_after

takers_max = 450
"""Frameworks that one decision serves, less what it said before: some 12 ms."""
picks_max = 1000
"""Offers that one decision makes: some 15 ms in few events."""
late_max = 1000
"""Offers that one decision takes back because they were not answered, and so many frameworks' at most: """
late_owners_max = 100
offers_bytes_max = 4 * 1024 * 1024
"""Offers of one decision."""
event_bytes_max = 256 * 1024
"""Offers of one event."""
rescinded_at_once_max = 10_000
"""Offers that one event takes back."""
_encode = msgspec.msgpack.Encoder().encode
refuse_s_default = 5.0
refuse_s_max = 365 * 24 * 3600.0


def next_tick(config: MasterConfig, at: Now) -> Now:
    """The first multiple of the allocation interval after a moment."""
    return tick_after(config.interval_us, at)


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


def make_offers(
    config: MasterConfig,
    ranked: Ranked,
    state: MasterState,
    now: Now,
    since_n: int,
    revived: FrameworkId | None = None,
) -> Iterator[Say]:
    """Offer what a decision that began behind event `since_n` has made possible, or time has.

    The framework that revives is served as if that were said, and without its filters: the first offers that it is made
    say it, or an event of its own if there are none.
    """
    names, whole = _candidates(ranked, state, now, since_n) if revived is None else (sorted(state.offerable), True)
    if not names and revived is None:
        return
    free = ((name, state.agents[name].free) for name in names if name in state.offerable)

    def filtered(framework: FrameworkId, name: AgentId) -> bool:
        agent = state.agents[name]
        if agent.role != "*" and not may_use(state.frameworks[framework].role, agent.role):
            return True
        return framework != revived and agent.waits.get(framework, now) > now

    batch = _Batch(state.n, takers_max - (state.n - since_n))
    more = left_out = None
    for pick in ranked.given(allocate(free, ranked.of(state, revived), filtered)):
        if batch.full(pick.framework):
            more, left_out = pick.agent, pick.framework
            break
        batch.add(pick.framework, state, pick.agent, pick.resources)
    expires_at = Now(now + round(config.offer_timeout_s * second))
    groups = batch.groups()
    if revived is not None and all(framework != revived for framework, _ in groups):
        yield Say(FrameworkRevived(framework=revived))
        yield from make_offers(config, ranked, state, now, since_n)
        return
    for index, (framework, offers) in enumerate(groups, 1):
        fact = OfferMade(
            framework=framework,
            role=state.frameworks[framework].role,
            offers=offers,
            expires_at=expires_at,
            more=more if index == len(groups) else None,
            revived=framework == revived,
        )
        yield Say(fact, to=framework)
        revived = None if fact.revived else revived
    ranked.offered(state, left_out)
    if more is not None and whole:
        ranked.cut(state.n, names, more)


def may_use(role: str, kept_for: str) -> bool:
    """Whether a framework of a role may be offered what is kept for another: everybody's, its own, or its parents'.

    (Mesos: `docs/roles.md`, `docs/reservation.md`)
    """
    return kept_for == "*" or role == kept_for or role.startswith(f"{kept_for}/")


def _candidates(ranked: Ranked, state: MasterState, now: Now, since_n: int) -> tuple[Sequence[AgentId], bool]:
    """The agents that were not looked at before, ascending, maybe with some that have nothing to offer; and whether
    they are, from anywhere the allocation may be cut, all there are."""
    if any(_wants_since(state.frameworks[name], since_n) for name in moved_since(state, since_n)):
        return sorted(state.offerable), True
    changed = [name for name in changed_since(state, since_n) if name in state.offerable]
    if state.more is not None and goes_on(state, since_n):
        rest = ranked.rest(state, state.more.agent)
        return (sorted({*rest, *changed}) if changed else rest), True
    ripe = [FrameworkId(name) for name in state.ripening.until(now)]
    due = (AgentId(agent) for name in ripe for agent in state.frameworks[name].waits.until(now))
    return sorted({*changed, *due}), False


def _wants_since(framework: Framework, n: int) -> bool:
    return framework.wants and framework.wanting_n > n


class _Batch:
    """The offers of one allocation, by framework, cut into events."""

    def __init__(self, n: int, takers: int) -> None:
        self.n, self.takers, self.count, self.bytes = n, takers, 0, 0
        self.offers: dict[FrameworkId, list[tuple[int, Offer]]] = {}

    def full(self, framework: FrameworkId) -> bool:
        """Whether the next offer has to wait for the next decision."""
        if self.count >= picks_max or self.bytes >= offers_bytes_max:
            return True
        return len(self.offers) >= max(1, self.takers) and framework not in self.offers

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
        size = len(_encode(offer))
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
    late = [OfferId(name) for name in state.expiring.until(now, late_max)]
    owners = list(dict.fromkeys(state.offers[name].framework for name in late))[:late_owners_max]
    now_due = [name for name in late if state.offers[name].framework in owners]
    yield from rescind(state, now_due, Rescinded.TIMEOUT, until=next_tick(config, now))


# ---- answered ----------------------------------------------------------------------------------------------------


def hear_decline(
    config: MasterConfig, state: MasterState, framework: Framework, fact: OfferDeclined, now: Now
) -> Iterator[Say]:
    """The offers that are the framework's are closed; of the others nothing is known any more."""
    until = filter_until(config, now, fact.refuse_s)
    yield from recover(state, framework.framework, fact.offers, until, fact.suppressed)


def recover(
    state: MasterState, framework: FrameworkId, names: Iterable[OfferId], until: Now, suppressed: bool = False
) -> Iterator[Say]:
    """Close those of the offers that are the framework's; it may want no more with them."""
    own = owned(state, framework, names)
    if own:
        left = None if empty(state, own) else until
        yield Say(OfferRecovered(framework=framework, offers=own, filter_until=left, suppressed=suppressed))
    elif suppressed and not state.frameworks[framework].suppressed:
        yield Say(FrameworkSuppressed(framework=framework))


def empty(state: MasterState, names: Iterable[OfferId]) -> bool:
    """Whether nothing is left in any of the offers."""
    return all(state.offers[name].resources.empty for name in names)
