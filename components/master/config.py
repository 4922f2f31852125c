"""What can be set about a master.

Rule of this room: checked once, when it is made; nobody else reads settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bus.events import CheckpointMade

_INTERVALS = ("allocation_interval_s", "offer_timeout_s", "ping_interval_s", "watch_interval_s", "checkpoint_s")
_COUNTS = ("pings_missed_max", "minimum_cpu_milli", "minimum_mem_mb", "checkpoint_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterConfig:
    """A master's settings; the defaults are Mesos' and DC/OS's."""

    allocation_interval_s: float = 1.0
    """What was declined can be offered again only at multiples of it. (Mesos: `allocation_interval`)"""
    offer_timeout_s: float = 120.0
    """How long a framework may keep an offer unanswered. (DC/OS: 2 min)"""
    ping_interval_s: float = 15.0
    """(Mesos: `agent_ping_timeout`)"""
    pings_missed_max: int = 5
    """(Mesos: `max_agent_ping_timeouts`)"""
    weights: Mapping[str, float] = field(default_factory=dict)
    """By role, 1 unless given: twice the weight is twice the share."""
    minimum_cpu_milli: int = 10
    minimum_mem_mb: int = 32
    """What is free on an agent is offered if it is this much CPU or this much memory. (Mesos: `MIN_CPUS`, `MIN_MEM`)"""
    tasks_kept_max: int = 1000
    """Ended tasks that are remembered for questions. (Mesos: MAX_COMPLETED_TASKS_PER_FRAMEWORK)"""
    watch_interval_s: float = 10.0
    """Between two looks at the room of the stream."""
    checkpoint_events: int = 10_000
    """So many positions after the last checkpoint there is another."""
    checkpoint_s: float = 60.0
    """The same in time, if anything but checkpoints was said."""
    public: str = ""
    """The cluster's public key (Ed25519, hex)."""
    sign: Callable[[CheckpointMade], str] | None = None
    """Signs a checkpoint with the cluster's key: the same one always the same way."""

    def __post_init__(self) -> None:
        """Raises ValueError that names the setting and what is allowed."""
        for name in _INTERVALS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.001):
                raise ValueError(f"{name} is {value}: expected at least 0.001")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")
        if self.tasks_kept_max < 0:
            raise ValueError(f"tasks_kept_max is {self.tasks_kept_max}: expected at least 0")
        for role, weight in self.weights.items():
            if not (math.isfinite(weight) and 0.001 <= weight <= 1_000_000):
                raise ValueError(f"the weight of {role!r} is {weight}: expected 0.001 to 1000000")
