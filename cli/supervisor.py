"""Keeps a datacenter's processes running: what ends is said and started again, until everything is to end.

Rule of this room: children hold the datacenter, the supervisor only holds them. It can be killed at any moment; the
next one finds what it left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from bus.binary import ServerTrouble
from bus.ensemble import Ensemble, on_node
from bus.server import EmbeddedServer
from bus.stuck import Stuck
from cli.datacenter import Member, Plan, Tell, members
from cli.processes import Process, identify, record
from cli.session import client_id, user_name

pause_first_s = 0.2
pause_max_s = 10.0
"""Before a process is started again; it doubles from the first to the longest."""
steady_s = 10.0
"""What ran this long starts again after the first pause."""
look_at_bus_s = 1.0
log_bytes_max = 16 * 1024 * 1024
"""A log, before it is set aside for a new one at the next start."""
_OURS = ("BUSBAR_BUS", "BUSBAR_CREDENTIALS", "BUSBAR_DATA")


class Server(Protocol):
    """One nats-server of the bus."""

    log_file: Path

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> object:
        """Start it, or start it again after it died. Raises ServerTrouble."""

    async def wait(self) -> int:
        """Wait until it has ended; its exit code."""


class Supervisor:
    """The bus and the components of one data directory, as children of this process."""

    def __init__(self, plan: Plan, tell: Tell) -> None:
        self.plan, self.tell = plan, tell
        self.bus, self.servers = _bus(plan)
        self.members = members(plan)
        self.children: dict[str, Process] = {}
        self.ends: dict[str, int] = {}
        """How often each ended although it should not have."""
        self._stopping = asyncio.Event()
        self._starting = asyncio.Lock()

    async def start_bus(self) -> None:
        """Start the bus, all its servers at once. Raises ServerTrouble."""
        await self.bus.start()
        self.bus.keyring.keep(self.plan.wanted(client_id(user_name())), self.bus.urls)
        for name, server in self.servers.items():
            self._note_server(name, server)

    async def keep(self) -> None:
        """Keep everything running until `stop`; then return once all of it has ended."""
        async with asyncio.TaskGroup() as group:
            for name, server in self.servers.items():
                group.create_task(self._keep(name, partial(self._server_once, name, server)))
                group.create_task(self._watch(name, server))
            for member in self.members:
                group.create_task(self._keep(member.name, partial(self._once, member)))

    async def stop(self) -> None:
        """Start nothing any more."""
        self._stopping.set()
        async with self._starting:
            return  # what was just being started is a known child now

    async def _keep(self, name: str, once: Callable[[], Awaitable[str | None]]) -> None:
        pause_s = pause_first_s
        while not self._stopping.is_set():
            began = time.monotonic()
            how = await once()
            if self._stopping.is_set() or how is None:
                return
            if time.monotonic() - began >= steady_s:
                pause_s = pause_first_s
            self.ends[name] = self.ends.get(name, 0) + 1
            self.tell(f"{name} {how}; it is started again in {pause_s:g} s")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            pause_s = min(2 * pause_s, pause_max_s)

    async def _once(self, member: Member) -> str | None:
        """From the start of a component to its end: how it ended, None if nothing is started any more."""
        async with self._starting:
            if self._stopping.is_set():
                return None
            try:
                process = await _spawn(member, self.plan.data)
            except OSError as error:
                return f"cannot be started: {error.strerror}"
            self._note(member.name, member.role, process.pid)
        return _how(await process.wait())

    async def _server_once(self, name: str, server: Server) -> str | None:
        """From a running server of the bus, or its start, to its end."""
        async with self._starting:
            if self._stopping.is_set():
                return None
            try:
                if server.pid is None:
                    await server.start()
                    self._note_server(name, server)
            except ServerTrouble as trouble:
                return f"cannot be started: {trouble}"
        return _how(await server.wait())

    async def _watch(self, name: str, server: Server) -> None:
        """End a server that takes nothing although its disk has room: it was full, and only a new one forgets that."""
        stuck = Stuck(server.log_file)
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), look_at_bus_s)
            if stuck.look() and server.pid is not None and not self._stopping.is_set():
                self.tell(f"{name} refuses to store although there is room again: it is ended")
                self.children[name].send(signal.SIGTERM)

    def _note_server(self, name: str, server: Server) -> None:
        assert server.pid is not None, "it has just been started"
        self._note(name, "bus", server.pid)

    def _note(self, name: str, role: str, pid: int) -> None:
        process = identify(name, role, pid)
        if process is None:
            return
        self.children[name] = process
        try:
            record(self.plan.data / "run" / f"{name}.json", process)
        except OSError as error:
            self.tell(f"{name} runs as {pid}, which cannot be written down: {error.strerror}")


def _bus(plan: Plan) -> tuple[EmbeddedServer | Ensemble, dict[str, Server]]:
    """The bus of a plan, and each of its servers by the name of its process."""
    if plan.masters == 1:
        alone = EmbeddedServer(plan.data, cluster=plan.cluster, port=plan.port)
        return alone, {"bus": alone}
    several = Ensemble(plan.data, count=plan.masters, cluster=plan.cluster, port=plan.port)
    several.moved = lambda: several.keyring.move(several.urls)
    return several, {on_node("bus", member.node): member for member in several.members}


def _how(code: int) -> str:
    """An exit status in words."""
    return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"


async def _spawn(member: Member, data: Path) -> asyncio.subprocess.Process:
    env = {name: value for name, value in os.environ.items() if name not in _OURS}
    member.log.parent.mkdir(parents=True, exist_ok=True)
    if member.log.exists() and member.log.stat().st_size > log_bytes_max:
        member.log.replace(member.log.with_suffix(".log.1"))
    with member.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *member.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=data,
            env=env,
            start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
        )
