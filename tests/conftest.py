"""What all tests share: logs are kept silent unless something is critical."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """What a command under test told about its process's logs is forgotten after it."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
