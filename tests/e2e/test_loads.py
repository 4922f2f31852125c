"""What processes load: no more than they use. Each module counts in the start of every command, and in the memory of
nine processes. Python itself tells what was imported. (PYTHONPROFILEIMPORTTIME)"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, datacenter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NOBODYS = {"nats.js", "importlib.metadata._meta", "cryptography", "httpx", "multiprocessing"}
"""What no command and no component needs to do what is tested here."""
PEOPLES = {"rich.console"}
LOGS = {"structlog"}
SERVERS = {"starlette", "uvicorn", "h11"}
STORES = {"sqlite3", "aiosqlite", "eventstore.store"}
FACTS = {"bus.codec", "bus.events", "bus.services"}
RULES = {"bus.documents.reading", "bus.documents.rules", "bus.patterns"}
BUS = {"asyncio", "nats", "nacl", "bus.jetstream"}
MINDS = {f"components.{name}" for name in ("master", "agent", "executor", "marathon", "metronome", "gateway")}
ALWAYS = NOBODYS | PEOPLES | SERVERS
SILENT = ALWAYS | LOGS
COMMANDS = {
    "--help": SILENT | STORES | FACTS | RULES | BUS | MINDS,
    "status --json": SILENT | STORES | FACTS | RULES | MINDS,
    "status": SILENT | STORES | FACTS | RULES | MINDS,
    "task list --json": SILENT | STORES | FACTS | RULES | MINDS | {"bus.documents"},
    "task trace TASK": SILENT | STORES | FACTS | RULES | MINDS | {"bus.documents"},
    "node list": SILENT | STORES | FACTS | RULES | MINDS | {"bus.documents"},
    "app list --json": SILENT | STORES | RULES | MINDS,
    "job list": SILENT | STORES | RULES | MINDS,
    "events tail": SILENT | STORES | RULES | MINDS,
    "task history TASK": SILENT | STORES | RULES | MINDS,
    "state tasks --store STORE --json": SILENT
    | {"nats", "bus.jetstream"}
    | MINDS - {"components.master"}
    | {"cli.app", "cli.job"},
}
"""What a command must not load."""
COMPONENTS = {
    "master": ALWAYS | RULES | MINDS - {"components.master"},
    "a1": ALWAYS | RULES | MINDS - {"components.agent"},
    "a1-cmd": ALWAYS | RULES | MINDS - {"components.executor"},
    "marathon": ALWAYS | MINDS - {"components.marathon"},
    "metronome": ALWAYS | MINDS - {"components.metronome"},
    "gateway": PEOPLES | {"nats.js", "httpx"} | MINDS - {"components.gateway"},
}
"""What the process of a component must not load until it is ready."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = tmp_path_factory.mktemp("loads") / "data"
    with datacenter(data, agents=1, env={"PYTHONPROFILEIMPORTTIME": "1"}) as found:
        found.add_app(id="/hold", cmd="while :; do sleep 1; done", cpus=0.1, mem=32)
        yield found


def loaded(told: str) -> set[str]:
    """The modules that Python says it imported."""
    return set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", told, re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_no_more_than_it_uses(cluster: Cluster, command: str):
    """Whole packages are named by their top: none of theirs is there without it."""
    [task] = cluster.running("/hold")
    store = str(cluster.data / "master" / "events.db")
    words = [{"TASK": task, "STORE": store}.get(word, word) for word in command.split()]
    modules = loaded(cluster.told(*words))
    assert "cli.main" in modules or "cli.output" in modules, "Python told what it imported"
    assert modules & COMMANDS[command] == set()


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_loads_no_more_than_it_uses(cluster: Cluster, name: str):
    """Up to now: the datacenter is up, and runs an app."""
    modules = loaded(log_of(cluster.data, name).read_text())
    assert "components.runtime" in modules or name == "gateway", "Python told what it imported"
    assert modules & COMPONENTS[name] == set()


def log_of(data: Path, name: str) -> Path:
    """Where a component's stderr goes."""
    agent, executor, _ = name.partition("-cmd")
    return data / "agents" / agent / "executor.log" if executor else data / "logs" / f"{name}.log"
