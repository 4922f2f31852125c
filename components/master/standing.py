"""What a master that stands by does with the leader's checkpoints: it compares, and says what differs.

It owns no log while it stands by, so it speaks as the client `m-<node>`, each word under a request id of its own.

Rule of this room: a difference is said at each checkpoint for as long as it lasts, that it is gone only once.
"""

from __future__ import annotations

import asyncio

import msgspec

from bus import codec, logs
from bus.events import Event, Fact
from bus.nouns import MASTER, RequestId
from bus.port import Bus, Message, NoAnswer, NobodyThere, OutcomeUnknown
from bus.queries import AlarmRow, QueryRefused, unpack
from bus.subjects import Author, Kind, ask
from bus.vouching import CheckpointConfirmed, CheckpointDisputed, CheckpointMade
from components.master.checkpoints import disputes
from components.mind import Clock
from eventstore.signing import checkpoint_text, verified

log = logs.get_logger()

answer_s = 5.0
"""How long the leader may take to tell which alarms stand."""
tries_max = 3
"""To publish one word; the next checkpoint gives another occasion."""
_LEADER = Author(Kind.MASTER, MASTER)


class StandingWitness:
    """Compares what the master on one node holds with the checkpoints of the one that leads.

    With the cluster's public key (hex), a checkpoint that is not signed with it is disputed too.
    """

    def __init__(self, bus: Bus, node: str, clock: Clock, public: str = "") -> None:
        self.bus, self.node, self.clock, self.public = bus, node, clock, public
        self.me = Author(Kind.CLIENT, f"m-{node}")
        self.disputed: bool | None = None
        """Whether a dispute of this node stands; None: it is to be asked."""

    async def check(self, checkpoint: Event, state_hash: str, chain: str) -> None:
        """Compare a checkpoint with the own state's hash just before it, and the own store's chain at its `upto`."""
        fact = checkpoint.fact
        assert isinstance(fact, CheckpointMade), f"{checkpoint.type} is no checkpoint"
        why = self._unsigned(fact) or disputes(fact, chain, state_hash)
        if why is not None:
            log.error("differs from the leader's checkpoint", position=checkpoint.position, why=why)
            said = await self._say(
                CheckpointDisputed(node=self.node, checkpoint=checkpoint.position, message=why), checkpoint
            )
            self.disputed = True if said else None
        elif await self._dispute_stands():
            said = await self._say(CheckpointConfirmed(node=self.node, checkpoint=checkpoint.position), checkpoint)
            self.disputed = False if said else None

    def _unsigned(self, fact: CheckpointMade) -> str | None:
        """What is wrong with a checkpoint's signature, where the cluster has a key."""
        if not self.public:
            return None
        if fact.key != self.public:
            return f"the checkpoint is signed with {fact.key or 'no key'}, the key here is {self.public}"
        if not verified(fact.key, checkpoint_text(self.bus.cluster, fact), fact.signature):
            return f"the checkpoint's signature is not that of {fact.key}"
        return None

    async def _dispute_stands(self) -> bool:
        """Whether the leader holds an alarm about this node, maybe from before this process."""
        if self.disputed is None:
            try:
                answer = await self.bus.query(ask(self.bus.cluster, _LEADER, "alarms"), b"", timeout_s=answer_s)
                alarms = unpack(answer, list[AlarmRow])
            except (NobodyThere, NoAnswer, QueryRefused, msgspec.ValidationError) as error:
                log.info("whether a dispute stands is asked again", why=str(error))
                return False
            self.disputed = any(row.alarm == f"checkpoint.{self.node}" for row in alarms)
        return self.disputed

    async def _say(self, fact: Fact, checkpoint: Event) -> bool:
        """Publish a word to the leader; whether it is in the stream."""
        event = Event(
            by=self.me,
            to=MASTER,
            fact=fact,
            at=self.clock(),
            cause=checkpoint.position,
            actor=self.me.id,
            request=RequestId(f"{self.me.id}-{checkpoint.position}-{fact.type}"),
        )
        message = Message(codec.subject(self.bus.cluster, event), codec.encode(event), event.request)
        for _ in range(tries_max):
            try:
                await self.bus.append([message], None)
                return True
            except OutcomeUnknown as error:
                log.warning("word about a checkpoint not published yet", why=str(error))
                await asyncio.sleep(0)
        return False
