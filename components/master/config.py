"""What can be set about a master.

Rule of this room: checked once, when it is made; nobody else reads settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bus.nouns import second
from bus.vouching import CheckpointMade

removals_kept_max = 1000
"""Marks that a master remembers, to count them."""
_INTERVALS = (
    "allocation_interval_s",
    "offer_timeout_s",
    "ping_interval_s",
    "agent_removal_window_s",
    "watch_interval_s",
    "checkpoint_s",
)
_COUNTS = ("pings_missed_max", "minimum_cpu_milli", "minimum_mem_mb", "checkpoint_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterConfig:
    """A master's settings; the defaults are Mesos' and DC/OS's."""

    allocation_interval_s: float = 1.0
    """What was declined can be offered again only at multiples of it, and so can what gets free beside an offer that is
    not answered. (Mesos: `allocation_interval`)"""
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
    recovery_agent_removal_limit_percent: float = 100.0
    """If more of the agents a new leader takes over leave its pings unanswered, none of them is marked unreachable: it
    is the master that is cut off. (Mesos: `recovery_agent_removal_limit`, 100 %)
    """
    agent_removals_max: int | None = None
    """So many agents at most are marked unreachable in the time below; None: no limit. (Mesos:
    `agent_removal_rate_limit`)
    """
    agent_removal_window_s: float = 60.0
    watch_interval_s: float = 10.0
    """Between two looks at the room of the stream."""
    checkpoint_events: int = 10_000
    """So many positions after the last checkpoint there is another."""
    checkpoint_s: float = 60.0
    """The same in time, if anything but checkpoints was said."""
    public: str = ""
    """The cluster's public key (Ed25519, hex)."""
    issue: Callable[..., str] | None = None
    """Signs passports (`bus.authority.Issuer.passport`); without it nobody can join."""
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
        self._check_removals()
        for role, weight in self.weights.items():
            if not (math.isfinite(weight) and 0.001 <= weight <= 1_000_000):
                raise ValueError(f"the weight of {role!r} is {weight}: expected 0.001 to 1000000")

    @property
    def interval_us(self) -> int:
        """The allocation interval, as `Now` counts."""
        return round(self.allocation_interval_s * second)

    def _check_removals(self) -> None:
        limit, count = self.recovery_agent_removal_limit_percent, self.agent_removals_max
        if not 0 <= limit <= 100:
            raise ValueError(f"recovery_agent_removal_limit_percent is {limit}: expected 0 to 100")
        if count is not None and not 1 <= count <= removals_kept_max:
            raise ValueError(f"agent_removals_max is {count}: expected 1 to {removals_kept_max}")


UNITS_S = {"ms": 0.001, "secs": 1.0, "mins": 60.0, "hrs": 3600.0, "days": 86_400.0, "weeks": 604_800.0}
_RATE = re.compile(r"(\d{1,4})/(\d{1,9}(?:\.\d{1,3})?)(" + "|".join(UNITS_S) + ")")


def parse_rate(text: str) -> tuple[int, float]:
    """How many in how many seconds, from the text form of Mesos' flag: `1/10mins`, `2/3hrs`.

    Raises ValueError that says what is allowed. (Mesos: `agent_removal_rate_limit`, `Duration::parse`)
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r}: expected NUMBER/DURATION, e.g. 1/10mins; units are {', '.join(UNITS_S)}")
    count, amount, unit = found.groups()
    return int(count), float(amount) * UNITS_S[unit]
