"""What a command gets: an open session of one person with one cluster.

Rule of this room: a command is an `async def` that gets an open `Session`; opening, closing and turning what went
wrong into an exact message happen here, once. (`address` finds the cluster)
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from bus import queries
from bus.credentials import Credentials as Credentials
from bus.nouns import AgentId, Now, RequestId
from bus.port import (
    Bus,
    BusClosed,
    NoAnswer,
    NobodyThere,
    NotPermitted,
    OutcomeUnknown,
    StreamDiverged,
    StreamFull,
)
from bus.queries import DIVERGED
from bus.roll import roll_call
from bus.subjects import Author, Kind, SubjectError, ask, check_id
from cli.address import DATA as DATA
from cli.address import THE_MASTER as THE_MASTER
from cli.address import Where as Where
from cli.address import administering as administering
from cli.address import administrator as administrator
from cli.address import check_url as check_url
from cli.address import connected as connected
from cli.address import credentials_file as credentials_file
from cli.address import elected_s
from cli.address import find as find
from cli.address import read_credentials as read_credentials
from cli.output import Failure, NoCluster, Output

T = TypeVar("T")
R = TypeVar("R")

election_pause_s = 0.1
"""Between two questions to a component that is just being succeeded."""
full_bytes = 64 * 1024
"""Free space below which a disk counts as full."""
query_s = 5.0
"""How long a command waits for the answer to a query."""

MARATHON = Author(Kind.FRAMEWORK, "marathon")
METRONOME = Author(Kind.FRAMEWORK, "metronome")
SINGLETONS = (THE_MASTER, MARATHON, METRONOME)
"""Who may have instances that stand by."""


class NotThere(Failure):
    """One component does not answer: it is not running, or too busy."""


def client_id(user: str) -> str:
    """The id under which a person speaks: `u-` and the name, as far as the grammar of ids allows."""
    name = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:61].strip("-")
    return check_id(f"u-{name or 'nobody'}")


def wall_clock() -> Now:
    """The time of this host."""
    return Now(time.time_ns() // 1000)


def user_name() -> str:
    """Who runs this process; the number of the user where it has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def person(bus: Bus) -> Author:
    """As whom a connection speaks: as its credentials say. Raises Failure for those of a component."""
    name = bus.me or client_id(user_name())
    if name.partition("-")[0] not in ("u", "g"):
        raise Failure(f"the credentials are those of {name}, not of a person", next_="busbar access join TOKEN")
    return Author(Kind.CLIENT, name)


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection of one person to one cluster."""

    bus: Bus
    me: Author
    actor: str
    out: Output
    request: RequestId | None = None
    """The id under which a change was asked for before, if it is asked for again."""
    credentials: Callable[[], Credentials] | None = None
    """What opened the connection, for who passes some of it on."""

    @property
    def cluster(self) -> str:
        return self.bus.cluster

    def now(self) -> Now:
        """What time it is here."""
        return wall_clock()

    async def ask(self, of: Author, query: str, shape: type[R], question: object = None) -> R:
        """The answer of one component to one query; of one whose standby is about to lead, the standby's.

        Raises Failure if there is none.
        """
        deadline = time.monotonic() + elected_s
        while True:
            try:
                return await self.look(of, query, shape, question)
            except NotThere:
                if time.monotonic() >= deadline or not await self._succeeded(of):
                    raise
            await asyncio.sleep(election_pause_s)

    async def look(self, of: Author, query: str, shape: type[R], question: object = None) -> R:
        """The answer of one component to one query, as it is at this moment. Raises Failure if there is none."""
        try:
            subject = ask(self.cluster, of, query)
            answer = await self.bus.query(subject, queries.pack(question), timeout_s=query_s)
            return queries.unpack(answer, shape)
        except NobodyThere:
            raise NotThere(f"{title(of)} is not running", next_="busbar status") from None
        except NoAnswer:
            raise NotThere(f"{title(of)} did not answer within {query_s:g} s", next_="busbar status") from None
        except queries.QueryRefused as refused:
            raise Failure(str(refused), next_=way_on(str(refused))) from None
        except msgspec.ValidationError as error:
            raise Failure(f"{title(of)} answers in another shape: {error}", next_="install the same release") from None

    async def _succeeded(self, of: Author) -> bool:
        """Whether somebody is there who leads in a moment."""
        return any(each.standing != DIVERGED for each in await roll_call(self.bus, of))


def way_on(refused: str) -> str:
    """What lists the things of which a query names one that does not exist; nothing if it is about something else."""
    noun = refused.partition(" ")[0]
    return f"busbar {noun} list" if noun in ("app", "group", "job", "pod") else ""


def title(author: Author) -> str:
    """A component as people call it."""
    if author.kind is Kind.MASTER:
        return "the master"
    return author.id if author.kind is Kind.FRAMEWORK else f"{author.kind} {author.id}"


def agent(name: AgentId | str) -> Author:
    """An agent as one to ask. Raises Failure if that is no id."""
    try:
        return Author(Kind.AGENT, check_id(name))
    except SubjectError as error:
        raise Failure(str(error)) from None


def executor_of(name: AgentId | str) -> Author:
    """The executor that an agent keeps warm."""
    return Author(Kind.EXECUTOR, f"{name}-cmd")


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@dataclass(frozen=True, slots=True)
class Reach:
    """How commands get at a cluster: over the network, unless a test hands them a bus in memory."""

    open: Callable[[Where], AbstractAsyncContextManager[Bus]] = connected
    administer: Callable[[Where, Path], AbstractAsyncContextManager[Bus]] = administering
    """The same as who may change the stream itself, with the cluster's own keys."""
    find: Callable[[Where], Credentials] = find
    """The credentials that open it."""
    run: Callable[[Coroutine[Any, Any, None]], None] = _run


