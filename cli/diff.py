"""`busbar diff`: what changed in the datacenter between two moments.

Rule of this room: what was and what is come from folded state. Only tasks and offers come from the events between:
they come and go by the thousand, and the master forgets those that ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from bus.app_rows import AppRow, InstanceRow
from bus.codec import events_of
from bus.events import Event, OfferMade, TaskLaunched, TaskUpdated
from bus.nouns import AgentId, Noun, Reason, Source, TaskState, TaskStatus
from bus.queries import OfferRow, TaskRow, TasksQuestion
from cli.app import apps
from cli.changes import KINDS, Change, Traits, changes
from cli.framework import frameworks
from cli.job import jobs
from cli.job_runs import runs
from cli.moments import FORMS, MOMENT, NOW, Moment
from cli.node import nodes
from cli.output import Output, Part, date, span, wrong_usage
from cli.past import local_store, store_option
from cli.points import point_of
from cli.session import THE_MASTER, Where, json_option, the_reach, where_options
from cli.then import Past, reading


class Offers(Noun, frozen=True):
    """Of offers only their number."""

    before: int
    """Outstanding at the first moment."""
    after: int
    """Outstanding at the second moment."""
    made: int
    """Between the two."""


class Apart(NamedTuple):
    """Everything that changed, by kind."""

    things: dict[str, list[Change]]
    offers: Offers


@click.command()
@click.option("--from", "from_", type=MOMENT, required=True, metavar="MOMENT", help=f"Since when: {FORMS}.")
@click.option("--to", type=MOMENT, default=NOW, metavar="MOMENT", help="Until when; until now unless given.")
@where_options
@json_option
@store_option
def diff(
    bus: str | None,
    credentials: str | None,
    data: str,
    as_json: bool,
    from_: Moment,
    to: Moment,
    store: str | None,
) -> None:
    """Show what changed in the datacenter between two moments: one line a thing, + new, - gone, ~ changed.

    \b
    Example:
        busbar diff --from -10m
        busbar diff --from 'yesterday 14:00' --to 'yesterday 15:00' --json
        busbar diff --store master.db --from 800 --to 900
    """
    the_reach().run(_diff(Where(bus, credentials, data), store, from_, to, Output(as_json)))


async def _diff(where: Where, store: str | None, from_: Moment, to: Moment, out: Output) -> None:
    path = Path(store) if store is not None else await local_store(where)
    async with reading(path) as reader:
        then = Past(reader, path, await point_of(reader, from_), out)
        now = Past(reader, path, await point_of(reader, to), out)
        if then.point.position > now.point.position:
            raise wrong_usage(f"--from is event {then.point.position}, after --to, event {now.point.position}")
        found = await apart(then, now)
    ends = {
        name: {"position": past.point.position, "at": past.point.at} for name, past in (("from", then), ("to", now))
    }
    out.show(ends | found.things | {"offers": found.offers}, *_parts(then, now, found))


async def apart(then: Past, now: Past) -> Apart:
    """What makes one moment the other."""
    before, after = await _rows(then), await _rows(now)
    things = {name: changes(kind.of(before[name]), kind.of(after[name])) for name, kind in KINDS.items()}
    events = await _between(then, now)
    things["tasks"] = await _task_changes(then, events)
    outstanding = [len(await past.ask(THE_MASTER, "offers", list[OfferRow])) for past in (then, now)]
    made = sum(len(event.fact.offers) for event in events if isinstance(event.fact, OfferMade))
    return Apart(things, Offers(before=outstanding[0], after=outstanding[1], made=made))


async def _rows(past: Past) -> dict[str, list[Any]]:
    listed = {"agents": nodes, "frameworks": frameworks, "apps": apps, "jobs": jobs, "runs": runs}
    rows = {name: list((await each(past)).rows) for name, each in listed.items()}
    return rows | {"instances": _instances(rows["apps"])}


def _instances(rows: list[AppRow]) -> list[InstanceRow]:
    return [instance for row in rows for instance in row.instances]


async def _between(then: Past, now: Past) -> list[Event]:
    """What the master decided about tasks and offers between two moments."""
    first, last = (await then.mind(THE_MASTER)).state.n, (await now.mind(THE_MASTER)).state.n
    events: list[Event] = []
    for noun, participle in (("task", "launched"), ("task", "updated"), ("offer", "made")):
        told = then.reader.records(
            after=0 if not first else then.point.position - _cut_max,
            to=now.point.position,
            kind=THE_MASTER.kind,
            noun=noun,
            participle=participle,
        )
        async for records in told:
            events += [event for event in events_of(records) if first < event.n <= last]
    return sorted(events, key=lambda event: event.n)


async def _task_changes(then: Past, events: list[Event]) -> list[Change]:
    """Tasks that moved, from what they were to what they were last said to be."""
    rows = await then.ask(THE_MASTER, "tasks", list[TaskRow], TasksQuestion())
    before = {str(row.task): _task_traits(row.status, row.agent) for row in rows}
    after, agents = dict(before), {row.task: row.agent for row in rows}
    for event in events:
        match event.fact:
            case TaskLaunched(task=info):
                agents[info.task] = info.agent
                staging = TaskStatus(task=info.task, state=TaskState.STAGING, source=Source.MASTER)
                after[info.task] = _task_traits(staging, info.agent)
            case TaskUpdated(status=status) if not _answers(event.fact):
                after[status.task] = _task_traits(status, agents.get(status.task))
    return changes(before, after)


def _task_traits(status: TaskStatus, agent: AgentId | None) -> Traits:
    return {"state": status.state, "agent": agent, "reason": status.reason, "message": status.message}


def _answers(fact: TaskUpdated) -> bool:
    """Whether an update only says again what is known."""
    return fact.status.source is Source.MASTER and fact.status.reason is Reason.RECONCILIATION


def _parts(then: Past, now: Past, found: Apart) -> list[Part]:
    events = now.point.position - then.point.position
    parts: list[Part] = [
        f"from event {then.point.position}, {date(then.point.at)}",
        f"to event   {now.point.position}, {date(now.point.at)}: {events} events, {span(now.point.at - then.point.at)}",
    ]
    for name, things in found.things.items():
        if things:
            parts += ["", name, *map(str, things)]
    if not any(found.things.values()):
        parts += ["", "nothing changed"]
    offers = found.offers
    told = f"{offers.before} outstanding before, {offers.after} after, {offers.made} made between"
    return [*parts, "", f"offers: {told}"]


_cut_max = 1000
"""Events of a decision that a moment may cut: they count as said after it."""
