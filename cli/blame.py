"""`busbar blame`: from an outcome back to the request, the observation or the time that it goes back to.

Rule of this room: newest first, one line a step; the first line says it all in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from bus.events import Event, KillRequested, Term
from bus.nouns import NOBODY, Glimpse, TaskId
from bus.services import (
    AppRequested,
    JobRequested,
    RemovalRequested,
    RestartRequested,
    RunRequested,
    RunUpdated,
    ScaleRequested,
    StopRequested,
)
from bus.subjects import Kind
from cli.causes import NOUNS, Blame, Step
from cli.causes import blame as find
from cli.memory import Memory, remembered
from cli.output import Failure, Output, Table, date, say_status, span, time_of_day
from cli.story import words_of
from eventstore.story import status_of

what_chars_max = 100


@click.command()
@click.argument("noun", type=click.Choice(NOUNS))
@click.argument("id", metavar="ID")
@remembered
async def blame(memory: Memory, out: Output, noun: str, id: str) -> None:
    """Say why something is as it is: step by step back to the request that caused it.

    Where no request did, it goes back to what a component saw, or to a time that came.

    \b
    Example:
        busbar blame task web.7f3a
        busbar blame agent a1 --store .busbar/master/events.db
    """
    found = await find(memory, noun, id)
    if found is None:
        raise Failure(f"no event mentions {noun} {id}", next_=_LISTS[noun])
    summary = summary_of(found, noun, id)
    parts: list[Any] = [summary, "", _table(found.chain)]
    if found.kill:
        parts += ["", f"{noun} {id} was to be killed, because:", "", _table(found.kill)]
    if found.existence:
        parts += ["", _heading(found, noun, id), "", _table(found.existence)]
    out.show(_content(found, noun, id, summary), *parts)


_LISTS = {
    "task": "busbar task list --all",
    "app": "busbar app list",
    "agent": "busbar node list",
    "run": "busbar job runs",
    "offer": "busbar offer list",
}


def _heading(found: Blame, noun: str, id_: str) -> str:
    places = f", in the place of {found.replaced} before it" if found.replaced else ""
    return f"{noun} {id_} was wanted{places}, because:"


# ---- in words ---------------------------------------------------------------------------------------------------


def summary_of(found: Blame, noun: str, id_: str) -> str:
    """All of it in one line."""
    root = (found.kill or found.chain)[-1]
    because = "" if root.event is found.outcome and root.seen is None else f" because {_root(root)}"
    asked = f"; asked for by {_asked(found.asked)}" if found.asked and found.asked != root.event else ""
    return f"{noun} {id_}: {_how(found.outcome, noun, id_)}{because}{asked}"


def _how(outcome: Event, noun: str, id_: str) -> str:
    status = status_of(outcome, TaskId(id_)) if noun == "task" else None
    if status is not None:
        reason = f", {status.reason}" if status.reason else ""
        return say_status(status) + reason
    if isinstance(outcome.fact, RunUpdated):
        return f"{outcome.fact.state}" + (f" ({outcome.fact.message})" if outcome.fact.message else "")
    return f"{outcome.type} by {outcome.by} at {date(outcome.at)}"


def _root(step: Step) -> str:
    event = step.event
    if event.by.kind is Kind.CLIENT:
        return f"{_asked(event)} asked for it"
    if step.seen is not None:
        return f"{event.by} {_sight(step.seen)} at {date(event.at)}"
    if isinstance(event.fact, Term):
        return f"{event.by} began term {event.fact.epoch} on {event.fact.node} at {date(event.at)}"
    return f"{event.by} said {event.type} at {date(event.at)}"


def _sight(seen: Glimpse) -> str:
    if seen.type == "woken":
        return "was woken: a time it waited for had come"
    return " ".join(("saw", seen.type, *(f"{name}={value}" for name, value in seen.fields.items())))


def _asked(event: Event) -> str:
    """`alice (app add at 2026-11-22 18:30:01)`."""
    return f"{event.behind or event.by.id} ({command_of(event)} at {date(event.at)})"


def command_of(event: Event) -> str:
    """The command that makes such a request."""
    match event.fact:
        case AppRequested(update=update):
            return "app update" if update else "app add"
        case JobRequested(update=update):
            return "job update" if update else "job add"
        case RemovalRequested(app=app):
            return "app remove" if app is not None else "job remove"
        case ScaleRequested():
            return "app scale"
        case RestartRequested():
            return "app restart"
        case RunRequested():
            return "job run"
        case StopRequested():
            return "job stop"
        case KillRequested():
            return "task kill"
        case _:
            return event.type


# ---- step by step -----------------------------------------------------------------------------------------------


def _table(steps: Sequence[Step]) -> Table:
    columns = ("event", "time", "who", "said", "what", "because", "after")
    return Table(columns, [_row(step) for step in steps])


def _row(step: Step) -> list[str]:
    event = step.event
    to = f" -> {event.to}" if event.to != NOBODY else ""
    what = " ".join(words_of(event.fact))
    return [
        f"#{event.position}",
        time_of_day(event.at),
        str(event.by),
        f"{event.type}{to}",
        what if len(what) <= what_chars_max else what[: what_chars_max - 3] + "...",
        _because(step),
        span(step.since_cause_us),
    ]


def _because(step: Step) -> str:
    event = step.event
    if event.by.kind is Kind.CLIENT:
        return f"{event.behind or event.by.id}: {command_of(event)}"
    if event.cause is not None:
        return f"heard #{event.cause}"
    if step.seen is not None:
        return _sight(step.seen)
    return "its process started" if isinstance(event.fact, Term) else "not told"


def _content(found: Blame, noun: str, id_: str, summary: str) -> dict[str, Any]:
    return {
        "noun": noun,
        "id": id_,
        "summary": summary,
        "chain": list(_steps(found.chain)),
        "kill": list(_steps(found.kill)),
        "existence": list(_steps(found.existence)),
        "replaced": found.replaced,
        "asked": next(_steps((Step(found.asked),)), None) if found.asked else None,
    }


def _steps(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    for step in steps:
        event = step.event
        yield {
            "position": event.position,
            "at": event.at,
            "by": str(event.by),
            "to": event.to,
            "type": event.type,
            "cause": event.cause,
            "seen": msgspec.to_builtins(step.seen),
            "actor": event.behind,
            "since_cause_us": step.since_cause_us,
        }
