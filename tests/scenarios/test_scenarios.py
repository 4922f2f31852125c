"""Every scenario comes out as it is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.scenarios.stories import told

SCENARIOS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_comes_out_as_it_is_written(path):
    """With REWRITE_SCENARIOS=1 it is written as it comes out."""
    text = path.read_text()
    found = told(text)
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(found)
    else:
        assert found == text
