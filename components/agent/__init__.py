"""The agent: one machine's resources, the tasks on it, and the executor that runs them.

Rule of this room: who wants the settings alone loads no mind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bus.events import AgentStarted
from components.agent.config import AgentConfig, parse_attributes
from components.component import Component, Hands, settings_of, spread

if TYPE_CHECKING:
    from components.agent.state import AgentState

__all__ = ["AgentConfig", "component", "parse_attributes"]


def component(config: AgentConfig, hands: Callable[[], Hands[AgentState]] | None = None) -> Component[AgentState]:
    """The agent of one machine."""
    from components.agent.decide import decide, wake_at
    from components.agent.queries import standing, tasks
    from components.agent.state import check, fold, start

    return Component(
        author=config.author,
        term=AgentStarted,
        start=start,
        fold=fold,
        decide=partial(decide, config),
        wake_at=partial(wake_at, config),
        check=spread(check, lambda state: len(state.tasks) + len(state.ended)),
        queries={"tasks": tasks, "standing": partial(standing, config)},
        hands=hands,
        settings=settings_of("agent", config, leave_out=("executor_argv",)),
    )
