"""What disks and crashes do to a store, as often as is asked: python -m tests.eventstore.faults --count 200 [--seed N]

    kills   a writer is killed with SIGKILL while it commits: what it said is stored is there, whole, and verifies
    flips   a bit of the file is flipped: verification finds it, or every event reads as it was written
    cuts    the file is cut off: verification finds it
    fills   the disk is full: nothing is stored in part, and with room again the writer goes on

Rule of this room: a seed makes the same faults again; a failing store is kept and named.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from bus.nouns import NOBODY
from eventstore.errors import StoreFailed, StoreRefused
from eventstore.store import open_reader, open_writer
from eventstore.verify import verify
from tests.eventstore.damage import disk_of, fill, make_store, settle
from tests.eventstore.tale import MASTER, Tale, twelve_steps
from tests.eventstore.tale import started as began

batch = 20
WRITER = """
import asyncio, sys
from eventstore.store import open_writer
from tests.eventstore.faults import batch, tale_of

async def main(path, total):
    records = tale_of(total).records
    async with open_writer(path, cluster="dc", log=None) as writer:
        print(writer.last, flush=True)
        for start in range(writer.last, len(records), batch):
            await writer.append(records[start : start + batch])
            print(writer.last, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def tale_of(total: int) -> Tale:
    """The same every time it is told."""
    tale = Tale()
    for epoch in range(1, total + 1):
        tale.say(MASTER, NOBODY, began(epoch))
    return tale


async def kills(place: Path, count: int, chance: random.Random) -> int:
    """Kill a writer so often, each time in the middle of its work; how many events it had stored at the end."""
    path, total = place / "events.db", 4000
    tale, said = tale_of(total), 0
    for _ in range(count):
        writer = await create_subprocess_exec(sys.executable, "-c", WRITER, str(path), str(total), stdout=PIPE)
        assert writer.stdout is not None
        for _ in range(chance.randint(1, 6)):
            said = max(said, int(await writer.stdout.readline() or 0))
        await asyncio.sleep(chance.random() * 0.004)  # no condition to wait for: a kill at any instant is the point
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
        found = verify(path)
        assert found.good, f"{path}: {found.finding}"
        assert found.last >= said, f"{path}: {said} was said to be stored, {found.last} is"
        assert found.last % batch == 0, f"{path}: half a batch: {found.last}"
        said = found.last
        if said >= total - 10 * batch:
            shutil.rmtree(place)
            place.mkdir()
            said = 0
    async with open_reader(path) as reader:
        stored = [record async for records in reader.records() for record in records]
    assert stored == tale.records[: len(stored)]
    return len(stored)


async def flips(place: Path, count: int, chance: random.Random) -> int:
    """Flip one bit of a store so often; how many of the flips changed nothing that is read."""
    tale, _ = twelve_steps()
    whole, path, harmless = await make_store(place / "whole.db", tale.records), place / "flipped.db", 0
    settle(whole)
    content = whole.read_bytes()
    for _ in range(count):
        changed = bytearray(content)
        at, bit = chance.randrange(len(content)), chance.randrange(8)
        changed[at] ^= 1 << bit
        path.write_bytes(changed)
        try:
            good = verify(path).good
        except (StoreRefused, StoreFailed):
            continue
        if good:
            harmless += 1
            async with open_reader(path) as reader:
                stored = [record async for records in reader.records() for record in records]
            assert stored == tale.records, f"bit {bit} of byte {at} was not found"
    return harmless


async def cuts(place: Path, count: int, chance: random.Random) -> int:
    """Cut a store off so often, at any byte; how many of them were no store any more."""
    whole, path, refused = await make_store(place / "whole.db", tale_of(3000).records), place / "cut.db", 0
    settle(whole)
    content = whole.read_bytes()
    for _ in range(count):
        length = chance.randrange(len(content))
        path.write_bytes(content[:length])
        try:
            good = verify(path).good
        except (StoreRefused, StoreFailed):
            refused += 1
            continue
        assert not good, f"cut off at byte {length} of {len(content)}: not found"
    return refused


async def fills(place: Path, count: int, chance: random.Random) -> int:
    """Fill the disk under a writer so often; how many events it had stored at the end."""
    with disk_of(place / "disk", 8) as disk:
        path, tale = disk / "events.db", tale_of(4000)
        for _ in range(count):
            stored = await _write(path, tale, chance.randint(1, 10))
            if stored >= 3000:
                for file in disk.glob("events.db*"):
                    file.unlink()
                continue
            filler = fill(disk)
            with suppress(StoreFailed):  # its text is tested elsewhere
                await _write(path, tale, 40)
            filler.unlink()
            found = verify(path)
            assert found.good, f"{path}: {found.finding}"
            assert found.last >= stored
            assert found.last % batch == 0
        return await _write(path, tale, 1)


async def _write(path: Path, tale: Tale, batches: int) -> int:
    async with open_writer(path, cluster="dc", log=None) as writer:
        for _ in range(batches):
            await writer.append(tale.records[writer.last : writer.last + batch])
        return writer.last


FAULTS: dict[str, Callable[[Path, int, random.Random], Awaitable[int]]] = {
    "kills": kills,
    "flips": flips,
    "cuts": cuts,
    "fills": fills,
}
MEANING = {
    "kills": "events stored at the end",
    "flips": "flips that changed nothing that is read",
    "cuts": "that were no store any more, the others were found to be damaged",
    "fills": "events stored at the end",
}


async def main() -> None:
    """Inject everything, and say how often and with what result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="How often each fault is injected.")
    parser.add_argument("--seed", type=int, default=0, help="Chooses the faults; any unless given.")
    given = parser.parse_args()
    seed = given.seed or int.from_bytes(os.urandom(3))
    print(f"seed {seed}, {given.count} of each", flush=True)
    place = Path(tempfile.mkdtemp(prefix=f"busbar-store-faults-{seed}-"))
    for name, inject in FAULTS.items():
        (place / name).mkdir()
        result = await inject(place / name, given.count, random.Random(seed))
        print(f"{name}: {given.count} injected; {result} {MEANING[name]}", flush=True)
    shutil.rmtree(place)


if __name__ == "__main__":
    asyncio.run(main())
