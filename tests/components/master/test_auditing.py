"""The books are checked as they are touched; what is too much for one check is left to the next ones."""

from __future__ import annotations

from importlib import import_module

import pytest

from bus.nouns import NOTHING, AgentId
from components.master.books import auditor
from tests.components.master.datacenter import Datacenter


@pytest.mark.parametrize("wrong", ["n0", "n3", "n8"])
def test_whatever_was_touched_is_checked_in_the_end(wrong, monkeypatch):
    """Nine agents in twos, those touched latest first: wherever the books are wrong, one of five checks says it."""
    monkeypatch.setattr(import_module("components.master.books"), "audited_max", 2)
    dc = Datacenter()
    for number in range(9):
        dc.register(f"n{number}")
    whole = auditor()
    for _ in range(5):
        whole(dc.state)
    fresh = auditor()
    dc.state.agents[AgentId(wrong)].free = NOTHING
    for _ in range(5):
        whole(dc.state)  # it has looked at all, and nothing was touched since
    with pytest.raises(AssertionError, match=f"{wrong} has"):  # noqa: PT012  # which check says it is not the point
        for _ in range(5):
            fresh(dc.state)
