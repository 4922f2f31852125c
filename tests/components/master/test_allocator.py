"""Dominant resource fairness, on numbers from the paper and on ties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nouns import NOTHING, AgentId, FrameworkId, Resources
from components.master.allocator import Claim, Ranking, allocate, dominant_share_milli


def amount(cpus: float, mem: int, disk: int = 0) -> Resources:
    return Resources(cpu_milli=round(cpus * 1000), mem_mb=mem, disk_mb=disk)


def claim(name: str, role: str = "*", held: Resources = NOTHING, allocations: int = 0, wants: bool = True) -> Claim:
    return Claim(FrameworkId(name), role, held, allocations, wants)


def never(_framework: FrameworkId, _agent: AgentId) -> bool:
    return False


def share_out(ranking: Ranking, demands: dict[str, Resources], free: Resources) -> dict[str, int]:
    """Progressive filling: whoever is furthest behind and still fits takes one task's worth."""
    tasks = dict.fromkeys(demands, 0)
    while True:
        fitting = [name for name in ranking if free.covers(demands[name])]
        if not fitting:
            return tasks
        ranking.give(fitting[0], demands[fitting[0]])
        free -= demands[fitting[0]]
        tasks[fitting[0]] += 1


def test_the_example_of_the_paper_gives_three_and_two_tasks():
    """9 CPUs, 18 GB; A's tasks take <1 CPU, 4 GB>, B's <3 CPU, 1 GB>: both get two thirds of what they need most."""
    total = amount(9, 18)
    ranking = Ranking([claim("A"), claim("B")], total, {})
    assert share_out(ranking, {"A": amount(1, 4), "B": amount(3, 1)}, total) == {"A": 3, "B": 2}


def test_twice_the_weight_is_twice_the_share():
    total = amount(9, 9)
    ranking = Ranking([claim("A", "prod"), claim("B", "dev")], total, {"prod": 2})
    assert share_out(ranking, {"A": amount(1, 1), "B": amount(1, 1)}, total) == {"A": 6, "B": 3}


def test_roles_share_first_then_the_frameworks_inside_a_role():
    total = amount(12, 12)
    ranking = Ranking([claim("A", "prod"), claim("B", "dev"), claim("C", "dev")], total, {})
    task = amount(1, 1)
    assert share_out(ranking, {"A": task, "B": task, "C": task}, total) == {"A": 6, "B": 3, "C": 3}


def test_equal_shares_go_by_allocations_then_by_name():
    held = amount(1, 1)
    claims = [claim("c", "r", held, 1), claim("b", "r", held, 2), claim("a", "r", held, 2)]
    assert list(Ranking(claims, amount(10, 10), {})) == ["c", "a", "b"]


def test_shares_of_different_resources_compare_exactly():
    """A third of the CPUs equals a third of the memory; the name decides."""
    claims = [claim("b", held=amount(3, 0)), claim("a", held=amount(0, 6))]
    assert list(Ranking(claims, amount(9, 18), {})) == ["a", "b"]


def test_weights_compare_exactly():
    """3/7 at weight 3 equals 1/7 at weight 1."""
    claims = [claim("b", "heavy", amount(3, 0)), claim("a", "light", amount(1, 0))]
    assert list(Ranking(claims, amount(7, 7), {"heavy": 3.0})) == ["b", "a"]
    claims = [claim("b", "heavy", amount(3, 0), 1), claim("a", "light", amount(1, 0), 0)]
    assert list(Ranking(claims, amount(7, 7), {"heavy": 3.0})) == ["a", "b"]


def test_who_suppresses_is_not_ranked_but_counts_for_its_role():
    claims = [claim("idle", "r", amount(8, 0), wants=False), claim("a", "r"), claim("b", "s", amount(1, 0))]
    assert list(Ranking(claims, amount(10, 10), {})) == ["b", "a"]


def test_a_resource_the_cluster_lacks_does_not_count():
    claims = [claim("a", held=Resources(disk_mb=5, cpu_milli=100)), claim("b", held=amount(0.2, 0))]
    assert list(Ranking(claims, amount(10, 10), {})) == ["a", "b"]


def test_each_agent_goes_whole_to_the_one_furthest_behind():
    free = [(AgentId(name), amount(4, 8)) for name in ("n1", "n2", "n3")]
    ranking = Ranking([claim("b"), claim("a")], amount(12, 24), {})
    assert [(pick.agent, pick.framework) for pick in allocate(free, ranking, never)] == [
        ("n1", "a"),
        ("n2", "b"),
        ("n3", "a"),
    ]


def test_who_filters_an_agent_leaves_it_to_the_next():
    free = [(AgentId("n1"), amount(4, 8)), (AgentId("n2"), amount(4, 8))]
    ranking = Ranking([claim("a"), claim("b")], amount(8, 16), {})
    picks = list(allocate(free, ranking, lambda framework, agent: (framework, agent) == ("a", "n1")))
    assert [(pick.agent, pick.framework) for pick in picks] == [("n1", "b"), ("n2", "a")]
    nobody = Ranking([claim("a")], amount(8, 16), {})
    assert list(allocate(free, nobody, lambda *_: True)) == []


def test_the_dominant_share_in_thousandths():
    assert dominant_share_milli(amount(3, 1), amount(9, 18)) == 333
    assert dominant_share_milli(NOTHING, NOTHING) == 0


amounts = st.builds(amount, st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))


@given(
    held=st.lists(st.tuples(amounts, st.sampled_from("rst"), st.integers(0, 3)), min_size=1, max_size=8),
    gifts=st.lists(st.tuples(st.integers(0, 7), amounts), max_size=10),
    capacity=amounts,
    weights=st.dictionaries(st.sampled_from("rst"), st.sampled_from([0.5, 1.0, 2.0, 3.0])),
)
def test_a_ranking_kept_up_to_date_is_the_ranking_made_anew(held, gifts, capacity, weights):
    """Giving moves exactly those who have to move."""
    claims = [claim(f"f{index}", role, amount_, count) for index, (amount_, role, count) in enumerate(held)]
    ranking = Ranking(claims, capacity, weights)
    for index, gift in gifts:
        chosen = claims[index % len(claims)]
        ranking.give(chosen.framework, gift)
        claims[index % len(claims)] = chosen._replace(held=chosen.held + gift, allocations=chosen.allocations + 1)
        assert list(ranking) == list(Ranking(claims, capacity, weights))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_order_of_the_claims_does_not_matter(count):
    claims = [claim(f"f{index}", held=amount(index % 3, 0)) for index in range(count)]
    assert list(Ranking(claims, amount(9, 9), {})) == list(Ranking(claims[::-1], amount(9, 9), {}))
