"""Metronome: runs computations that end, now or on a schedule, each firing once.

Rule of this room: no hands. It hears clients and the master, and everything it does is an event.
(Metronome: `dcos/metronome`)
"""

from __future__ import annotations

from functools import partial

from bus.events import LeaderElected
from bus.subjects import Author, Kind
from components.component import Component, settings_of
from components.metronome import queries
from components.metronome.config import MetronomeConfig
from components.metronome.decide import decide, wake_at
from components.metronome.fold import fold
from components.metronome.state import MetronomeState, check

__all__ = ["MetronomeConfig", "component"]


def component(config: MetronomeConfig) -> Component[MetronomeState]:
    """Metronome, under the name of its log."""
    return Component(
        author=Author(Kind.FRAMEWORK, config.id),
        term=LeaderElected,
        start=partial(
            MetronomeState,
            runs_kept_max=config.runs_kept_max,
            all_runs_kept_max=config.all_runs_kept_max,
            removed_jobs_kept_max=config.removed_jobs_kept_max,
        ),
        fold=fold,
        decide=partial(decide, config),
        wake_at=wake_at,
        check=check,
        queries={"jobs": queries.jobs, "runs": queries.runs, "queue": queries.queue, "explain": queries.explain},
        settings=settings_of("metronome", config),
    )