Command = Callable[..., Awaitable[None]]


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def keys_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that changes the stream itself the option that says where the cluster's own keys are."""
    return click.option(
        "--keys", metavar="DIR", help="Where the cluster's own keys are; else keys/ in the data directory."
    )(command)


def keys_directory(keys: str | None, data: str) -> Path:
    """Where the cluster's own keys are."""
    return Path(keys) if keys is not None else Path(data) / "keys"


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that name a cluster."""
    for option in (
        click.option(
            "--data",
            default=DATA,
            show_default=True,
            envvar="BUSBAR_DATA",
            metavar="DIR",
            help="The data directory of the cluster that `busbar up` runs on this machine.",
        ),
        click.option(
            "--credentials",
            envvar="BUSBAR_CREDENTIALS",
            metavar="FILE",
            help="JSON file, mode 0600: where the bus is, and who you are on it.",
        ),
        click.option("--bus", envvar="BUSBAR_BUS", metavar="URL", help="Address of the bus: nats://HOST:PORT."),
    ):
        command = option(command)
    return command


def on_cluster(command: Command) -> Callable[..., None]:
    """Make a command of an `async def` that takes a Session first."""

    @where_options
    @json_option
    @wraps(command)
    def run(bus: str | None, credentials: str | None, data: str, as_json: bool, **given: Any) -> None:
        reach = the_reach()
        reach.run(in_session(reach, Where(bus, credentials, data), Output(as_json), command, **given))

    return run


def the_reach() -> Reach:
    """How the command being run gets at a cluster."""
    return click.get_current_context().find_object(Reach) or Reach()


async def in_session(reach: Reach, where: Where, out: Output, command: Command, **given: Any) -> None:
    """Run a command with an open session; what goes wrong with the bus becomes an exact message."""
    try:
        await _exactly(reach, where, out, command, **given)
    except Failure as failure:
        if where.bus is None and where.credentials is None and is_full(Path(where.data)):
            failure.next = f"free space: the disk of {where.data} is full, and a bus that cannot store takes nothing"
        raise


def is_full(data: Path) -> bool:
    """Whether the disk under a directory has no room for an event."""
    try:
        disk = os.statvfs(data)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < full_bytes


async def _exactly(reach: Reach, where: Where, out: Output, command: Command, **given: Any) -> None:
    async with exactly(), reach.open(where) as bus:
        me, request = person(bus), given.pop("request", None)
        await command(Session(bus, me, me.id, out, request, partial(reach.find, where)), **given)


@asynccontextmanager
async def exactly() -> AsyncIterator[None]:
    """What goes wrong with the bus becomes an exact message."""
    try:
        yield
    except SubjectError as error:
        raise Failure(str(error)) from None
    except NotPermitted as error:
        raise Failure(str(error), next_="busbar access list shows who may") from None
    except StreamFull as error:
        raise Failure(f"the bus stores nothing more: {error}", next_="free space on the disk of the bus") from None
    except StreamDiverged as error:
        raise Failure(f"the stream of this cluster is damaged: {error}", next_="ops/runbook.md") from None
    except (NoAnswer, OutcomeUnknown) as error:
        raise Failure(f"the bus did not answer: {error}", next_="busbar status") from None
    except BusClosed as error:
        raise NoCluster(f"the connection to the bus was lost: {error}", next_="busbar status") from None
