"""The random histories find what may be wrong with deployments: each bug is one wrong line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bus.nouns import AppId
from bus.plans import DeploymentId
from components.marathon import levels, planning, state, steps
from components.marathon.planning import Draft
from components.marathon.rolling import Counts, Moves
from components.marathon.state import App, MarathonState
from tests.components.marathon.test_properties import Random, live_through


def what_is_not_up_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new instance that only waits lets an old one die."""
    right = state.moves

    def wrong(counts: Counts, minimum: float, over: float, canaries: int | None) -> Moves:
        return right(counts._replace(new_up=counts.new, new_down=0), minimum, over, canaries)

    monkeypatch.setattr(state, "moves", wrong)


def nobody_holds_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_state: MarathonState, _draft: Draft, _deeds: object) -> dict[AppId, DeploymentId]:
        return {}

    monkeypatch.setattr(planning, "_blockers", wrong)


def the_healthy_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    right = levels._old
    monkeypatch.setattr(levels, "_old", lambda app: next(iter(app.old_up), None) or right(app))


def old_ones_stay_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were launched before are not seen to be of another version."""
    right = steps._become

    def wrong(app: App, to_be: state.Specified) -> None:
        right(app, to_be)
        app.outdated, app.old_up = {}, {}

    monkeypatch.setattr(steps, "_become", wrong)


BUGS = [what_is_not_up_counts, nobody_holds_a_lock, the_healthy_go_first, old_ones_stay_old]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
    @given(st.randoms(use_true_random=True), st.integers(1, 150))
    def histories(random: Random, steps: int) -> None:
        live_through(random, steps)

    with pytest.raises((AssertionError, ExceptionGroup, KeyError)):
        histories()
