"""What the hostile tests share: how often each identity tried something is told at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import HOSTILE
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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The counts are printed at the end: by this process, or by the one that started it."""
    told = getattr(session.config, "workeroutput", None)
    if told is None:
        HOSTILE.update(TALLY)
    else:
        told["hostile"] = dict(TALLY)
