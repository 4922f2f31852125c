"""What can be set about Marathon.

Rule of this room: every default is the original's and says where it is from. Checked once, when it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bus.nouns import FrameworkId

_MARATHON = FrameworkId("marathon")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarathonConfig:
    """One Marathon."""

    id: FrameworkId = _MARATHON
    role: str = "*"
    failover_timeout_s: float = 604_800.0
    """(Marathon: failover_timeout)"""
    decline_s: float = 120.0
    """(Marathon: decline_offer_duration)"""
    launch_timeout_s: float = 300.0
    """After which a launch nobody has reported is asked for. (Marathon: task_launch_confirm_timeout)"""
    launches_max: int = 100
    """Launches on one offer. (DC/OS: max_instances_per_offer)"""

    def __post_init__(self) -> None:
        """Raises ValueError that names the setting and what is allowed."""
        for name, least in (("failover_timeout_s", 0.0), ("decline_s", 0.001), ("launch_timeout_s", 1.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} is {value}: expected at least {least:g}")
        if self.launches_max < 1:
            raise ValueError(f"launches_max is {self.launches_max}: expected at least 1")
