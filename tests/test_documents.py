"""Generated pages say what the code says, and every public thing says what it is."""

from __future__ import annotations

import pytest

import bus.services  # noqa: F401  its facts are declared by being imported
from bus.events import FACTS, Fact
from ops.reference import PAGE, page


def test_the_event_reference_is_what_the_classes_say() -> None:
    """Run `make docs` after changing an event."""
    assert PAGE.read_text() == page()


@pytest.mark.parametrize("fact", [cls for cls in FACTS.values() if cls.__module__.startswith("bus.")])
def test_every_fact_says_what_it_is_and_who_says_it(fact: type[Fact]) -> None:
    """A docstring of its own, and the author and addressee in words."""
    assert fact.__doc__
    assert fact.__doc__ != Fact.__doc__
    assert fact.said
    assert fact.type.count(".") == 1
