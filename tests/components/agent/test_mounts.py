"""What is mounted in a sandbox is not deleted with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from components.agent.mounts import check_unmounted, mount_points, points_in
from tests.components.agent.mounted import PLACE

PRIVATE = [
    "unshare",
    *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]),
    "--mount",
    "--propagation",
    "private",
]
MOUNTINFO = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
41 27 0:40 / /box/sandboxes/t1/a\040b\011c\012d\134e rw,relatime shared:3 - tmpfs tmpfs rw
42 27 254:0 /srv /box/sandboxes/t1 rw,relatime master:1 propagate_from:2 - ext4 /dev/a\040b rw
43 27 0:41 / /box/sandboxes/t10 rw - tmpfs tmpfs rw
44 27 0:42 / /box/sandboxes/t2/\303\274\377 rw - tmpfs tmpfs rw
45 41 0:43 / /box/sandboxes/t1/a\040b\011c\012d\134e/f rw - tmpfs tmpfs rw
""".strip()


def test_mount_points_are_read_with_their_escapes():
    """Spaces, tabs, ends of lines and backslashes are written in octal; what is no UTF-8 stays what it is."""
    assert mount_points(MOUNTINFO) == [
        "/proc",
        "/",
        "/box/sandboxes/t1/a b\tc\nd\\e",
        "/box/sandboxes/t1",
        "/box/sandboxes/t10",
        "/box/sandboxes/t2/ü\udcff",
        "/box/sandboxes/t1/a b\tc\nd\\e/f",
    ]


def test_what_lies_in_a_directory_is_named_deepest_first():
    """In the order in which it can be unmounted; a longer name beside it is not in it."""
    points = mount_points(MOUNTINFO)
    inside = "/box/sandboxes/t1/a b\tc\nd\\e"
    assert points_in("/box/sandboxes/t1", points) == [f"{inside}/f", inside, "/box/sandboxes/t1"]
    assert points_in("/box/sandboxes/t1", ["/box/sandboxes/t1", "/box/sandboxes/t1"]) == ["/box/sandboxes/t1"]
    assert points_in("/box/sandboxes/t", points) == []


def test_this_machines_own_mounts_are_found(tmp_path: Path):
    """/proc is one, a new directory has none."""
    with pytest.raises(OSError, match=r"umount .*/proc$"):
        check_unmounted("/proc")
    check_unmounted(str(tmp_path))


MOUNTED_MEANWHILE = """
import os, subprocess, sys
from components.agent.mounts import Mounts
assert os.readlink("/proc/self/ns/mnt") != sys.argv[2], "this is the machine's own namespace"
mounts = Mounts()
mounts.check_none_in(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", sys.argv[1]], check=True)
try:
    mounts.check_none_in(sys.argv[1])
except OSError:
    subprocess.run(["umount", sys.argv[1]], check=True)
    mounts.check_none_in(sys.argv[1])
    print("seen, and seen to be gone")
"""


def test_what_is_mounted_after_the_first_look_is_found_too(tmp_path: Path):
    """The kernel says that something changed, and then it is read again."""
    if refusal():
        pytest.skip(f"nothing can be mounted in private here: {refusal()}")
    argv = [sys.executable, "-c", MOUNTED_MEANWHILE, str(tmp_path), os.readlink("/proc/self/ns/mnt")]
    ended = subprocess.run([*PRIVATE, *argv], capture_output=True, text=True, check=True)
    assert ended.stdout == "seen, and seen to be gone\n"


@cache
def refusal() -> str:
    """Why this user may not have mounts of its own; empty if it may."""
    tried = subprocess.run([*PRIVATE, "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or ("" if tried.returncode == 0 else f"unshare ended with {tried.returncode}")


def deleted(work: Path, where: str) -> dict[str, Any]:
    """What became of a file system mounted in a sandbox when that was deleted, in a namespace made for it."""
    if refusal():
        pytest.skip(f"nothing can be mounted in private here: {refusal()}")
    argv = [sys.executable, "-m", "tests.components.agent.mounted", str(work), os.readlink("/proc/self/ns/mnt"), where]
    ended = subprocess.run([*PRIVATE, *argv], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", PLACE)
def test_a_sandbox_with_a_mount_in_it_is_not_deleted_until_that_is_gone(tmp_path: Path, where: str):
    """Not even its mode is changed; the log says what to do; the others are deleted, and with the next it is too."""
    told = deleted(tmp_path / "work", where)
    assert (told["kept"], told["mode"]) == ("still here", 0o755)
    assert [line["event"] for line in told["logs"]] == ["sandbox cannot be deleted"]
    why = told["logs"][0]["why"]
    assert why.endswith(f"umount '{told['point']}'" if " " in told["point"] else f"umount {told['point']}")
    assert (told["meanwhile"], told["left"]) == ([] if where == "trash" else ["t1"], [])
