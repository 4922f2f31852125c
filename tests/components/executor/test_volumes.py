"""Tasks of a group share directories: mounted where each is confined, linked where none is.

Rule of this room: as in `test_confine`. What mounts is a launcher's child in a namespace of its own, after which this
process looks that it sees none of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from components.executor.attach import shutdown_launcher
from components.executor.launcher.volumes import NotShared, Volume, link, prepare, volumes_in
from tests.components.executor.house import NOBODY, House
from tests.components.executor.place import Client, belonging, wait_until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["root", "ordinary"])
async def house(request, open_path) -> AsyncIterator[House]:
    """An agent's directories, once of root and once of somebody else."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("the tests do not run as root")
    given = House(open_path, NOBODY if request.param == "ordinary" and os.geteuid() == 0 else None)
    yield given
    await given.stack.aclose()
    await shutdown_launcher(str(given.work))
    await wait_until(lambda: not belonging(open_path), f"nobody left in {open_path}")
    outside = Path("/proc/self/mountinfo").read_text().splitlines()
    assert [mount for mount in outside if str(open_path) in mount] == [], "a mount was seen outside"


@pytest.fixture
async def client(house: House) -> Client:
    house.begin()
    return await house.attach()


def shared(house: House, name: str, at: str, *, read_only: bool = False) -> dict[str, object]:
    return {"from": str(house.root / "sandboxes" / "@g" / name), "at": at, "read_only": read_only}


async def test_what_one_writes_the_other_reads(house, client):
    """At paths of their own; a third, without the volume, sees nothing of it."""
    assert await client.run("t1", "echo hello > data/file", volumes=[shared(house, "v", "data")]) == 0
    assert await client.run("t2", "cat a/b/file", volumes=[shared(house, "v", "a/b")]) == 0
    assert house.read("t2") == "hello\n"
    assert await client.run("t3", "ls ..; cat ../@g/v/file") != 0
    assert "@g" not in house.read("t3")
    assert (house.root / "sandboxes/@g/v/file").read_text() == "hello\n"
    assert os.listdir(house.sandbox("t1") / "data") == [], "outside, there is nothing at its path"


async def test_what_is_read_only_cannot_be_written(house, client):
    assert await client.run("t1", "echo hello > data/file", volumes=[shared(house, "v", "data")]) == 0
    shell = "cat data/file; echo no > data/file || echo refused; mount -o remount,rw data || echo refused"
    await client.run("t2", shell, volumes=[shared(house, "v", "data", read_only=True)])
    assert house.read("t2") == "hello\nrefused\nrefused\n"
    assert (house.root / "sandboxes/@g/v/file").read_text() == "hello\n"


async def test_a_volume_can_be_at_a_directory_of_the_machine(house, client):
    """For the task alone; and no program it executes gets another user's rights by that."""
    shell = "echo hello > /mnt/busbar-test; cat /mnt/busbar-test; grep NoNewPrivs /proc/self/status"
    assert await client.run("t1", shell, volumes=[shared(house, "v", "/mnt")]) == 0
    assert house.read("t1") == "hello\nNoNewPrivs:\t1\n"
    assert not os.path.exists("/mnt/busbar-test")


async def test_a_volume_at_no_directory_of_the_machine_is_said(house, client):
    client.launch("t1", "true", volumes=[shared(house, "v", "/no/such/place")])
    message = (await client.told_of("t1", "failed"))["message"]
    assert message == "volume at /no/such/place: there is no such directory here; a relative path is created"


async def test_a_volume_cannot_lead_out_of_the_sandbox(house, client):
    """A link that was there before the task began."""
    house.sandbox("t1").mkdir(parents=True)
    (house.sandbox("t1") / "out").symlink_to("/tmp")
    if house.uid is not None:
        for path in (house.root / "sandboxes", house.sandbox("t1")):
            os.chown(path, house.uid, house.uid)
    client.launch("t1", "true", volumes=[shared(house, "v", "out")])
    assert (await client.told_of("t1", "failed"))["message"] == "volume at out: that leads out of the sandbox"


async def test_unconfined_a_link_leads_there(house, client):
    assert await client.run("t1", "echo hello > data/file", volumes=[shared(house, "v", "data")], hide=None) == 0
    assert await client.run("t2", "cat data/file", volumes=[shared(house, "v", "data")], hide=None) == 0
    assert house.read("t2") == "hello\n"
    client.launch("t3", "true", volumes=[shared(house, "v", "/mnt")], hide=None)
    message = (await client.told_of("t3", "failed"))["message"]
    assert message == "volume at /mnt: only a confined task can have it outside of its sandbox"


def test_volumes_are_read_from_an_order():
    told = [{"from": "/g/v", "at": "b", "read_only": True}, {"from": "/g/w", "at": "a", "read_only": False}]
    assert [(one.source, one.at, one.read_only) for one in volumes_in(told)] == [
        ("/g/w", "a", False),
        ("/g/v", "b", True),
    ]
    assert volumes_in(None) == []


def test_a_directory_is_created_once_for_all(tmp_path):
    volumes = [Volume(str(tmp_path / "g" / "v"), "data", read_only=False)]
    prepare(volumes)
    (tmp_path / "g/v/file").write_text("kept")
    prepare(volumes)
    assert (tmp_path / "g/v/file").read_text() == "kept"
    assert (tmp_path / "g/v").stat().st_mode & 0o777 == 0o777
    (tmp_path / "sandbox").mkdir()
    link(str(tmp_path / "sandbox"), volumes)
    link(str(tmp_path / "sandbox"), volumes)
    assert (tmp_path / "sandbox/data/file").read_text() == "kept"


def test_what_is_no_directory_is_not_shared(tmp_path):
    (tmp_path / "v").symlink_to("/tmp")
    with pytest.raises(NotShared, match="is not a directory"):
        prepare([Volume(str(tmp_path / "v"), "data", read_only=False)])
