"""Marathon: keeps services running, N instances of each, for ever.

Rule of this room: no hands. It hears clients and the master, and everything it does is an event.
(Marathon: `mesosphere/marathon`)
"""

from __future__ import annotations

from functools import partial

from bus.events import LeaderElected
from bus.subjects import Author, Kind
from components.component import Component, settings_of, spread
from components.marathon import queries
from components.marathon.config import MarathonConfig
from components.marathon.decide import decide, wake_at
from components.marathon.fold import fold
from components.marathon.state import MarathonState, check

__all__ = ["MarathonConfig", "component"]


def component(config: MarathonConfig) -> Component[MarathonState]:
    """Marathon, under the name of its log."""
    return Component(
        author=Author(Kind.FRAMEWORK, config.id),
        term=LeaderElected,
        start=MarathonState,
        fold=fold,
        decide=partial(decide, config),
        wake_at=partial(wake_at, config),
        check=spread(check, lambda state: len(state.apps)),
        queries={"apps": queries.apps, "explain": queries.explain},
        settings=settings_of("marathon", config),
    )
