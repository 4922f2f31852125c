"""Nomad among the peers: `nomad agent -dev` with `raw_exec` in a directory of the bench, asked through `nomad`.

(Nomad 1.1: `job run -detach`, `job status`, `job stop -purge`.)
Rule of this room: one agent is server and client, as on one machine; it ends with the measurement.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import Any, ClassVar
from uuid import uuid4

from bus.server import free_ports
from ops.bench.peer import Peer, wait_until

AGENT = """\
data_dir = "{directory}/data"
bind_addr = "127.0.0.1"
ports {{
  http = {ports[0]}
  rpc = {ports[1]}
  serf = {ports[2]}
}}
plugin "raw_exec" {{
  config {{ enabled = true }}
}}
client {{
  cpu_total_compute = 256000
}}
"""


class Nomad(Peer):
    """A burst is one batch job of many allocations, an instance an allocation of a service."""

    name: ClassVar[str] = "nomad"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("nomad") else "no nomad on the PATH"

    def start(self) -> None:
        self.directory.mkdir(parents=True)
        ports = free_ports(3)
        (self.directory / "agent.hcl").write_text(AGENT.format(directory=self.directory, ports=ports))
        self._environment = os.environ | {"NOMAD_ADDR": f"http://127.0.0.1:{ports[0]}"}
        with (self.directory / "agent.log").open("wb") as log:
            argv = ["nomad", "agent", "-dev", "-config", str(self.directory / "agent.hcl")]
            self._agent = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("nomad", lambda: "ready" in self._said("node", "status"))

    _agent: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        if self._agent is not None:
            self._agent.terminate()
            self._agent.wait()
            self._agent = None

    def _said(self, *argv: str) -> str:
        asked = ["nomad", *argv]
        return subprocess.run(asked, env=self._environment, capture_output=True, text=True, check=False).stdout

    def _submit(self, kind: str, count: int, command: str, *args: str) -> str:
        name = f"bench-{uuid4().hex[:8]}"
        resources = {"CPU": 20, "MemoryMB": 10}
        task = {"Name": "t", "Driver": "raw_exec", "Config": {"command": command, "args": args}, "Resources": resources}
        group = {"Name": "g", "Count": count, "Tasks": [task], "EphemeralDisk": {"SizeMB": 1}}
        job = {"ID": name, "Name": name, "Type": kind, "Datacenters": ["dc1"], "TaskGroups": [group]}
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps({"Job": job}))
        argv = ["nomad", "job", "run", "-detach", "-json", str(file)]
        subprocess.run(argv, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        return name

    def _count(self, job: str, state: str) -> int:
        told: list[dict[str, Any]] = json.loads(self._said("job", "allocs", "-json", job) or "[]")
        return sum(1 for each in told if each["ClientStatus"] == state)

    def burst(self, count: int) -> None:
        job = self._submit("batch", count, "/bin/true")
        wait_until(f"{count} allocations", lambda: self._count(job, "complete") == count)
        self._said("job", "stop", "-purge", "-detach", job)

    def single(self) -> float:
        told = self.directory / f"single-{uuid4().hex[:8]}"
        began = time.time()
        job = self._submit("batch", 1, "/bin/sh", "-c", f"date +%s.%N > {told}; exec sleep 0.1")
        wait_until("an allocation", lambda: told.exists() and bool(told.read_text().strip()))
        wait_until("its end", lambda: self._count(job, "complete") == 1)
        return float(told.read_text()) - began

    def up(self, count: int) -> None:
        self._service = self._submit("service", count, "/bin/sleep", "1000")
        wait_until(f"{count} allocations", lambda: self._count(self._service, "running") == count)

    def down(self) -> None:
        self._said("job", "stop", "-detach", self._service)
        wait_until("no allocation runs", lambda: self._count(self._service, "running") == 0)
