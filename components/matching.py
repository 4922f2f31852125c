"""Whether something fits on an offer, and which ports it gets.

Rule of this room: each check that fails is said with what was needed and what there was, in words with units.
(Marathon: `NoOfferMatchReason.scala`, `ResourceMatcher.scala`, `PortsMatcher.scala`)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from bus.nouns import ANYBODY, Ranges, Resources, normal, without

ROLE = "UnfulfilledRole"
CONSTRAINT = "UnfulfilledConstraint"
RESERVATION = "NoCorrespondingReservationFound"
MAINTENANCE = "AgentMaintenance"
CPUS = "InsufficientCpus"
MEMORY = "InsufficientMemory"
DISK = "InsufficientDisk"
GPUS = "InsufficientGpus"
PORTS = "InsufficientPorts"
SCARCE = "DeclinedScarceResources"
NODE_BACKOFF = "NodeBackoff"
"""Instances of the app failed there, and run elsewhere. Not one of Marathon's: to its clients it is a constraint."""
REASONS = (ROLE, CONSTRAINT, RESERVATION, MAINTENANCE, CPUS, MEMORY, DISK, GPUS, PORTS, SCARCE)
"""Why an offer does not match, all there are, in the order an offer is held against them: the first that fails counts.
Nothing is reserved, drained or scarce here, so three of them never occur. (Marathon: `NoOfferMatchReason.scala`)"""


class Shortfall(NamedTuple):
    """One check that failed."""

    reason: str
    needed: str
    had: str


class Taken(NamedTuple):
    """What one task takes of an offer: the resources, ports included, and the ports in the order they were wanted."""

    resources: Resources
    ports: tuple[int, ...]


def wrong_role(accepted: Sequence[str], kept_for: str) -> list[Shortfall]:
    """Whether resources kept for a role may be used at all; who names no role accepts those that are anybody's.

    (Marathon: acceptedResourceRoles; `--accepted_resource_roles_default_behavior` as DC/OS has it)
    """
    if kept_for in (accepted or (ANYBODY,)):
        return []
    return [Shortfall(ROLE, f"role {' or '.join(accepted or (ANYBODY,))}", f"role {kept_for}")]


def fit(
    free: Resources, needed: Resources, ports: Sequence[int] = (), *, required: bool = False, gpus: int = 0
) -> list[Shortfall]:
    """What is missing for one more task; nothing if it fits.

    `ports` are the wanted ones, 0 for any. A number is taken if it is free; if not, any other does unless `required`.
    No node has a GPU.
    """
    short = []
    if free.cpu_milli < needed.cpu_milli:
        short.append(Shortfall(CPUS, _cpus(needed), _cpus(free)))
    if free.mem_mb < needed.mem_mb:
        short.append(Shortfall(MEMORY, f"{needed.mem_mb} MB", f"{free.mem_mb} MB"))
    if free.disk_mb < needed.disk_mb:
        short.append(Shortfall(DISK, f"{needed.disk_mb} MB", f"{free.disk_mb} MB"))
    if gpus:
        short.append(Shortfall(GPUS, f"{gpus} gpus", "0 gpus"))
    if free.port_count < len(ports):
        short.append(Shortfall(PORTS, f"{len(ports)} ports", f"{free.port_count} ports"))
    elif required and without(_fixed(ports), free.ports):
        short.append(Shortfall(PORTS, _numbers(_fixed(ports)), _numbers(free.ports)))
    return short


def take(
    free: Resources, needed: Resources, ports: Sequence[int] = (), *, required: bool = False, after: int = 0
) -> Taken:
    """The share of one task for which `fit` found nothing missing.

    Any-ports are the next free ones behind `after`, so that a port just given back is not given out at once.
    """
    assert not fit(free, needed, ports, required=required), f"{needed} and ports {list(ports)} do not fit on {free}"
    offered = {port for port in ports if port and _has(free.ports, port)}
    others = _free_numbers(without(free.ports, normal((port, port) for port in offered)), after)
    dynamic = iter(list(islice(others, len(ports) - len(offered))))
    chosen = tuple(port if port in offered else next(dynamic) for port in ports)
    held = normal((port, port) for port in chosen)
    return Taken(
        Resources(cpu_milli=needed.cpu_milli, mem_mb=needed.mem_mb, disk_mb=needed.disk_mb, ports=held), chosen
    )


def amount(words: str) -> float | None:
    """The number in `4 cpus`, `512 MB`, `2 ports` as `fit` writes them; none if it is no amount, as listed ports."""
    number, _, unit = words.partition(" ")
    return float(number) if unit in ("cpus", "MB", "gpus", "ports") and number[:1].isdigit() else None


def _cpus(amount: Resources) -> str:
    return f"{amount.cpu_milli / 1000:.3f}".rstrip("0").rstrip(".") + " cpus"


def _fixed(ports: Sequence[int]) -> Ranges:
    return normal((port, port) for port in ports if port)


def _has(ranges: Ranges, port: int) -> bool:
    return any(low <= port <= high for low, high in ranges)


def _numbers(ranges: Ranges) -> str:
    return "ports " + ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def _free_numbers(ranges: Ranges, after: int) -> Iterator[int]:
    for low, high in ranges:
        yield from range(max(low, after + 1), high + 1)
    for low, high in ranges:
        yield from range(low, min(high, after) + 1)
