"""An answer is somebody's word: wherever a thief has it sent, it is on no log whose author did not say it.

(nats-server: accounts.go addRespServiceImport; reference: 4.2 of the reliability study)
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.hostile.stage import IDENTITIES, TALLY, Stage
from tests.hostile.test_border import ACCEPTED, LOGS, NAMES, READS_ALL
from tests.hostile.wire import Wire, headers
from tests.hostile.witness import mark

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

VICTIMS = ("dc.master.main.task.launched.a1", "dc.agent.a1.task.reported.main", "dc.executor.a1-cmd.task.reported.a1")
VICTIMS += ("dc.framework.marathon.app.updated.main", "dc.client.u-somebody.app.requested.marathon", "dc.x")
VICTIMS += ("_INBOX_a1.x", "_INBOX_marathon.x", "_INBOX_m-n1.x", "$JS.API.STREAM.PURGE.LOG-DC", "_R_.x.y", "$SYS.REQ.X")
QUESTIONS = ("ask.dc.master.main.agents", "ask.dc.master.main.identities", "ask.dc.master.main.passport")
QUESTIONS += ("ask.dc.framework.marathon.apps", "ask.dc.framework.metronome.jobs", "ask.dc.agent.a1.tasks")
QUESTIONS += ("ask.dc.master.main.nonsense", "ask.dc.executor.a1-cmd.tasks", "ping.dc.master.main", "ping.dc.agent.a1")
QUESTIONS += ("ping.dc.framework.marathon", "roll.dc.master.main", "roll.dc.framework.metronome")
QUESTIONS += ("at.dc.master.main.n1.page", "at.dc.master.main.n1.summary", "at.dc.framework.marathon.n1.summary")


def carriers(identity: str) -> Iterator[tuple[str, bytes]]:
    """Whatever is answered by somebody or by the server, if the identity may say it."""
    name = NAMES[identity]
    yield from ((f"dc.{LOGS[identity]}.{rest}", mark(name)) for rest in ACCEPTED[identity])
    yield from ((question, b"") for question in QUESTIONS)
    for kind in ("agent", "framework", "executor"):
        yield f"at.dc.master.main.n1.page.{kind}.{name}", b""
    yield "log.dc.info", b""
    yield "log.dc.get", b'{"seq": 1}'
    yield "log.dc.get", json.dumps({"last_by_subj": "dc.agent.a1.>"}).encode()
    yield f"log.dc.create.{name}_1.{filter_of(identity)}", reader(identity, 1)
    yield f"log.dc.next.{name}_0", b'{"batch": 5, "no_wait": true}'
    yield f"log.dc.next.{name}_0", b'{"batch": 5, "expires": 100000000, "idle_heartbeat": 50000000}'
    yield f"log.dc.next.{name}_0", b"garbage"
    yield f"log.dc.end.{name}_1", b""


def filter_of(identity: str) -> str:
    return "dc.>" if identity in READS_ALL else f"dc.*.*.*.*.{NAMES[identity]}"


def reader(identity: str, slot: int, **more: object) -> bytes:
    """What makes a reader of the identity's own."""
    config = {"name": f"{NAMES[identity]}_{slot}", "filter_subject": filter_of(identity), "ack_policy": "none"}
    config |= {"mem_storage": True, "inactive_threshold": 5_000_000_000}
    return json.dumps({"stream_name": "LOG-DC", "config": config | more, "action": "create"}).encode()


@pytest.mark.parametrize("identity", IDENTITIES)
def test_no_answer_is_laundered(besieged: Stage, identity: str) -> None:
    """Everything that is answered, with another's log, the own log, another's inbox and the server as reply subject."""
    own = [f"dc.{LOGS[identity]}.{rest}" for rest in ACCEPTED[identity][:1]]
    with besieged.attacked(), Wire(besieged.credentials(identity)) as wire:
        wire.ask(f"log.dc.create.{wire.name}_0.{filter_of(identity)}", reader(identity, 0))
        for victim in (*VICTIMS, *own):
            for subject, body in carriers(identity):
                wire.publish(subject, body, reply=victim)
                TALLY[identity] += 1
            wire.flush()
        wire.ask(f"log.dc.end.{wire.name}_0")


@pytest.mark.parametrize("identity", [identity for identity in IDENTITIES if ACCEPTED[identity]])
def test_no_batch_is_laundered(besieged: Stage, identity: str) -> None:
    """Batches of several messages, each with another's log as reply subject: whole, broken, given up."""
    subject = f"dc.{LOGS[identity]}.{ACCEPTED[identity][0]}"
    with besieged.attacked() as new, Wire(besieged.credentials(identity)) as wire:
        for number, victim in enumerate(VICTIMS):
            for size, commits in ((3, True), (2, False)):
                batch = f"{wire.name}-{number}-{commits}"
                for index in range(1, size + 1):
                    fields = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(index)}
                    fields |= {"Nats-Batch-Commit": "1"} if commits and index == size else {}
                    wire.publish(subject, mark(wire.name), reply=victim, header=headers(fields))
                    TALLY[identity] += 1
        assert all('with Reply of "_R_' in error for error in wire.flush())
    assert sum(each.subject == subject for each in new) == 3 * (len(VICTIMS) - 1), "what was committed, and no more"
