"""Which events, as SQL that an index answers in the order of the stream.

Rule of this room: every statement names its index, so SQLite refuses it rather than scan the table
(`tests/eventstore/test_plans.py` asks SQLite for each plan).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bus.nouns import Now, Position
from bus.subjects import Author

arms_max = 64
"""Types merged by their index; a selection of more is so broad that the stream is read in order instead."""
position_max = Position(2**63 - 1)

Type = tuple[str, str, str]
"""Kind of the author, noun, participle."""


class Query(NamedTuple):
    """A statement and its values."""

    sql: str
    values: tuple[object, ...]


def fitting(value: object) -> object:
    """A number that is beyond SQLite's becomes its greatest or smallest: no event is out there either."""
    return min(max(value, -(2**63)), 2**63 - 1) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The events that have all of the given tokens, said within `since` <= at < `until`; None: whatever it is."""

    author: Author | None = None
    kind: str | None = None
    noun: str | None = None
    participle: str | None = None
    to_whom: str | None = None
    since: Now | None = None
    until: Now | None = None

    @property
    def tokens(self) -> dict[str, str]:
        """The wanted tokens by column."""
        author = {"kind": str(self.author.kind), "id": self.author.id} if self.author else {}
        given = {"kind": self.kind, "noun": self.noun, "participle": self.participle, "addressee": self.to_whom}
        return {column: token for column, token in given.items() if token is not None} | author


def page(selection: Selection, types: Sequence[Type], *, after: int, to: int, limit: int) -> Query:
    """The first `limit` selected events behind `after`, up to `to`. `types` are all there are in the store."""
    tokens = selection.tokens
    if selection.author:
        return _merged("event_by_author", [tokens], selection, after, to, limit)
    if selection.to_whom is not None:
        return _merged("event_by_addressee", [tokens], selection, after, to, limit)
    arms = [arm for arm in map(_arm, types) if tokens.items() <= arm.items()]
    if not tokens or len(arms) > arms_max:
        return _merged(None, [tokens], selection, after, to, limit)
    return _merged("event_by_type", arms or [_NOTHING], selection, after, to, limit)


def _arm(type_: Type) -> dict[str, str]:
    return dict(zip(("kind", "noun", "participle"), type_, strict=True))


_NOTHING = _arm(("", "", ""))


def _merged(
    index: str | None, arms: Sequence[dict[str, str]], selection: Selection, after: int, to: int, limit: int
) -> Query:
    """One search of the index for each arm, merged by position as SQLite steps."""
    indexed = f"INDEXED BY {index}" if index else "NOT INDEXED"
    within, times = _within(selection)
    values: list[object] = []
    selects = []
    for arm in arms:
        wanted = "".join(f"{column} = ? AND " for column in arm)
        selects.append(
            f"SELECT position, subject, body FROM event {indexed} WHERE {wanted}position > ? AND position <= ?{within}"
        )
        values += [*arm.values(), after, to, *times]
    return Query(" UNION ALL ".join(selects) + " ORDER BY position LIMIT ?", (*values, limit))


def _within(selection: Selection) -> tuple[str, list[int]]:
    """The condition on time. What has no time of its own is where it lies."""
    bounds = {"at >= ?": selection.since, "at < ?": selection.until}
    given = {condition: at for condition, at in bounds.items() if at is not None}
    if not given:
        return "", []
    return f" AND (at IS NULL OR ({' AND '.join(given)}))", list(given.values())


def extent(selection: Selection) -> Query:
    """The first and last position said within the selection's times."""
    since = selection.since if selection.since is not None else -(2**63)
    until = selection.until if selection.until is not None else 2**63 - 1
    return Query(
        "SELECT min(position), max(position) FROM event INDEXED BY event_by_time WHERE at >= ? AND at < ?",
        (since, until),
    )


