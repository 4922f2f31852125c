"""How long it takes until somebody else leads, after the leader's process was killed: measured. (gate: Measure)

    python -m tests.faults.failover --count 30

Each leader is killed while an app and a run are asked for; everything is checked as in `tests.faults.leaders`.
Rule of this room: times are from the kill to what an observer on the same machine sees and is answered.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.faults.customers import MARATHON, MASTER, METRONOME
from tests.faults.leaders import Pair, run
from tests.faults.report import options, say

LOCATED, REQUESTED = 1, 4
"""A master is killed before anything is asked for, so that the next one has to offer; a scheduler in the moment when it
is asked."""


def main() -> None:
    """Each singleton's leader, so many times."""
    asked = options(__doc__ or "", 30)
    say(f"seed {asked.seed}, {asked.count} times each")
    once = (Pair(MASTER, LOCATED, MARATHON), *(Pair(each, REQUESTED, each) for each in (MARATHON, METRONOME)))
    with tempfile.TemporaryDirectory(prefix="busbar-gate-") as directory:
        run(Path(directory) / "data", once * asked.count, asked.seed)


if __name__ == "__main__":
    main()
