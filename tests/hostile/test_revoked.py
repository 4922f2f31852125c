"""Who is revoked is out, at once; a token is good once, for one, in time, for what it says."""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path

import msgspec
import pytest

from bus.access import IdentityGranted, IdentityRevoked
from bus.credentials import Credentials
from bus.nouns import second
from bus.permits import Role
from cli.access import PREFIX, read_token
from tests.e2e.cluster import wait_for
from tests.hostile.people import command, joined, started, token
from tests.hostile.stage import TALLY, Stage
from tests.hostile.wire import Closed, Wire, is_let_in
from tests.hostile.witness import mark

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
loop_s_max = 30.0


def until_out(stage: Stage, known: Credentials, act: str) -> int:
    """Do something again and again over one connection while the identity is revoked: how often it was answered.

    The server's last word on a connection is no answer, and it may be taken before the connection is found closed.
    """
    done, wire = 0, Wire(known)
    wire.subscribe(f"_INBOX_{wire.name}.pull.>")
    revoking = threading.Thread(target=stage.cluster.run, args=("access", "revoke", known.name))
    deadline = time.monotonic() + loop_s_max
    try:
        while not wire.errors:  # the server's last word: the connection is closed in a moment
            done += _is_answered(wire, act)
            if done == 5 and revoking.ident is None:
                revoking.start()
            assert time.monotonic() < deadline, f"{known.name} is still let speak after {loop_s_max:g} s"
    except Closed:
        pass
    revoking.join()
    said = [each.fact for each in stage.witness.said("identity.revoked")]
    assert [fact.name for fact in said if isinstance(fact, IdentityRevoked)].count(known.name) == 1
    return done


def _is_answered(wire: Wire, act: str) -> bool:
    if act == "publish":
        return wire.ask(f"dc.client.{wire.name}.app.requested.marathon", mark(wire.name)) is not None
    heard, errors = len(wire.heard), len(wire.errors)  # what a reader is sent has its own subject, not the inbox's
    reply = f"_INBOX_{wire.name}.pull.{heard}"
    wire.publish(f"log.dc.next.{wire.name}_0", b'{"batch": 1, "no_wait": true}', reply=reply)
    wire.listen_until(lambda: len(wire.heard) > heard or len(wire.errors) > errors)
    return len(wire.heard) > heard


@pytest.mark.parametrize("act", ["publish", "pull"])
def test_a_revoked_identity_is_out_at_once(besieged: Stage, tmp_path: Path, act: str) -> None:
    """In the middle of publishing, of pulling: the connection ends, none is let in again, nothing more is stored."""
    known = joined(besieged, tmp_path / "eve.json", "--client", f"eve-{act}", "--role", "operator")
    with Wire(known) as wire:
        config = {"name": f"{known.name}_0", "filter_subject": "dc.>", "ack_policy": "none", "mem_storage": True}
        request = {"stream_name": "LOG-DC", "config": config, "action": "create"}
        assert wire.ask(f"log.dc.create.{known.name}_0.dc.>", json.dumps(request).encode())
    with besieged.attacked():
        done = until_out(besieged, known, act)
        assert done > 5
        assert not is_let_in(known)
    stored = sum(each.body == mark(known.name) for each in besieged.witness.read())
    assert stored in ((done, done + 1) if act == "publish" else (0,)), "what was on its way, and no more"
    TALLY["revoked"] += done


def refused(stage: Stage, text: str, file: Path) -> str:
    """Joining is refused, and nobody becomes anybody."""
    before = len(stage.witness.said("identity.granted"))
    code, out, err = command("access", "join", "-o", str(file), stage=stage, stdin=text)
    assert code in (1, 3), (code, out, err)
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not file.exists()
    assert len(stage.witness.said("identity.granted")) == before
    TALLY["joiner"] += 1
    return err


def changed(text: str, **changes: object) -> str:
    """A token that says something else."""
    invitation = msgspec.structs.replace(read_token(text), **changes)
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(invitation)).rstrip(b"=").decode()


def test_a_token_that_was_used_is_used_up(besieged: Stage, tmp_path: Path) -> None:
    """Also for who made it; and what it made stays."""
    text = token(besieged, "--client", "once")
    besieged.cluster.run("access", "join", "-o", str(tmp_path / "once.json"), stdin=text)
    assert "was exchanged before" in refused(besieged, text, tmp_path / "again.json")


def test_a_token_expires(besieged: Stage, tmp_path: Path) -> None:
    """After its second."""
    text = token(besieged, "--client", "late", "--ttl", "1s")
    expires = besieged.cluster.ask("access", "token", "list")[-1]["expires_at"]
    wait_for("it has expired", lambda: time.time() > expires / second)
    assert "has expired" in refused(besieged, text, tmp_path / "late.json")


def test_a_revoked_token_lets_nobody_in(besieged: Stage, tmp_path: Path) -> None:
    """The bus does not even take the connection."""
    text = token(besieged, "--client", "never")
    besieged.cluster.run("access", "revoke", read_token(text).bearer.name)
    assert "revoked" in refused(besieged, text, tmp_path / "never.json")


def test_a_token_makes_nothing_else_than_it_says(besieged: Stage, tmp_path: Path) -> None:
    """An agent's as a client's, a client's as an agent's, a viewer's as an admin's: the log knows what it was for."""
    agents, clients = token(besieged, "--agent", "a7"), token(besieged, "--client", "carl")
    refused(besieged, changed(agents, role=Role.VIEWER, name="u-a7"), tmp_path / "a7.json")
    refused(besieged, changed(clients, role=Role.AGENT, name="a8"), tmp_path / "a8.json")
    admin = changed(clients, role=Role.ADMIN, name="u-root2")
    besieged.cluster.run("access", "join", "-o", str(tmp_path / "carl.json"), stdin=admin)
    rows = {row["name"]: row["role"] for row in besieged.cluster.ask("access", "list")}
    assert rows["u-carl"] == "viewer"
    assert not {"u-root2", "a8", "u-a7"} & set(rows)


def test_of_two_who_race_with_one_token_one_wins(besieged: Stage, tmp_path: Path) -> None:
    """The other is told; there is one new identity."""
    text = token(besieged, "--client", "race")
    files = [tmp_path / f"{number}.json" for number in range(2)]
    running = [started("access", "join", "-o", str(file), stage=besieged) for file in files]
    told = [each.communicate(text, timeout=60) for each in running]
    assert sorted(each.returncode for each in running) == [0, 1], told
    assert sum(file.exists() for file in files) == 1
    assert any("was exchanged before" in err for _, err in told)
    granted = [each.fact for each in besieged.witness.said("identity.granted")]
    assert sum(isinstance(fact, IdentityGranted) and fact.name == "u-race" for fact in granted) == 1
    TALLY["joiner"] += 2
