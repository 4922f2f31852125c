"""Regular expressions of known cost: the same answers as Python's, and none that explodes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.patterns import compiled, matches, pattern_chars_max, pattern_invalid, program_max, text_chars_max


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("r1", ["r1"], ["r", "r12", "xr1"]),
        ("r[1-3]", ["r1", "r3"], ["r4", "r-"]),
        ("[^a-c.]x?", ["d", "dx"], ["a", "ax", ".", ""]),
        ("[]a-]+", ["]a-"], ["b"]),
        (r"a\.b\d{2,3}", ["a.b12", "a.b123"], ["axb12", "a.b1", "a.b1234"]),
        ("(a|bc|)d", ["ad", "bcd", "d"], ["bd", "abcd"]),
        ("(?:ab)*", ["", "abab"], ["aba"]),
        ("^(web|db)-.+$", ["web-1", "db-x"], ["web-", "xweb-1"]),
        ("a^b", [], ["ab", "a^b"]),
        (r"(?i)Rack-[a-f]\w", ["rack-Ax", "RACK-b_"], ["rack-g1"]),
        (r"\S\s\D\W", ["a b."], ["a b1", "  b."]),
        ("a+?b*?", ["a", "aab"], ["b"]),
        ("é.", ["éa"], ["ea"]),
    ],
)
def test_whole_texts_match(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes + no if matches(pattern, text)] == yes


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        ("(a", "a ( is never closed, at character 1"),
        ("a)", "a ) closes nothing, at character 2"),
        ("[a", "a [ is never closed, at character 1"),
        ("*a", "* repeats nothing, at character 1"),
        ("a|+", "+ repeats nothing, at character 3"),
        ("a**", "a repeat of a repeat: put the first in a group, at character 3"),
        ("a++", "possessive repeats are not supported, at character 3"),
        ("a{2", "expected {m}, {m,} or {m,n} with numbers below 1000, at character 2"),
        ("a{3,2}", "a repeat from 3 to 2, at character 2"),
        ("a\\", "nothing follows a backslash, at character 2"),
        (r"(a)\1", r"\1 is not supported, at character 4"),
        (r"\p{L}", r"\p is not supported, at character 1"),
        ("(?=a)", "of (?...) only (?:...), and (?i) at the beginning, are supported, at character 1"),
        ("[z-a]", "the range z-a is empty, at character 2"),
        ("(a{100}){100}", "with its repeats written out it is longer than 1000 steps, at character 1"),
        ("((((((((((a{9}){9}){9}){9}){9}){9}){9}){9}){9}){9})", "with its repeats written out it is longer"),
        ("(" * 40 + ")" * 40, "groups lie deeper than 30, at character 32"),
        ("a" * (pattern_chars_max + 1), "it has 501 characters: expected at most 500"),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_place(pattern: str, wrong: str) -> None:
    assert (pattern_invalid(pattern) or "").startswith(wrong)


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)+b", "(a*)*b", "(a|a?)+b", "(.*)(.*)(.*)(.*)(.*)(.*)b"])
def test_what_explodes_elsewhere_does_not_here(pattern: str) -> None:
    assert not matches(pattern, "a" * text_chars_max)


def test_longer_texts_do_not_match():
    assert matches("a*", "a" * text_chars_max)
    assert not matches("a*", "a" * (text_chars_max + 1))


_atoms = st.sampled_from(["a", "b", "1", ".", "[ab]", "[^a]", "[a-c1]", r"\d", r"\w", r"\W", r"\.", "^", "$", ""])


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeat = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])
    return st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, repeat).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    )


@given(st.recursive(_atoms, _larger, max_leaves=8), st.text("abc1.", max_size=6))
def test_the_answers_are_pythons(pattern: str, text: str) -> None:
    assert matches(pattern, text) == (re.fullmatch(pattern, text) is not None)


@given(st.text("ab()[]{}*+?|^$\\.-,12", max_size=30))
def test_any_text_is_a_small_program_or_refused(pattern: str) -> None:
    if pattern_invalid(pattern) is None:
        assert len(compiled(pattern)) <= program_max
        matches(pattern, "ab12")
