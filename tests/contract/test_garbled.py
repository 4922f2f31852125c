"""Messages that no client library would send: whoever has the credentials and a socket can store them for ever."""

from __future__ import annotations

import pytest

from bus.nouns import Position
from bus.port import Fence, Message
from tests.contract.places import CLUSTER, JetStreamPlace, read
from tests.e2e.wire import Wire

TO_MARATHON = b"dc.client.u-x.app.requested.marathon"
HEADERS = (
    b"NATS/1.0",
    b"garbage no header\r\n\r\n",
    b"NATS/1.0\r\nfoo\r\n\r\n",
    b"NATS/1.0\r\n: x\r\n\r\n",
    b"NATS/1.0\r\nA: b",
    b"NATS/1.0 \xff\xfe\r\n\r\n",
    b"NATS/1.0 503 \xff\r\n\r\n",
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: x\r\n\r\n",
    b"\r\n",
)
SUBJECTS = (
    b"dc.\xff\xfe.x.y.z.marathon",
    b"dc.client.u-\xc3\xa4.app.requested.marathon",
    b"dc.client.\x0bu-x.app.requested.marathon",
    b"dc.client.u-x.app\x0c.requested.marathon",
    b"dc.client.\x00.\x1b[31m.requested.marathon",
    b"dc.client.u-x.app." + b"a" * 3000 + b".marathon",
    b"dc.x",
)


def store(nats: JetStreamPlace, subject: bytes, body: bytes, header: bytes | None = None) -> None:
    """Publish by hand, and wait until the server has taken it."""
    with Wire(nats.credentials) as wire:
        wire.publish(subject, body, header=header)
        wire.flush()


@pytest.mark.parametrize("header", HEADERS)
async def test_a_header_that_is_none_ends_no_reader(nats: JetStreamPlace, header: bytes) -> None:
    """The message is read as what it is, and so is what follows it."""
    bus = await nats.connect()
    store(nats, TO_MARATHON, b"garbage", header)
    await after_it_comes_more(nats, garbage=b"garbage")
    await bus.close()


@pytest.mark.parametrize("subject", SUBJECTS, ids=range(len(SUBJECTS)))
async def test_a_subject_outside_the_grammar_ends_no_reader(nats: JetStreamPlace, subject: bytes) -> None:
    """Bytes that are no text, and white space that only some take for it."""
    bus = await nats.connect()
    store(nats, subject, b"garbage")
    await after_it_comes_more(nats, garbage=b"garbage")
    await bus.close()


async def after_it_comes_more(nats: JetStreamPlace, *, garbage: bytes) -> None:
    """A new reader gets the garbage and the message behind it; the one who wrote that is answered."""
    bus = await nats.connect()
    message = Message(f"{CLUSTER}.master.main.term.begun._", b"sense")
    assert await bus.append([message], Fence(f"{CLUSTER}.master.main.>", Position(0))) == 2
    found = await read(bus, f"{CLUSTER}.>", 2)
    assert [record.body for record in found] == [garbage, b"sense"]
    assert [record.body for record in await read(await nats.connect(), f"{CLUSTER}.>", 2)] == [garbage, b"sense"]
