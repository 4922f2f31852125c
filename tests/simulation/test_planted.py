"""A simulation that finds nothing proves nothing: each planted bug is found, and by what it breaks."""

from __future__ import annotations

from random import Random

import pytest

from bus.port import StreamDiverged
from components import runtime
from components.mind import Mind
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter, storm_of_three_s
from tests.simulation.planted import (
    BlindRetry,
    HandsFirst,
    HeardForgotten,
    NoFence,
    Plant,
    begin_at_once,
    never_yield,
)
from tests.simulation.weather import PAUSE, Sky

SEEDS = 20
pytestmark = pytest.mark.timeout(120)


def found(plant: Plant | None = None) -> None:
    """Run seeds until one fails; its error is raised."""
    for seed in range(SEEDS):
        run_virtually(Datacenter(seed, three=True, plant=plant).run())


class Quiet(Datacenter):
    """Processes are stopped now and then, nothing else happens to them, and they have little to say."""

    async def _storm(self) -> None:
        await self.people.live(storm_of_three_s, every_s=60)


def found_in_the_quiet() -> None:
    for seed in range(SEEDS):
        sky = Sky(Random(seed), crash_per_step=0.0, lost_per_append=0.0, storms=(PAUSE,), every_s=4.0)
        run_virtually(Quiet(seed, sky, three=True).run())


def test_without_a_fence_two_write_one_log() -> None:
    """Two instances begin a term each, behind the same event."""
    with pytest.raises(AssertionError, match="1 after 1"):
        found(NoFence())


def test_who_forgets_what_it_heard_answers_twice() -> None:
    """A new instance hears the inbox from the beginning, and says every answer again; or decides what cannot follow."""
    with pytest.raises(AssertionError, match=r"has \d answers|is not folded"):
        found(HeardForgotten())


def test_hands_that_do_not_wait_for_the_log_start_what_is_not_in_it() -> None:
    with pytest.raises(AssertionError, match="was started, but no STARTING is in the log"):
        found(HandsFirst())


def test_a_blind_retry_says_everything_twice() -> None:
    """The append had landed, its answer was lost; behind a moved fence it lands again."""
    with pytest.raises(AssertionError, match=r": \d+ after \d+"):
        found(BlindRetry())


def test_a_leader_that_was_stopped_and_does_not_yield_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nothing to append, so no fence stops it: it would answer questions for ever."""
    monkeypatch.setattr(runtime._Life, "yield_to_others", never_yield)
    with pytest.raises(AssertionError, match="leads on"):
        found_in_the_quiet()


def test_a_term_that_is_folded_before_it_is_in_the_log_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was not elected goes on with a state that no log tells of."""
    monkeypatch.setattr(Mind, "begin", begin_at_once)
    with pytest.raises((AssertionError, StreamDiverged)):
        found()
