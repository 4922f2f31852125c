"""Holding one data directory: the lock, what a dead supervisor left, the life of a datacenter, its end.

Rule of this room: the lock dies with its holder; whatever ends the life, the end is the same and leaves no process.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from bus.binary import ServerTrouble
from bus.queries import Summary
from cli.datacenter import Plan, Tell, running, tasks_left, wind_up
from cli.output import Failure
from cli.processes import Process, identify, record
from cli.readiness import session_at, until_ready, until_settled
from cli.supervisor import Supervisor
from cli.users import keep_users
from eventstore.signing import new_key

Content = dict[str, object]
"""What is up, for programs."""


@contextmanager
def disk(data: Path) -> Iterator[None]:
    """What the disk refuses, as an exact message."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free space on the disk, then start again" if full else "name another directory with --data DIR"
        raise Failure(f"{error.filename or data}: {error.strerror}", next_=hint) from None


@contextmanager
def sole(data: Path) -> Iterator[None]:
    """Only one at a time holds a data directory. Raises Failure that names who does."""
    data.mkdir(parents=True, exist_ok=True, mode=0o755)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _claim(lock, data)
        yield
    finally:
        os.close(lock)


def _claim(lock: int, data: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        raise Failure(
            f"a datacenter runs on {data} already: process {holder} holds it",
            next_=f"look at it with `busbar status --data {data}`, or stop it with `busbar down --data {data}`",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def supervisor_of(data: Path) -> Process | None:
    """The process that holds a data directory, if one does."""
    return next((process for process in running(data) if process.role == "supervisor"), None)


async def end_leftovers(data: Path, tell: Tell) -> bool:
    """End what a dead supervisor left; whether there was anything. Only for who holds the directory."""
    left = [process for process in running(data) if process.role != "supervisor"]
    if not left and not tasks_left(data):
        return False
    tell("the last supervisor did not end in good order: what it left is stopped first")
    await wind_up(data, list, _at_once, tell)
    return True


async def _at_once() -> None:
    return


async def hold(plan: Plan, ready: Callable[[Content], None], tell: Tell) -> None:
    """From nothing to a datacenter; on a signal, back to nothing. Raises Failure if it does not come up."""
    stop = _signalled()
    _note(plan.data)
    await end_leftovers(plan.data, tell)
    _make_key(plan)
    _make_users(plan)
    supervisor = Supervisor(plan, tell)
    try:
        await supervisor.start_bus()
        await _live(plan, supervisor, stop, ready, tell)
    except ServerTrouble as trouble:
        raise Failure(str(trouble)) from None
    finally:
        await supervisor.bus.stop()
        _file(plan.data).unlink(missing_ok=True)


def _make_key(plan: Plan) -> None:
    """A cluster has one key for life."""
    if not plan.key.exists():
        new_key(plan.key)


def _make_users(plan: Plan) -> None:
    """Who runs it may speak through its gateway."""
    if plan.gateway_port is not None and not plan.gateway_open:
        keep_users(plan.users)


def _note(data: Path) -> None:
    me = identify("supervisor", "supervisor", os.getpid())
    assert me is not None, "this process runs"
    record(_file(data), me)


def _file(data: Path) -> Path:
    return data / "run" / "supervisor.json"


def _signalled() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _live(
    plan: Plan, supervisor: Supervisor, stop: asyncio.Event, ready: Callable[[Content], None], tell: Tell
) -> None:
    keeping = asyncio.create_task(supervisor.keep())
    keeping.add_done_callback(lambda _: stop.set())
    try:
        summaries = await _unless(stop, plan)
        if summaries is not None:
            ready(_content(plan, summaries))
            await stop.wait()
    finally:
        await supervisor.stop()
        await wind_up(plan.data, supervisor.children.values, partial(_settled, plan), tell)
        await keeping


async def _unless(stop: asyncio.Event, plan: Plan) -> list[Summary] | None:
    """What the components say once all are ready; None if `stop` came first."""
    starting, stopping = asyncio.ensure_future(_ready(plan)), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return starting.result() if starting.done() else None
    finally:
        starting.cancel()
        stopping.cancel()


async def _ready(plan: Plan) -> list[Summary]:
    async with session_at(plan.data) as session:
        return await until_ready(session, plan)


async def _settled(plan: Plan) -> None:
    with suppress(Failure):  # without a bus nothing more can become known; the next start learns it
        async with session_at(plan.data) as session:
            await until_settled(session)


def _content(plan: Plan, summaries: list[Summary]) -> Content:
    http = {
        "url": f"http://127.0.0.1:{plan.gateway_port}",
        "users": None if plan.gateway_open else str(plan.users),
    }
    return {
        "gateway": http if plan.gateway_port is not None else None,
        "cluster": plan.cluster,
        "data": str(plan.data),
        "supervisor": os.getpid(),
        "components": [{"by": each.by, "pid": each.pid, "position": each.position} for each in summaries],
    }
