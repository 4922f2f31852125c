"""Marathon: keeps services running, N instances of each, for ever.

Rule of this room: it hears clients and the master, and everything it does is an event; its hands only look.
(Marathon: `mesosphere/marathon`)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bus.events import LeaderElected
from bus.services import in_short
from bus.subjects import Author, Kind
from components.component import Component, Hands, settings_of, spread
from components.marathon import planned, podded, queries, waiting
from components.marathon.config import MarathonConfig
from components.marathon.decide import decide, wake_at
from components.marathon.fold import fold
from components.marathon.state import MarathonState, check

__all__ = ["MarathonConfig", "component"]


def component(
    config: MarathonConfig, hands: Callable[[], Hands[MarathonState]] | None = None
) -> Component[MarathonState]:
    """Marathon, under the name of its log; with `MarathonHands` it looks after its instances itself."""
    return Component(
        author=Author(Kind.FRAMEWORK, config.id),
        term=LeaderElected,
        start=MarathonState,
        fold=fold,
        decide=partial(decide, config),
        wake_at=partial(wake_at, config),
        check=spread(check, lambda state: len(state.apps) + len(state.owners)),
        queries={
            "apps": queries.apps,
            "deployments": planned.deployments,
            "explain": waiting.explain,
            "groups": planned.groups,
            "plan": planned.plan,
            "pods": podded.pods,
            "queue": waiting.queue,
            "versions": planned.versions,
        },
        hands=hands,
        in_short=in_short,
        settings=settings_of("marathon", config),
    )
