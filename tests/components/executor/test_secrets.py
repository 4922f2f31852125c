"""A task finds its secrets where it asked for them, and nobody finds them anywhere else."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.nouns import Command
from components.executor.hands import order
from components.places import ENV, FILES, file_name, secrets_for, secrets_of
from tests.components.executor.nouns import delivered
from tests.components.executor.place import Place, belonging

pytestmark = pytest.mark.timeout(60)
VALUES = {"db/pw": b"correct horse", "tls/key": b"battery\0staple\n\xff", "odd": b"\xff\xfe=\n"}
REFERS = Command(
    shell="true", env={"A": "b"}, secret_env={"PW": "db/pw", "ODD": "odd"}, secret_files={"conf/tls/key": "tls/key"}
)


@pytest.fixture
def given(place: Place) -> Iterator[Path]:
    """What the agent left in memory for the task t1."""
    at = Path(secrets_for(str(place.sandbox("t1"))))
    for kind, names in ((ENV, ("db/pw", "odd")), (FILES, ("tls/key",))):
        (at / kind).mkdir(parents=True, mode=0o700)
        for name in names:
            (at / kind / file_name(name)).write_bytes(VALUES[name])
            (at / kind / file_name(name)).chmod(0o400)
    for path in (at, at.parent):
        path.chmod(0o711)
    yield at
    for path in sorted(at.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    at.rmdir()
    at.parent.rmdir()


def launch(place: Place, shell: str, user: str | None = None) -> dict[str, object]:
    """The order for t1."""
    sandbox = str(place.sandbox("t1"))
    told = order(delivered("t1", command=REFERS, sandbox=sandbox))
    return told | {"argv": ["/bin/sh", "-c", shell], "user": user}


def test_an_order_names_places_and_holds_no_value():
    """In memory, by the sandbox's name; what Mesos' variables hold is not the task's to say."""
    command = Command(shell="true", secret_env={"PW": "db/pw", "MESOS_SANDBOX": "odd"}, secret_files={"k": "tls/key"})
    told = order(delivered("t1", command=command, sandbox="/w/a1/sandboxes/t1"))
    at = f"{secrets_of('/w/a1')}/t1"
    assert told["secrets"] == {
        "env": {"PW": f"{at}/env/db+pw"},
        "files": {"k": f"{at}/files/tls+key"},
        "owned": f"{at}/files",
    }
    assert at.startswith("/dev/shm/busbar-")
    assert "secrets" not in order(delivered("t1", sandbox="/w/a1/sandboxes/t1"))


async def test_a_task_finds_its_secrets(place: Place, given: Path):
    """In its environment byte for byte, beside what is no secret, and as a file inside its sandbox."""
    client = await place.attach()
    shell = 'printf %s "$PW" >pw; printf %s "$ODD" >odd; cat conf/tls/key >key; echo $A; readlink conf/tls/key'
    assert await client.run("t1", **launch(place, shell)) == 0  # type: ignore[arg-type]
    assert (place.sandbox("t1") / "pw").read_bytes() == VALUES["db/pw"]
    assert (place.sandbox("t1") / "odd").read_bytes() == VALUES["odd"]
    assert (place.sandbox("t1") / "key").read_bytes() == VALUES["tls/key"]
    assert place.read("t1").splitlines() == ["b", f"{given}/files/tls+key"]


async def test_no_value_is_in_a_process_list_nor_with_the_launcher(place: Place, given: Path):
    """Neither in any command line, nor in the launcher's log, nor in what is recorded of the launch."""
    client = await place.attach()
    client.launch("t1", **launch(place, "exec sleep 1000"))  # type: ignore[arg-type]
    pid = await client.started("t1")
    lines = [Path(f"/proc/{each}/cmdline").read_bytes() for each in belonging(place.root)]
    assert VALUES["db/pw"] in Path(f"/proc/{pid}/environ").read_bytes()
    assert Path(f"/proc/{place.launcher_pid}/environ").read_bytes() == b""
    client.kill("t1", 0)
    await client.ended("t1")
    recorded = (place.sandbox("t1") / ".busbar").read_bytes()
    for text in (*lines, recorded, place.said.encode(), str(client.told).encode()):
        assert not any(value in text for value in VALUES.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's tasks need root")
async def test_another_users_task_finds_its_own_and_nobody_elses(place: Place, given: Path):
    """Its files are its own; the directory of all tasks' secrets it can only pass through."""
    user = pwd.getpwnam("nobody")
    for path in (place.root, *place.root.parents):
        if path.stat().st_uid == os.geteuid() and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o011)
    client = await place.attach()
    shell = f'cat conf/tls/key >key; printf %s "$PW" >pw; ls {given.parent} || ls {given} || ls {given}/env || echo no'
    assert await client.run("t1", **launch(place, shell, user.pw_name)) == 0  # type: ignore[arg-type]
    assert (place.sandbox("t1") / "key").read_bytes() == VALUES["tls/key"]
    assert (place.sandbox("t1") / "pw").read_bytes() == VALUES["db/pw"]
    assert place.read("t1") == "no\n"
    assert (given / "files/tls+key").stat().st_uid == user.pw_uid
    assert (place.sandbox("t1") / "conf").stat().st_uid == user.pw_uid


@pytest.mark.parametrize("lost", ["env/db+pw", "files/tls+key"])
async def test_a_task_whose_secrets_are_gone_is_not_executed(place: Place, given: Path, lost: str):
    """As when the machine was started again in between; the message says which file."""
    (given / lost).unlink()
    client = await place.attach()
    client.launch("t1", **launch(place, "echo ran"))  # type: ignore[arg-type]
    message = (await client.told_of("t1", "failed"))["message"]
    assert message == f"[Errno 2] No such file or directory: '{given}/{lost}'"
    assert place.read("t1") == ""
