"""Two masters, each with its own store: what the one that stands by holds differently is soon in the log."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from functools import partial

import msgspec
import pytest

from bus.codec import decode, encode, subject
from bus.events import AgentRegistered, Event
from bus.memory import MemoryBus, MemoryServer
from bus.nouns import Position, parse_resources
from bus.port import Message
from bus.subjects import CLUSTER, Author, Kind, everything
from bus.vouching import AlarmRaised, CheckpointDisputed, CheckpointMade
from cli.minds import mind_of
from components.histories import History, Settings, add_settings
from components.master import component
from components.master.hands import MasterHands
from components.master.standing import StandingWitness
from components.runtime import live, system_clock
from tests.components.master.test_watching import QUICK


def on_node(node, bus, store):
    """A master as one node runs it."""
    hands = partial(MasterHands, QUICK, bus, store)
    return component(QUICK, hands, StandingWitness(bus, node, system_clock, QUICK.public))


class Two:
    """n1 leads, n2 stands by."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.server, self.stop = MemoryServer(CLUSTER, system_clock), asyncio.Event()
        self.lives = []

    def start(self, node, change=lambda mind: mind):
        bus, store = MemoryBus(self.server), str(self.tmp_path / f"{node}.db")
        mind = change(on_node(node, bus, store))
        life = live(mind, bus, node=node, instance=node, store=store, stop=self.stop)
        self.lives.append(asyncio.create_task(life))

    async def said(self, fact):
        """The first event that says so."""
        bus = MemoryBus(self.server)
        async with aclosing(bus.follow(everything(CLUSTER), after=Position(0))) as groups:
            async for records in groups:
                for record in records:
                    event = decode(record.subject, record.body, record.position)
                    if isinstance(event.fact, fact):
                        return event
        raise AssertionError("the stream ended")

    def register(self):
        """Something happens that changes the state."""
        fact = AgentRegistered(hostname="h", resources=parse_resources("cpus:1;mem:100"))
        author = Author(Kind.AGENT, "a1")
        event = Event(by=author, to="main", fact=fact, at=system_clock(), n=1, epoch=1, last=True)
        self.server.append([Message(subject(CLUSTER, event), encode(event))], None)

    async def end(self):
        self.stop.set()
        await asyncio.gather(*self.lives)


@pytest.fixture
async def two(tmp_path):
    two = Two(tmp_path)
    two.start("n1")
    first = await two.said(CheckpointMade)
    assert first.fact.key == QUICK.public
    yield two
    await two.end()


def another_fold(mind):
    """A planted change: the agents' host names are folded otherwise."""

    def fold(state, event):
        mind.fold(state, event)
        if event.type == "agent.admitted":
            state.agents[event.fact.agent].hostname = "elsewhere"

    return replace(mind, fold=fold)


@pytest.mark.timeout(60)
async def test_a_different_fold_is_found_at_the_next_checkpoint_and_is_an_alarm(two):
    two.start("n2", another_fold)
    two.register()
    disputed = await two.said(CheckpointDisputed)
    assert (disputed.by.id, disputed.fact.node) == ("m-n2", "n2")
    raised = await two.said(AlarmRaised)
    assert (raised.to, raised.request, raised.fact.alarm) == ("m-n2", disputed.request, "checkpoint.n2")
    assert raised.fact.message == disputed.fact.message
    assert disputed.fact.message.startswith("the state after event ")


@pytest.mark.timeout(60)
async def test_a_signed_history_is_decided_again_without_the_key(two):
    """The signature aside, whatever the leader said follows from its log."""
    two.register()
    await two.said(AgentRegistered)
    await two.end()
    records = two.server.records(everything(CLUSTER))
    settings: Settings = {}
    for record in records:
        add_settings(settings, record)
    history = History(settings, mind_of)
    checked = [each for record in records for each in history.take(record)]
    assert [msgspec.to_builtins(each.difference) for each in checked if each.difference] == []
    assert any(each.told.startswith("saw store.stands ") for each in checked)
