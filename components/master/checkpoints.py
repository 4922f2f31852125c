"""What the leading master vouches for: the stream up to a position, and its own state; and what speaks against it.

The hands say how far the store is and what its running hash is there; the mind adds the hash of its state, so that
whoever holds the same stream and folds it the same way can compare.

Rule of this room: pure. A checkpoint says what is true at its place in the log, and never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import msgspec

from bus.nouns import Position
from bus.vouching import CheckpointMade
from components.component import Say, Sight, sight, state_hash
from components.master.config import MasterConfig
from components.master.state import MasterState


@sight("store.stands")
class StoreStands(Sight, frozen=True):
    """The master's store holds the stream up to a position."""

    vouches: ClassVar[bool] = True
    upto: Position
    chain: str
    """The running hash after it: SHA-256, hex."""


def make_checkpoint(config: MasterConfig, state: MasterState, seen: StoreStands, known_hash: str = "") -> Iterator[Say]:
    """Vouch for the stream up to where the store stands, and for the state, whose hash may be known. A sight from
    before the last checkpoint is old."""
    if state.checkpoint is not None and seen.upto <= state.checkpoint.upto:
        return
    fact = CheckpointMade(
        upto=seen.upto,
        chain=seen.chain,
        folded_n=state.n,
        state_hash=known_hash or state_hash(state),
        key=config.public,
    )
    if config.sign is not None:
        fact = msgspec.structs.replace(fact, signature=config.sign(fact))
    yield Say(fact)


def disputes(checkpoint: CheckpointMade, own_chain: str, own_state_hash: str) -> str | None:
    """What in one's own store and state differs from a checkpoint, exactly; None if nothing does.

    An empty chain: the own store is not that far, and says nothing.
    """
    found = []
    if own_chain and own_chain != checkpoint.chain:
        found.append(
            f"the stream up to position {checkpoint.upto}: its running hash is {own_chain} here, "
            f"{checkpoint.chain} in the checkpoint"
        )
    if own_state_hash != checkpoint.state_hash:
        found.append(
            f"the state after event {checkpoint.folded_n} of the master's log: its hash is {own_state_hash} here, "
            f"{checkpoint.state_hash} in the checkpoint"
        )
    return "; ".join(found) or None
