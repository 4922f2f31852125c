"""People who ask for what is not theirs are told who lacks what, and the audit has their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bus.access import AttemptRefused
from tests.e2e.cluster import wait_for
from tests.hostile.people import command, joined
from tests.hostile.stage import TALLY, Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
APP = json.dumps({"id": "/wrong", "cmd": "true", "cpus": 0.1, "mem": 32})
COMMANDS = {
    "viewer": (("app", "add", "-"), ("app", "scale", "/hold", "1"), ("access", "token", "create", "--client", "x")),
    "operator": (("access", "token", "create", "--client", "x"), ("access", "revoke", "u-witness")),
    "auditor": (("app", "add", "-"), ("access", "revoke", "a1")),
}


@pytest.fixture(scope="module")
def files(besieged: Stage, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Credentials of one person of each role."""
    directory = tmp_path_factory.mktemp("people")
    found = {role: directory / f"{role}.json" for role in COMMANDS}
    for role, file in found.items():
        joined(besieged, file, "--client", f"mallory-{role}", "--role", role)
    return found


CHANGES = ("deployment.started", "token.issued", "identity.granted", "identity.revoked")


def changes(stage: Stage) -> int:
    """How often something was changed that commands can change."""
    return sum(len(stage.witness.said(type_)) for type_ in CHANGES)


@pytest.mark.parametrize("role", list(COMMANDS))
def test_who_may_not_is_told_so(besieged: Stage, files: dict[str, Path], role: str) -> None:
    """Exit code 1, who lacks what; nothing has changed; the audit names the person and what was tried."""
    before, name = changes(besieged), f"u-mallory-{role}"
    for args in COMMANDS[role]:
        code, out, err = command(*args, stage=besieged, credentials=files[role], stdin=APP)
        assert (code, out) == (1, ""), (args, err)
        assert name in err, (args, err)
        assert "may not" in err or "for nothing" in err, (args, err)
        assert "Traceback" not in err
        TALLY[role] += 1
    assert changes(besieged) == before

    def audited() -> bool:
        tried = [each.fact for each in besieged.witness.said("attempt.refused")]
        return any(isinstance(fact, AttemptRefused) and fact.name == name for fact in tried)

    wait_for(f"the audit names {name}", audited, within_s=30)


def test_a_key_that_others_can_read_is_refused(besieged: Stage, files: dict[str, Path]) -> None:
    """With the command that mends it."""
    file = files["viewer"]
    file.chmod(0o644)
    code, out, err = command("status", stage=besieged, credentials=file)
    file.chmod(0o600)
    assert (code, out) == (1, "")
    assert f"chmod 600 {file}" in err
    assert command("app", "list", stage=besieged, credentials=file)[0] == 0


def test_a_role_that_is_none_is_a_wrong_usage(besieged: Stage) -> None:
    """Exit code 2."""
    for role in ("root", "master"):
        code, _, err = command("access", "token", "create", "--client", "x", "--role", role, stage=besieged)
        assert code == 2, (role, err)


def test_one_admin_remains(besieged: Stage) -> None:
    """The last one is not revoked, nor is the master."""
    (admin,) = [each for each in besieged.cluster.ask("access", "list") if each["role"] == "admin"]
    before = changes(besieged)
    for args in ((admin["name"],), ("m-n1",)):
        code, _, err = command("access", "revoke", *args, stage=besieged)
        assert code == 1, (args, err)
        assert "is the last" in err
    assert changes(besieged) == before
