"""Which cluster a command talks to, as whom, and the connection to it.

Rule of this room: a command is an `async def` that gets an open `Session`; finding, connecting, closing and turning
what went wrong into an exact message happen here, once.
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
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from bus import queries
from bus.nouns import MASTER, AgentId, Now, RequestId
from bus.port import (
    Bus,
    BusClosed,
    BusUnreachable,
    NoAnswer,
    NobodyThere,
    OutcomeUnknown,
    StreamDiverged,
    StreamFull,
    StreamUnfit,
)
from bus.queries import DIVERGED
from bus.subjects import CLUSTER, Author, Kind, SubjectError, ask, check_id, everything
from cli.output import Failure, NoCluster, Output, wrong_usage
from cli.roll import roll_call

T = TypeVar("T")
R = TypeVar("R")

DATA = ".busbar"
"""The data directory of `up` unless another is named."""
connect_s = 3.0
"""How long a command waits for the bus."""
elected_s = 15.0
"""The same where several servers keep the stream: they may be electing. (nats-server: 4 to 9 s)"""
election_pause_s = 0.1
"""Between two questions to a component that is just being succeeded."""
greet_s = 1.0
"""How long the servers of a bus may take to say that they are there."""
full_bytes = 64 * 1024
"""Free space below which a disk counts as full."""
query_s = 5.0
"""How long a command waits for the answer to a query."""

THE_MASTER = Author(Kind.MASTER, MASTER)
MARATHON = Author(Kind.FRAMEWORK, "marathon")
METRONOME = Author(Kind.FRAMEWORK, "metronome")
SINGLETONS = (THE_MASTER, MARATHON, METRONOME)
"""Who may have instances that stand by."""


class NotThere(Failure):
    """One component does not answer: it is not running, or too busy."""


class NoMajority(Failure):
    """Too few of the servers that keep the stream answer."""

    def __init__(self, there: int, all_: int) -> None:
        super().__init__(
            f"no quorum: {there} of {all_} bus servers answer: nothing is written until another comes back; "
            "tasks run on",
            next_="start another of them: ops/runbook.md",
        )


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client needs to speak on a cluster's bus; `up` writes it into its data directory, mode 0600."""

    url: str
    """Of several servers all, separated by commas; the first is tried first."""
    user: str = ""
    password: str = ""
    cluster: str = CLUSTER
    replicas: int = 1
    """How many servers keep the stream."""

    @property
    def urls(self) -> list[str]:
        return self.url.split(",")


class Where(NamedTuple):
    """Where a person said the cluster is; all empty: the data directory here."""

    bus: str | None = None
    credentials: str | None = None
    data: str = DATA


def credentials_file(data: str) -> Path:
    """Where `up` leaves the credentials of the cluster it runs."""
    return Path(data) / "credentials.json"


def find(where: Where) -> Credentials:
    """The cluster's credentials: `--credentials`, else `--bus` alone, else those in the data directory."""
    if where.credentials is not None:
        found = read_credentials(Path(where.credentials))
    elif where.bus is not None:
        found = Credentials(url=where.bus)
    else:
        found = _of_data(where.data)
    return msgspec.structs.replace(found, url=check_url(where.bus or found.url))


def _of_data(data: str) -> Credentials:
    path = credentials_file(data)
    if not path.exists():
        raise NoCluster(
            f"no cluster: {path} does not exist",
            next_="start one with `busbar up`, or name one with --data DIR or --bus URL --credentials FILE",
        )
    return read_credentials(path)


