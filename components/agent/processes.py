"""The executor's process: started apart from the agent, found again by the next agent, replaced when it is lost.

Rule of this room: nothing here ends with the agent. Killing an executor is always safe: its launcher and the tasks live
on, and of two executors the later term fences the earlier.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
from collections.abc import Sequence

from bus import logs
from bus.port import Bus, NoAnswer, NobodyThere
from bus.subjects import Author, ping
from components.agent.config import AgentConfig

log = logs.get_logger()

output_bytes_max = 16 * 1024 * 1024
"""The executor's own output, before it is set aside for a new file."""
ping_timeout_s = 1.0
kill_s = 5.0
"""How long a killed process may take to vanish."""
_TO_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these; what it starts must not."""


class Process:
    """A running process, held by a pidfd so that its pid cannot come to mean another."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self._pidfd = pid, pidfd

    @property
    def ended(self) -> bool:
        """Whether it has ended, even if whoever started it did not care to reap it."""
        ending = select.poll()
        ending.register(self._pidfd, select.POLLIN)
        return bool(ending.poll(0))

    async def ended_within(self, seconds: float) -> bool:
        """Whether it ends within a time; if it was a child it is gone entirely then."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._pidfd, ended.set)
        try:
            async with asyncio.timeout(seconds):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._pidfd)
        self._reap()
        return True

    def kill(self) -> None:
        """Send SIGKILL."""
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself

    def close(self) -> None:
        """Let go of it; it runs on."""
        os.close(self._pidfd)

    def _reap(self) -> None:
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            return  # an earlier agent started it


def start(argv: Sequence[str], output: str) -> Process:
    """Start a process in its own session, its output appended to a file. Raises OSError."""
    if os.path.exists(output) and os.path.getsize(output) > output_bytes_max:
        os.replace(output, f"{output}.1")
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, output, append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawnp(
        argv[0], list(argv), os.environ, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_TO_DEFAULT
    )
    return Process(pid, os.pidfd_open(pid))


def note(path: str, process: Process, argv: Sequence[str]) -> None:
    """Write down which process was started how, for who comes after."""
    with open(f"{path}.new", "w") as file:
        json.dump({"pid": process.pid, "began": _began(process.pid), "argv": list(argv)}, file)
    os.replace(f"{path}.new", path)


def find(path: str, argv: Sequence[str]) -> Process | None:
    """The process that is written down, if it still runs; one that was started otherwise is killed."""
    try:
        with open(path) as file:
            noted = json.load(file)
        process = Process(noted["pid"], os.pidfd_open(noted["pid"]))
    except (FileNotFoundError, ProcessLookupError, ValueError, KeyError, TypeError):
        return None  # nothing usable is written down: then pings tell, and of two executors the later one stays
    if noted.get("began") == _began(process.pid) and not process.ended:
        if noted.get("argv") == list(argv):
            return process
        log.warning("executor was started with another command line: it is replaced", pid=process.pid)
        process.kill()
    process.close()
    return None


def _began(pid: int) -> str:
    """When a process began: together with its pid it means one process only, also after a restart of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    try:
        with open(f"/proc/{pid}/stat") as file:
            return f"{boot} {file.read().rpartition(')')[2].split()[19]}"
    except FileNotFoundError:
        return f"{boot} ended"


class WarmExecutor:
    """One executor process, kept running."""

    def __init__(self, config: AgentConfig, bus: Bus) -> None:
        self.config, self.bus = config, bus
        self.noted, self.output = f"{config.work}/executor.pid", f"{config.work}/executor.log"

    async def keep(self) -> None:
        """See to it that an executor runs, until cancelled; what runs then runs on."""
        config, loop = self.config, asyncio.get_running_loop()
        pause_s = config.restart_first_s
        while True:
            began_s = loop.time()
            await self._once()
            if loop.time() - began_s > config.restart_max_s:
                pause_s = config.restart_first_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, config.restart_max_s)

    async def _once(self) -> None:
        """From an executor that is found or started until it is lost."""
        process = find(self.noted, self.config.executor_argv)
        if process is not None:
            log.info("executor found running", pid=process.pid)
        elif await self._answers(self.config.executor_author):
            log.info("executor answers, started by somebody else", executor=self.config.executor)
        else:
            process = self._start()
            if process is None:
                return
        try:
            why = await self._lost(process)
        finally:
            if process is not None:
                process.close()
        log.error("executor lost", why=why, output=self.output)

    def _start(self) -> Process | None:
        argv = self.config.executor_argv
        try:
            process = start(argv, self.output)
        except OSError as error:
            log.error("executor cannot be started", argv=argv, why=str(error))
            return None
        log.info("executor started", pid=process.pid)
        try:
            note(self.noted, process, argv)
        except OSError as error:
            log.warning("executor cannot be written down: it will be known by its pings only", why=str(error))
        return process

    async def _lost(self, process: Process | None) -> str:
        """Wait until the executor is lost: why."""
        config, loop = self.config, asyncio.get_running_loop()
        silent_s = config.silent_s if process else 2 * config.ping_every_s
        deadline_s = loop.time() + (config.start_grace_s if process else silent_s)
        while not await self._ended(process):
            if await self._answers(config.executor_author):
                deadline_s = loop.time() + silent_s
            elif not await self._answers(config.author):
                # A bus that does not carry our own ping says nothing about the executor.
                deadline_s = max(deadline_s, loop.time() + silent_s)
            elif loop.time() >= deadline_s:
                if process is not None:
                    process.kill()
                    await process.ended_within(kill_s)
                return "it answered no ping"
        return "its process ended"

    async def _ended(self, process: Process | None) -> bool:
        if process is not None:
            return await process.ended_within(self.config.ping_every_s)
        await asyncio.sleep(self.config.ping_every_s)
        return False

    async def _answers(self, author: Author) -> bool:
        try:
            await self.bus.query(ping(self.bus.cluster, author), b"", timeout_s=ping_timeout_s)
        except (NobodyThere, NoAnswer):
            return False
        return True
