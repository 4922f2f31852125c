"""`python -m ops.bench [--quick] [--json FILE] [--directory DIR] [NAME...]`: measure, print a table, say where."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ops.bench.figures import Content, load, machine, table
from ops.bench.measures import MEASURES
from ops.bench.sizes import QUICK, Size


def main() -> None:
    """Measure what is named, or everything."""
    options = argparse.ArgumentParser(prog="python -m ops.bench", description="Measure Busbar.")
    options.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASURES)}; all unless named")
    options.add_argument("--quick", action="store_true", help="a little of everything: shows that it works")
    options.add_argument(
        "--json", metavar="FILE", type=Path, help="write the figures to FILE, too: added to what it has"
    )
    options.add_argument("--directory", metavar="DIR", type=Path, help="measure in DIR, and leave it as it is then")
    given = options.parse_args()
    unknown = [name for name in given.names if name not in MEASURES]
    if unknown:
        options.error(f"{unknown[0]!r} is none of {', '.join(MEASURES)}")
    where = machine()
    with _directory(given.directory) as directory:
        for name in given.names or list(MEASURES):
            measured = _measure(directory, name, QUICK if given.quick else Size())
            if given.json is not None:
                _keep(given.json, where, name, measured)
    print(f"\n{', '.join(f'{name} {value}' for name, value in where.items())}")


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as directory:
        yield Path(directory)


def _measure(directory: Path, name: str, size: Size) -> Content:
    before, began = load(), time.perf_counter()
    figures = list(MEASURES[name](directory, size))
    took_s = time.perf_counter() - began
    print(f"\n{name}: {took_s:.0f} s, load {before} before and {load()} after\n{table(figures)}", flush=True)
    return {"figures": [figure.content() for figure in figures], "took_s": round(took_s, 1), "load": [before, load()]}


def _keep(file: Path, where: Content, name: str, measured: Content) -> None:
    """Each measure at once, so that what was measured is not lost with what comes after it."""
    found = json.loads(file.read_text()) if file.exists() else {"figures": {}, "measured": {}}
    found["machine"] = where
    found["figures"][name] = measured.pop("figures")
    found["measured"][name] = measured | {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
