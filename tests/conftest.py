"""What all tests share: logs are silent, and which tests may run beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from bus import logs

logs.use(logs.SILENT)
settings.register_profile("busbar", deadline=None)
settings.load_profile("busbar")
"""How long an example takes says how busy the machine is."""

DATACENTERS, E2E = "datacenters", "pytest.mark.e2e"
"""Files with tests of whole datacenters of real processes: they run one at a time, for what one measures the next would
disturb; and before all others, for they take longest and wait most of it."""
LONG = ("simulation", "contract")
"""Directories whose files take minutes: they must not come last."""
HOSTILE: Counter[str] = Counter()
"""Attacks that other processes tried. (`tests.hostile.conftest`)"""


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """What a command under test told about its process's logs is forgotten after it."""
    yield
    logs.use(logs.SILENT)


@cache
def has_datacenters(file: Path) -> bool:
    """Whether a file says so."""
    return file.is_file() and E2E in file.read_text()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Datacenters first, then what takes long, else in the order of files."""
    items.sort(key=lambda item: (not has_datacenters(item.path), item.path.parent.name not in LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """On several processes the tests of one file stay together, and so do all with datacenters. (pytest-xdist's own
    `--dist loadgroup` would do, but it does not know this pytest's node ids)"""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return DATACENTERS if has_datacenters(config.rootpath / file) else file

    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """One of several processes is done: what it counted is told here."""
    HOSTILE.update(getattr(node, "workeroutput", {}).get("hostile", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts."""
    if HOSTILE:
        counts = ", ".join(f"{identity} {count}" for identity, count in sorted(HOSTILE.items()))
        terminalreporter.write_line(f"hostile attempts: {counts}; {HOSTILE.total()} in all")
