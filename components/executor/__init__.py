"""The executor: hosts many tasks on one agent, tells what becomes of each.

Rule of this room: the mind says STARTING before the hands start anything; the launcher keeps what neither may lose.
Who wants the settings alone, or only the launcher, loads no mind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from bus.events import ExecutorStarted
from components.component import Component, Hands, settings_of, spread
from components.executor.config import ExecutorConfig

if TYPE_CHECKING:
    from components.executor.state import ExecutorState

__all__ = ["ExecutorConfig", "component"]


def component(
    config: ExecutorConfig, hands: Callable[[], Hands[ExecutorState]] | None = None
) -> Component[ExecutorState]:
    """An executor; with `partial(ExecutorHands, config)` as hands it works on real processes."""
    from components.executor.decide import decide
    from components.executor.state import ExecutorState, check, fold, wake_at

    return Component(
        author=config.author,
        term=partial(ExecutorStarted, boot=config.boot),
        start=ExecutorState,
        fold=fold,
        decide=partial(decide, config),
        wake_at=wake_at,
        check=spread(check, lambda state: len(state.tasks)),
        hands=hands,
        settings=settings_of("executor", config, leave_out=("hide", "boot")),
    )
