"""`python -m ops.bench.peers [--quick] [--json FILE]`: the same work on Busbar and on peers found on the PATH.

Rule of this room: all run on this machine in one run and take turns; each is asked through its public commands, Busbar
through a client; CPU is the whole machine's while the work goes on, for all alike. Who is absent is named.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ops.bench.figures import Figure, load, machine, table
from ops.bench.peer import Peer, Work
from ops.bench.peer_busbar import Busbar
from ops.bench.peer_docker import Docker
from ops.bench.peer_nomad import Nomad
from ops.bench.peer_slurm import Slurm

PEERS: tuple[type[Peer], ...] = (Busbar, Slurm, Nomad, Docker)
FULL = Work(tasks=1000, singles=20, instances=100, rounds=3)
QUICK = Work(tasks=5, singles=1, instances=3, rounds=1)


def compared(directory: Path, work: Work, absent: dict[str, str]) -> Iterator[Figure]:
    """Figures of every peer that is here; why the others are not is left in `absent`."""
    with ExitStack() as stack:
        here: list[Peer] = []
        for peer in PEERS:
            why = peer.missing()
            if why:
                absent[peer.name] = why
                continue
            found = peer(directory / peer.name)
            stack.callback(found.stop)
            found.start()
            here.append(found)
        for _ in range(work.rounds):
            for each in here:
                each.round(work)
        for each in here:
            yield from each.figures(work)


def main() -> None:
    """Compare, print a table, say who is absent."""
    options = argparse.ArgumentParser(prog="python -m ops.bench.peers", description="Measure Busbar beside others.")
    options.add_argument("--quick", action="store_true", help="a little of everything: shows that it works")
    options.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE, too")
    given = options.parse_args()
    where, absent = machine(), dict[str, str]()
    with tempfile.TemporaryDirectory(prefix="busbar-peers-") as directory:
        Path(directory).chmod(0o755)  # munged answers only where everybody may look for it
        figures = list(compared(Path(directory), QUICK if given.quick else FULL, absent))
    print(table(figures))
    for name, why in absent.items():
        print(f"{name}: absent: {why}")
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    if given.json is not None:
        found = {"machine": where | {"load after": load()}, "absent": absent}
        found["figures"] = {"peers": [figure.content() for figure in figures]}
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
