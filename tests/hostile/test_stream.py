"""Who may read the stream may not change it: not by asking the server, and not by having a reader ask for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bus.permits import slots
from tests.hostile.stage import IDENTITIES, TALLY, Stage
from tests.hostile.test_border import ACCEPTED, LOGS, NAMES
from tests.hostile.test_laundering import filter_of, reader
from tests.hostile.wire import Wire, headers
from tests.hostile.witness import mark

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ADMINISTRATION = ("UPDATE", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.DELETE", "MSG.GET", "INFO", "CREATE")
ADMINISTRATION += ("LEADER.STEPDOWN", "PEER.REMOVE")
DELIVERIES = (
    "dc.master.main.x.y.a1",
    "dc.agent.a1.x.y.main",
    "$JS.API.STREAM.DELETE.LOG-DC",
    "$JS.API.STREAM.INFO.LOG-DC",
)
DELIVERIES += ("$JS.API.STREAM.PURGE.LOG-DC", "$JS.API.STREAM.UPDATE.LOG-DC", "$JS.API.STREAM.MSG.DELETE.LOG-DC")
DELIVERIES += ("$JS.API.CONSUMER.DELETE.LOG-DC.marathon_1", "ask.dc.master.main.agents", "ask.dc.master.main.passport")
DELIVERIES += ("ping.dc.master.main", "roll.dc.master.main", "at.dc.master.main.n1.page", "_INBOX_m-n1.x", "_R_.x")
DELIVERIES += ("ping.dc.agent.a1", "ping.dc.framework.marathon", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.PING.CONNZ")
DELIVERIES += ("$JS.ACK.LOG-DC.x.1.1.1.1.1", "$JS.FC.LOG-DC.x.y", "$JS.EVENT.ADVISORY.API", "_GR_.x.y.z")


@pytest.mark.parametrize("identity", IDENTITIES)
def test_nobody_administers_the_stream(besieged: Stage, identity: str) -> None:
    """Update, delete, purge, restore, step down, others' consumers: under the server's names and under ours."""
    config = json.dumps({"name": "LOG-DC", "subjects": ["dc.>"], "max_msgs": 5, "discard": "old"}).encode()
    subjects = [f"$JS.API.STREAM.{what}.LOG-DC" for what in ADMINISTRATION]
    subjects += [f"$JS.API.CONSUMER.{what}.LOG-DC" for what in ("LIST", "NAMES", "CREATE")]
    subjects += [
        f"$JS.API.CONSUMER.{what}.LOG-DC.marathon_1" for what in ("DELETE", "INFO", "MSG.NEXT", "PAUSE", "UNPIN")
    ]
    subjects += [
        "$JS.API.CONSUMER.DURABLE.CREATE.LOG-DC.x",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.NAMES",
        "$JS.API.INFO",
    ]
    subjects += [f"log.dc.{what}" for what in ("update", "delete", "purge", "info.x", "next", "end", "create", "get.x")]
    subjects += [f"log.dc.{what}.marathon_1" for what in ("end", "next", "info", "delete")]
    with besieged.attacked(), Wire(besieged.credentials(identity)) as wire:
        for subject in subjects:
            wire.publish(subject, config)
        refused = wire.flush()
    TALLY[identity] += len(subjects)
    assert [subject for subject in subjects if not any(f'"{subject}"' in error for error in refused)] == []


def _create(wire: Wire, identity: str, slot: int, filter_: str = "", **more: object) -> dict[str, Any]:
    """Ask for a reader; what the server says."""
    TALLY[identity] += 1
    answer = wire.ask(
        f"log.dc.create.{wire.name}_{slot}.{filter_ or filter_of(identity)}", reader(identity, slot, **more), within_s=3
    )
    assert answer is not None, wire.errors
    found: dict[str, Any] = json.loads(answer.body)
    return found


OPENED = 500
ODD = (
    {"name": "marathon_1"},
    {"name": "x", "durable_name": "x"},
    {"durable_name": "marathon_1"},
    {"filter_subject": "dc.>x"},
    {"filter_subject": "dc.master.main.>"},
    {"filter_subject": ""},
    {"filter_subject": "", "filter_subjects": ["dc.master.main.>", "dc.agent.a9.>"]},
    {"filter_subjects": ["dc.master.main.>"]},
)
"""Readers that are not what their subject says."""


@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_reader_is_what_its_subject_says(besieged: Stage, identity: str) -> None:
    """Another name, a durable of another name, another filter, several filters: in the body, and so not checked there
    by the permission. The server refuses each, or goes by the subject."""
    with besieged.attacked(), Wire(besieged.credentials(identity)) as wire:
        answers = [_create(wire, identity, slot, **odd) for slot, odd in enumerate(ODD)]
        for slot in range(len(ODD)):
            wire.ask(f"log.dc.end.{wire.name}_{slot}")
    for slot, answer in enumerate(answers):
        assert "error" in answer or answer["name"] == f"{wire.name}_{slot}", answer
        assert "error" in answer or answer["config"]["filter_subject"] == filter_of(identity), answer


@pytest.mark.parametrize("identity", ["executor", "viewer"])
def test_a_reader_changes_nothing_wherever_it_delivers(besieged: Stage, identity: str) -> None:
    """A reader that pushes may be told to push anywhere in the stream's account: to logs, to the server's own
    subjects, to masters. What it pushes is its own word or nothing, and nothing comes of it."""
    with besieged.attacked(), Wire(besieged.credentials(identity)) as wire:
        if ACCEPTED[identity]:
            for body in (mark(wire.name), b"", b"{}", b'{"batch": 100, "expires": 1000000000}'):
                header = b"NATS/1.0\r\nX: hostile\r\n\r\n"
                assert wire.ask(f"dc.{LOGS[identity]}.{ACCEPTED[identity][0]}", mark(wire.name, body), header=header)
        for slot, delivery in enumerate(DELIVERIES):
            for headers_only in (False, True):
                more = {"deliver_subject": delivery, "ack_policy": "explicit", "headers_only": headers_only}
                more |= {"filter_subject": own(identity)}
                answer = _create(wire, identity, slot, own(identity), **more)
                assert not delivery.startswith("dc.") or "cycle" in str(answer), "a log is no place to deliver to"
                wire.listen(0.02)
                wire.ask(f"log.dc.end.{wire.name}_{slot}")


def own(identity: str) -> str:
    """A filter behind which there is something of the identity's own."""
    return {"executor": "dc.executor.a1-cmd.>", "joiner": "dc.*.*.*.*.t-thief"}.get(identity, "dc.>")


