"""One nats-server process in one directory: locked, started, proved to be the one that was started, ended.

Rule of this room: what is started is never left behind. (nats-server: SIGTERM hands leadership over and ends in order)
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bus import configuration
from bus.binary import ServerTrouble
from bus.configuration import ACCOUNTS, Settings

start_s = 20.0
"""From the fork to the first accepted connection; a long log takes a while to be read."""
stop_s = 10.0
"""From SIGTERM to SIGKILL."""
ready_pause_s = 0.02
_PR_SET_PDEATHSIG = 1


class PortTaken(ServerTrouble):
    """Another process listens on the port."""


class Daemon:
    """The nats-server of one directory, while this process wants it to run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log_file = directory / "nats-server.log"
        self._log_before = 0
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, if it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def claim(self) -> None:
        """One server for one directory: the lock is held by this process and by the server itself."""
        if self._lock is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
            os.close(lock)
            raise ServerTrouble(
                f"{self.directory.parent} is in use by process {holder}: stop it with `busbar down`, or name another "
                "directory"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def release(self) -> None:
        """Let others have the directory, unless the server still runs."""
        if self._lock is not None and self.pid is None:
            os.close(self._lock)
            self._lock = None

    async def launch(self, binary: Path, settings: Settings, accounts: str) -> None:
        """Start the server; it lets clients in when this returns. Raises PortTaken, ServerTrouble.

        `accounts` says who is let in, unless that was written before: revoked stays who was revoked.
        """
        assert self._lock is not None, "not claimed"
        config = self.directory / "nats-server.conf"
        whole = settings._replace(directory=str(self.directory), watched=f"/{secrets.token_hex(16)}")
        write_secret(config, configuration.text(whole).encode())
        if not (self.directory / ACCOUNTS).exists():
            write_secret(self.directory / ACCOUNTS, accounts.encode())
        for stale in self.directory.glob("*.ports"):
            stale.unlink()
        self._log_before = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._process = await self._spawn(binary, config, self._lock)
        try:
            await self._until_ready()
        except BaseException:
            await self.end()
            raise

    async def _spawn(self, binary: Path, config: Path, lock: int) -> asyncio.subprocess.Process:
        with (self.directory / "nats-server.err").open("wb") as errors:
            return await asyncio.create_subprocess_exec(
                binary,
                "--config",
                config,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C in the terminal is for us: the bus goes last
                preexec_fn=_dying_with_parent(),
            )

    async def _until_ready(self) -> None:
        """The server writes down its ports once it listens: proof that it does, whoever else is on its port."""
        assert self._process is not None
        ports = self.directory / f"nats-server_{self._process.pid}.ports"
        try:
            async with asyncio.timeout(start_s):
                while not ports.exists():
                    if self._process.returncode is not None:
                        raise self._why_ended()
                    await asyncio.sleep(ready_pause_s)
        except TimeoutError:
            raise ServerTrouble(f"nats-server is not ready after {start_s:g} s: see {self.log_file}") from None

    def _why_ended(self) -> ServerTrouble:
        said = (self.directory / "nats-server.err").read_bytes()
        if self.log_file.exists():
            said += self.log_file.read_bytes()[self._log_before :]
        lines = said.decode(errors="replace").splitlines()
        grave = [line for line in lines if "[FTL]" in line or "[ERR]" in line or line.startswith("nats-server:")]
        why = grave[-1] if grave else "it said nothing"
        if "address already in use" in why:
            return PortTaken(why)
        return ServerTrouble(f"nats-server ended at once: {why}; see {self.log_file}")

    async def wait(self) -> int:
        """Wait until the server has ended; its exit code, negative for a signal."""
        assert self._process is not None, "not started"
        return await self._process.wait()

    async def end(self) -> None:
        """End the server in good order. Safe to call twice."""
        process = self._process
        if process is None:
            return
        for number, patience_s in ((signal.SIGTERM, stop_s), (signal.SIGKILL, stop_s)):
            with suppress(ProcessLookupError):
                process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await process.wait()
                    return


def _dying_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes nats-server: ask for SIGTERM when its parent dies. (Linux only)"""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file by one that only its owner may read."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
