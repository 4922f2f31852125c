"""What was signed about a store: checkpoints in it, and those kept elsewhere, which prove that nothing was cut off.

Rule of this room: a checkpoint proves something only under the key of the cluster that the caller trusts.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from bus import codec
from bus.codec import Foreign, Unreadable
from bus.nouns import Now, Position
from bus.vouching import CheckpointMade
from eventstore.readonly import header_of, readonly
from eventstore.signing import checkpoint_text, verified
from eventstore.walk import Finding

checkpoint_bytes_max = 65_536


class CheckpointRefused(Exception):
    """The file is no checkpoint of this cluster, or not signed with its key; the text says which."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as a file holds it: what was said, and where."""

    cluster: str
    position: Position
    """Of the `checkpoint.made` in the stream."""
    at: Now
    checkpoint: CheckpointMade


class Stated(NamedTuple):
    """The checkpoints that a store holds: how many say what it holds, and the first that does not."""

    agree: int
    finding: Finding | None


def read_checkpoint(path: str | Path) -> Kept:
    """A checkpoint in a file. Raises CheckpointRefused."""
    try:
        with Path(path).open("rb") as file:
            return msgspec.json.decode(file.read(checkpoint_bytes_max), type=Kept)
    except OSError as error:
        raise CheckpointRefused(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointRefused(
            f"{path} is not a checkpoint: {error}: `busbar store checkpoint` writes such a file"
        ) from None


def prove(path: str | Path, kept: Kept, trusted: str, name: str) -> Finding | None:
    """What a checkpoint shows to be wrong with a store. `trusted` is the cluster's public key, `name` the file's.

    Raises CheckpointRefused for one that proves nothing: of another cluster, or not signed with the trusted key.
    """
    fact = kept.checkpoint
    with readonly(path) as connection:
        cluster = header_of(connection, path).cluster
        if kept.cluster != cluster:
            raise CheckpointRefused(f"{name} is of cluster {kept.cluster!r}, {path} is of {cluster!r}")
        if fact.key != trusted:
            raise CheckpointRefused(f"{name} is signed with key {fact.key or '(none)'}, the cluster's is {trusted}")
        if not verified(trusted, checkpoint_text(cluster, fact), fact.signature):
            raise CheckpointRefused(f"{name} has a wrong signature: it was changed, or made by somebody else")
        [(last,)] = connection.execute("SELECT coalesce(max(position), 0) FROM event")
        found = connection.execute("SELECT chain FROM event WHERE position = ?", (fact.upto,)).fetchall()
    if last < fact.upto:
        return Finding(
            Position(last + 1),
            f"was cut off with all that followed: the store ends at {last}, {name} was signed for {fact.upto}",
        )
    chain = bytes(found[0][0]).hex() if found else "(missing)"
    if chain == fact.chain:
        return None
    return Finding(
        fact.upto,
        f"is another history: the running hash there is {chain[:16]}..., {name} states {fact.chain[:16]}...; "
        "an earlier checkpoint tells how far it is right",
    )


def newest_checkpoint(path: str | Path) -> Kept | None:
    """The newest checkpoint in a store."""
    with readonly(path) as connection:
        cluster = header_of(connection, path).cluster
        rows = connection.execute(f"{_MADE} ORDER BY position DESC LIMIT 1").fetchall()
    return next(iter(_kept(cluster, rows)), None)


def stated(path: str | Path, trusted: str) -> Stated:
    """Hold a store against every checkpoint in it that is signed with the trusted key."""
    agree = 0
    with readonly(path) as connection:
        cluster = header_of(connection, path).cluster
        for kept in _kept(cluster, connection.execute(f"{_MADE} ORDER BY position").fetchall()):
            fact = kept.checkpoint
            if fact.key != trusted or not verified(trusted, checkpoint_text(cluster, fact), fact.signature):
                continue
            found = connection.execute("SELECT chain FROM event WHERE position = ?", (fact.upto,)).fetchall()
            if not found or bytes(found[0][0]).hex() != fact.chain:
                return Stated(
                    agree, Finding(fact.upto, f"is another history than checkpoint #{kept.position} was signed for")
                )
            agree += 1
    return Stated(agree, None)


_MADE = (
    "SELECT position, subject, body FROM event INDEXED BY event_by_type WHERE noun = 'checkpoint' "
    "AND participle = 'made' AND kind = 'master' AND foreign_because IS NULL"
)


def _kept(cluster: str, rows: list[tuple[int, str, bytes]]) -> list[Kept]:
    kept = []
    for position, subject, body in rows:
        try:
            event = codec.decode(subject, body, position)
        except (Foreign, Unreadable):
            continue
        if isinstance(event.fact, CheckpointMade):
            kept.append(Kept(cluster=cluster, position=event.position, at=event.at, checkpoint=event.fact))
    return kept
