"""Somebody is revoked while others work: the servers read anew who is let in, and only who is revoked notices."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from bus import codec
from bus.append import append_surely
from bus.configuration import ACCOUNTS
from bus.credentials import Credentials
from bus.daemon import write_secret
from bus.jetstream import JetStreamBus
from bus.nouns import Position
from bus.permits import Role
from bus.port import BusClosed, BusUnreachable, NoAnswer, NobodyThere, OutcomeUnknown
from bus.services import SchedulerLocated
from bus.subjects import ask
from tests.contract.places import CLUSTER, UserPlace, read, until
from tests.contract.speech import AGENT, ALL, CLIENT, asks, chain, fence

ROUNDS = 10
"""Identities that are revoked, one after another."""
soon_s = 2.0
"""From the signal to the closed connection; it is milliseconds."""


@pytest_asyncio.fixture
async def border(tmp_path: Path) -> AsyncIterator[UserPlace]:
    """A server with a stream, and everybody outside the stream's account."""
    place = UserPlace(tmp_path)
    await place.open()
    try:
        yield place
    finally:
        await place.close()


class Gate:
    """Who is let in, as a server is told."""

    def __init__(self, place: UserPlace) -> None:
        self._place = place
        self._revoked: dict[str, int] = {}

    def revoke(self, known: Credentials) -> None:
        """One more is not let in; the server is told to look."""
        self._revoked[known.key.public] = int(time.time()) + 1
        text = self._place.server.keyring.issuer.accounts_text(self._revoked)
        write_secret(self._place.server.data / "bus" / ACCOUNTS, text.encode())
        assert self._place.server.pid is not None
        os.kill(self._place.server.pid, signal.SIGHUP)


class Traffic:
    """A client that asks without pause, an agent that appends its log in batches, and one who asks it questions."""

    def __init__(self, client: JetStreamBus, agent: JetStreamBus, asker: JetStreamBus) -> None:
        self.client, self.agent, self.asker = client, agent, asker
        self.requested: list[str] = []
        self.said: list[bytes] = []
        self.asked = self.unknown = 0
        self.unanswered: Counter[str] = Counter()
        self.heard: Counter[bytes] = Counter()
        self.enough = False

    async def request(self) -> None:
        """Requests without a fence, each again until it is acknowledged."""
        while not self.enough:
            request = uuid4().hex
            message = asks(request, request)
            while True:
                try:
                    await self.client.append([message], None)
                    break
                except OutcomeUnknown:
                    self.unknown += 1
            self.requested.append(request)

    async def say(self) -> None:
        last, prev = Position(0), b""
        while not self.enough:
            n = len(self.said) + 1
            messages = chain(AGENT, *(f"word {n + i}" for i in range(n % 7 + 1)), n=n, prev=prev)
            last = await append_surely(self.agent, messages, fence(AGENT, last))
            self.said += [message.body for message in messages]
            prev = codec.link(messages[-1].body)

    async def serve(self) -> None:
        async def answer(question: bytes) -> bytes:
            self.heard[question] += 1
            return question

        await self.agent.serve(ask(CLUSTER, AGENT, "summary"), answer)

    async def ask(self) -> None:
        while not self.enough:
            self.asked += 1
            question = b"%d" % self.asked
            try:
                assert await self.asker.query(ask(CLUSTER, AGENT, "summary"), question, timeout_s=5) == question
            except (NoAnswer, NobodyThere) as error:
                self.unanswered[type(error).__name__] += 1

    async def goes_on(self) -> None:
        """Wait until more of everything was done."""
        requested, said, asked = len(self.requested), len(self.said), self.asked
        await until(
            lambda: len(self.requested) > requested + 20 and len(self.said) > said + 20 and self.asked > asked + 20
        )


