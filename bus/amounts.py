"""Amounts of a machine: processors, memory, disk, port numbers.

Rule of this room: whole numbers only; what is taken from an amount and put back leaves it as it was.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable

import msgspec

Ranges = tuple[tuple[int, int], ...]
"""Inclusive, ascending, disjoint, e.g. `((31000, 31004), (31010, 31010))`."""


class Noun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A frozen value with named fields. Made of what was there before it, it is in no ring: no search for garbage has
    to look at it."""


def normal(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same numbers as ascending, disjoint, maximal ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        elif low <= high:
            merged.append((low, high))
    return tuple(merged)


def without(ranges: Ranges, taken: Ranges) -> Ranges:
    """The numbers in `ranges` that are not in `taken`. Both may be hundreds of single ports, or one of them."""
    if not ranges or not taken:
        return ranges
    if ranges == taken:
        return ()
    if len(taken) > 1:
        taken = taken[_meeting(taken, ranges[0][0], ranges[-1][1])]
    if len(taken) <= _few:
        for low, high in taken:
            ranges = _cut_out(ranges, low, high)
        return ranges
    return _swept(ranges, taken)


def within(ranges: Ranges, more: Ranges) -> bool:
    """Whether all the numbers in `ranges` are in `more`."""
    if not ranges or ranges == more:
        return True
    if len(ranges) > 1:
        return not without(ranges, more)
    low, high = ranges[0]
    at = bisect_left(more, (low + 1,))
    return at > 0 and more[at - 1][1] >= high


_few = 4
"""Ranges for which it is faster to look for the place of each than to walk along all."""


def _meeting(ranges: Ranges, low: int, high: int, *, beside: int = 0) -> slice:
    """Which of the ranges have a number between `low` and `high`, or so near to them."""
    first = bisect_left(ranges, (low - beside,))
    if first and ranges[first - 1][1] >= low - beside:
        first -= 1
    return slice(first, bisect_left(ranges, (high + beside + 1,), first))


def _cut_out(ranges: Ranges, low: int, high: int) -> Ranges:
    met = _meeting(ranges, low, high)
    if met.start == met.stop:
        return ranges
    first, last = ranges[met.start][0], ranges[met.stop - 1][1]
    before, behind = ranges[: met.start], ranges[met.stop :]
    if first < low:
        before += ((first, low - 1),)
    if last > high:
        before += ((high + 1, last),)
    return before + behind


def _swept(ranges: Ranges, taken: Ranges) -> Ranges:
    left: list[tuple[int, int]] = []
    index = 0
    for a, b in ranges:
        low = a
        while index < len(taken) and taken[index][1] < low:
            index += 1
        at = index
        while at < len(taken) and taken[at][0] <= b:
            if low < taken[at][0]:
                left.append((low, taken[at][0] - 1))
            low = taken[at][1] + 1
            at += 1
        if low <= b:
            left.append((low, b))
    return tuple(left)


def along(ranges: Ranges, more: Ranges) -> Ranges:
    """The numbers in one or the other."""
    if not ranges or not more:
        return ranges or more
    if len(more) > _few:
        return normal((*ranges, *more))
    for low, high in more:
        met = _meeting(ranges, low, high, beside=1)
        if met.start < met.stop:
            low, high = min(low, ranges[met.start][0]), max(high, ranges[met.stop - 1][1])
        ranges = (*ranges[: met.start], (low, high), *ranges[met.stop :])
    return ranges


class Resources(Noun, frozen=True):
    """An amount of a machine: thousandths of a CPU, megabytes of memory and disk, port numbers."""

    cpu_milli: int = 0
    mem_mb: int = 0
    disk_mb: int = 0
    ports: Ranges = ()

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            cpu_milli=self.cpu_milli + other.cpu_milli,
            mem_mb=self.mem_mb + other.mem_mb,
            disk_mb=self.disk_mb + other.disk_mb,
            ports=along(self.ports, other.ports) if other.ports else self.ports,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            cpu_milli=self.cpu_milli - other.cpu_milli,
            mem_mb=self.mem_mb - other.mem_mb,
            disk_mb=self.disk_mb - other.disk_mb,
            ports=without(self.ports, other.ports) if other.ports else self.ports,
        )

    def covers(self, other: Resources) -> bool:
        """Whether `other` fits into this (R ⊇ X)."""
        return (
            self.cpu_milli >= other.cpu_milli
            and self.mem_mb >= other.mem_mb
            and self.disk_mb >= other.disk_mb
            and within(other.ports, self.ports)
        )

    @property
    def empty(self) -> bool:
        return not (self.cpu_milli or self.mem_mb or self.disk_mb or self.ports)

    @property
    def port_count(self) -> int:
        return sum(high - low + 1 for low, high in self.ports)

    def __str__(self) -> str:
        parts = [f"cpus:{self.cpu_milli / 1000:g}", f"mem:{self.mem_mb}", f"disk:{self.disk_mb}"]
        if self.ports:
            parts.append("ports:[" + ",".join(f"{low}-{high}" for low, high in self.ports) + "]")
        return "; ".join(parts)


NOTHING = Resources()


def total(amounts: Iterable[Resources]) -> Resources:
    """The sum of resources."""
    cpu = mem = disk = 0
    ports: list[Ranges] = []
    for amount in amounts:
        cpu, mem, disk = cpu + amount.cpu_milli, mem + amount.mem_mb, disk + amount.disk_mb
        if amount.ports:
            ports.append(amount.ports)
    together = ports[0] if len(ports) == 1 else normal(pair for ranges in ports for pair in ranges)
    return Resources(cpu_milli=cpu, mem_mb=mem, disk_mb=disk, ports=together)


def parse_resources(text: str) -> Resources:
    """Resources from the text form of Mesos' agent flag: `cpus:4;mem:8192;ports:[31000-32000]`.

    Raises ValueError that names the part and what is allowed. (Mesos: `docs/configuration/agent.md`)
    """
    found: dict[str, int | Ranges] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon or name not in ("cpus", "mem", "disk", "ports"):
            raise ValueError(f"{part!r}: expected cpus:N, mem:MB, disk:MB or ports:[LOW-HIGH,...]")
        if name in found:
            raise ValueError(f"{part!r}: {name} is given twice")
        found[name] = _ranges(part, value) if name == "ports" else _scalar(part, value, 1000 if name == "cpus" else 1)
    return Resources(
        **{{"cpus": "cpu_milli", "mem": "mem_mb", "disk": "disk_mb"}.get(k, k): v for k, v in found.items()}  # type: ignore[arg-type]  # names checked above
    )


def _scalar(part: str, value: str, scale: int) -> int:
    if not re.fullmatch(r"\d{1,12}(\.\d{1,3})?", value):
        raise ValueError(f"{part!r}: expected a number of at most 12 digits and 3 decimals, not negative")
    return round(float(value) * scale)


def _ranges(part: str, value: str) -> Ranges:
    if not re.fullmatch(r"\[\s*\d{1,5}\s*-\s*\d{1,5}\s*(,\s*\d{1,5}\s*-\s*\d{1,5}\s*)*\]", value):
        raise ValueError(f"{part!r}: expected [LOW-HIGH,...]")
    pairs = [tuple(map(int, pair.split("-"))) for pair in value[1:-1].split(",")]
    for low, high in pairs:
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"{part!r}: {low}-{high} is not a range of ports between 1 and 65535")
    return normal((low, high) for low, high in pairs)
