"""Docker among the peers: a daemon that runs here already, asked through `docker`.

Rule of this room: only what is in the daemon already is used: no image is fetched, no swarm is made.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from ops.bench.peer import Peer, lines, wait_until

IMAGE = "busybox"
LABEL = "busbar-bench"
daemon_s = 5.0
at_once_max = 32
"""Clients at the same time: a thousand would take more memory than what they start."""


class Docker(Peer):
    """Containers of one small image, each a `docker run`."""

    name: ClassVar[str] = "docker"

    @classmethod
    def missing(cls) -> str:
        if shutil.which("docker") is None:
            return "no docker on the PATH"
        try:
            asked = subprocess.run(
                ["docker", "image", "inspect", IMAGE], capture_output=True, text=True, timeout=daemon_s
            )
        except subprocess.TimeoutExpired:
            return "its daemon does not answer"
        return asked.stderr.strip().partition("\n")[0] if asked.returncode else ""

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        self.down()

    def _run(self, count: int, *argv: str) -> None:
        """So many `docker run`, some at a time."""
        call = ["docker", "run", "--label", LABEL, *argv]
        with ThreadPoolExecutor(at_once_max) as pool:
            done = list(pool.map(lambda _: subprocess.run(call, capture_output=True, check=False), range(count)))
        failed = [each.stderr.decode(errors="replace") for each in done if each.returncode]
        assert not failed, f"{len(failed)} of {count} containers: {failed[0]}"

    def burst(self, count: int) -> None:
        self._run(count, "--rm", IMAGE, "/bin/true")

    def single(self) -> float:
        argv = ["docker", "run", "--label", LABEL, "--rm", IMAGE, "sh", "-c", "echo runs; exec sleep 0.1"]
        began = time.perf_counter()
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            return time.perf_counter() - began

    def up(self, count: int) -> None:
        self._run(count, "--detach", "--init", IMAGE, "sleep", "1000")
        wait_until(f"{count} containers", lambda: len(self._there()) == count)

    def _there(self) -> list[str]:
        argv = ["docker", "ps", "--quiet", "--filter", f"label={LABEL}"]
        return list(lines(subprocess.run(argv, capture_output=True, text=True, check=True).stdout))

    def down(self) -> None:
        there = self._there()
        if there:
            subprocess.run(["docker", "rm", "--force", *there], check=True, stdout=subprocess.DEVNULL)
        wait_until("no container is left", lambda: not self._there())
