"""Many, and loud: the server keeps each within its bounds, who says too much is kept out for a while, others go on.

HOSTILE_CONNECTIONS says how many come at once, HOSTILE_FLOOD_S how long the flood lasts once it was noticed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import pytest

from bus.access import IdentityResumed, IdentitySuspended
from bus.credentials import Credentials
from tests.e2e.cluster import wait_for
from tests.hostile.people import joined
from tests.hostile.stage import TALLY, Stage
from tests.hostile.test_border import NAMES
from tests.hostile.wire import Closed, Wire, is_let_in, message
from tests.hostile.witness import mark

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
CONNECTIONS = int(os.environ.get("HOSTILE_CONNECTIONS", "100"))
FLOOD_S = float(os.environ.get("HOSTILE_FLOOD_S", "6"))
subscriptions_max = 200
payload_max = 640 * 1024


def suspended(stage: Stage, name: str) -> list[IdentitySuspended]:
    facts = [each.fact for each in stage.witness.said("identity.suspended")]
    return [fact for fact in facts if isinstance(fact, IdentitySuspended) and fact.name == name]


def resumed(stage: Stage, name: str) -> list[IdentityResumed]:
    facts = [each.fact for each in stage.witness.said("identity.resumed")]
    return [fact for fact in facts if isinstance(fact, IdentityResumed) and fact.name == name]


@contextmanager
def sockets(known: Credentials, count: int) -> Iterator[None]:
    """So many connections that say nothing."""
    address = urlsplit(known.urls[0])
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0), timeout=5))
        yield


def test_many_connections_keep_nobody_out(besieged: Stage) -> None:
    """Half-open ones, ones that are dropped at once, ones that never read what they asked for: commands go on."""
    known = besieged.credentials("viewer")
    with besieged.attacked(), sockets(known, CONNECTIONS), ExitStack() as stack:
        for _ in range(CONNECTIONS):
            with Wire(known):
                pass
        for slot in range(10):
            wire = stack.enter_context(Wire(known))
            config = {"name": f"{wire.name}_{slot}", "filter_subject": "dc.>", "ack_policy": "none"}
            request = json.dumps({"stream_name": "LOG-DC", "config": config, "action": "create"}).encode()
            wire.ask(f"log.dc.create.{wire.name}_{slot}.dc.>", request)
            wire.subscribe(f"_INBOX_{wire.name}.never")
            wire.publish(f"log.dc.next.{wire.name}_{slot}", b'{"batch": 100000}', reply=f"_INBOX_{wire.name}.never")
        besieged.cluster.run("job", "run", "count")
    TALLY["viewer"] += 2 * CONNECTIONS + 10
    with Wire(known) as wire:
        for slot in range(10):
            wire.ask(f"log.dc.end.{wire.name}_{slot}")


def test_too_many_connections_of_one_are_closed(besieged: Stage, tmp_path: Path) -> None:
    """Its identity is suspended, and it is said; others go on."""
    known = joined(besieged, tmp_path / "many.json", "--client", "many")
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(Wire(known))
        wait_for("it is suspended", lambda: suspended(besieged, known.name), within_s=15)
    assert "connections" in suspended(besieged, known.name)[0].why
    wait_for("it is kept out", lambda: not is_let_in(known), within_s=3)
    besieged.cluster.run("job", "run", "count")
    TALLY["viewer"] += 40


def test_a_connection_has_its_bounds(besieged: Stage) -> None:
    """Subscriptions, bytes of a message, of a line, of what is no protocol: that connection ends."""
    known = besieged.credentials("operator")
    subject, inbox = f"dc.client.{known.name}.app.requested.marathon", f"_INBOX_{known.name}"
    many = "".join(f"SUB {inbox}.{number} {number}\r\n" for number in range(subscriptions_max + 50)).encode()
    attacks = (
        (message(subject, b"x" * (payload_max + 1)), "payload"),
        (many, "subscriptions"),
        (f"PUB {subject} 99999999999\r\n".encode(), ""),
        (f"SUB {inbox}.{'x' * 9000} 1\r\n".encode(), "control line"),
        (f"PUB {subject} -5\r\n\r\n".encode(), ""),
        (b"GARBAGE\r\n", "protocol"),
        (b"\xff" * 10_000, ""),
        (f"HPUB {subject} 9 5\r\nNATS/\r\n".encode(), ""),
    )
    with besieged.attacked() as new:
        for raw, why in attacks:
            with Wire(known) as wire:
                errors = _complaint(wire, raw)
            assert why in errors.lower(), (raw[:80], errors)
            assert errors, raw[:80]
            TALLY["operator"] += 1
    assert not any(each.body.startswith(b"xx") for each in new)


def _complaint(wire: Wire, raw: bytes) -> str:
    """What the server says to this."""
    try:
        wire.write(raw)
        wire.listen_until(lambda: bool(wire.errors))
    except Closed as closed:
        return " ".join([*wire.errors, str(closed)])
    return " ".join(wire.errors)


class Flood:
    """A framework that says as much as it can, and comes again as often as it is let in."""

    def __init__(self, known: Credentials) -> None:
        self._known, self._stop = known, Event()
        one = message(f"dc.framework.{known.name}.hostile.tried._", mark(known.name))
        self._burst, self._in_burst = one * 500, 500
        self.said, self.thrown_out = 0, 0
        self._thread = Thread(target=self._run)
        self._until = float("inf")

    def _run(self) -> None:
        while not self._over():
            try:
                with Wire(self._known) as wire:
                    while not self._over():
                        wire.write(self._burst)
                        self.said += self._in_burst
            except (Closed, AssertionError):
                self.thrown_out += 1
                self._stop.wait(0.2)  # as a client that reconnects
                if self.thrown_out == 2:
                    self._until = time.monotonic() + FLOOD_S

    def _over(self) -> bool:
        return self._stop.is_set() or time.monotonic() >= self._until

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.wait(max(0.0, self._until - time.monotonic()) if self.thrown_out > 1 else 0)
        self._stop.set()
        self._thread.join()


def test_who_floods_is_suspended_and_others_go_on(besieged: Stage, tmp_path: Path) -> None:
    """Its connections are closed, an app is created and runs meanwhile; later it may come again."""
    known = joined(besieged, tmp_path / "flood.json", "--framework", "flood")
    with Flood(known) as flood:
        wait_for("it is thrown out", lambda: flood.thrown_out > 1, within_s=120)
        besieged.cluster.add_app(id="/meanwhile", cmd="while :; do sleep 1; done", cpus=0.1, mem=32)
    wait_for("it is said", lambda: suspended(besieged, known.name), within_s=30)
    assert "messages a second" in suspended(besieged, known.name)[0].why
    assert flood.thrown_out
    TALLY["flood"] += flood.said
    besieged.check_alive()
    wait_for("it is resumed", lambda: resumed(besieged, known.name), within_s=60)
    assert is_let_in(known)
    assert NAMES["framework"] != known.name
    besieged.cluster.run("app", "remove", "/meanwhile")
