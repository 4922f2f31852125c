"""How a cost grows: the exponent of a power of the size, and whether that is faster than it may be.

Rule of this room: least squares on logarithms; n log n over the same sizes has an exponent, too, and is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression
from typing import NamedTuple

tolerance = 0.15
"""Of an exponent: what a few points scatter."""


class Series(NamedTuple):
    """One cost at several sizes."""

    name: str
    unit: str
    sizes: Sequence[int]
    values: Sequence[float]
    each: bool = False
    """The cost of one of them, which may grow as log n; else of all together, which may as n log n."""

    @property
    def exponent(self) -> float:
        """The power of the size that fits best."""
        return slope(self.sizes, self.values)

    @property
    def latest(self) -> float:
        """The same between the two largest sizes, where what is fixed counts least."""
        return slope(self.sizes[-2:], self.values[-2:])

    @property
    def bound(self) -> float:
        """The exponent of what it may grow as."""
        return slope(self.sizes, [math.log(2 + size) * (1 if self.each else size) for size in self.sizes])

    @property
    def too_fast(self) -> bool:
        """Whether it grows faster than n log n."""
        return max(self.exponent, self.latest) > self.bound + tolerance


def slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Least squares of log value on log size."""
    logs = [[math.log(max(1e-9, each)) for each in axis] for axis in (sizes, values)]
    return linear_regression(*logs).slope
