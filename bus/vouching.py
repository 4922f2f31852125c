"""What masters vouch for, and what an operator has to look at: checkpoints and alarms.

Rule of this room: as in `bus.events`, of whose kernel space it is.
"""

from __future__ import annotations

from bus.events import Fact, fact
from bus.nouns import Position


@fact("checkpoint.made", said="master, to nobody")
class CheckpointMade(Fact, frozen=True):
    """What the leading master holds to be true of the stream and of its own state, signed with the cluster's key."""

    upto: Position
    """A position of the stream whose chain is stated."""
    chain: str
    """The running hash of the stream after `upto`: SHA-256, hex. (`eventstore.chain`)"""
    folded_n: int
    """The number of the last event of the master's log before this one."""
    state_hash: str
    """SHA-256 (hex) of the master's canonical state after event `folded_n`."""
    key: str = ""
    """The public key (Ed25519, hex); empty where the cluster has none."""
    signature: str = ""
    """Of the text `eventstore.signing.checkpoint_text` makes of the above (hex)."""


@fact("checkpoint.disputed", said="client m-<node> (a master that stands by), to the master")
class CheckpointDisputed(Fact, frozen=True):
    """What a master on another node holds differs from the checkpoint."""

    node: str
    checkpoint: Position
    """The position of the `checkpoint.made`."""
    message: str
    """What differs, exactly."""


@fact("checkpoint.confirmed", said="client m-<node> (a master that stands by), to the master")
class CheckpointConfirmed(Fact, frozen=True):
    """After a dispute: what this master holds is again what the checkpoint says."""

    node: str
    checkpoint: Position


@fact("alarm.raised", said="master, to nobody, or to the client who disputed a checkpoint")
class AlarmRaised(Fact, frozen=True):
    """Something an operator has to look at; it stands until `alarm.cleared`."""

    alarm: str
    """Its name, e.g. `checkpoint.n2`, `stream.headroom`, `stream.config`."""
    message: str


@fact("alarm.cleared", said="master, to nobody, or to the client who confirmed a checkpoint")
class AlarmCleared(Fact, frozen=True):
    """What an alarm was about is in order again."""

    alarm: str
