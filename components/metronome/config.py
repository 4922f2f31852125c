"""What can be set about Metronome.

Rule of this room: every default is the original's and says where it is from. Checked once, when it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bus.nouns import FrameworkId

_METRONOME = FrameworkId("metronome")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetronomeConfig:
    """One Metronome."""

    id: FrameworkId = _METRONOME
    role: str = "*"
    failover_timeout_s: float = 604_800.0
    """(Metronome: 604800 s)"""
    decline_s: float = 120.0
    """(Marathon: decline_offer_duration)"""
    launches_max: int = 100
    """Launches on one offer. (DC/OS: max_instances_per_offer)"""
    runs_kept_max: int = 1000
    """Runs that succeeded, and as many that failed, that can be asked for, of each job; all are in the log.
    (Metronome: 1000 summaries of each kind)"""
    all_runs_kept_max: int = 100_000
    """The same, of all jobs together: about 100 MB."""
    removed_jobs_kept_max: int = 1000
    """Removed jobs whose finished runs can still be asked for."""

    def __post_init__(self) -> None:
        """Raises ValueError that names the setting and what is allowed."""
        for name, least in (("failover_timeout_s", 0.0), ("decline_s", 0.001)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} is {value}: expected at least {least:g}")
        for name, least_count in (
            ("launches_max", 1),
            ("runs_kept_max", 0),
            ("all_runs_kept_max", 0),
            ("removed_jobs_kept_max", 0),
        ):
            if getattr(self, name) < least_count:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least {least_count}")
