"""One component as a process: its bus, its store, its signals, its end.

Rule of this room: a component that cannot go on says why in one line of its log and ends with exit code 1; whoever
started it starts it again, and it rebuilds from its log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import uuid4

import click

from bus import logs
from bus.jetstream import connect
from bus.port import (
    Bus,
    BusClosed,
    BusUnreachable,
    Fenced,
    NoAnswer,
    NotPermitted,
    OutcomeUnknown,
    StreamDiverged,
    StreamFull,
    StreamUnfit,
)
from cli.output import Failure, wrong_usage
from cli.processes import identify, record
from cli.session import Credentials, Where, find
from components.component import Component, State
from components.garbage import looked_at_once
from components.mind import LogUnreadable
from components.runtime import live
from eventstore.errors import StoreDiverged, StoreFailed, StoreGap, StoreLocked, StoreRefused

S = TypeVar("S", bound=State)
log = logs.get_logger()

EXPECTED = (
    BusClosed,
    BusUnreachable,
    Fenced,
    LogUnreadable,
    NoAnswer,
    NotPermitted,
    OutcomeUnknown,
    StoreDiverged,
    StoreFailed,
    StoreGap,
    StoreLocked,
    StoreRefused,
    StreamDiverged,
    StreamFull,
    StreamUnfit,
)
"""What can end a component without it being a mistake of ours: one line tells it, no traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one component's process runs, and what it may use."""

    bus: str | None
    credentials_file: str | None
    node: str
    store: str | None
    pid_file: str | None

    def credentials(self) -> Credentials:
        """What opens the bus. Raises click.ClickException."""
        return find(Where(self.bus, self.credentials_file))


def place_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options every component's process has; it takes a Place first."""

    @click.option("--bus", envvar="BUSBAR_BUS", metavar="URL", help="Address of the bus: nats://HOST:PORT.")
    @click.option(
        "--credentials",
        envvar="BUSBAR_CREDENTIALS",
        metavar="FILE",
        help="JSON file, mode 0600: where the bus is, and who this is on it.",
    )
    @click.option("--node", default=socket.gethostname, metavar="NAME", help="Name of this machine; its host name.")
    @click.option("--store", metavar="FILE", help="Where the component keeps its copy of the log; without it, nowhere.")
    @click.option("--pid-file", metavar="FILE", help="Write down in FILE which process this is.")
    @click.option("--log-level", type=click.Choice(logs.LEVELS), default="info", help="Least grave line to log (info).")
    @click.option("--log-json/--log-text", default=None, help="Form of the log; JSON unless stderr is a terminal.")
    @wraps(command)
    def run(
        bus: str | None,
        credentials: str | None,
        node: str,
        store: str | None,
        pid_file: str | None,
        log_level: str,
        log_json: bool | None,
        **given: Any,
    ) -> None:
        logs.configure(log_json, log_level)
        if bus is None and credentials is None:
            raise wrong_usage("expected --bus URL or --credentials FILE")
        place = Place(bus=bus, credentials_file=credentials, node=node, store=store, pid_file=pid_file)
        place.credentials()
        command(place, **given)

    return run


class Wired(NamedTuple, Generic[S]):
    """A component, and what goes on beside it whether it leads or stands by."""

    component: Component[S]
    beside: Callable[[], Awaitable[None]] | None = None


def run_component(place: Place, wire: Callable[[Bus], Wired[S]], name: str) -> None:
    """Run a component until SIGTERM or SIGINT. Raises Failure if it cannot go on."""
    note(place, name)
    try:
        with looked_at_once():
            asyncio.run(_run(place, wire, name))
    except EXPECTED as error:
        log.error("cannot go on", by=name, why=f"{type(error).__name__}: {error}")
        raise Failure(f"{name}: {error}") from None
    except Exception as error:
        log.exception("crashed", by=name)
        raise Failure(f"{name} crashed: {error!r}; it rebuilds from its log when started again") from None


def note(place: Place, name: str) -> None:
    """Write down which process this is."""
    if place.pid_file is not None:
        file = Path(place.pid_file)
        process = identify(file.stem, name.partition(".")[0], os.getpid())
        assert process is not None, "this process runs"
        record(file, process)


async def _run(place: Place, wire: Callable[[Bus], Wired[S]], name: str) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    known = place.credentials()
    bus = await connect(known, name=name, on_lost=lost)
    wired = wire(bus)
    life = live(wired.component, bus, node=place.node, instance=uuid4().hex[:12], store=place.store, stop=stop)
    try:
        await _with(life, wired.beside)
    finally:
        await bus.close()
    log.info("stopped", by=name)


async def _with(life: Coroutine[Any, Any, None], beside: Callable[[], Awaitable[None]] | None) -> None:
    """A life, and something beside it that ends with it; an error of either ends both."""
    if beside is None:
        return await life
    living, other = asyncio.ensure_future(life), asyncio.ensure_future(beside())
    try:
        await asyncio.wait({living, other}, return_when=asyncio.FIRST_COMPLETED)
        return (other if other.done() else living).result()
    finally:
        for each in (living, other):
            each.cancel()
        await asyncio.gather(living, other, return_exceptions=True)


def lost(what: str) -> None:
    """Log what became of the link to the bus."""
    log.warning("bus", what=what)
