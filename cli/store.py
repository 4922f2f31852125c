"""`busbar store`: the history's file, looked at, proved, copied, asked.

Rule of this room: nothing here changes a store. These commands work while it is written, and with no cluster running.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bus.nouns import second
from cli.bar import progress
from cli.output import Failure, Fields, Output, Table, date, pretty, span
from cli.session import json_option
from cli.store_diff import diff
from cli.store_file import (
    as_content,
    data_option,
    default_store,
    refusals,
    replaced,
    store_argument,
    verify_shown,
)
from cli.store_repair import repair
from cli.store_restore import restore
from cli.store_sql import export, sql
from cli.store_trim import trim
from eventstore import backup as copying
from eventstore.checkpoints import Stated, newest_checkpoint, prove, read_checkpoint, stated
from eventstore.signing import read_public
from eventstore.statistics import Count, Statistics, statistics
from eventstore.verify import Verdict

authors_shown_max = 20


@click.group()
def store() -> None:
    """The event store: verify it, ask it, copy it, restore from it.

    \b
    Example:
        busbar store verify
        busbar store sql "select state, count(*) from tasks group by state"
    """


# ---- verify ----------------------------------------------------------------------------------------------------------


@store.command()
@store_argument
@click.option("--checkpoint", "checkpoints", multiple=True, metavar="FILE", help="Prove it against one kept elsewhere.")
@click.option("--key", metavar="FILE", help="The cluster's public key; else cluster.pub in the data directory.")
@click.option("--indexes", is_flag=True, help="Hold every index against the table too; takes about twice as long.")
@json_option
def verify(file: Path, data: Path, checkpoints: tuple[str, ...], key: str | None, indexes: bool, as_json: bool) -> None:
    """Read the whole store and name the first event that is not what was said. Exit code 1 if there is one.

    \b
    Example:
        busbar store verify
        busbar store verify backup.db --checkpoint kept.json --key cluster.pub
    """
    out, began = Output(as_json), time.monotonic()
    with refusals():
        public = _public(key, file, data, needed=bool(checkpoints))
        verdict = verify_shown(file, out, indexes=indexes)
        signed = stated(file, public) if public and verdict.good else Stated(0, None)
        findings = [verdict.finding, signed.finding, *(_prove(file, name, public) for name in checkpoints)]
    finding = min((each for each in findings if each), key=lambda each: each.position or 0, default=None)
    took_us = max(1, round((time.monotonic() - began) * second))
    content = as_content(verdict) | {
        "signed_checkpoints": signed.agree,
        "proved_by": list(checkpoints) if finding is None else [],
        "finding": finding._asdict() if finding else None,
        "good": finding is None,
        "took_us": took_us,
    }
    out.show(content, *_told(verdict, signed, checkpoints, took_us))
    if finding is not None:
        raise Failure(f"{file}: {finding}", next_=verdict.remedy)


def _prove(file: Path, name: str, public: str) -> Any:
    return prove(file, read_checkpoint(name), public, name)


def _public(key: str | None, file: Path, data: Path, *, needed: bool) -> str:
    """The public key to trust; empty if there is none and none is needed."""
    if key is not None:
        return read_public(key)
    for beside in (file.absolute().parent.parent, data):
        if (beside / "cluster.pub").is_file():
            return read_public(beside / "cluster.pub")
    if needed:
        raise Failure("a checkpoint proves nothing without the cluster's public key", next_="name it with --key FILE")
    return ""


def _told(verdict: Verdict, signed: Stated, checkpoints: tuple[str, ...], took_us: int) -> list[Fields]:
    rate = verdict.events * second // took_us
    pairs = [
        ("store", verdict.path),
        ("cluster", verdict.header.cluster),
        ("events", f"{verdict.events}, up to position {verdict.last}"),
        ("bytes", str(verdict.bytes)),
        ("foreign", str(verdict.foreign)),
        ("chain", verdict.chain),
        ("checkpoints", f"{signed.agree} signed ones in it agree, {len(checkpoints)} kept elsewhere were given"),
        ("took", f"{span(took_us)}, {rate} events/s"),
        ("verdict", "every event is what was said" if verdict.good else "damaged"),
    ]
    return [Fields(pairs)]


@store.command()
@store_argument
@click.option("-o", "--output", metavar="FILE", help="Write it there, as --json prints it.")
@json_option
def checkpoint(file: Path, data: Path, output: str | None, as_json: bool) -> None:  # noqa: ARG001  # data: FILE's place
    """Give the newest signed checkpoint, to be kept elsewhere: with it, `verify` finds even a cut-off end.

    \b
    Example:
        busbar store checkpoint -o /mnt/elsewhere/kept.json
        busbar store verify --checkpoint /mnt/elsewhere/kept.json
    """
    with refusals():
        kept = newest_checkpoint(file)
    if kept is None:
        raise Failure(f"{file} has no checkpoint yet", next_="the master makes one each minute while there are events")
    if output is not None:
        with replaced(output) as to:
            to.write(pretty(kept) + "\n")
    fact, where = kept.checkpoint, [("kept in", output)] if output is not None else []
    signed = fact.key if fact.signature else "nobody"
    says = [("upto", str(fact.upto)), ("chain", fact.chain), ("state hash", fact.state_hash), ("signed by", signed)]
    Output(as_json).show(kept, Fields([("checkpoint", f"#{kept.position}, {date(kept.at)}"), *says, *where]))


# ---- backup and stats ------------------------------------------------------------------------------------------------


@store.command()
@click.argument("to", type=click.Path())
@click.option("--from", "file", metavar="FILE", help="The store to copy; else the master's in the data directory.")
@data_option
@json_option
def backup(to: str, file: str | None, data: str, as_json: bool) -> None:
    """Copy the store as it is now to a new file, while it is written, and verify the copy.

    \b
    Example:
        busbar store backup /mnt/elsewhere/busbar-$(date +%F).db
    """
    out, source = Output(as_json), Path(file) if file else default_store(Path(data))
    with refusals(), progress(f"copying {source}", copying.size_of(source), "bytes", out) as copied:
        verdict = copying.backup(source, to, copied=copied)
    if not verdict.good:
        raise Failure(f"{source}: {verdict.finding}: no copy was left", next_=verdict.remedy)
    out.show(as_content(verdict), f"{to} holds {verdict.events} events, verified; its running hash is {verdict.chain}")


@store.command()
@store_argument
@json_option
def stats(file: Path, data: Path, as_json: bool) -> None:  # noqa: ARG001  # data: where FILE is by default
    """Count what the store holds: events and bytes, by author and by type.

    \b
    Example:
        busbar store stats
    """
    out = Output(as_json)
    with refusals():
        found = statistics(file)
    out.show(found, Fields(_pairs(found)), "", *_counts("author", found.authors), "", *_counts("type", found.types))


def _pairs(found: Statistics) -> list[tuple[str, str]]:
    return [
        ("store", f"{found.path}, a copy of {found.copy_of}"),
        ("cluster", found.cluster),
        ("created", date(found.created)),
        ("events", f"{found.events}, positions {found.first} to {found.last}"),
        ("said", f"{date(found.first_at)} to {date(found.last_at)}"),
        ("bytes", f"{found.file_bytes}, of them {found.body_bytes} in bodies"),
        ("bytes per event", str(found.bytes_per_event)),
        ("foreign", str(found.foreign)),
        ("mentions", str(found.mentions)),
        ("snapshots", f"{found.snapshots}, {found.snapshot_bytes} bytes"),
    ]


def _counts(what: str, counts: tuple[Count, ...]) -> list[Table | str]:
    rows = [[each.what, str(each.events), str(each.bytes), str(each.bytes // each.events)] for each in counts]
    more = len(rows) - authors_shown_max
    table = Table((what, "events", "bytes", "each"), rows[:authors_shown_max])
    return [table, f"and {more} more: --json shows all"] if more > 0 else [table]


for command in (diff, sql, export, restore, repair, trim):
    store.add_command(command)
