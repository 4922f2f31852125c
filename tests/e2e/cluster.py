"""A real datacenter for tests: `busbar up` on a temporary directory, asked and told through the command line only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
patience_s = 60.0
"""For anything that must come true."""
RESOURCES = "cpus:8;mem:8192;disk:8192"
AWAY = ("not running", "no NATS server", "connection to the bus was lost", "did not answer")
"""What a command says of who is just being started again."""


class CommandFailed(AssertionError):
    """A command ended with another exit code than it should."""


@dataclass
class Cluster:
    """One datacenter on one data directory."""

    data: Path
    agents: int = 2
    up_options: tuple[str, ...] = ()
    masters: int = 1
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self, *args: str, stdin: str | None = None, code: int = 0) -> str:
        """Run a command; its standard output."""
        done = self._command(*args, stdin=stdin)
        if done.returncode != code:
            raise CommandFailed(
                f"busbar {' '.join(args)}: exit {done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout if code == 0 else done.stderr

    def told(self, *args: str) -> str:
        """What a command says beside its answer."""
        done = self._command(*args)
        assert done.returncode == 0, done.stderr[-1000:]
        return done.stderr

    def _command(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            env=self._env(),
            check=False,
        )

    def begin(self, *args: str) -> subprocess.Popen[str]:
        """Start a command and go on."""
        argv = [sys.executable, "-m", "cli.main", *args]
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self._env())

    def _env(self) -> dict[str, str]:
        return self.env | {"BUSBAR_DATA": str(self.data), "COLUMNS": "200"}

    def ask(self, *args: str) -> Any:
        """What a command answers as JSON."""
        return json.loads(self.run(*args, "--json"))

    def try_ask(self, *args: str) -> Any:
        """The same; None while who should answer is just being started again."""
        try:
            return self.ask(*args)
        except CommandFailed as failed:
            if any(text in str(failed) for text in AWAY):
                return None
            raise

    def try_ask_status(self) -> Any:
        """What `status` answers, also while somebody is down or an alarm stands; None while nobody answers."""
        found = self._command("status", "--json").stdout
        return json.loads(found) if found else None

    def add_app(self, **fields: object) -> None:
        """Create an app and wait until it runs."""
        self.run("app", "add", "-", stdin=json.dumps(fields))

    def tasks(self, **wanted: object) -> list[dict[str, Any]]:
        """The live tasks with these fields."""
        rows: list[dict[str, Any]] = self.try_ask("task", "list") or []
        return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]

    def running(self, app: str) -> dict[str, dict[str, Any]]:
        """The running instances of an app by task id."""
        return {row["task"]: row for row in self.tasks(app=app) if row["status"]["state"] == "TASK_RUNNING"}

    def pid_of(self, task: str) -> int:
        """The process of a task: its report says it."""
        for event in self.ask("task", "history", task):
            status = event["data"].get("status", {})
            if status.get("message", "").startswith("pid "):
                return int(status["message"].removeprefix("pid "))
        raise AssertionError(f"{task} never said its pid")

    def component_pid(self, name: str) -> int:
        """The process of a component, as it wrote itself down; of `a1.executor`, as its agent did."""
        agent, _, executor = name.partition(".")
        if executor:
            return int(json.loads((self.data / "agents" / agent / "executor.pid").read_text())["pid"])
        return int(json.loads((self.data / "run" / f"{name}.json").read_text())["pid"])

    def look(self) -> dict[str, Any]:
        """What `status` sees, also while something is wrong; nothing while nobody can tell."""
        done = self._command("status", "--json")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return found

    def instances(self, by: str) -> dict[str, dict[str, Any]]:
        """The instances of a singleton, e.g. `framework.marathon`, by node."""
        return {each["node"]: each for each in self.look().get("instances", []) if each["by"] == by}

    def leader(self, by: str) -> dict[str, Any] | None:
        """Which instance of a singleton leads."""
        return next((each for each in self.instances(by).values() if each["standing"] == "LEADER"), None)

    def all_well(self) -> bool:
        """Whether `status` finds nothing wrong."""
        return self._command("status").returncode == 0

    def events(self, *wanted: str) -> list[dict[str, Any]]:
        """The events of the log that `events tail` finds under these options."""
        return [json.loads(line) for line in self.run("events", "tail", "--json", *wanted).splitlines()]

    def up(self) -> None:
        """Start, or resume."""
        how_many = ("--agents", str(self.agents), "--masters", str(self.masters))
        self.run("up", *how_many, "--resources", RESOURCES, "--detach", *self.up_options)

    def down(self) -> None:
        """Stop everything."""
        self.run("down")


def wait_for(what: str, look: Callable[[], T], *, within_s: float = patience_s) -> T:
    """The first true answer of `look`. Fails with the last one after a bound."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: still {found!r} after {within_s:g} s"
        time.sleep(0.1)  # between two looks at a condition


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading
        return False


def processes_under(data: Path) -> list[str]:
    """Command lines of processes that have a data directory in their arguments or as working directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            argv = path.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cwd = os.readlink(path / "cwd")
        except OSError:
            continue
        if str(data) in argv or cwd.startswith(str(data)):
            found.append(f"{path.name} {argv}")
    return found


@contextmanager
def datacenter(
    data: Path,
    *,
    agents: int = 2,
    up_options: tuple[str, ...] = (),
    masters: int = 1,
    env: Mapping[str, str] | None = None,
) -> Iterator[Cluster]:
    """A running datacenter; nothing of it is left afterwards."""
    cluster = Cluster(data, agents, up_options, masters, dict(os.environ) | dict(env or {}))
    cluster.up()
    try:
        yield cluster
    finally:
        cluster.down()
        assert processes_under(data) == [], "a process was left behind"
