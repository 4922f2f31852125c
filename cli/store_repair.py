"""`busbar store repair`: what is damaged in a data directory is made anew from what is not.

Rule of this room: nothing is deleted. What is damaged is set aside under its name and the time; what is made anew comes
from a store that verifies, or from a stream whose authors' chains are whole; where there is neither, nothing is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from bus.binary import ServerTrouble
from bus.ensemble import nodes, on_node
from bus.nouns import Position
from bus.port import Record
from bus.server import Known, known_bus, known_file, read_cluster
from cli.datacenter import running
from cli.hold import disk, sole
from cli.output import Failure, Output, Table
from cli.processes import Process
from cli.session import DATA, json_option
from cli.store_file import refusals
from cli.store_look import GONE, Store, contradicts, disagrees, extending, look_at_stream, masters, others, own_records
from cli.store_mend import Aside, Found, Keep, Rebuild, Refill, Step
from cli.store_restore import bus_alone
from eventstore.compare import difference
from eventstore.walk import Finding

WHAT_IS_LEFT = "busbar store restore BACKUP --data NEW: a backup, or the store of a master elsewhere, is what is left"


@click.command()
@click.option("--data", default=DATA, show_default=True, envvar="BUSBAR_DATA", metavar="DIR", help="What to repair.")
@click.option(
    "--node", metavar="NODE", help="Only this node's store, e.g. n2; others are looked at for what they have."
)
@click.option(
    "--new-stream", is_flag=True, help="Make the stream anew from the store, though the bus does not come up."
)
@click.option("--dry-run", is_flag=True, help="Only say what is wrong and what would be done.")
@json_option
def repair(data: str, node: str | None, new_stream: bool, dry_run: bool, as_json: bool) -> None:
    """Make anew what is damaged in a data directory, from what is not. The datacenter must be down.

    \b
    Example:
        busbar down
        busbar store repair --dry-run
        busbar store repair
    """
    out, path = Output(as_json), Path(data).absolute()
    if not known_file(path).exists():
        raise Failure(f"{path} is not the data directory of a datacenter", next_="busbar store repair --data DIR")
    with disk(path), sole(path), refusals():
        _check_down(running(path), path)
        found = asyncio.run(_looked(path, node, new_stream, out))
        steps = decide(found, node)
        for step in () if dry_run else steps:
            out.note(f"{step.words} ...")
            asyncio.run(step.take(found, out))
    content = {"data": str(path), "wrong": found.wrong, "steps": [step.words for step in steps], "done": not dry_run}
    if not steps:
        out.show(content, f"nothing is wrong in {path}: every store verifies, and the stream is what they say")
        return
    heading = "this would be done" if dry_run else "this was done"
    out.show(content, Table(("what", "is wrong"), found.wrong), "", heading, *(f"  {step.words}" for step in steps))


def _check_down(alive: Sequence[Process], data: Path) -> None:
    if alive:
        names = ", ".join(sorted(process.name for process in alive))
        raise Failure(f"processes of {data} run still: {names}", next_=f"busbar down --data {data}")


# ---- look ------------------------------------------------------------------------------------------------------------


async def _looked(data: Path, node: str | None, new_stream: bool, out: Output) -> Found:
    known = _known(data)
    there = nodes(len(known.urls))
    if node is not None and node not in there:
        raise Failure(f"there is no node {node} in {data}; there are {', '.join(there)}")
    found = Found(data, len(known.urls), known.cluster, masters(data, there, out), others(data, out))
    _check_one_history(found)
    if found.truth is not None:
        whole = found.truth.path
        found.others = [each._replace(wrong=contradicts(each, whole)) if each.good else each for each in found.others]
    try:
        async with bus_alone(data, found.servers, cluster=known.cluster) as bus:
            found.stream = await look_at_stream(bus, found.truth or found.best)
    except Failure as failure:
        if not new_stream:
            raise Failure(
                f"the bus does not come up, and nothing was changed: {failure.message}",
                next_="try again; if its files are damaged: busbar store repair --new-stream",
            ) from None
        found.stream = GONE._replace(finding=Finding(None, f"the bus does not come up: {failure.message}"))
    return found


def _known(data: Path) -> Known:
    """Which bus the directory has. Raises Failure."""
    try:
        cluster = read_cluster(data)
        known = known_bus(data, cluster) if cluster else None
    except ServerTrouble as trouble:
        raise Failure(str(trouble)) from None
    if known is None:
        raise Failure(f"{data} holds no datacenter", next_="name one with --data DIR")
    return known


def _check_one_history(found: Found) -> None:
    """Two stores that verify are of one history, or a person must say which of them is to be believed."""
    truth = found.truth
    for store in found.masters:
        if truth is None or not store.good or store is truth:
            continue
        parted = difference(truth.path, store.path).position
        if parted is not None:
            raise Failure(
                f"{truth.path} and {store.path} both verify and differ from position {parted} on: nothing was changed",
                next_="busbar store verify --checkpoint FILE tells which is right; move the other one away",
            )


# ---- decide ----------------------------------------------------------------------------------------------------------


def decide(found: Found, node: str | None) -> list[Step]:
    """What has to be done, in order. Raises Failure if nothing is left to do it from."""
    stores = [store for store in found.masters if not store.good]
    unread = [Aside(store.path, store.wrong) for store in found.others if not store.good]
    if found.stream.finding is None:
        chosen = [store for store in stores if node is None or store.name == on_node("master", node)]
        return [*(Rebuild(store.path, *_source(found)) for store in chosen), *unread]
    truth = found.truth
    if truth is None:
        raise _nothing_left(found)
    keep = kept(found, truth)
    parted = [(store, disagrees(store, truth.path, keep)) for store in found.others if store.good]
    return [
        *([Keep(truth.path, keep)] if keep else []),
        Refill(truth.path),
        *(Rebuild(store.path, truth.path, whole=True) for store in stores),
        *unread,
        *(Aside(store.path, why) for store, why in parted if why),
    ]


def _nothing_left(found: Found) -> Failure:
    wrong = "; ".join(f"{what}: {why}" for what, why in found.wrong)
    upto = max((store.right_upto for store in found.masters), default=Position(0))
    return Failure(
        f"stream and stores are both damaged, nothing was changed: {wrong}; the best store is right up to {upto}",
        next_=WHAT_IS_LEFT,
    )


def _source(found: Found) -> tuple[Path | None, bool]:
    """Where a store is to be had from, and whether all of it; nowhere if the stream has all of it."""
    if found.truth is not None:
        return found.truth.path, True
    first, best = found.stream.remains.first, found.best
    if first == 1:
        return None, False
    if best is None or best.right_upto < first - 1:
        raise Failure(
            f"the stream begins at position {first}, and no store here is right up to there: nothing was changed",
            next_=WHAT_IS_LEFT,
        )
    return best.path, False


def kept(found: Found, truth: Store) -> tuple[Record, ...]:
    """What was said behind the end of the true store and is to be had still: from the stream, and from its authors."""
    beyond = found.stream.beyond
    own = own_records(found.others, Position(truth.right_upto + len(beyond)))
    return extending(truth.path, (*beyond, *own))
