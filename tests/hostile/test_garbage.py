"""A few thousand messages that are nobody's event and questions that ask nothing: everybody runs on, none was started
again, and the service never notices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bus import codec
from tests.hostile.mutants import mutants
from tests.hostile.stage import TALLY, Stage
from tests.hostile.test_border import LOGS
from tests.hostile.test_fuzz import SEEDS
from tests.hostile.wire import Wire

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SEED = 4711
EMPTY = 40
payload_max = 640 * 1024
numbers_max = 10
"""Every log that is tried here is longer."""
QUERIES = {
    "master.main": "agents frameworks offers tasks identities tokens passport alarms history trace counts foreign",
    "framework.marathon": "apps explain summary nonsense",
    "framework.metronome": "jobs runs explain summary",
    "agent.a1": "log tasks standing summary",
}
PAGES = (
    "at.dc.master.main.n1.page",
    "at.dc.master.main.n1.chain",
    "at.dc.framework.marathon.n1.page",
    "roll.dc.master.main",
)


def shower(stage: Stage, identity: str, subjects: Sequence[str], seeds: Sequence[bytes], count: int) -> None:
    """So many mutants, over the subjects in turn; without those that read as the author's words of a later term, or
    from far behind the end of its log: those make others deaf to that name until it joins anew (`test_access`)."""
    with Wire(stage.credentials(identity)) as wire:
        for number, body in enumerate(mutants(seeds, count, SEED)):
            subject = subjects[number % len(subjects)]
            if not _goes_beyond(subject, body[:payload_max]):
                wire.publish(subject, body[:payload_max])
        assert wire.flush() == []
    TALLY[identity] += count


def _goes_beyond(subject: str, body: bytes) -> bool:
    """Whether it reads as an event of another term than the first, or with a number that the log has not reached."""
    try:
        event = codec.decode(subject, body, 1)
    except codec.Foreign:
        return False
    except codec.Unreadable as error:
        event = error.event
    return event.epoch > 1 or event.n > numbers_max


def test_garbage_to_everybody(besieged: Stage) -> None:
    """On the clients' logs to both schedulers and the master; on an agent's, an executor's and a framework's own."""
    bodies = [each.body for each in besieged.witness.read() if each.body[:8] != b"hostile:"]
    admin = [f"dc.{LOGS['admin']}.{rest}" for rest in ("app.requested.marathon", "job.requested.metronome")]
    admin += [f"dc.{LOGS['admin']}.{noun}.requested.main" for noun in ("token", "identity", "drain")]
    mine = {LOGS[identity] for identity in ("admin", "agent", "executor", "framework")}
    with besieged.attacked(mine):
        shower(besieged, "admin", admin, bodies, 500)
        shower(besieged, "agent", [f"dc.agent.a1.task.reported.{to}" for to in ("main", "a1-cmd", "_")], bodies, 200)
        shower(besieged, "executor", [f"dc.executor.a1-cmd.task.{what}.a1" for what in ("reported", "x")], bodies, 200)
        shower(besieged, "framework", ["dc.framework.metronome.offer.accepted.main"], bodies, 200)
        besieged.cluster.run("job", "run", "count")


@pytest.mark.parametrize("identity", ["operator", "executor"])
def test_nothing_holds_nobody_up(besieged: Stage, identity: str) -> None:
    """An empty message is the end of all answers to the server; to who reads on behind many of them it is not."""
    subject = {"operator": "job.requested.metronome", "executor": "task.reported.a1"}[identity]
    with besieged.attacked({LOGS[identity]}), Wire(besieged.credentials(identity)) as wire:
        for _ in range(EMPTY):
            wire.publish(f"dc.{LOGS[identity]}.{subject}")
        assert wire.flush() == []
        TALLY[identity] += EMPTY
        besieged.cluster.run("job", "run", "count")


def test_garbage_asked_of_everybody(besieged: Stage) -> None:
    """Every query, of every owner of a log; pages of stores."""
    subjects = [f"ask.dc.{owner}.{query}" for owner, queries in QUERIES.items() for query in queries.split()]
    with besieged.attacked(), Wire(besieged.credentials("viewer")) as wire:
        inbox = f"_INBOX_{wire.name}.answers"
        wire.subscribe(inbox)
        bodies = list(mutants(SEEDS, 80, SEED))
        for subject in (*subjects, *PAGES):
            for body in bodies:
                wire.publish(subject, body[:payload_max], reply=inbox)
        wire.listen_until(lambda: len(wire.heard) >= len(bodies) * len(subjects), 30)
        TALLY["viewer"] += len(bodies) * len((*subjects, *PAGES))
    assert len(wire.heard) >= len(bodies) * len(subjects), "each was answered, or refused in words"