@pytest.mark.parametrize("victim", ["metronome"])
def test_what_a_reader_steals_from_another_is_read_again(besieged: Stage, victim: str) -> None:
    """A reader that pushes can ask another's reader for its next message in its place, and throw it away: who lacks it
    notices, and reads on behind what it took last."""
    before = set(besieged.cluster.running("/hold"))
    with besieged.attacked(), Wire(besieged.credentials("viewer")) as wire:
        for slot in range(slots):
            target = f"$JS.API.CONSUMER.MSG.NEXT.LOG-DC.{victim}_{slot}"
            more = {"deliver_subject": target, "headers_only": True, "ack_policy": "none"}
            _create(wire, "viewer", slot, "dc.>", **more, filter_subject="dc.>", opt_start_seq=1)
        besieged.cluster.run("job", "run", "count")
        for slot in range(slots):
            wire.ask(f"log.dc.end.{wire.name}_{slot}")
    assert set(besieged.cluster.running("/hold")) == before


def test_readers_of_one_identity_are_few(besieged: Stage) -> None:
    """As many as it has slots, whatever they are asked to be: durable, or to stay for a year. The others still read."""
    year = 365 * 24 * 3600 * 10**9
    with besieged.attacked(), Wire(besieged.credentials("viewer")) as wire:
        consumers = besieged.witness.state()["state"]["consumer_count"]
        for slot in range(slots):
            more = {"durable_name": f"{wire.name}_{slot}"} if slot % 2 else {"inactive_threshold": year}
            assert "error" not in _create(wire, "viewer", slot, **more)
        wire.publish(f"log.dc.create.{wire.name}_{slots}.dc.>", reader("viewer", slots))
        assert any(f"{wire.name}_{slots}" in error for error in wire.flush())
        assert besieged.witness.state()["state"]["consumer_count"] <= consumers + slots
        besieged.cluster.run("job", "run", "count")
        for slot in range(slots):
            wire.ask(f"log.dc.end.{wire.name}_{slot}")
        assert besieged.witness.state()["state"]["consumer_count"] <= consumers
    assert NAMES["viewer"] == wire.name


@pytest.mark.parametrize("identity", ["joiner", "operator"])
def test_batches_that_are_not_ended_keep_nobody_from_speaking(besieged: Stage, identity: str) -> None:
    """The server bounds how many batches are open: more than one thief opens within the time they live, or components
    could not begin theirs."""
    subject = f"dc.{LOGS[identity]}.{ACCEPTED[identity][0]}"
    with besieged.attacked() as new, Wire(besieged.credentials(identity)) as wire:
        for number in range(OPENED):
            fields = {"Nats-Batch-Id": f"{wire.name}-{number}", "Nats-Batch-Sequence": "1"}
            wire.publish(subject, mark(wire.name), header=headers(fields))
        assert wire.flush() == []
        TALLY[identity] += OPENED
        besieged.cluster.run("job", "run", "count")
    assert [each for each in new if each.subject == subject] == [], "what is not ended was not said"
