"""Records the example again: for a release that decides otherwise, and means to."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bus import logs
from bus.nouns import Position
from bus.port import Record
from cli.captured import Capture, write
from components.histories import Settings, add_settings
from tests.recorded import DATACENTER, SEED, STORM_S
from tests.simulation import datacenter
from tests.simulation.clock import run_virtually


def history(seed: int) -> Sequence[Record]:
    """All that was said in the life of one simulated datacenter."""
    datacenter.storm_s = STORM_S
    told = datacenter.Datacenter(seed)
    run_virtually(told.run())
    return told.server.records()


def record(records: Sequence[Record], path: Path, made_at: int) -> int:
    """Write a whole history as a capture; how many bytes it has."""
    settings: Settings = {}
    for each in records:
        add_settings(settings, each)
    captured = Capture(
        cluster="dc",
        release=version("busbar-os"),
        made_at=made_at,
        first=Position(1),
        last=records[-1].position,
        authors=tuple(map(str, sorted(settings))),
        records=tuple((each.position, each.subject, each.body) for each in records),
    )
    return write(captured, path)


if __name__ == "__main__":
    logs.use(logs.SILENT)
    told = history(SEED)
    print(f"{DATACENTER}: {len(told)} events, {record(told, DATACENTER, 0)} bytes")
