"""How an executor is set up."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.nouns import AgentId, ExecutorId
from bus.subjects import Author, Kind, check_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """One executor: whose it is, and where its launcher lives. Raises SubjectError for a wrong id."""

    agent: AgentId
    id: ExecutorId = field(default=ExecutorId(""))
    """`<agent>-cmd` unless given."""
    work: str
    """The directory of the launcher's socket, lock and log; absolute."""
    hide: tuple[str, ...] = ()
    """Directories and files that no task may see, beside the launcher's own; absolute."""
    boot: str = ""
    """Which run of this machine it is. (/proc/sys/kernel/random/boot_id)"""
    unconfined: bool = False
    """Tasks may see whatever their user may."""
    launcher_idle_s: float = 60.0
    """How long a launcher stays that has no task and no executor."""
    launcher_silent_s: float = 10.0
    """How long a launcher may say nothing before it is asked whether it lives, and then before it is given up."""

    def __post_init__(self) -> None:
        check_id(self.agent)
        object.__setattr__(self, "id", check_id(self.id or f"{self.agent}-cmd"))
        if not self.work.startswith("/"):
            raise ValueError(f"work is {self.work!r}: expected an absolute path")
        for path in self.hide:
            if not path.startswith("/") or not path.strip("/"):
                raise ValueError(f"hide is {path!r}: expected an absolute path, other than /")

    @property
    def author(self) -> Author:
        """Whose log the executor's is."""
        return Author(Kind.EXECUTOR, self.id)

    @property
    def listens_to(self) -> Author:
        """The only one whose word it takes."""
        return Author(Kind.AGENT, self.agent)
