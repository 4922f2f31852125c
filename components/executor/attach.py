"""How an executor comes to a launcher: the one that listens in its work directory, or a new one.

Rule of this room: everything is bounded in time, and a launcher that cannot be had ends the process loudly.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bus import logs
from bus.nouns import TaskId
from components.executor.config import ExecutorConfig
from components.executor.launcher.journal import unseen
from components.executor.launcher.main import HELD, LOCK, SOCKET, shutdown_grace_s
from components.executor.launcher.wire import line_bytes_max

log = logs.get_logger()

attach_timeout_s = 10.0
retry_s = 0.02
shutdown_timeout_s = 15.0
_RUN = """
import sys
for name in ("components", "components.executor"):
    sys.modules[name] = type(sys)(name)
sys.modules["components.executor"].__path__ = [sys.argv[1]]
from components.executor.launcher.journal import unseen
from components.executor.launcher.main import main
main(sys.argv[2], float(sys.argv[3]))
"""


class LauncherLost(Exception):
    """No launcher can be attached to; `launcher.log` in the work directory tells why. The process must end."""


class LinkBroken(Exception):
    """The connection to the launcher ended; attach again."""


class Link:
    """A connection to a launcher."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def say(self, message: Mapping[str, object]) -> None:
        """Send a message; if the connection is broken, `hear` tells."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def hear(self) -> Mapping[str, object]:
        """The next message. Raises LinkBroken."""
        try:
            line = await self._reader.readline()
        except (OSError, ValueError) as error:
            raise LinkBroken(str(error)) from None
        if not line.endswith(b"\n"):
            raise LinkBroken("it hung up")
        message: dict[str, object] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def attached(config: ExecutorConfig, epoch: int) -> AsyncIterator[tuple[Link, dict[TaskId, str]]]:
    """A link to the launcher, started if need be, and the sandboxes of its tasks. Raises LauncherLost, LinkBroken."""
    try:
        async with asyncio.timeout(attach_timeout_s):
            link = await _reach(config)
            link.say({"do": "attach", "epoch": epoch})
            answer = await link.hear()
    except TimeoutError:
        raise LauncherLost(f"no launcher in {config.work} within {attach_timeout_s:g} s") from None
    try:
        match answer:
            case {"say": "attached", "tasks": dict(tasks), "obstacle": str() | None as obstacle}:
                _log(config, obstacle)
                yield link, {TaskId(str(task)): str(sandbox) for task, sandbox in tasks.items()}
            case {"say": "attached", "pid": int(pid)}:
                os.kill(pid, signal.SIGKILL)  # its tasks are adopted by the next one
                raise LinkBroken("it is of a release that confines nothing, and is replaced")
            case _:
                raise LauncherLost(f"the launcher in {config.work} says {answer}")
    finally:
        link.close()


def _log(config: ExecutorConfig, obstacle: str | None) -> None:
    """Say once an attachment what tasks can see."""
    if config.unconfined:
        log.warning("tasks run unconfined: they can read whatever their user can", by=str(config.author))
    elif obstacle is None:
        log.info("tasks are confined", by=str(config.author), hidden=[config.work, *config.hide])
    else:
        log.error("no task will be executed here", by=str(config.author), why=obstacle)


async def _reach(config: ExecutorConfig) -> Link:
    os.makedirs(config.work, mode=0o700, exist_ok=True)
    while True:
        link = await _connect(config.work)
        if link is not None:
            return link
        await _start(config.work, config.launcher_idle_s)
        await asyncio.sleep(retry_s)


async def _connect(work: str) -> Link | None:
    """A connection to who listens in a work directory, whose path may be too long for an address."""
    try:
        directory = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        streams = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/{SOCKET}", limit=line_bytes_max)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    finally:
        os.close(directory)
    return Link(*streams)


async def _start(work: str, idle_s: float) -> None:
    """Start a launcher; it is nobody's child and listens once this returns. Raises LauncherLost."""
    here = os.path.dirname(os.path.abspath(__file__))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _RUN, here, work, str(idle_s)),
        env={},
        start_new_session=True,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode not in (0, HELD):
        raise LauncherLost(f"the launcher ended with {process.returncode}: {said.decode(errors='replace').strip()}")


async def shutdown_launcher(work: str) -> None:
    """Kill every task of the launcher in a work directory and wait until it is gone; there may be none.

    One that was killed itself may have left tasks: then another is started, to end them. Raises LauncherLost.
    """
    try:
        async with asyncio.timeout(shutdown_timeout_s):
            link = await _connect(work)
            if link is None and unseen(work):
                await _start(work, attach_timeout_s)
                link = await _connect(work)
            if link is not None:
                link.say({"do": "shutdown", "grace_s": shutdown_grace_s})
                await _hung_up(link)
            while _held(work):
                await asyncio.sleep(retry_s)
    except TimeoutError:
        raise LauncherLost(f"the launcher in {work} is not gone within {shutdown_timeout_s:g} s") from None


async def _hung_up(link: Link) -> None:
    try:
        while True:
            await link.hear()
    except LinkBroken:
        link.close()


def _held(work: str) -> bool:
    """Whether a launcher has the work directory's lock."""
    try:
        lock = os.open(os.path.join(work, LOCK), os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
