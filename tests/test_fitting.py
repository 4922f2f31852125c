"""How a cost grows is told by the exponent that fits it."""

from __future__ import annotations

import math

import pytest

from ops.bench.fitting import Series

SIZES = (10, 100, 1000, 10_000)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_its_power(power: float) -> None:
    """Whatever it is multiplied with."""
    assert Series("x", "s", SIZES, [7 * size**power for size in SIZES]).exponent == pytest.approx(power)


def test_n_log_n_is_not_too_fast_and_what_is_faster_is() -> None:
    """Of a whole, n log n is the bound; of each, log n."""
    assert not Series("x", "s", SIZES, [size * math.log(size) for size in SIZES]).too_fast
    assert Series("x", "s", SIZES, [size**1.5 for size in SIZES]).too_fast
    assert not Series("x", "s", SIZES, [math.log(size) for size in SIZES], each=True).too_fast
    assert Series("x", "s", SIZES, [float(size) for size in SIZES], each=True).too_fast


def test_what_is_fixed_does_not_hide_how_it_grows() -> None:
    """A square on top of a large constant is found between the two largest sizes."""
    assert Series("x", "s", SIZES, [1_000_000 + size**2 for size in SIZES]).too_fast
