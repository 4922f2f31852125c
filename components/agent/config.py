"""What an agent is told when it is started.

Rule of this room: read once, checked at once; every wrong value is named with what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from bus.nouns import AgentId, ExecutorId, Resources
from bus.subjects import Author, Kind, check_id

attributes_max = 64
number_max = 1_000_000_000
_NUMBERS = (
    "sandbox_gc_s",
    "ended_max",
    "ping_every_s",
    "silent_s",
    "start_grace_s",
    "executor_registration_s",
    "fetch_s",
    "artifacts_s",
    "artifacts_entries_max",
    "restart_first_s",
    "restart_max_s",
)
_WORD = re.compile(r"[a-zA-Z0-9_/.-]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """How one agent is run."""

    id: AgentId
    hostname: str
    work: str
    """The absolute path of the directory the agent and its executor keep everything in."""
    executor_argv: tuple[str, ...]
    """The command line that runs the executor `<id>-cmd`."""
    resources: Resources | None = None
    """What may be shared out; None: what the machine has."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    role: str = "*"
    """Whose share the resources are kept for; `slave_public` in the public zone. (Mesos: `--default_role`)"""
    region: str = ""
    zone: str = ""
    """Where the node is. (Mesos: `--domain`)"""
    sandbox_gc_s: float = 604_800.0
    """How long the files of an ended task are kept. (Mesos: `--gc_delay`, 1 week)"""
    ended_max: int = 1000
    """Ended tasks that are kept; beyond it the oldest is collected before its time."""
    ping_every_s: float = 1.0
    """How often the executor is asked whether it lives."""
    silent_s: float = 15.0
    """How long a running executor may leave pings unanswered before it is replaced."""
    start_grace_s: float = 60.0
    """The same for an executor that has just been found or started."""
    executor_registration_s: float = 60.0
    """How long an executor may say nothing of a task it was handed: then the task has failed. (Mesos:
    executor_registration_timeout, 1 min)
    """
    fetch_s: float = 60.0
    """How long a task's secrets are asked for: then the task has failed."""
    artifacts_s: float = 600.0
    """How long the files that a task wants are fetched: then it has failed."""
    artifacts_bytes_max: int = 4 * 1024**3
    """Of one task's files, packed and unpacked."""
    artifacts_entries_max: int = 100_000
    """Files and directories of one task."""
    fetch_from: tuple[str, ...] = ()
    """The directories of this machine that `file` may lead to; none: no task fetches from it."""
    key: str = ""
    """The agent's public key (X25519, hex): its tasks' secrets are sealed to it."""
    restart_first_s: float = 0.2
    restart_max_s: float = 10.0
    """The pause before the executor is started again; it doubles from the first to the longest."""

    def __post_init__(self) -> None:
        check_id(self.id)
        check_id(self.executor)
        if not self.work.startswith("/"):
            raise ValueError(f"work directory {self.work!r}: expected an absolute path")
        if not self.executor_argv:
            raise ValueError("executor_argv: expected a command line, found none")
        if not 0 < len(self.hostname) <= 255:
            raise ValueError(f"hostname {self.hostname!r}: expected 1 to 255 characters")
        if not 1 <= self.artifacts_bytes_max <= 2**60:
            raise ValueError(f"artifacts_bytes_max is {self.artifacts_bytes_max!r}: expected 1 to 2^60")
        for directory in self.fetch_from:
            if not directory.startswith("/"):
                raise ValueError(f"fetch_from {directory!r}: expected an absolute path")
        for name in ("region", "zone"):
            if getattr(self, name) and not _WORD.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)!r}: expected 1 to 255 of a-z A-Z 0-9 _ / . -")
        for name in _NUMBERS:
            if not 0 <= getattr(self, name) <= number_max:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected a number from 0 to {number_max}")

    @property
    def executor(self) -> ExecutorId:
        """The id of the executor this agent keeps."""
        return ExecutorId(f"{self.id}-cmd")

    @property
    def author(self) -> Author:
        """Under which name the agent speaks."""
        return Author(Kind.AGENT, self.id)

    @property
    def executor_author(self) -> Author:
        """Under which name its executor speaks."""
        return Author(Kind.EXECUTOR, self.executor)


def parse_attributes(text: str) -> dict[str, str]:
    """Attributes from the text form of Mesos' agent flag: `rack:r1;zone:z1`.

    Raises ValueError that names the part and what is allowed. (Mesos: `docs/attributes-resources.md`)
    """
    found: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        if not colon or not _WORD.fullmatch(name) or not _WORD.fullmatch(value):
            raise ValueError(f"{part!r}: expected NAME:VALUE, each 1 to 255 of a-z A-Z 0-9 _ / . -")
        if name in found:
            raise ValueError(f"{part!r}: {name} is given twice")
        found[name] = value
    if len(found) > attributes_max:
        raise ValueError(f"{len(found)} attributes: expected at most {attributes_max}")
    return found
