"""What the hostile tests share: how often each identity tried something is told at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.stage import TALLY, Stage, stage


@pytest.fixture(scope="session")
def datacenter_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One datacenter for all attacks, which does what it is for after them."""
    with stage(tmp_path_factory.mktemp("hostile") / "data") as found:
        yield found
        found.check_works()


@pytest.fixture(scope="module")
def besieged(datacenter_: Stage) -> Iterator[Stage]:
    """The datacenter; everybody lives after each module of attacks."""
    yield datacenter_
    datacenter_.check_alive()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts."""
    if TALLY:
        counts = ", ".join(f"{identity} {count}" for identity, count in sorted(TALLY.items()))
        terminalreporter.write_line(f"hostile attempts: {counts}; {sum(TALLY.values())} in all")
