"""The master: it offers the agents' resources to frameworks, launches what they accept, tells them what became of it.

component(MasterConfig())                                       the mind alone
component(config, partial(MasterHands, config, bus, path), StandingWitness(bus, node))
                                                                with hands that ping and look into the store, and with a
                                                                witness that compares what it holds with who leads
Rule of this room: who wants the settings alone loads no mind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bus.events import LeaderElected
from bus.nouns import MASTER
from bus.subjects import Author, Kind
from components.component import Component, Hands, Witness, settings_of
from components.master.config import MasterConfig

if TYPE_CHECKING:
    from components.master.state import MasterState
    from components.master.vault import HandOn

__all__ = ["MasterConfig", "component"]


def component(
    config: MasterConfig,
    hands: Callable[[], Hands[MasterState]] | None = None,
    witness: Witness | None = None,
    projection: Callable[[MasterState], None] | None = None,
    hand_on: HandOn | None = None,
) -> Component[MasterState]:
    """The master under the name of its one log. `hand_on` opens secrets, if anybody here can."""
    from components.master.books import auditor
    from components.master.decide import decide
    from components.master.fold import fold
    from components.master.queries import QUERIES, passport
    from components.master.ranked import Ranked
    from components.master.state import start, wake_at
    from components.master.vault import handed_on, sealing, vault

    return Component(
        author=Author(Kind.MASTER, MASTER),
        term=LeaderElected,
        start=partial(start, config),
        fold=fold,
        decide=partial(decide, config, Ranked(config.weights)),
        wake_at=wake_at,
        check=auditor(),
        queries={
            **QUERIES,
            **({} if config.issue is None else {"passport": partial(passport, config.issue)}),
            "sealing": partial(sealing, config),
            "vault": partial(vault, config),
            "secrets": partial(handed_on, config, hand_on),
        },
        hands=hands,
        witness=witness,
        projection=projection,
        settings=settings_of("master", replace(config, sign=None, issue=None), leave_out=("sign", "issue")),
    )