@pytest.mark.timeout(120)
async def test_who_is_revoked_is_thrown_out_at_once_and_nobody_else_notices(border: UserPlace) -> None:
    """Ten times under traffic: nothing acknowledged is lost, every request and every event is in the log once, every
    other link is the first one; who was revoked does not come back."""
    looking = await border.look()
    traffic = Traffic(await border.connect(CLIENT), await border.connect(AGENT), await border.look())
    gate, lasted_ms = Gate(border), list[float]()
    await traffic.serve()
    victims = [border.issued(Role.OPERATOR, f"u-victim-{number}") for number in range(ROUNDS)]
    told: dict[str, list[str]] = {known.name: [] for known in victims}
    lost = {known.name: await border.join(known, on_lost=told[known.name].append) for known in victims}
    async with asyncio.TaskGroup() as group:
        for work in (traffic.request, traffic.say, traffic.ask):
            group.create_task(work())
        for known in victims:
            await traffic.goes_on()
            began = time.perf_counter()
            gate.revoke(known)
            lasted_ms.append((await closed(lost[known.name], told[known.name]) - began) * 1000)
            with pytest.raises(BusUnreachable, match=f"refused the credentials of {known.name}"):
                await border.join(known)
        await traffic.goes_on()
        traffic.enough = True
    assert max(lasted_ms) < soon_s * 1000, lasted_ms
    for bus in (traffic.client, traffic.agent, traffic.asker, looking):
        assert bus.statistics().links == 1
    records = await read(looking, ALL, len(traffic.requested) + len(traffic.said))
    requests = [
        codec.decode(each.subject, each.body, each.position).fact for each in records if CLIENT.id in each.subject
    ]
    assert Counter(fact.through for fact in requests if isinstance(fact, SchedulerLocated)) == Counter(
        traffic.requested
    )
    assert [record.body for record in records if record.subject.startswith("dc.agent.")] == traffic.said
    assert (await looking.extent()).last == len(records)
    assert traffic.unanswered.total() <= 5 * ROUNDS, "a server that is reading anew has nobody there for a moment"
    print(
        f"\n{ROUNDS} revoked within {min(lasted_ms):.1f} to {max(lasted_ms):.1f} ms; {len(traffic.requested)} requests "
        f"and {len(traffic.said)} events stored once, {traffic.unknown} requests without an answer at first; "
        f"of {traffic.asked} questions unanswered: {dict(traffic.unanswered)}, "
        f"{sum(traffic.heard.values()) - len(traffic.heard)} heard twice"
    )


async def closed(bus: JetStreamBus, told: list[str]) -> float:
    """Wait until a link is cut, and the connection has ended for good because of its credentials; when it was cut."""
    async with asyncio.timeout(soon_s * 5):
        await until(lambda: bool(told))
        cut_at = time.perf_counter()
        await until(lambda: "revoked" in told[-1])
    with pytest.raises(BusClosed, match="revoked"):
        await bus.extent()
    return cut_at


async def test_whoever_is_revoked_keeps_nothing_that_was_going_on(border: UserPlace) -> None:
    """A reader that waits, a question that waits: both end with it."""
    known = border.issued(Role.OPERATOR, "u-eve")
    told: list[str] = []
    bus = await border.join(known, on_lost=told.append)
    agent = await border.connect(AGENT)

    async def think(question: bytes) -> bytes:
        await asyncio.Event().wait()
        return question

    await agent.serve(ask(CLUSTER, AGENT, "slow"), think)
    reading = asyncio.create_task(anext(bus.follow(ALL, after=Position(0))))
    asking = asyncio.create_task(bus.query(ask(CLUSTER, AGENT, "slow"), b"", timeout_s=60))
    await until(lambda: bus.statistics().consumers == 1)
    Gate(border).revoke(known)
    with pytest.raises(BusClosed, match="revoked"):
        await reading
    with pytest.raises((BusClosed, NoAnswer)):
        await asking
    assert "revoked" in told[-1]


async def test_a_passport_from_after_the_revocation_counts(border: UserPlace) -> None:
    """The key may be let in again: what is revoked is what was granted before a moment."""
    known = border.issued(Role.OPERATOR, "u-alice")
    gate = Gate(border)
    told: list[str] = []
    bus = await border.join(known, on_lost=told.append)
    gate.revoke(known)
    await closed(bus, told)
    later = border.server.keyring.issuer.passport(
        Role.OPERATOR, known.name, known.key.public, at_s=int(time.time()) + 60
    )
    again = Credentials(
        url=known.url, name=known.name, role=known.role, passport=later, seed=known.seed, cluster=known.cluster
    )
    await (await border.join(again)).close()


async def test_who_was_revoked_stays_out_when_the_server_starts_again(border: UserPlace) -> None:
    """What says so is on the disk, beside the server's configuration, and is not written over."""
    known = border.issued(Role.OPERATOR, "u-eve")
    told: list[str] = []
    bus = await border.join(known, on_lost=told.append)
    Gate(border).revoke(known)
    await closed(bus, told)
    await border.server.stop()
    await border.server.start()
    with pytest.raises(BusUnreachable, match="refused the credentials of u-eve"):
        await border.join(known)
    assert await (await border.look()).last(ALL) is None
