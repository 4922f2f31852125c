"""What an agent is told when it is started."""

from __future__ import annotations

from typing import Any

import pytest

from bus.subjects import SubjectError
from components.agent import parse_attributes
from tests.components.agent.play import config


def test_attributes_are_names_and_values():
    """The text form of Mesos' agent flag; spaces and empty parts do not matter."""
    assert parse_attributes("rack:r1;zone:us-east.1/a") == {"rack": "r1", "zone": "us-east.1/a"}
    assert parse_attributes(" rack : r1 ;; ") == {"rack": "r1"}
    assert parse_attributes("") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rack", "'rack': expected NAME:VALUE, each 1 to 255 of a-z A-Z 0-9 _ / . -"),
        ("rack:", "'rack:': expected NAME:VALUE"),
        (":r1", "':r1': expected NAME:VALUE"),
        ("rack:r 1", "'rack:r 1': expected NAME:VALUE"),
        ("rack:r\x00", "expected NAME:VALUE"),
        ("keys:[1000-1500]", "expected NAME:VALUE"),
        (f"rack:{'r' * 256}", "1 to 255"),
        ("rack:r1;rack:r2", "'rack:r2': rack is given twice"),
        (";".join(f"a{k}:1" for k in range(65)), "65 attributes: expected at most 64"),
    ],
)
def test_wrong_attributes_are_named(text: str, why: str):
    """The message names the part and what is allowed."""
    with pytest.raises(ValueError, match=r"expected|twice") as wrong:
        parse_attributes(text)
    assert why in str(wrong.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"id": "A 1"}, "'A 1' is not an id"),
        ({"id": "a" * 60}, "is not an id"),
        ({"work": "w"}, "work directory 'w': expected an absolute path"),
        ({"executor_argv": ()}, "executor_argv: expected a command line"),
        ({"hostname": ""}, "hostname '': expected 1 to 255 characters"),
        ({"sandbox_gc_s": -1.0}, "sandbox_gc_s is -1.0: expected a number from 0 to 1000000000"),
        ({"sandbox_gc_s": float("inf")}, "sandbox_gc_s is inf"),
        ({"restart_max_s": float("nan")}, "restart_max_s is nan"),
    ],
)
def test_a_wrong_configuration_is_refused_at_once(given: dict[str, Any], why: str):
    """Nothing starts with a value that would fail later; an id must leave room for the executor's."""
    with pytest.raises((ValueError, SubjectError)) as wrong:
        config(**given)
    assert why in str(wrong.value)
