"""The leader vouches for stream and state; who stands by and holds something else says so, and an alarm stands."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec
import pytest

from bus.codec import decode
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Position
from bus.queries import answer_ok
from bus.subjects import CLUSTER, Author, Kind, ask, own_log
from bus.vouching import AlarmCleared, AlarmRaised, CheckpointConfirmed, CheckpointDisputed, CheckpointMade
from components.component import apply, state_hash
from components.master import MasterConfig, component
from components.master.checkpoints import StoreStands, disputes
from components.master.standing import StandingWitness
from eventstore.signing import Signer, checkpoint_text, verified
from tests.components.driver import only
from tests.components.master.datacenter import Datacenter, info

SIGNER = Signer(bytes(range(32)))
CHAIN, OTHER = "ab" * 32, "cd" * 32
SIGNING = MasterConfig(public=SIGNER.public, sign=lambda fact: SIGNER.sign(checkpoint_text(CLUSTER, fact)))


@pytest.fixture
def dc():
    dc = Datacenter(SIGNING)
    dc.register("a1")
    dc.enroll("marathon")
    yield dc
    assert dc.rebuilt() == dc.hash()


def vouch(dc, upto=10, chain=CHAIN):
    return dc.see(StoreStands(upto=Position(upto), chain=chain))


def test_a_checkpoint_states_the_stream_and_the_state_before_it(dc):
    n, before = dc.state.n, dc.hash()
    (event,) = vouch(dc)
    fact = event.fact
    assert (fact.upto, fact.chain, fact.folded_n, fact.state_hash) == (10, CHAIN, n, before)
    assert verified(SIGNER.public, checkpoint_text(CLUSTER, fact), fact.signature)
    assert fact.key == SIGNER.public


def test_the_same_history_is_vouched_for_with_the_same_bytes():
    def said():
        dc = Datacenter(SIGNING)
        return vouch(dc)

    assert said() == said()


def test_without_a_key_nothing_is_signed():
    (event,) = vouch(Datacenter())
    assert (event.fact.key, event.fact.signature) == ("", "")


def test_a_checkpoint_never_goes_back(dc):
    vouch(dc, 10)
    assert vouch(dc, 10) == []
    assert vouch(dc, 9) == []
    dc.restart()
    assert vouch(dc, 10) == []
    assert only(vouch(dc, 11), CheckpointMade)


def test_what_differs_is_named_exactly():
    fact = CheckpointMade(upto=Position(10), chain=CHAIN, folded_n=4, state_hash="11" * 32)
    assert disputes(fact, CHAIN, "11" * 32) is None
    assert disputes(fact, "", "11" * 32) is None
    assert disputes(fact, OTHER, "11" * 32) == (
        f"the stream up to position 10: its running hash is {OTHER} here, {CHAIN} in the checkpoint"
    )
    assert disputes(fact, CHAIN, "22" * 32) == (
        f"the state after event 4 of the master's log: its hash is {'22' * 32} here, {'11' * 32} in the checkpoint"
    )


# ---- who stands by -----------------------------------------------------------------------------------------------


class Pair:
    """A leader, and a witness on node n2 that folds the leader's log its own way."""

    def __init__(self, fold=None, public=SIGNER.public):
        self.dc = Datacenter(SIGNING)
        self.own = component(SIGNING)
        if fold is not None:
            self.own = component_with(self.own, fold)
        self.state = self.own.start()
        self.bus = MemoryBus(MemoryServer(CLUSTER, lambda: self.dc.now))
        self.witness = StandingWitness(self.bus, "n2", lambda: self.dc.now, public)
        self.folded = self.heard = 0

    async def serve_alarms(self):
        async def tell(_question):
            return answer_ok(self.own.queries["alarms"](self.dc.state, b"", self.dc.now))

        await self.bus.serve(ask(CLUSTER, Author(Kind.MASTER, "main"), "alarms"), tell)

    async def checkpoint(self, chain=CHAIN, own_chain=CHAIN):
        """The leader makes one; the witness folds the log up to it and compares; the leader hears what it says."""
        vouch(self.dc, self.dc.position + 1, chain)
        for event in self.dc.log[self.folded :]:
            before = state_hash(self.state)
            apply(self.own, self.state, event)
            if isinstance(event.fact, CheckpointMade):
                await self.witness.check(event, before, own_chain)
        self.folded = len(self.dc.log)
        heard = [event for record in self.said() for event in self.dc.hear_event(record)]
        return [event.fact for event in heard]

    def said(self):
        """What the witness published since the last time, as the leader hears it."""
        records = self.bus.server.records(own_log(CLUSTER, self.witness.me))
        found = [decode(record.subject, record.body, record.position) for record in records][self.heard :]
        self.heard += len(found)
        return [msgspec.structs.replace(event, position=self.place()) for event in found]

    def place(self):
        self.dc.position = Position(self.dc.position + 1)
        return self.dc.position


