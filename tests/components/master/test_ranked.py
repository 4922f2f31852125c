"""What an allocation keeps for the next one changes nothing but what the next one costs."""

from __future__ import annotations

from importlib import import_module
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.events import Fact, OfferMade
from bus.nouns import FrameworkId, Resources
from components.component import Wake
from components.master.allocator import Claim, Ranking
from components.master.ranked import Ranked
from tests.components.master.datacenter import Datacenter, made
from tests.components.master.honest import ACTIONS, World
from tests.components.master.test_allocator import amounts

CHANGE = st.tuples(st.integers(0, 5), amounts, st.sampled_from("rst"), st.integers(0, 3), st.booleans())
STEP = st.one_of(
    st.tuples(st.just("put"), CHANGE), st.tuples(st.just("give"), CHANGE), st.tuples(st.just("resize"), amounts)
)


def claim(change: tuple[int, Resources, str, int, bool]) -> Claim:
    number, held, role, allocations, wants = change
    return Claim(FrameworkId(f"f{number}"), role, held, allocations, wants)


@given(steps=st.lists(STEP, max_size=30), weights=st.dictionaries(st.sampled_from("rst"), st.sampled_from([0.5, 2, 3])))
def test_a_ranking_told_of_every_change_is_the_ranking_made_anew(steps, weights):
    capacity = Resources(cpu_milli=9000, mem_mb=9)
    ranking, claims = Ranking((), capacity, weights), {}
    for what, told in steps:
        if what == "resize":
            capacity = told
            ranking.resize(capacity)
        elif what == "put":
            claims[claim(told).framework] = claim(told)
            ranking.put(claim(told))
        else:
            known = claims.get(claim(told).framework)
            if known is None or not known.wants:
                continue
            ranking.give(known.framework, told[1])
            claims[known.framework] = known._replace(held=known.held + told[1], allocations=known.allocations + 1)
        assert list(ranking) == list(Ranking(claims.values(), capacity, weights))
    gone = sorted(claims)[::2]
    for name in gone:
        del claims[name]
    ranking.keep(claims)
    assert list(ranking) == list(Ranking(claims.values(), capacity, weights))


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every decision makes anew what it needs."""
    of, rest = Ranked.of, Ranked.rest
    monkeypatch.setattr(Ranked, "of", lambda _self, state, revived=None: of(Ranked({}), state, revived))
    monkeypatch.setattr(Ranked, "rest", lambda _self, state, at: rest(Ranked({}), state, at))


def told(seed: int) -> list[Fact]:
    random = Random(seed)
    world = World()
    for _ in range(150):
        random.choice(ACTIONS)(world, random.randrange(1000), random.randrange(1000))
    return [event.fact for event in world.dc.log]


@pytest.mark.parametrize(("bound", "most"), [("picks_max", 1000), ("picks_max", 1), ("takers_max", 1)])
def test_no_decision_depends_on_what_was_kept(bound, most, monkeypatch):
    """The same histories, with memory and without, cut at every place where an allocation can be cut."""
    monkeypatch.setattr(import_module("components.master.offers"), bound, most)
    kept = [told(seed) for seed in range(10)]
    forget(monkeypatch)
    assert [told(seed) for seed in range(10)] == kept


def test_an_allocation_goes_on_where_it_was_cut(monkeypatch):
    """In twos, three agents' registrations and a decline between; each time all that is free is offered."""
    monkeypatch.setattr(import_module("components.master.offers"), "picks_max", 2)
    cuts: list[int] = []
    cut = Ranked.cut
    monkeypatch.setattr(Ranked, "cut", lambda self, n, names, at: (cuts.append(n), cut(self, n, names, at)))
    dc = Datacenter()
    for number in range(9):
        dc.register(f"n{number}")
    assert [agent for _, agents in made(dc.enroll("a")) for agent in agents] == [f"n{number}" for number in range(9)]
    assert len(cuts) == 4
    dc.enroll("b")
    dc.decline("a", *dc.offers("a")[::2])
    assert len(dc.offers("a")) == 4
    assert len(dc.offers("b")) == 5
    assert dc.rebuilt() == dc.hash()


def declined(*, looked: bool) -> list[Fact]:
    """What is said once everything was declined for a while, maybe with a look at what would be said then."""
    dc = Datacenter()
    for name in ("a", "b", "c"):
        dc.enroll(name)
    for number in range(7):
        dc.register(f"n{number}")
    for _ in range(3):
        for name in ("a", "b", "c"):
            if dc.offers(name):
                dc.decline(name, refuse_s=5)
    due = dc.component.wake_at(dc.state)
    assert due is not None
    assert due > dc.now
    if looked:
        assert isinstance(next(dc.component.decide(dc.state, Wake(), due)).fact, OfferMade)
    return [event.fact for event in dc.pass_time(10)]


def test_a_decision_left_half_made_leaves_nothing_behind():
    """Whoever only looks whether something would be said does not change what is said then."""
    assert declined(looked=True) == declined(looked=False)
