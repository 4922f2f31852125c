"""`busbar store restore`: a new cluster that goes on where one verified store ends.

Rule of this room: nothing is made before the store is verified, and what was made is removed again if it does not
become whole. The store is copied before the stream is filled: a half-filled stream would be found to be shorter.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bus.binary import ServerTrouble
from bus.ensemble import Ensemble, nodes, on_node
from bus.port import Bus, BusClosed, BusUnreachable, NoAnswer, OutcomeUnknown, StreamDiverged, StreamFull, StreamUnfit
from bus.restoring import NotEmpty
from bus.restoring import restore as said_again
from bus.server import EmbeddedServer
from bus.subjects import CLUSTER
from cli.bar import progress
from cli.hold import disk, sole
from cli.output import Failure, Output
from cli.session import DATA, Credentials, administrator, json_option, keys_directory, keys_option, read_credentials
from cli.store_file import as_content, refusals, verify_shown
from eventstore.backup import backup
from eventstore.reading import records_of
from eventstore.schema import STREAM
from eventstore.verify import Verdict

if TYPE_CHECKING:
    from bus.jetstream import JetStreamBus


alone_s = 60.0
"""How long servers that were just started may take until they keep the stream together."""
retry_s = 1.0


@click.command()
@click.argument("from_", metavar="FROM", type=click.Path(dir_okay=False))
@click.option("--data", metavar="DIR", help="The new cluster's data directory; it must be empty, or not there.")
@click.option("--credentials", metavar="FILE", help="Instead: those of a running bus, whose stream must be empty.")
@keys_option
@click.option("--masters", type=click.Choice(["1", "3", "5"]), default="1", show_default=True, help="Nodes of the bus.")
@json_option
def restore(
    from_: str, data: str | None, credentials: str | None, keys: str | None, masters: str, as_json: bool
) -> None:
    """Make a new cluster from one store: verified first, then said again, every event at its own position.

    \b
    Example:
        busbar store restore /mnt/elsewhere/busbar.db --data /var/lib/busbar
        busbar up --data /var/lib/busbar
    """
    out, file = Output(as_json), Path(from_)
    if (data is None) == (credentials is None):
        raise click.UsageError("name one of --data DIR and --credentials FILE", click.get_current_context())
    place = Path(data).absolute() if data is not None else None
    known = read_credentials(Path(credentials)) if credentials is not None else None
    if place is not None:
        check_empty(place)
    verdict = _verified(file, known.cluster if known else CLUSTER, out)
    if place is not None:
        asyncio.run(_into_directory(verdict, place, int(masters), out))
        where, next_ = str(place), f"busbar up --data {place}" + (f" --masters {masters}" if masters != "1" else "")
    else:
        assert known is not None, "one of the two was given"
        asyncio.run(_into_bus(verdict, administrator(known, keys_directory(keys, DATA)), out))
        where, next_ = known.url, "busbar run master, with the same credentials"
    out.show(
        as_content(verdict) | {"restored": where},
        f"{verdict.events} events of cluster {verdict.header.cluster} lie in {where} as they lay before; the running "
        f"hash is {verdict.chain}",
        "put the old cluster.key there first, or checkpoints are signed with a new one; then go on with",
        f"  {next_}",
    )


def check_empty(data: Path) -> None:
    """Raises Failure unless a directory is empty, or not there."""
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Failure(
            f"{data} is not empty: a history is restored into an empty place only", next_="name another --data"
        )


def _verified(file: Path, cluster: str, out: Output) -> Verdict:
    """The store, if it is whole and of the cluster. Raises Failure."""
    with refusals():
        verdict = verify_shown(file, out)
    if verdict.header.mode != STREAM:
        raise Failure(f"{file} is a copy of the log of {verdict.header.owner}: a master's store is needed")
    if verdict.header.cluster != cluster:
        raise Failure(f"{file} is of cluster {verdict.header.cluster!r}, not {cluster!r}")
    if verdict.finding is not None:
        raise Failure(f"{file}: {verdict.finding}: nothing was restored", next_=verdict.remedy)
    if not verdict.events:
        raise Failure(f"{file} holds no events: there is nothing to restore")
    return verdict


async def _into_directory(verdict: Verdict, data: Path, masters: int, out: Output) -> None:
    with disk(data), sole(data), _removed_unless_whole(data), refusals():
        for node in nodes(masters):
            store = data / on_node("master", node) / "events.db"
            store.parent.mkdir()
            if node == nodes(1)[0]:
                await asyncio.to_thread(backup, verdict.path, store)
            else:
                await asyncio.to_thread(shutil.copyfile, data / "master" / "events.db", store)
        async with bus_alone(data, masters) as bus:
            await say_again(bus, Path(verdict.path), verdict, out)


async def _into_bus(verdict: Verdict, known: Credentials, out: Output) -> None:
    with refusals():
        async with connected(known) as bus:
            await say_again(bus, Path(verdict.path), verdict, out)


async def say_again(bus: Bus, file: Path, verdict: Verdict, out: Output) -> None:
    """Fill an empty stream with a verified store. Raises Failure."""
    try:
        with progress(f"restoring {file.name}", verdict.last, "events", out) as told:
            await said_again(bus, records_of(file, to=verdict.last), told)
    except NotEmpty as error:
        raise Failure(f"{error}: nothing was changed", next_="name the credentials of a new cluster") from None


@contextmanager
def _removed_unless_whole(data: Path) -> Iterator[None]:
    """What was made in an empty directory is removed again if it did not become whole."""
    made_here = set(data.iterdir())
    try:
        yield
    except BaseException:
        for path in sorted(set(data.iterdir()) - made_here):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (data / "lock").unlink(missing_ok=True)
        raise


@asynccontextmanager
async def bus_alone(data: Path, masters: int, *, cluster: str = CLUSTER) -> AsyncIterator[JetStreamBus]:
    """The bus of a data directory with nothing else running, and a connection to it. Raises Failure."""
    server: EmbeddedServer | Ensemble
    server = EmbeddedServer(data, cluster=cluster) if masters == 1 else Ensemble(data, count=masters, cluster=cluster)
    try:
        await server.start()
        async with connected(server.administrator, alone_s) as bus:
            yield bus
    except ServerTrouble as trouble:
        raise Failure(str(trouble)) from None
    finally:
        await server.stop()


@asynccontextmanager
async def connected(known: Credentials, patience_s: float = 0.0) -> AsyncIterator[JetStreamBus]:
    """A connection that makes the stream if there is none; what goes wrong with the bus is an exact message."""
    try:
        bus = await _connect(known, patience_s)
        try:
            yield bus
        finally:
            await bus.close()
    except StreamFull as error:
        raise Failure(f"the bus stores nothing more: {error}", next_="free space on its disk") from None
    except (BusUnreachable, BusClosed, StreamUnfit, StreamDiverged, OutcomeUnknown, NoAnswer) as error:
        raise Failure(f"the bus: {error}") from None


async def _connect(known: Credentials, patience_s: float) -> JetStreamBus:
    """A connection, tried for so long: several servers need a while to agree who leads. Raises BusUnreachable."""
    from bus.jetstream import connect  # only who talks over the network pays for the import

    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        try:
            return await connect(known, mend=True)
        except BusUnreachable:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(retry_s)