def mentioning(noun: str, id_: str, *, after: int, limit: int) -> Query:
    """The events that mention a thing; of an agent or framework also what it said and what it was told."""
    arms = ["SELECT position FROM mention WHERE noun = ? AND id = ? AND position > ?"]
    values: list[object] = [noun, id_, after]
    if noun in ("agent", "framework"):
        arms.append(
            "SELECT position FROM event INDEXED BY event_by_author "
            "WHERE kind = ? AND id = ? AND position > ? AND foreign_because IS NULL"
        )
        arms.append(
            "SELECT position FROM event INDEXED BY event_by_addressee "
            "WHERE addressee = ? AND position > ? AND foreign_because IS NULL"
        )
        values += [noun, id_, after, id_, after]
    return Query(
        f"SELECT event.position, subject, body FROM ({' UNION '.join(arms)} ORDER BY position LIMIT ?) AS named "
        "CROSS JOIN event ON event.position = named.position ORDER BY named.position",
        (*values, limit),
    )


def latest(type_: Type, *, before: int, author: str | None = None, to_whom: str | None = None) -> Query:
    """The newest event of a type before a position; by or to somebody, where given."""
    wanted = {"id": author, "addressee": to_whom}
    given = {column: token for column, token in wanted.items() if token is not None}
    conditions = "".join(f" AND {column} = ?" for column in given)
    return Query(
        "SELECT position, subject, body FROM event INDEXED BY event_by_type "
        f"WHERE kind = ? AND noun = ? AND participle = ? AND position < ?{conditions} AND foreign_because IS NULL "
        "ORDER BY position DESC LIMIT 1",
        (*type_, before, *given.values()),
    )


LAST = Query("SELECT max(position) FROM event", ())
TYPES = Query("SELECT kind, noun, participle FROM type", ())
COUNTS = Query(
    "SELECT kind, noun, participle, (SELECT count(*) FROM event INDEXED BY event_by_type WHERE event.noun = type.noun "
    "AND event.participle = type.participle AND event.kind = type.kind) FROM type",
    (),
)
FOREIGN_COUNTS = Query(
    "SELECT kind, noun, participle, count(*) FROM event INDEXED BY event_foreign "
    "WHERE foreign_because IS NOT NULL GROUP BY kind, noun, participle",
    (),
)


NEWEST_FOREIGN = Query(
    "SELECT position, subject, foreign_because FROM event INDEXED BY event_foreign "
    "WHERE foreign_because IS NOT NULL ORDER BY position DESC LIMIT 1",
    (),
)


def chain_at(position: int) -> Query:
    """The running hash after the event at a position."""
    return Query("SELECT chain FROM event WHERE position = ?", (position,))


def at_position(position: int) -> Query:
    """The event at a position."""
    return Query("SELECT position, subject, body FROM event WHERE position = ?", (position,))


def between(first: int, last: int) -> Query:
    """The events from one position to another."""
    return Query("SELECT position, subject, body FROM event WHERE position BETWEEN ? AND ?", (first, last))


def position_before(at: int) -> Query:
    """The position of the last event said before a time."""
    return Query(
        "SELECT position FROM event INDEXED BY event_by_time WHERE at < ? ORDER BY at DESC, position DESC LIMIT 1",
        (at,),
    )


def foreign(*, after: int, limit: int) -> Query:
    """The messages that are nobody's event, each with why."""
    return Query(
        "SELECT position, subject, foreign_because FROM event INDEXED BY event_foreign "
        "WHERE foreign_because IS NOT NULL AND position > ? ORDER BY position LIMIT ?",
        (after, limit),
    )


ENDS = Query(
    "SELECT author.kind, author.id, event.n, event.body FROM author CROSS JOIN event ON event.position = ("
    "SELECT position FROM event INDEXED BY event_by_author WHERE event.kind = author.kind AND event.id = author.id "
    "AND n IS NOT NULL ORDER BY position DESC LIMIT 1)",
    (),
)
"""The last event of every log in the store."""
TAIL = Query("SELECT position, chain FROM event ORDER BY position DESC LIMIT 1", ())
"""The last event of all."""
