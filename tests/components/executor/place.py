"""A work directory with a real launcher, and what a test asks of it and of /proc."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from bus.nouns import AgentId
from components.executor import ExecutorConfig
from components.executor.attach import Link, LinkBroken, attached

PATH = "/usr/local/bin:/usr/bin:/bin"
patience_s = 20.0
pause_s = 0.005
"""Between two looks at a condition that nobody announces."""


async def wait_until(true: Callable[[], object], what: str = "") -> None:
    """Wait for a condition of the world."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"never: {what or true}"
        await asyncio.sleep(pause_s)


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def belonging(root: Path) -> list[int]:
    """Every process that has to do with a directory: named in its environment or command line, or standing in it."""
    return sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _belongs(int(pid), str(root)))


def _belongs(pid: int, root: str) -> bool:
    try:
        text = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        return (root.encode() in text or os.readlink(f"/proc/{pid}/cwd").startswith(root)) and pid != os.getpid()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


class Client:
    """One attached executor, by its lines."""

    def __init__(self, place: Place, link: Link, pid: int) -> None:
        self.place, self.link, self.pid = place, link, pid
        self.told: list[Mapping[str, object]] = []

    def launch(self, task: str, shell: str = "", *, argv: list[str] | None = None, **given: object) -> None:
        sandbox = str(self.place.sandbox(task))
        env = {"PATH": PATH, "MESOS_TASK_ID": task, "MESOS_SANDBOX": sandbox}
        message = {"do": "launch", "task": task, "sandbox": sandbox, "argv": argv or ["/bin/sh", "-c", shell]}
        self.link.say({**message, "env": env, "user": None, "hide": self.place.config.hide, **given})

    def watch(self, task: str) -> None:
        self.link.say({"do": "watch", "task": task, "sandbox": str(self.place.sandbox(task))})

    def kill(self, task: str, grace_s: float) -> None:
        self.link.say({"do": "kill", "task": task, "sandbox": str(self.place.sandbox(task)), "grace_s": grace_s})

    async def told_of(self, task: str, say: str) -> Mapping[str, object]:
        """The next message of one sort on one task; earlier ones are kept in `told`."""
        async with asyncio.timeout(patience_s):
            while True:
                message = await self.link.hear()
                self.told.append(message)
                if (message.get("task"), message["say"]) == (task, say):
                    return message

    async def told_of_any(self, say: str) -> Mapping[str, object]:
        """The next message of one sort."""
        async with asyncio.timeout(patience_s):
            while True:
                message = await self.link.hear()
                self.told.append(message)
                if message["say"] == say:
                    return message

    async def link_is_broken(self) -> bool:
        """Whether the launcher hangs up; waits for it."""
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    await self.link.hear()
        except LinkBroken:
            return True

    async def ended(self, task: str) -> object:
        return (await self.told_of(task, "ended"))["status"]

    async def started(self, task: str) -> int:
        pid = (await self.told_of(task, "started"))["pid"]
        assert isinstance(pid, int)
        return pid

    async def run(self, task: str, shell: str = "", **given: object) -> object:
        self.launch(task, shell, **given)  # type: ignore[arg-type]  # argv is a list where it is given
        return await self.ended(task)


class Place:
    """A directory for a launcher and sandboxes."""

    def __init__(self, root: Path, work: str = "work", idle_s: float = 60.0) -> None:
        self.root, self.work = root, root / work
        self.config = ExecutorConfig(
            agent=AgentId("a1"), work=str(self.work), hide=(str(root),), launcher_idle_s=idle_s
        )
        self.stack = AsyncExitStack()

    async def attach(self, epoch: int = 1) -> Client:
        link, _ = await self.stack.enter_async_context(attached(self.config, epoch))
        return Client(self, link, self.launcher_pid)

    @property
    def launcher_pid(self) -> int:
        return int((self.work / "launcher.lock").read_text())

    @property
    def said(self) -> str:
        return (self.work / "launcher.log").read_text()

    def sandbox(self, task: str) -> Path:
        return self.root / "sandboxes" / task

    def read(self, task: str, name: str = "stdout") -> str:
        return (self.sandbox(task) / name).read_text()

    def record(self, task: str) -> dict[str, object]:
        """What the launcher wrote down about a task."""
        lines = self.read(task, ".busbar").splitlines()
        return {name: value for line in lines for name, value in json.loads(line).items()}

    async def wait_line(self, task: str, name: str = "stdout", *, lines: int = 1) -> list[str]:
        """The lines of a file in a sandbox, once there are as many."""
        path = self.sandbox(task) / name
        await wait_until(lambda: path.exists() and path.read_text().count("\n") >= lines, f"{lines} lines in {path}")
        return path.read_text().splitlines()

    async def wait_pid(self, task: str, name: str) -> int:
        """The pid that a process of the task wrote into a file."""
        return int((await self.wait_line(task, name))[0])
