"""A recorded datacenter: the stream of a simulated one, stored as a master would have stored it.

store = recorded(tmp_path, 7)              # made once a run, for each seed
busbar state --store STORE --at 600
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bus.port import Record
from bus.subjects import CLUSTER
from eventstore.store import open_writer
from tests.simulation.clock import run_virtually
from tests.simulation.datacenter import Datacenter


@cache
def stream(seed: int) -> Sequence[Record]:
    """Everything that was said in a simulated datacenter's life."""
    datacenter = Datacenter(seed)
    run_virtually(datacenter.run())
    return datacenter.server.records()


def recorded(directory: Path, seed: int) -> Path:
    """The store of that stream."""
    path = directory / "events.db"
    asyncio.run(_store(path, stream(seed)))
    return path


async def _store(path: Path, records: Sequence[Record]) -> None:
    async with open_writer(path, cluster=CLUSTER, log=None) as writer:
        for start in range(0, len(records), 1000):
            await writer.append(records[start : start + 1000])