def component_with(mind, fold):
    return replace(mind, fold=partial(fold, mind.fold))


def forgets_launches(fold, state, event):
    """A planted change: this release folds launches without what they take."""
    fold(state, event)
    if event.type == "task.launched":
        state.agents[event.fact.task.agent].hostname = "elsewhere"


async def test_one_that_holds_the_same_says_nothing():
    pair = Pair()
    await pair.serve_alarms()
    pair.dc.register("a1")
    assert await pair.checkpoint() == []
    assert await pair.checkpoint() == []


async def test_a_different_fold_is_found_at_the_next_checkpoint():
    pair = Pair(forgets_launches)
    await pair.serve_alarms()
    pair.dc.register("a1")
    pair.dc.enroll("marathon")
    assert await pair.checkpoint() == []
    pair.dc.launch("marathon", "a1", info("t1"))
    (fact,) = await pair.checkpoint()
    assert isinstance(fact, AlarmRaised)
    assert fact.alarm == "checkpoint.n2"
    assert fact.message.startswith("the state after event ")


async def test_another_stream_is_found_and_once_it_is_mended_the_alarm_is_cleared():
    pair = Pair()
    await pair.serve_alarms()
    (fact,) = await pair.checkpoint(own_chain=OTHER)
    assert (type(fact), fact.alarm) == (AlarmRaised, "checkpoint.n2")
    assert await pair.checkpoint() == [AlarmCleared(alarm="checkpoint.n2")]
    assert await pair.checkpoint() == []


async def test_a_new_process_finds_the_dispute_of_the_one_before_it():
    pair = Pair()
    await pair.serve_alarms()
    await pair.checkpoint(own_chain=OTHER)
    pair.witness = StandingWitness(pair.bus, "n2", lambda: pair.dc.now, SIGNER.public)
    assert await pair.checkpoint() == [AlarmCleared(alarm="checkpoint.n2")]


async def test_while_the_leader_does_not_tell_nothing_is_confirmed():
    pair = Pair()
    assert await pair.checkpoint() == []
    assert pair.witness.disputed is None


@pytest.mark.parametrize("public", ["ee" * 32, Signer(bytes(32)).public])
async def test_a_checkpoint_of_another_key_is_disputed(public):
    (fact,) = await Pair(public=public).checkpoint()
    assert fact.message == f"the checkpoint is signed with {SIGNER.public}, the key here is {public}"


async def test_a_checkpoint_with_a_forged_signature_is_disputed():
    pair = Pair()
    (event,) = vouch(pair.dc)
    forged = msgspec.structs.replace(event, fact=msgspec.structs.replace(event.fact, upto=Position(11)))
    await pair.witness.check(forged, event.fact.state_hash, CHAIN)
    (said,) = pair.said()
    assert isinstance(said.fact, CheckpointDisputed)
    assert said.fact.message == f"the checkpoint's signature is not that of {SIGNER.public}"


async def test_the_same_word_is_in_the_stream_once():
    pair = Pair()
    (event,) = vouch(pair.dc)
    for _ in range(2):
        await pair.witness.check(event, event.fact.state_hash, OTHER)
    assert len(pair.said()) == 1
    assert only(pair.said(), CheckpointConfirmed) == []
