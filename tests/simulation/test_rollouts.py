"""Deployments under storms, by what Marathon says of them; each planted bug is found by what it breaks."""

from __future__ import annotations

import pytest

from components.marathon import planning, rolling
from components.marathon.state import App
from tests.simulation import datacenter
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter

SEEDS = 40
pytestmark = pytest.mark.timeout(120)


def found() -> None:
    """Run seeds until one fails; its error is raised."""
    for seed in range(SEEDS):
        run_virtually(Datacenter(seed, three=True).run())


def test_too_many_new_ones_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "most_there", lambda counts, minimum, over: 100)
    with pytest.raises(AssertionError, match=r"has \d+ instances, at most \d+ may be there"):
        found()


def test_too_few_that_are_up_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "least_up", lambda wanted, minimum: 0)
    with pytest.raises(AssertionError, match=r"is dismissed, \d+ of .* are up, at least \d+ must be"):
        found()


def test_a_step_that_is_over_too_early_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they run or not."""
    early = property(lambda app: len(app.launched) + len(app.waiting) == app.wanted and not app.outdated)
    monkeypatch.setattr(App, "as_wanted", early)
    with pytest.raises(AssertionError, match="is done, with"):
        found()


def test_a_deployment_that_never_ends_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(App, "as_wanted", property(lambda app: False))
    monkeypatch.setattr(datacenter, "settle_s", 200.0)
    with pytest.raises(AssertionError, match=r"still after 200 s without faults: d-.* goes on"):
        found()


def test_a_lock_that_nobody_heeds_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_blockers", lambda *_: {})
    with pytest.raises(AssertionError, match=r"holds a lock on|works on .*, which .* has"):
        found()
