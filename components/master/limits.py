"""When many agents fall silent at once, it is rarely the agents: marking them all would replace every task they run.

Rule of this room: pure. A mark that is put off is looked at anew when the agent's pings are missed again, and as long
as any is put off an alarm stands.
"""

from __future__ import annotations

from bus.nouns import Now, second
from components.master.config import MasterConfig
from components.master.state import MasterState

REMOVALS = "agents.removal"
"""The alarm that stands while marks are put off."""


def put_off(config: MasterConfig, state: MasterState, unheard: int, now: Now) -> str | None:
    """Why a silent agent is not marked now, if it is not.

    `unheard`: if it has never answered this master, how many have not; else 0.
    """
    limit = config.recovery_agent_removal_limit_percent
    if unheard * 100 > limit * state.taken_over:
        return (
            f"{unheard} of {state.taken_over} agents have not answered since this master leads, more than {limit:g} % "
            "(recovery_agent_removal_limit): none of them is marked unreachable. Is the master cut off?"
        )
    if config.agent_removals_max is not None and _marked(config, state, now) >= config.agent_removals_max:
        return (
            f"{config.agent_removals_max} agents were marked unreachable within {config.agent_removal_window_s:g} s "
            "(agent_removal_rate_limit): the others that are silent wait"
        )
    return None


def _marked(config: MasterConfig, state: MasterState, now: Now) -> int:
    since = now - round(config.agent_removal_window_s * second)
    return sum(at > since for at in state.marks)