def read_credentials(path: Path) -> Credentials:
    """The credentials in a file. Raises Failure that says what is wrong with it."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Credentials)
        check_id(found.cluster)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", next_="name the credentials file with --credentials FILE") from None
    except (msgspec.DecodeError, UnicodeDecodeError, SubjectError) as error:
        raise Failure(
            f"{path} is not a credentials file: {error}",
            next_='expected {"url": ..., "user": ..., "password": ..., "cluster": ...}',
        ) from None
    return found


def check_url(url: str) -> str:
    """`url`, if it can be the address of a bus, or several separated by commas. Raises click.UsageError."""
    for each in url.split(","):
        if not _is_address(each):
            raise wrong_usage(f"{each!r} is not the address of a bus: expected nats://HOST:PORT")
    return url


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.scheme in ("nats", "tls") and parts.hostname and parts.port and parts.path in ("", "/"))
    except ValueError:
        return False


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


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection of one person to one cluster."""

    bus: Bus
    me: Author
    actor: str
    out: Output
    request: RequestId | None = None
    """The id under which a change was asked for before, if it is asked for again."""

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
            raise Failure(str(refused)) from None
        except msgspec.ValidationError as error:
            raise Failure(f"{title(of)} answers in another shape: {error}", next_="install the same release") from None

    async def _succeeded(self, of: Author) -> bool:
        """Whether somebody is there who leads in a moment."""
        return any(each.standing != DIVERGED for each in await roll_call(self.bus, of))


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


@asynccontextmanager
async def connected(where: Where, *, make_stream: bool = False) -> AsyncIterator[Bus]:
    """A connection to the cluster, with a bound on the time it takes. Who only asks does not make a cluster."""
    found = find(where)
    await check_quorum(found)
    from bus.jetstream import connect  # only who talks over the network pays for the import

    try:
        bus = await connect(
            found.url,
            cluster=found.cluster,
            user=found.user,
            password=found.password,
            connect_s=connect_s if len(found.urls) == 1 else elected_s,
            make_stream=make_stream,
            replicas=found.replicas,
        )
    except BusUnreachable as error:
        await check_quorum(found)
        raise NoCluster(str(error), next_=_way_on(where)) from None
    except StreamUnfit as error:
        raise Failure(str(error), next_="ops/runbook.md") from None
    try:
        if len(found.urls) > 1:
            await _until_led(bus)
        yield bus
    except (NoAnswer, OutcomeUnknown):
        await check_quorum(found)
        raise
    finally:
        await bus.close()


async def _until_led(bus: Bus) -> None:
    """Wait while the servers of the bus elect who leads the stream. Raises NoAnswer if that takes too long."""
    deadline = time.monotonic() + elected_s
    while True:
        try:
            await bus.last(everything(bus.cluster))
            return
        except NoAnswer:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(election_pause_s)


async def check_quorum(found: Credentials) -> None:
    """Raises NoMajority if some, but too few, of several servers of the bus answer."""
    if len(found.urls) == 1:
        return
    from bus.knock import answering

    enough = len(found.urls) // 2 + 1
    there = await answering(found.urls, enough, greet_s)
    if 0 < there < enough:
        raise NoMajority(there, len(found.urls))


def _way_on(where: Where) -> str:
    if where.bus is None and where.credentials is None:
        return f"start the cluster again with `busbar up --data {where.data}`"
    return "name a running one with --bus URL --credentials FILE, or start one with `busbar up`"


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@dataclass(frozen=True, slots=True)
class Reach:
    """How commands get at a cluster: over the network, unless a test hands them a bus in memory."""

    open: Callable[[Where], AbstractAsyncContextManager[Bus]] = connected
    run: Callable[[Coroutine[Any, Any, None]], None] = _run


Command = Callable[..., Awaitable[None]]


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


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
            help="JSON file with url, user, password and cluster.",
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
    user = user_name()
    try:
        async with reach.open(where) as bus:
            me, request = Author(Kind.CLIENT, client_id(user)), given.pop("request", None)
            await command(Session(bus, me, user, out, request), **given)
    except SubjectError as error:
        raise Failure(str(error)) from None
    except StreamFull as error:
        raise Failure(f"the bus stores nothing more: {error}", next_="free space on the disk of the bus") from None
    except StreamDiverged as error:
        raise Failure(f"the stream of this cluster is damaged: {error}", next_="ops/runbook.md") from None
    except (NoAnswer, OutcomeUnknown) as error:
        raise Failure(f"the bus did not answer: {error}", next_="busbar status") from None
    except BusClosed as error:
        raise NoCluster(f"the connection to the bus was lost: {error}", next_="busbar status") from None
