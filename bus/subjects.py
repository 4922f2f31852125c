"""The six-token subject of an event, and the subjects of queries and pings.

    <cluster>.<kind>.<id>.<noun>.<participle>.<addressee>

Rule of this room: nobody else joins strings with dots.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from bus.nouns import ID_PATTERN, MASTER

CLUSTER = "dc"
"""The default name of a cluster."""
_TOKEN = re.compile(r"[a-z0-9_-]+")
_ID = re.compile(ID_PATTERN)


class Kind(StrEnum):
    """What an author is."""

    MASTER = "master"
    AGENT = "agent"
    FRAMEWORK = "framework"
    EXECUTOR = "executor"
    CLIENT = "client"


class Author(NamedTuple):
    """Who says something: ids are unique across kinds."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return ".".join(self)


class SubjectError(ValueError):
    """A subject or an id does not follow the grammar; the text says what is allowed."""


class Subject(NamedTuple):
    """The subject of one event, taken apart."""

    cluster: str
    author: Author
    noun: str
    participle: str
    to: str

    def __str__(self) -> str:
        return f"{self.cluster}.{self.author.kind}.{self.author.id}.{self.noun}.{self.participle}.{self.to}"

    @property
    def type(self) -> str:
        """The wire name of the event, `noun.participle`."""
        return f"{self.noun}.{self.participle}"


def check_id(text: str) -> str:
    """`text`, if a component may be called that. Raises SubjectError."""
    if not _ID.match(text):
        raise SubjectError(f"{text!r} is not an id: expected [a-z0-9-], 1 to 63 characters, no dash at an end")
    return text


@lru_cache(maxsize=65536)
def parse_author(text: str) -> Author:
    """`master.main` taken apart. Raises SubjectError."""
    kind, _, name = text.partition(".")
    if kind not in tuple(Kind):
        raise SubjectError(f"{text!r} is not an author: its kind must be one of {', '.join(Kind)}")
    return Author(Kind(kind), check_id(name))


def parse_subject(text: str) -> Subject:
    """A subject taken apart. Raises SubjectError if it is not exactly six tokens of the grammar."""
    tokens = text.split(".")
    if len(tokens) != 6 or not all(_TOKEN.fullmatch(token) for token in tokens):
        raise SubjectError(f"{text!r} is not <cluster>.<kind>.<id>.<noun>.<participle>.<addressee>")
    return Subject(tokens[0], parse_author(f"{tokens[1]}.{tokens[2]}"), tokens[3], tokens[4], tokens[5])


def subject_of(cluster: str, author: Author, type_: str, to: str) -> str:
    """Where an event is published."""
    return ".".join((cluster, *author, type_, to))


def everything(cluster: str) -> str:
    """All events of a cluster: what its stream captures."""
    return f"{cluster}.>"


def own_log(cluster: str, author: Author) -> str:
    """All events of one author; also what its fence looks at, so every writer of a log must say it this way."""
    return f"{cluster}.{author.kind}.{author.id}.>"


def terms(cluster: str, author: Author) -> str:
    """The beginnings of a singleton's terms."""
    return f"{cluster}.{author.kind}.{author.id}.leader.elected.*"


def inbox(cluster: str, name: str) -> str:
    """All events addressed to one component."""
    return f"{cluster}.*.*.*.*.{name}"


def pattern(
    cluster: str,
    *,
    kind: str | None = None,
    name: str | None = None,
    noun: str | None = None,
    participle: str | None = None,
    to: str | None = None,
) -> str:
    """The filter that leaves the events whose tokens are as given. Raises SubjectError for a wrong token."""
    given = (kind, name, noun, participle, to)
    for token in filter(None, given):
        if not _TOKEN.fullmatch(token):
            raise SubjectError(f"{token!r} is not a token of a subject: expected [a-z0-9_-]")
    return ".".join([cluster, *(token or "*" for token in given)])


def matches(filter_: str, subject: str) -> bool:
    """Whether a subject falls under a filter with `*` and `>`. (NATS: subject-based messaging)"""
    wanted, given = filter_.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(given) > index
        if index >= len(given) or token not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def ask(cluster: str, author: Author, query: str) -> str:
    """Where one component answers one read-only query."""
    return f"ask.{cluster}.{author.kind}.{author.id}.{query}"


def ping(cluster: str, author: Author) -> str:
    """Where the owner of a log says that it is alive."""
    return f"ping.{cluster}.{author.kind}.{author.id}"


def roll(cluster: str, author: Author) -> str:
    """Where every instance of a singleton answers, whether it leads or stands by: with its `queries.Instance`."""
    return f"roll.{cluster}.{author.kind}.{author.id}"


def ask_instance(cluster: str, author: Author, node: str, query: str) -> str:
    """Where the instance on one node answers one read-only query, whether it leads or stands by."""
    return f"at.{cluster}.{author.kind}.{author.id}.{node}.{query}"


def ask_page(cluster: str, node: str, author: str) -> str:
    """Where the master on one node tells what its store has: of one author, which may ask for no other, or of all."""
    return ask_instance(cluster, Author(Kind.MASTER, MASTER), node, f"page.{author}" if author else "page")


def author_asked(subject: str) -> str:
    """Whose page a question under `ask_page` is about."""
    return ".".join(subject.split(".")[-2:])
