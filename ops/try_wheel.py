"""Installs the built wheel into an empty environment, away from the source tree, and runs its demo there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path


def main() -> int:
    """The demo's exit code; 1 without exactly one wheel."""
    wheels = sorted(Path(sys.argv[1]).absolute().glob("*.whl"))
    if len(wheels) != 1:
        print(f"expected one wheel in {sys.argv[1]}, found {len(wheels)}: run `make wheel`", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="busbar-wheel-") as place:
        return _try(wheels[0], Path(place))


def _try(wheel: Path, place: Path) -> int:
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    elsewhere = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "BUSBAR"))}
    print(f"installing {wheel.name} into an empty environment", flush=True)
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    subprocess.run(pip, check=True, cwd=place, env=elsewhere)
    return subprocess.run([place / "venv" / "bin" / "busbar", "demo"], check=False, cwd=place, env=elsewhere).returncode


if __name__ == "__main__":
    sys.exit(main())
