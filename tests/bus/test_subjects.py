"""The grammar of subjects: six tokens, and nobody else joins strings with dots."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.nouns import ID_PATTERN
from bus.subjects import (
    Author,
    Kind,
    Subject,
    SubjectError,
    ask,
    check_id,
    everything,
    inbox,
    matches,
    own_log,
    parse_author,
    parse_subject,
    pattern,
    ping,
    subject_of,
)

IDS = st.from_regex(ID_PATTERN, fullmatch=True)
AUTHORS = st.builds(Author, st.sampled_from(list(Kind)), IDS)
WORDS = st.from_regex(r"[a-z]{1,12}", fullmatch=True)
TOKENS = st.sampled_from(["a", "b", "main", "a1", "_"])


@given(AUTHORS, WORDS, WORDS, st.one_of(IDS, st.just("_")))
def test_a_subject_is_taken_apart_as_it_was_put_together(author: Author, noun: str, participle: str, to: str) -> None:
    """And lies in its author's log, its addressee's inbox, and everything."""
    text = subject_of("dc", author, f"{noun}.{participle}", to)
    subject = parse_subject(text)
    assert subject == Subject("dc", author, noun, participle, to)
    assert str(subject) == text
    assert subject.type == f"{noun}.{participle}"
    assert parse_author(str(author)) == author
    for filter_ in (own_log("dc", author), inbox("dc", to), everything("dc"), pattern("dc", noun=noun, to=to)):
        assert matches(filter_, text)
    assert not matches(everything("other"), text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dc",
        "dc.master.main.task.launched",
        "dc.master.main.task.launched.a1.more",
        "dc.master.main.task..a1",
        "dc.master.main.task.launched.*",
        "dc.master.main.task.>",
        "dc.master.main.task.launched.A1",
        "dc.master.main.task.launched.a1\n",
        "dc.king.main.task.launched.a1",
        "dc.master.-main.task.launched.a1",
    ],
)
def test_what_is_no_subject_of_ours_is_refused(text: str) -> None:
    """Not six tokens, wrong letters, an author of no kind."""
    with pytest.raises(SubjectError):
        parse_subject(text)


@pytest.mark.parametrize("text", ["a", "a1", "main", "u-alice", "0", "a-b-c", "a" * 63])
def test_ids_that_are_allowed(text: str) -> None:
    """Letters, digits, dashes inside, up to 63."""
    assert check_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a.b", "a_b", "a b", "a" * 64, "ü", "a\n", "*", ">"])
def test_ids_that_are_not_allowed(text: str) -> None:
    """With the rule in the text."""
    with pytest.raises(SubjectError) as refused:
        check_id(text)
    assert str(refused.value) == f"{text!r} is not an id: expected [a-z0-9-], 1 to 63 characters, no dash at an end"


@given(
    st.lists(st.one_of(TOKENS, st.just("*")), min_size=1, max_size=6),
    st.booleans(),
    st.lists(TOKENS, min_size=1, max_size=7),
)
def test_filters_match_as_nats_matches(tokens: list[str], open_end: bool, subject: list[str]) -> None:
    """`*` is one token, `>` at the end is one or more. (NATS: subject-based messaging)"""
    filter_ = ".".join([*tokens, ">"] if open_end else tokens)
    expression = r"\.".join(r"[^.]+" if token == "*" else re.escape(token) for token in tokens)
    if open_end:
        expression += r"(\.[^.]+)+"
    given_ = ".".join(subject)
    assert matches(filter_, given_) == bool(re.fullmatch(expression, given_))


def test_pattern_leaves_what_it_names() -> None:
    """Each token in its place, the rest open."""
    assert pattern("dc") == "dc.*.*.*.*.*"
    assert (
        pattern("dc", kind="agent", name="a1", noun="task", participle="reported", to="main")
        == "dc.agent.a1.task.reported.main"
    )
    assert pattern("dc", noun="task") == "dc.*.*.task.*.*"


@pytest.mark.parametrize("token", ["*", ">", "a.b", "A", "", " ", "a\n"])
def test_a_pattern_takes_tokens_only(token: str) -> None:
    """A wildcard in disguise, or a second token, is refused; nothing given is nothing asked."""
    if not token:
        assert pattern("dc", noun=token) == pattern("dc")
        return
    with pytest.raises(SubjectError):
        pattern("dc", noun=token)


def test_questions_and_pings_lie_outside_the_log() -> None:
    """No stream captures them."""
    author = Author(Kind.AGENT, "a1")
    assert ask("dc", author, "log") == "ask.dc.agent.a1.log"
    assert ping("dc", author) == "ping.dc.agent.a1"
    assert not matches(everything("dc"), ask("dc", author, "log"))
    assert not matches(everything("dc"), ping("dc", author))
