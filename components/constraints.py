"""Whether a node may have one more instance, as constraints say, and if not, why.

`[field, operator, value]`: a field is `hostname`, `@hostname`, `@region`, `@zone` or an attribute of the node. A node
without it is refused, except by UNLIKE. Only instances of the same configuration count as *placed*; nothing is ever
moved to make them even. (Marathon: `Constraints.scala`, `docs/constraints.md`)

Rule of this room: what fails is said in words: what was needed, and what there was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bus.documents.constraints import (
    CLUSTER,
    GROUP_BY,
    HOSTNAMES,
    IS,
    LIKE,
    MAX_PER,
    REGION,
    SPREADING,
    UNIQUE,
    UNLIKE,
    ZONE,
    same_value,
)
from bus.nouns import Offer
from bus.patterns import matches
from components.matching import CONSTRAINT, Shortfall

Constraints = Sequence[Sequence[str]]
"""Each a field, an operator, and a value where the operator takes one."""


def value_of(offer: Offer, field: str) -> str | None:
    """What a node has in a field."""
    if field in HOSTNAMES:
        return offer.hostname
    if field == REGION:
        return offer.region or None
    if field == ZONE:
        return offer.zone or None
    return offer.attributes.get(field)


def place_of(constraints: Constraints, offer: Offer) -> dict[str, str]:
    """What is to be remembered of the node under an instance, so that the next can be held against it: nothing
    without a constraint that spreads. The hostname is known anyway."""
    fields = {each[0]: None for each in constraints if each[1] in SPREADING and each[0] not in HOSTNAMES}
    return {field: value for field in fields if (value := value_of(offer, field)) is not None}


class Tally:
    """Of the placed instances of one configuration, how many have each value of a field."""

    def __init__(self, constraints: Constraints, placed: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """`placed`: of each instance the hostname, and what was remembered of its place."""
        self.total = 0
        self.counts: dict[str, dict[str | None, int]] = {each[0]: {} for each in constraints if each[1] in SPREADING}
        if self.counts:
            for hostname, place in placed:
                self.add(hostname, place)

    @classmethod
    def told(cls, constraints: Constraints, total: int, places: Mapping[str, Mapping[str, int]]) -> Tally:
        """As somebody counted it."""
        tally = cls(constraints, ())
        tally.total = total
        for field, counts in tally.counts.items():
            for value, count in places.get(field, {}).items():
                counts[value] = count
        return tally

    def add(self, hostname: str, place: Mapping[str, str]) -> None:
        """One more is placed."""
        self.total += 1
        for field, counts in self.counts.items():
            value = _placed_at(field, hostname, place)
            counts[value] = counts.get(value, 0) + 1

    def beside(self, field: str, hostname: str, place: Mapping[str, str]) -> int:
        """How many are in the same group as one that is placed there, itself included."""
        return self.counts[field].get(_placed_at(field, hostname, place), 0)


def _placed_at(field: str, hostname: str, place: Mapping[str, str]) -> str | None:
    return hostname if field in HOSTNAMES else place.get(field)


def unmet(constraints: Constraints, offer: Offer, tally: Tally) -> list[Shortfall]:
    """The constraints that keep one more instance from this node."""
    return [short for each in constraints if (short := _unmet(each, offer, tally)) is not None]


def _unmet(constraint: Sequence[str], offer: Offer, tally: Tally) -> Shortfall | None:
    field, operator, *rest = constraint
    value = rest[0] if rest else None
    there = value_of(offer, field)
    if there is None:
        return None if operator == UNLIKE else Shortfall(CONSTRAINT, _said(constraint), f"no {field}")
    if operator in SPREADING:
        needed = _spread(operator, value, there, tally.counts.get(field, {}), tally.total)
        had = f"{field} {there} with {_instances(tally.counts.get(field, {}).get(there, 0))}"
        return None if needed is None else Shortfall(CONSTRAINT, f"{_said(constraint)}{needed}", had)
    return (
        None if _alike(operator, value or "", there) else Shortfall(CONSTRAINT, _said(constraint), f"{field} {there}")
    )


def _alike(operator: str, value: str, there: str) -> bool:
    """Whether a node's own value is one that is wanted."""
    if operator == LIKE:
        return matches(value, there)
    if operator == UNLIKE:
        return not matches(value, there)
    return operator == IS and same_value(value, there)


def _spread(operator: str, value: str | None, there: str, counts: Mapping[str | None, int], total: int) -> str | None:
    """What would have to be, for one more where `there` is; nothing if one more may be."""
    here = counts.get(there, 0)
    if operator == UNIQUE:
        return None if here == 0 else ": one without an instance"
    if operator == MAX_PER:
        return None if here < int(value or 0) else ""
    if operator == CLUSTER:
        if value and there != value:
            return ""
        return None if here == total else f": {', '.join(sorted(map(str, counts)))}, where the others are"
    assert operator == GROUP_BY, f"{operator} does not spread"
    if here == 0:
        return None
    if len(counts) < int(value or 0):
        return f": one more, {len(counts)} of at least {value} are used"
    least = min(counts.values())
    return None if here == least else f": one with at most {_instances(least)}"


def _said(constraint: Sequence[str]) -> str:
    return " ".join(constraint)


def _instances(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
