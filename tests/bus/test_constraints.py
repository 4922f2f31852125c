"""Constraints as they are written: what is refused and how it is said, and when two values are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.documents.constraints import OPERATORS, constraint_invalid, same_value


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("hostname", "UNIQUE", None),
        ("@hostname", "CLUSTER", None),
        ("rack", "CLUSTER", "r1"),
        ("@zone", "GROUP_BY", None),
        ("@region", "GROUP_BY", "3"),
        ("rack", "LIKE", "r[1-3]"),
        ("rack", "UNLIKE", "r[1-3]"),
        ("rack", "MAX_PER", "2"),
        ("rack", "IS", "r1"),
    ],
)
def test_valid(field: str, operator: str, value: str | None) -> None:
    assert constraint_invalid(field, operator, value) is None


@pytest.mark.parametrize(
    ("field", "operator", "value", "wrong"),
    [
        ("", "UNIQUE", None, "a field of 0 characters: expected 1 to 255"),
        ("@rack", "UNIQUE", None, "field '@rack': of those with @ there are @hostname, @region and @zone"),
        (
            "rack",
            "unique",
            None,
            "operator 'unique': expected one of UNIQUE, CLUSTER, GROUP_BY, LIKE, UNLIKE, MAX_PER, IS",
        ),
        ("rack", "UNIQUE", "x", "UNIQUE takes no value, found 'x'"),
        ("rack", "LIKE", None, "LIKE needs a regular expression"),
        (
            "rack",
            "UNLIKE",
            "(a",
            "'(a' is not a regular expression we can use: a ( is never closed, at character 1",
        ),
        ("rack", "MAX_PER", None, "MAX_PER needs a number"),
        ("rack", "MAX_PER", "0", "MAX_PER takes a whole number from 1 to 100000, found '0'"),
        ("rack", "GROUP_BY", "two", "GROUP_BY takes a whole number from 0 to 100000, found 'two'"),
        ("rack", "GROUP_BY", "9" * 5000, "a value of 5000 characters: expected at most 4096"),
        ("rack", "IS", None, "IS needs a value"),
    ],
)
def test_invalid(field: str, operator: str, value: str | None, wrong: str) -> None:
    assert constraint_invalid(field, operator, value) == wrong


@given(st.text(max_size=20), st.sampled_from(OPERATORS) | st.text(max_size=5), st.none() | st.text(max_size=30))
def test_anything_is_answered_in_words(field: str, operator: str, value: str | None) -> None:
    wrong = constraint_invalid(field, operator, value)
    assert wrong is None or wrong


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("r1", "r1", True),
        ("r1", "R1", False),
        ("1", "1.0", True),
        ("1", "01", True),
        ("1.0005", "1", True),  # half to even
        ("1.0015", "1.002", True),
        ("1.0025", "1.002", True),
        ("1.0006", "1", False),
        ("-1", "-1.000", True),
        ("1e3", "1000", False),
        ("NaN", "NaN", True),  # a word
        ("1.", "1", True),
        ("1-2", "1-2", True),
        ("1-2", "1", False),
    ],
)
def test_is_compares_words_or_numbers(one: str, other: str, same: bool) -> None:
    assert same_value(one, other) is same
