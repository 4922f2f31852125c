"""What a seed stands for: of eight in a row one has one master, six have three, and one has a damaged stream."""

from __future__ import annotations

from tests.simulation.clock import run_virtually
from tests.simulation.damaged import DamagedDatacenter
from tests.simulation.datacenter import Datacenter, Outcome

ONE, THREE, STORES, DAMAGED = "one master", "three masters", "three masters and stores", "a damaged stream"
KINDS = (ONE, THREE, THREE, THREE, THREE, STORES, STORES, DAMAGED)


def kind_of(seed: int) -> str:
    """What is simulated."""
    return KINDS[seed % len(KINDS)]


def datacenter(seed: int, kind: str | None = None) -> Datacenter:
    """A seed's datacenter, before its life."""
    kind = kind or kind_of(seed)
    if kind == DAMAGED:
        return DamagedDatacenter(seed)
    return Datacenter(seed, three=kind != ONE, stores=kind == STORES)


def simulate(seed: int, kind: str | None = None) -> Outcome:
    """One datacenter's life. Raises what went wrong; the seed brings it about again."""
    outcome: Outcome = run_virtually(datacenter(seed, kind).run())
    return outcome
