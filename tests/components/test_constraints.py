"""Constraints against nodes: each operator as a table, and what spreading promises as properties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents.constraints import GROUP_BY
from bus.nouns import AgentId, Offer, OfferId, Resources
from components import constraints as room
from components.constraints import Tally, place_of, unmet, value_of
from components.matching import Shortfall


def node(host: str, region: str = "", zone: str = "", **attributes: str) -> Offer:
    """An offer of a node."""
    return Offer(
        offer=OfferId(f"o-{host}"),
        agent=AgentId(host),
        hostname=host,
        resources=Resources(cpu_milli=1000),
        attributes=attributes,
        region=region,
        zone=zone,
    )


def check(constraint: Sequence[str], offer: Offer, placed: Sequence[Offer] = ()) -> Shortfall | None:
    """Why one more instance may not go on an offer when others are placed."""
    tally = Tally([constraint], [(other.hostname, place_of([constraint], other)) for other in placed])
    return next(iter(unmet([constraint], offer, tally)), None)


H1, H2, H3 = node("h1", rack="r1", zone="z1"), node("h2", rack="r1", zone="z2"), node("h3", rack="r2")
BARE = node("h4")


@pytest.mark.parametrize(
    ("constraint", "placed", "allowed"),
    [
        (("hostname", "UNIQUE"), [], [H1, H2, H3, BARE]),
        (("hostname", "UNIQUE"), [H1, H3], [H2, BARE]),
        (("@hostname", "UNIQUE"), [H1, H3], [H2, BARE]),
        (("rack", "UNIQUE"), [H1], [H3]),
        (("@zone", "UNIQUE"), [H1], [H2]),
        (("hostname", "CLUSTER"), [], [H1, H2, H3, BARE]),
        (("hostname", "CLUSTER"), [H2, H2], [H2]),
        (("hostname", "CLUSTER", "h3"), [], [H3]),
        (("rack", "CLUSTER"), [], [H1, H2, H3]),
        (("rack", "CLUSTER"), [H1], [H1, H2]),
        (("rack", "CLUSTER", "r2"), [], [H3]),
        (("rack", "CLUSTER", "r2"), [H1], []),  # one is elsewhere already
        (("rack", "GROUP_BY"), [], [H1, H2, H3]),
        (("rack", "GROUP_BY"), [H1], [H1, H2, H3]),  # that there is another rack is not known
        (("rack", "GROUP_BY"), [H1, H3], [H1, H2, H3]),
        (("rack", "GROUP_BY"), [H1, H1, H3], [H3]),
        (("rack", "GROUP_BY", "2"), [H1], [H3]),
        (("rack", "GROUP_BY", "2"), [H1, H3], [H1, H2, H3]),
        (("rack", "GROUP_BY", "3"), [H1, H3], []),
        (("hostname", "GROUP_BY", "4"), [H1, H3], [H2, BARE]),
        (("rack", "MAX_PER", "2"), [H1], [H1, H2, H3]),
        (("rack", "MAX_PER", "2"), [H1, H2], [H3]),
        (("hostname", "MAX_PER", "1"), [H1], [H2, H3, BARE]),
        (("rack", "LIKE", "r[13]"), [], [H1, H2]),
        (("rack", "LIKE", "r"), [], []),  # the whole text
        (("hostname", "LIKE", "h[34]"), [], [H3, BARE]),
        (("rack", "UNLIKE", "r1"), [], [H3, BARE]),
        (("hostname", "UNLIKE", "h[12]"), [], [H3, BARE]),
        (("@region", "UNLIKE", ".*"), [], [H1, H2, H3, BARE]),  # none has one
        (("rack", "IS", "r2"), [], [H3]),
        (("hostname", "IS", "h4"), [], [BARE]),
        (("zone", "IS", "z1"), [], []),  # an attribute, not @zone
        (("@zone", "IS", "z1"), [], [H1]),
    ],
)
def test_who_may_have_one_more(constraint: Sequence[str], placed: list[Offer], allowed: list[Offer]) -> None:
    assert [each for each in (H1, H2, H3, BARE) if check(constraint, each, placed) is None] == allowed


def test_a_number_is_compared_as_a_number():
    assert check(("cores", "IS", "4.0004"), node("h1", cores="4")) is None


@pytest.mark.parametrize(
    ("constraint", "offer", "placed", "needed", "had"),
    [
        (("hostname", "UNIQUE"), H1, [H1], "hostname UNIQUE: one without an instance", "hostname h1 with 1 instance"),
        (("rack", "CLUSTER"), H3, [H1], "rack CLUSTER: r1, where the others are", "rack r2 with 0 instances"),
        (("rack", "CLUSTER", "r2"), H1, [], "rack CLUSTER r2", "rack r1 with 0 instances"),
        (
            ("rack", "GROUP_BY"),
            H1,
            [H1, H1, H3],
            "rack GROUP_BY: one with at most 1 instance",
            "rack r1 with 2 instances",
        ),
        (
            ("rack", "GROUP_BY", "3"),
            H1,
            [H1, H3],
            "rack GROUP_BY 3: one more, 2 of at least 3 are used",
            "rack r1 with 1 instance",
        ),
        (("rack", "MAX_PER", "1"), H1, [H2], "rack MAX_PER 1", "rack r1 with 1 instance"),
        (("rack", "LIKE", "r[2-9]"), H1, [], "rack LIKE r[2-9]", "rack r1"),
        (("rack", "IS", "r2"), BARE, [], "rack IS r2", "no rack"),
    ],
)
def test_what_fails_is_said(
    constraint: Sequence[str], offer: Offer, placed: list[Offer], needed: str, had: str
) -> None:
    assert check(constraint, offer, placed) == Shortfall("UnfulfilledConstraint", needed, had)


def test_every_constraint_that_fails_is_said():
    both = [("rack", "IS", "r2"), ("hostname", "LIKE", "h[12]"), ("hostname", "UNIQUE")]
    assert [short.needed for short in unmet(both, BARE, Tally(both, []))] == ["rack IS r2", "hostname LIKE h[12]"]


def test_without_constraints_nothing_is_remembered_or_counted():
    assert place_of([("rack", "LIKE", "r1"), ("hostname", "UNIQUE")], H1) == {}
    assert Tally([("rack", "LIKE", "r1")], iter([("h1", {})])).total == 0


_nodes = st.builds(
    lambda host, rack, zone: node(f"h{host}", zone=zone, **({"rack": rack} if rack else {})),
    st.integers(0, 9),
    st.sampled_from(["", "r1", "r2", "r3"]),
    st.sampled_from(["", "z1", "z2"]),
)
_fields = st.sampled_from(["hostname", "rack", "@zone"])


def fill(constraint: Sequence[str], offers: Sequence[Offer]) -> list[Offer]:
    """Place one instance on each offer that may have one, in turn."""
    tally, placed = Tally([constraint], []), []
    for offer in offers:
        if not unmet([constraint], offer, tally):
            tally.add(offer.hostname, place_of([constraint], offer))
            placed.append(offer)
    return placed


def _promises(field: str, offers: Sequence[Offer]) -> None:
    """What each spreading operator promises, whatever is offered in whatever order."""
    for operator, value in (("UNIQUE", ""), ("CLUSTER", ""), ("MAX_PER", "2"), ("GROUP_BY", ""), ("GROUP_BY", "3")):
        constraint = (field, operator, value) if value else (field, operator)
        placed = fill(constraint, offers)
        counts = Counter(value_of(offer, field) for offer in placed)
        assert None not in counts, f"{constraint}: a node without {field}"
        assert operator != "UNIQUE" or max(counts.values(), default=0) <= 1, (constraint, counts)
        assert operator != "CLUSTER" or len(counts) <= 1, (constraint, counts)
        assert operator != "MAX_PER" or max(counts.values(), default=0) <= 2, (constraint, counts)
        if operator == GROUP_BY and value and len(counts) < int(value):
            assert max(counts.values(), default=0) <= 1, (constraint, counts)


def _evenness(field: str, offers: Sequence[Offer]) -> None:
    """GROUP_BY over groups that all have one: at no time more than one apart."""
    first = {value_of(offer, field): offer for offer in offers if value_of(offer, field) is not None}
    placed = fill((field, GROUP_BY, str(len(first))), [*first.values(), *offers, *offers])
    seen: Counter[str | None] = Counter()
    for offer in placed:
        seen[value_of(offer, field)] += 1
        if len(seen) == len(first):
            assert max(seen.values()) - min(seen.values()) <= 1, seen


@given(_fields, st.lists(_nodes, max_size=30))
def test_spreading_keeps_its_promises(field: str, offers: list[Offer]) -> None:
    _promises(field, offers)


@given(_fields, st.lists(_nodes, max_size=20))
def test_group_by_is_even(field: str, offers: list[Offer]) -> None:
    _evenness(field, offers)


SOME = [H1, H1, H2, H1, H3, H3, H1, H2, BARE, H2, H1, H3, H1]


def _never(_operator: str, _value: str | None, _there: str, _counts: Mapping[str | None, int], _total: int) -> None:
    return None


@pytest.mark.parametrize("promise", [_promises, _evenness])
def test_a_planted_bug_is_found(promise: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    promise("rack", SOME)
    monkeypatch.setattr(room, "_spread", _never)
    with pytest.raises(AssertionError):
        promise("rack", SOME)
