"""Slurm among the peers: its own daemons on the loopback, configured in a directory of the bench alone.

(Slurm 22.05: slurm.conf, munged; Debian packages slurm-wlm, munge.) Tuned for throughput as its manual says: the
scheduler runs at every submission, no accounting, no cgroups, jobs are forgotten soon.
Rule of this room: nothing outside the directory is read or written; the daemons end with the measurement.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from bus.server import free_ports
from ops.bench.peer import Peer, lines, wait_until

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,default_queue_depth=10000,bf_interval=1
MaxJobCount=50000
MaxArraySize=20001
MinJobAge=10
ReturnToService=2
MpiDefault=none
JobCompType=jobcomp/filetxt
JobCompLoc={directory}/completed
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=256 State=UNKNOWN
PartitionName=bench Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


class Slurm(Peer):
    """Batch jobs: a burst is one array, an instance one of its tasks."""

    name: ClassVar[str] = "slurm"

    @classmethod
    def missing(cls) -> str:
        absent = [name for name in NEEDED if shutil.which(name) is None]
        if absent:
            return f"no {', '.join(absent)} on the PATH"
        return "" if os.geteuid() == 0 else "slurmd runs jobs only for root"

    def start(self) -> None:
        for name in ("munge", "state", "spool"):
            (self.directory / name).mkdir(parents=True, mode=0o755)
        self.directory.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        text = CONFIGURATION.format(host=host, directory=self.directory, ports=free_ports(2))
        (self.directory / "slurm.conf").write_text(text)
        self._environment = os.environ | {"SLURM_CONF": str(self.directory / "slurm.conf")}
        self._service = ""
        self._daemon(*_munged(self.directory / "munge"))
        wait_until("munged", (self.directory / "munge" / "socket").exists)
        self._daemon("slurmctld", "-D")
        wait_until("slurmctld", lambda: bool(self._said("sinfo", "-h")))
        self._daemon("slurmd", "-D", "-N", host)
        wait_until("slurmd", lambda: "idle" in self._said("sinfo", "-h", "-o", "%T"))

    def _daemon(self, *argv: str) -> None:
        with (self.directory / f"{argv[0]}.out").open("wb") as out:
            process = subprocess.Popen(argv, env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self._daemons = [*self._daemons, process]

    _daemons: list[subprocess.Popen[bytes]] = []  # replaced, never changed

    def _said(self, *argv: str) -> str:
        return subprocess.run(argv, env=self._environment, capture_output=True, text=True, check=False).stdout

    def stop(self) -> None:
        for process in reversed(self._daemons):
            process.terminate()
            process.wait()
        self._daemons = []
        for pid in self._left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left_over(self) -> Iterator[int]:
        """Processes of jobs that outlive slurmd: all have in their environment whose configuration is theirs."""
        mine = f"SLURM_CONF={self.directory / 'slurm.conf'}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mine in environment.read_bytes().split(b"\0"):
                    yield int(environment.parent.name)

    def _submit(self, *argv: str, output: str = "/dev/null") -> str:
        submitted = ("sbatch", "--parsable", "-o", output, *argv)
        done = subprocess.run(submitted, env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def _left(self, job: str) -> int:
        """Tasks of a job that have not ended."""
        return len(lines(self._said("squeue", "-h", "-r", "-j", job, "-t", "PD,CF,R,CG")))

    def burst(self, count: int) -> None:
        job = self._submit(f"--array=1-{count}", "--wrap", "/bin/true")
        wait_until(f"{count} jobs", lambda: self._left(job) == 0, pause_s=0.1)  # each look takes CPU, too
        told = [line for line in self._completed() if f"ArrayJobId={job} " in line]
        assert len(told) == count, f"{count} jobs, {len(told)} completed"
        assert all("JobState=COMPLETED" in line for line in told), "a job failed"

    def _completed(self) -> list[str]:
        return list(lines((self.directory / "completed").read_text()))

    def single(self) -> float:
        told = self.directory / f"single-{secrets.token_hex(4)}"
        began = time.time()
        job = self._submit("--wrap", "date +%s.%N; exec sleep 0.1", output=str(told))
        wait_until("a job", lambda: told.exists() and bool(told.read_text().strip()))
        took_s = float(told.read_text()) - began
        wait_until("its end", lambda: self._left(job) == 0)
        return took_s

    def up(self, count: int) -> None:
        runs = self.directory / f"runs-{secrets.token_hex(4)}"
        runs.mkdir()  # the state R of a job says that it was placed, not that it runs
        script = f"echo > {runs}/$SLURM_ARRAY_TASK_ID; exec sleep 1000"
        self._service = self._submit(f"--array=1-{count}", "--wrap", script)
        wait_until(f"{count} jobs run", lambda: len(list(runs.iterdir())) == count)

    def down(self) -> None:
        self._said("scancel", self._service)
        wait_until("no job is left", lambda: self._left(self._service) == 0)


def _munged(directory: Path) -> tuple[str, ...]:
    """The command of an authentication service of our own, with a key of its own. (man 8 munged)"""
    key = directory / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))
    files = ("key-file", "socket", "pid-file", "log-file", "seed-file")
    return ("munged", "--foreground", *(f"--{name}={directory / name.removesuffix('-file')}" for name in files))
