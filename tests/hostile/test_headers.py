"""Headers that only the server should say, and words that were said before: they change nothing for who reads them."""

from __future__ import annotations

import hmac
from collections.abc import Iterator

import msgpack
import pytest

from bus.codec import link
from bus.credentials import read_credentials
from tests.e2e.cluster import wait_for
from tests.hostile.stage import STOLEN, TALLY, Stage
from tests.hostile.test_border import LOGS
from tests.hostile.wire import Wire, headers
from tests.hostile.witness import chained, mark

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

REFUSED = (
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-TTL": "1"},
    {"Nats-TTL": "never"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "dc.master.main.x.y.a1"},
    {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": "dc.agent.a1.x.y.main"},
    {"Nats-Incr": "1"},
    {"Nats-Expected-Stream": "OTHER"},
    {"Nats-Expected-Last-Sequence": "1"},
    {"Nats-Expected-Last-Msg-Id": "x"},
    {"Nats-Expected-Last-Subject-Sequence": "1", "Nats-Expected-Last-Subject-Sequence-Subject": "dc.master.main.>"},
    {"Nats-Batch-Id": "x" * 65, "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-Batch-Id": "x", "Nats-Batch-Sequence": "7"},
    {"Nats-Batch-Id": "y", "Nats-Batch-Sequence": "-1"},
)
"""What the server does not take."""
TAKEN = (
    headers({"Nats-Sequence": "1", "Nats-Stream": "OTHER", "Nats-Subject": "dc.master.main.x.y.a1"}),
    headers({"Nats-Last-Consumer": "99", "Nats-Last-Stream": "99"}),
    headers({"Nats-Marker-Reason": "Purge", "Nats-Pending-Messages": "0"}),
    headers({"Busbar-Piece": "n 1 3"}),
    headers({"Busbar-Piece": "garbage"}),
    headers({"Status": "503", "Description": "No Responders"}),
    headers(
        {"Nats-Service-Error": "x", "Nats-Request-Info": '{"acc":"KERNEL"}', "Nats-Trace-Dest": "dc.master.main.x.y.a1"}
    ),
    headers({}, "NATS/1.0 503"),
    headers({}, "NATS/1.0 503 No Responders"),
    headers({"Nats-Last-Consumer": "1"}, "NATS/1.0 100 Idle Heartbeat"),
    headers({"Nats-Consumer-Stalled": "dc.master.main.x.y.a1"}, "NATS/1.0 100 FlowControl Request"),
    headers({}, "NATS/1.0 409 Consumer Deleted"),
    headers({}, "NATS/1.0 408 Request Timeout"),
    headers({"A" * 1000: "b" * 10_000}),
    b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0",
    b"garbage\r\n\r\n",
    b"\r\n\r\n",
)
"""What it stores as it is."""
SAID_TO = {
    "operator": ("marathon", "metronome", "main", "a1", "u-somebody"),
    "executor": ("a1",),
    "framework": ("main",),
}
SAID_TO |= {"agent": ("main", "marathon", "metronome", "a1-cmd")}


def foreign_now(stage: Stage) -> int:
    """Messages that are nobody's event, as `status` counts them."""
    return int((stage.cluster.look().get("foreign") or {}).get("count", 0))


def subject_to(identity: str, to: str) -> str:
    noun = "app.requested" if identity == "operator" else "hostile.tried"
    return f"dc.{LOGS[identity]}.{noun}.{to}"


def test_the_server_takes_no_orders_in_headers(besieged: Stage) -> None:
    """Roll-ups, times to live, schedules, false expectations: refused, and nothing of them is in the stream."""
    subject = subject_to("operator", "marathon")
    with besieged.attacked() as new, Wire(besieged.credentials("operator")) as wire:
        for fields in REFUSED:
            answer = wire.ask(subject, mark(wire.name), header=headers(fields), within_s=2)
            TALLY["operator"] += 1
            assert answer is not None, fields
            assert b'"error"' in answer.body or not answer.body, fields
    assert [each for each in new if each.body == mark(wire.name)] == []


@pytest.mark.parametrize("identity", list(SAID_TO))
def test_a_stored_header_is_no_word_of_the_server(besieged: Stage, identity: str) -> None:
    """Another's sequence, pieces of answers, "nobody is here", heartbeats, "your consumer is deleted": in messages for
    every component, which reads on."""
    with besieged.attacked({LOGS[identity]}) as new, Wire(besieged.credentials(identity)) as wire:
        for to in SAID_TO[identity]:
            for header in TAKEN:
                wire.publish(subject_to(identity, to), mark(wire.name), header=header)
                TALLY[identity] += 1
        assert all('"dc.master.main.x.y.a1"' in error for error in wire.flush()), "where a trace of it should go"
        besieged.cluster.run("job", "run", "count")
    stored = [each for each in new if each.body == mark(wire.name)]
    assert len(stored) >= len(SAID_TO[identity]) * (len(TAKEN) - 4), "what the server takes, the readers have met"


def test_nobody_can_say_under_anothers_request_first(besieged: Stage) -> None:
    """The server drops a second message of an id: so it is one that only who has the sender's key can know."""
    name, request = read_credentials(besieged.data / "credentials.json").name, "hostile-request"
    with besieged.attacked(), Wire(besieged.credentials("operator")) as wire:
        guesses = [
            request,
            f"{name}-{request}",
            f"dc.client.{name}.{request}",
            hmac.new(b"", request.encode(), "sha256"),
        ]
        for guess in guesses:
            text = guess if isinstance(guess, str) else guess.hexdigest()[:32]
            wire.ask(subject_to("operator", "metronome"), mark(wire.name), header=headers({"Nats-Msg-Id": text}))
        besieged.cluster.run("job", "run", "count", "--request", request)


@pytest.mark.parametrize("identity", list(STOLEN))
def test_a_stolen_key_does_not_end_its_owner(besieged: Stage, identity: str) -> None:
    """Its own old events again, another's, broken chains, forged numbers and terms on its own log: the owner goes on,
    in one chain, and what does not belong there is counted as foreign."""
    log = LOGS[identity]
    said = [each for each in besieged.witness.read() if each.author == log and each.body[:8] != b"hostile:"]
    others = [each for each in besieged.witness.read() if each.author == "master.main"][:5]
    before = chained(besieged.witness.read(), log)
    foreign = foreign_now(besieged)
    tried = 0
    with besieged.attacked({log}), Wire(besieged.credentials(identity)) as wire:
        for each in said[-20:]:
            for body in (each.body, *(forged(each.body))):
                wire.publish(each.subject, body)
                tried += 1
        for each in others:
            wire.publish(said[0].subject, each.body)
            tried += 1
        for body in chain(said[-1].body):
            wire.publish(said[-1].subject, body)
            tried += 1
        assert wire.flush() == []
        besieged.cluster.run("job", "run", "count")
        TALLY[identity] += tried
    assert chained(besieged.witness.read(), log) > before, "the owner has said something since"

    def counted() -> bool:
        return bool(foreign_now(besieged) >= foreign + tried)

    wait_for("what does not belong there is foreign", counted, within_s=20)


def chain(body: bytes) -> Iterator[bytes]:
    """Events far beyond the end of the log that extend each other, as its owner's do."""
    prev, n = b"x" * 32, msgpack.unpackb(body)["n"] + 500
    for number in range(n, n + 5):
        made: bytes = msgpack.packb(msgpack.unpackb(body) | {"n": number, "prev": prev})
        yield made
        prev = link(made)


def forged(body: bytes) -> list[bytes]:
    """The same event with other words around it. Left out is what no inbox can tell from what its agent says: a
    registration with a fresh number (architecture 5b), and a later term, behind which the true one is not heard until
    its name is revoked and joins anew. (`tests.e2e.test_access`)"""
    event = msgpack.unpackb(body)
    fresh = [] if event["type"] == "agent.registered" else [{"n": event["n"] + 500}]
    changes = [*fresh, {"n": 0}, {"n": -1}, {"prev": b"x" * 32}, {"epoch": 0}, {"v": 99}]
    changes += [{"at": 2**62}, {"heard": 2**62}, {"last": not event.get("last")}, {"by": "master.main"}, {"to": "zz"}]
    return [msgpack.packb(event | change) for change in changes]
