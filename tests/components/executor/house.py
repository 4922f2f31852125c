"""An agent's directories with a canary in every secret, a process that has what its agent has, and a real launcher.

Rule of this room: nothing here mounts, and nothing here deletes.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from cli import wiring
from cli.run import executor_argv
from components.executor import launcher
from components.executor.attach import _RUN
from tests.components.executor.place import Place

CANARY = "canary-5e1f"
NOBODY = 65534
ENV_START = 47
"""Where /proc/PID/stat has the address of the environment, counted from the state. (proc_pid_stat(5))"""
SECRETS = (
    "etc/a1.json",
    "etc/a1-cmd.json",
    "stores/a1.db",
    "stores/a1.db-wal",
    "stores/a1.executor.db",
    "data/cluster.key",
    "a1/agent.log",
    f"a1/sandboxes/{CANARY}/stdout",
)
SYSTEM_CALLS = {
    "x86_64": {"mount": 165, "unshare": 272, "landlock": 444},
    "aarch64": {"mount": 40, "unshare": 97, "landlock": 444},
}
REFUSE = """
import ctypes, struct
load, allow = (0x20, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000)
steps = [load, *((0x15, 0, 1, number) if odd else (0x06, 0, 0, 0x50000 | {error})
                 for number in {numbers} for odd in (True, False)), allow]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = struct.pack("@HP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
"""
"""A seccomp filter: system calls of some numbers fail with an error from now on. (seccomp(2))"""


def refusing(error: int, *names: str) -> str:
    """What has a launcher live on a kernel that refuses some calls."""
    numbers = SYSTEM_CALLS.get(platform.machine())
    if numbers is None:
        pytest.skip(f"the numbers of system calls on {platform.machine()} are not known here")
    return REFUSE.format(error=error, numbers=[numbers[name] for name in names])


@cache
def python_of(uid: int | None) -> str:
    """An interpreter that a user can execute."""
    check = "import ctypes, sys; sys.exit(sys.version_info < (3, 11))"
    for path in filter(os.path.exists, (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")):
        try:
            if subprocess.run([path, "-I", "-S", "-c", check], check=False, cwd="/", **_as(uid)).returncode == 0:  # type: ignore[call-overload]
                return path
        except PermissionError:
            continue
    pytest.skip(f"there is no python 3.11 that user {uid} can execute")


def _as(uid: int | None) -> dict[str, object]:
    return {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}


def hidden(top: Path) -> tuple[str, ...]:
    """What `busbar run agent` has its executor hide."""
    files = {"credentials_file": f"{top}/etc/a1.json", "store": f"{top}/stores/a1.db"}
    place = wiring.Place(bus=None, node="n1", pid_file=None, **files)
    argv = executor_argv(place, "a1", top / "a1", (str(top / "data"),))
    return tuple(path for option, path in pairwise(argv) if option == "--hide")


class House(Place):
    """One agent's directories; the launcher is of this process's user, or of another one."""

    def __init__(self, top: Path, uid: int | None) -> None:
        super().__init__(top / "a1", work="executor")
        self.top, self.uid = top, uid
        self.config = replace(self.config, hide=hidden(top))
        self.plant()

    def plant(self) -> None:
        """Write the secrets."""
        self.work.mkdir(parents=True)
        for name in SECRETS:
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{CANARY}\n")
        if self.uid is not None:
            for where, _, files in os.walk(self.top):
                for path in (where, *(f"{where}/{file}" for file in files)):
                    os.chown(path, self.uid, self.uid)

    def begin(self, prelude: str = "") -> None:
        """Start the launcher as its user, who can read its code."""
        here = self.top / "code"
        shutil.copytree(os.path.dirname(launcher.__file__), here / "launcher")
        argv = [python_of(self.uid), "-I", "-S", "-B", "-c", prelude + _RUN, str(here), str(self.work), "60"]
        subprocess.run(argv, check=True, env={}, cwd="/", **_as(self.uid))  # type: ignore[call-overload]

    def neighbour(self) -> Iterator[Neighbour]:
        """A process that has in its memory, environment and files what an agent has, while it is needed."""
        shell = f"exec 3<{SECRETS[0]}; echo ready; read line"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {"BUSBAR_PASSWORD": CANARY}}
        with subprocess.Popen(["/bin/sh", "-c", shell], cwd=self.top, **pipes, **_as(self.uid)) as process:  # type: ignore[call-overload]
            assert process.stdout.readline() == b"ready\n"
            yield Neighbour(process.pid)

    def shell(self, probe: str, neighbour: Neighbour) -> str:
        """A probe with what it looks for filled in."""
        return probe.format(top=self.top, pid=neighbour.pid, at=neighbour.env_start, canary=CANARY)


class Neighbour:
    """A process like an agent's."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        self.env_start = int(stat[ENV_START])
