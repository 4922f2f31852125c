"""Marathon's hands look at real servers; its mind decides what that means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from bus.documents import UnreachableStrategy
from bus.documents.app import HealthCheck, PortDefinition, ReadinessCheck
from bus.events import Event
from bus.nouns import TaskId
from bus.services import InstanceDismissed
from components.component import Sight
from components.marathon.hands import MarathonHands
from components.marathon.instances import Launched
from components.marathon.sights import CheckSeen
from components.marathon.state import UNHEALTHY
from tests.components.driver import only
from tests.components.marathon.play import KILLED, RUNNING, UNREACHABLE, Play, launches
from tests.components.servers import Server, free_port, ok, serving

pytestmark = pytest.mark.timeout(60)
patience_s = 20.0


class World:
    """What the runtime does, without bus: hear, decide, fold, and after that the hands act."""

    def __init__(self) -> None:
        self.play = Play()
        self.sights: list[Sight] = []
        self.changed = asyncio.Condition()

    async def begin(self) -> None:
        """A new leader."""
        self.hands = MarathonHands(pause=lambda _s: asyncio.sleep(0.005))
        self.running = asyncio.create_task(self.hands.run(self.play.state, self.see))
        await asyncio.sleep(0)

    async def die(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def see(self, sight: Sight) -> None:
        self.sights.append(sight)
        await self.follow(self.play.see(sight))

    async def follow(self, events: list[Event]) -> None:
        for event in events:
            self.hands.act(event)
        async with self.changed:
            self.changed.notify_all()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(patience_s), self.changed:
            await self.changed.wait_for(true)

    async def up(self, **fields: object) -> TaskId:
        """An app of one instance that runs here."""
        await self.follow(self.play.add(**fields))
        return await self.launch()

    async def launch(self) -> TaskId:
        events = self.play.make(replace(self.play.offer(), hostname="127.0.0.1"))
        await self.follow(events)
        (info,) = launches(events)
        await self.follow(self.play.update(info.task, RUNNING))
        return info.task

    def instance(self, task: TaskId) -> Launched:
        return self.play.app().launched[task]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    given = World()
    await given.begin()
    yield given
    await given.die()
    left = [task for task in asyncio.all_tasks() if "_watch" in repr(task) or "_ask" in repr(task)]
    assert not left, "somebody is looked at still"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as given:
        yield given


def check(server: Server, **fields: object) -> HealthCheck:
    return HealthCheck(**{"grace_period_seconds": 0, "port": server.port, **fields})  # type: ignore[arg-type]


async def test_a_server_is_healthy_and_then_is_not_and_its_instance_is_replaced(world, server):
    task = await world.up(health_checks=(check(server, path="/health"),))
    await world.until(lambda: world.instance(task).healthy)
    server.reply = lambda _path: ok(status="500 Broken")
    await world.until(lambda: task not in world.play.app().launched)
    (dismissed,) = only(world.play.log, InstanceDismissed)
    assert (dismissed.reason, dismissed.task) == (UNHEALTHY, task)
    assert dismissed.why.endswith(f"HTTP 500 from http://127.0.0.1:{server.port}/health")
    assert set(server.asked) == {"/health"}
    await world.follow(world.play.update(task, KILLED))
    server.reply = lambda _path: ok()
    await world.follow(world.play.advance(10))
    follower = await world.launch()
    await world.until(lambda: world.instance(follower).healthy)


async def test_a_port_is_enough_for_tcp_and_nobody_there_is_a_failure(world, server):
    task = await world.up(health_checks=(check(server, protocol="TCP"),))
    await world.until(lambda: world.instance(task).healthy)


async def test_nobody_there_is_a_failure(world, server):
    port = await free_port()
    task = await world.up(health_checks=(check(server, port=port, max_consecutive_failures=0),))
    await world.until(lambda: world.instance(task).found[0].failures > 2)
    assert (
        "refused" in world.instance(task).found[0].cause or "Connect call failed" in world.instance(task).found[0].cause
    )


async def test_a_redirection_is_good_and_not_followed(world, server):
    """(Marathon: 200 to 399)"""
    server.reply = lambda _path: ok(b"", "302 Found", "Location: /elsewhere")
    task = await world.up(health_checks=(check(server),))
    await world.until(lambda: world.instance(task).healthy)
    assert set(server.asked) == {"/"}


async def test_that_it_goes_on_well_is_told_to_nobody(world, server):
    """An event for a change, not for a heartbeat; nor is the mind woken."""
    task = await world.up(health_checks=(check(server),))
    await world.until(lambda: world.instance(task).healthy)
    length = len(world.play.log)
    await server.wait_asked(len(server.asked) + 10)
    assert len(world.play.log) == length
    assert world.sights == [CheckSeen(task=task, check=0, healthy=True)]


async def test_an_interim_answer_says_nothing_if_it_is_to_be_ignored(world, server):
    server.reply = lambda _path: b"HTTP/1.1 102 Processing\r\n\r\n" + ok(status="500 Broken")
    task = await world.up(health_checks=(check(server, ignore_http1xx=True),))
    await server.wait_asked(10)
    assert world.sights == []
    assert world.instance(task).healthy is None


async def test_a_new_leader_looks_again(world, server):
    task = await world.up(health_checks=(check(server),))
    await world.until(lambda: world.instance(task).healthy)
    await world.die()
    world.play.restart()
    assert world.instance(task).healthy
    server.reply = lambda _path: ok(status="500 Broken")
    await world.begin()
    await world.until(lambda: world.instance(task).healthy is False)


async def test_one_that_cannot_be_reached_is_not_looked_at_until_it_is_back(world, server):
    strategy = UnreachableStrategy(inactive_after_seconds=60, expunge_after_seconds=600)
    task = await world.up(health_checks=(check(server),), unreachable_strategy=strategy)
    await world.until(lambda: world.instance(task).healthy)
    await world.follow(world.play.update(task, UNREACHABLE))
    server.reply = lambda _path: ok(status="500 Broken")
    assert not world.hands._targets[task].looking
    await world.follow(world.play.advance(60))
    await world.follow(world.play.update(task, RUNNING))
    await world.until(lambda: world.instance(task).healthy is False)
    await world.follow(world.play.update(task, UNREACHABLE))
    await world.follow(world.play.advance(600))
    assert task not in world.hands._targets


async def test_readiness_is_asked_until_it_is_ready(world, server):
    server.reply = lambda _path: ok(b"warming up", "503 Soon", "Content-Type: text/plain")
    ready = ReadinessCheck(path="/ready", preserve_last_response=True)
    port = PortDefinition(port=server.port, name="http-api")
    await world.follow(world.play.add(readiness_checks=(ready,), port_definitions=(port,), require_ports=True))
    offer = replace(world.play.offer(), hostname="127.0.0.1")
    offer = replace(offer, resources=replace(offer.resources, ports=((server.port, server.port),)))
    events = world.play.make(offer)
    await world.follow(events)
    (info,) = launches(events)
    await world.follow(world.play.update(info.task, RUNNING))
    await world.until(lambda: world.instance(info.task).ready is False)
    assert world.instance(info.task).readiness.body == "warming up"
    server.reply = lambda _path: ok()
    await world.until(lambda: world.instance(info.task).ready)
    asked = world.hands._targets[info.task]
    await asyncio.gather(*asked.looking)
    assert asked.readiness is None
