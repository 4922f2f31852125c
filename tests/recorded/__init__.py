"""A recorded history that every release has to decide again as it was; made by `python -m tests.recorded`."""

from __future__ import annotations

from pathlib import Path

DATACENTER = Path(__file__).parent / "datacenter.capture"
"""The life of a simulated datacenter: three agents, services and jobs, crashes and lost messages."""
SEED = 38
STORM_S = 700.0
"""How long crashes and losses go on."""
