"""Where a cluster is: its credentials, the addresses of its bus, and an open connection to it.

Rule of this room: what cannot be an address is refused before anything is tried; connecting has a bound, and a bus of
several servers of which too few answer is told from one that is not there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from bus import credentials as bus_credentials
from bus.credentials import Credentials, CredentialsRefused
from bus.nouns import MASTER
from bus.port import Bus, BusUnreachable, NoAnswer, NotPermitted, OutcomeUnknown, StreamUnfit
from bus.subjects import Author, Kind, terms
from cli.output import Failure, NoCluster, wrong_usage

DATA = ".busbar"
"""The data directory of `up` unless another is named."""
THE_MASTER = Author(Kind.MASTER, MASTER)
connect_s = 3.0
"""How long a command waits for the bus."""
elected_s = 15.0
"""The same where several servers keep the stream: they may be electing. (nats-server: 4 to 9 s)"""
greet_s = 1.0
"""How long the servers of a bus may take to say that they are there."""
leader_pause_s = 0.1
"""Between two looks whether the stream has a leader."""


class NoMajority(Failure):
    """Too few of the servers that keep the stream answer."""

    def __init__(self, there: int, all_: int) -> None:
        super().__init__(
            f"no quorum: {there} of {all_} bus servers answer: nothing is written until another comes back; "
            "tasks run on",
            next_="start another of them: ops/runbook.md",
        )


class Where(NamedTuple):
    """Where a person said the cluster is; all empty: the data directory here."""

    bus: str | None = None
    credentials: str | None = None
    data: str = DATA


def credentials_file(data: str) -> Path:
    """Where `up` leaves the credentials of the person who runs it."""
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
        return bus_credentials.read_credentials(path)
    except CredentialsRefused as refused:
        raise Failure(str(refused), next_=refused.fix) from None


def administrator(known: Credentials, keys: Path) -> Credentials:
    """Who may do anything to the stream that `known` leads to, made from the cluster's own keys. Raises Failure."""
    from bus.authority import read_authority
    from bus.keyring import AUTHORITY, administrator_of

    try:
        authority = read_authority(keys / AUTHORITY)
    except CredentialsRefused as refused:
        raise Failure(str(refused), next_=refused.fix) from None
    if authority is None:
        raise Failure(
            f"this changes the stream itself, which takes the cluster's own keys: {keys / AUTHORITY} is not there",
            next_="run it where the cluster was founded, or name the directory with --keys DIR",
        )
    return administrator_of(authority, known)


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


@asynccontextmanager
async def connected(where: Where, *, patience_s: float = 0.0) -> AsyncIterator[Bus]:
    """A connection to the cluster, with a bound on the time it takes. Who only asks does not make a cluster."""
    async with connected_as(find(where), _way_on(where), patience_s=patience_s) as bus:
        yield bus


@asynccontextmanager
async def connected_as(found: Credentials, way_on: str = "", *, patience_s: float = 0.0) -> AsyncIterator[Bus]:
    """A connection with these credentials. Raises NoCluster, Failure."""
    await check_quorum(found)
    from bus.jetstream import connect  # only who talks over the network pays for the import

    try:
        usual_s = connect_s if len(found.urls) == 1 else elected_s
        bus = await connect(found, connect_s=max(patience_s, usual_s), make_stream=False)
    except BusUnreachable as error:
        await check_quorum(found)
        raise NoCluster(str(error), next_=way_on or "is the cluster up?") from None
    except StreamUnfit as error:
        raise Failure(str(error), next_="ops/runbook.md") from None
    except NotPermitted as error:
        raise Failure(str(error), next_="busbar access list") from None
    try:
        if len(found.urls) > 1:
            await _until_led(bus)
        yield bus
    except (NoAnswer, OutcomeUnknown):
        await check_quorum(found)
        raise
    finally:
        await bus.close()


@asynccontextmanager
async def administering(where: Where, keys: Path) -> AsyncIterator[Bus]:
    """A connection as the administrator of the stream. Raises Failure."""
    from bus.jetstream import connect  # only who talks over the network pays for the import

    try:
        bus = await connect(administrator(find(where), keys), connect_s=elected_s, make_stream=False, mend=True)
    except (BusUnreachable, StreamUnfit) as error:
        raise Failure(str(error), next_="ops/runbook.md") from None
    try:
        yield bus
    finally:
        await bus.close()


async def _until_led(bus: Bus) -> None:
    """Wait while the servers of the bus elect who leads the stream. Raises NoAnswer if that takes too long."""
    deadline = time.monotonic() + elected_s
    while True:
        try:
            await bus.count(terms(bus.cluster, THE_MASTER))  # whoever may speak at all may ask this
            return
        except NoAnswer:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(leader_pause_s)


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
