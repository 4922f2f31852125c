"""How a program of the gate begins and ends: its options, what it counts, what it leaves behind when it fails.

Rule of this room: the seed is printed first, the artefacts' directory is in the message of what went wrong.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.faults.history import History


class Asked(NamedTuple):
    """What was asked of a program of the gate."""

    count: int
    seed: int


def options(what: str, count: int) -> Asked:
    """The command line of a program of the gate."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--count", type=int, default=count, help=f"How often each fault is injected ({count}).")
    parser.add_argument("--seed", type=int, default=0, help="Chooses order and chances; any unless given.")
    given = parser.parse_args()
    return Asked(given.count, given.seed or int.from_bytes(os.urandom(3)))


def drawn_seed() -> int:
    """For a short version: any, unless BUSBAR_SEED names one. It is printed, and in the name of what is left behind."""
    seed = int(os.environ.get("BUSBAR_SEED") or int.from_bytes(os.urandom(3)))
    say(f"BUSBAR_SEED={seed}")
    return seed


def say(text: str) -> None:
    """One line of a report, at once."""
    print(text, flush=True)
    sys.stdout.flush()


def artefacts(name: str) -> Path:
    """A new directory for what a failure leaves behind."""
    root = Path(os.environ.get("BUSBAR_ARTEFACTS", Path(tempfile.gettempdir()) / "busbar-gate"))
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=root))


@contextmanager
def evidence(name: str, data: Path, history: History) -> Iterator[None]:
    """Keep logs, stores and the history of what fails, and say where."""
    try:
        yield
    except BaseException as error:
        kept = artefacts(name)
        with suppress(OSError, shutil.Error):  # a disk that is full on purpose keeps what fits
            history.save(kept / "history.jsonl")
            shutil.copytree(data, kept / "data", ignore=_no_files, dirs_exist_ok=True)
        error.add_note(f"artefacts: {kept}")
        raise


def _no_files(directory: str, names: list[str]) -> list[str]:
    """Sockets and pipes, which cannot be copied, and what may have gone meanwhile."""
    return [name for name in names if not _copied(Path(directory) / name)]


def _copied(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def spread(name: str, seconds: Sequence[float]) -> str:
    """p50, p95 and the longest of some times."""
    if not seconds:
        return f"{name}: none measured"
    ordered = sorted(seconds)
    middle, high = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] for share in (0.50, 0.95))
    return f"{name}: n={len(ordered)} p50={middle:.2f} s p95={high:.2f} s max={ordered[-1]:.2f} s"
