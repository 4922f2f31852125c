"""What differs between two answers to the same question: things that came, things that went, fields that changed.

Rule of this room: pure, and in the order of names. A row is looked at through what people would call a change of it;
what merely follows from other changes (shares, sums, counters of offers) is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from bus.app_rows import AppRow, InstanceRow
from bus.job_rows import JobRow, RunRow
from bus.nouns import Noun
from bus.queries import AgentRow, FrameworkRow
from cli.output import date

NEW, GONE, CHANGED = "new", "gone", "changed"
_SIGNS = {NEW: "+", GONE: "-", CHANGED: "~"}

Traits = Mapping[str, object]
"""What can change about a thing, by the name of the field."""


class Move(Noun, frozen=True):
    """One field, before and after; None where there was none."""

    field: str
    before: Any
    after: Any


class Change(Noun, frozen=True):
    """One thing that is not as it was."""

    id: str
    change: str
    """new, gone or changed."""
    moves: tuple[Move, ...] = ()

    def __str__(self) -> str:
        told = ", ".join(_tell(move) for move in self.moves) if self.change == CHANGED else _tell_all(self)
        return f"{_SIGNS[self.change]} {self.id}  {told}".rstrip()


def _tell(move: Move) -> str:
    return f"{move.field} {_value(move.before)} -> {_value(move.after)}"


def _tell_all(change: Change) -> str:
    values = [(move.field, move.after if change.change == NEW else move.before) for move in change.moves]
    return ", ".join(f"{field} {_value(value)}" for field, value in values if value not in (None, "", [], {}))


def _value(value: object) -> str:
    if value is None or value == "":
        return "none"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def changes(before: Mapping[str, Traits], after: Mapping[str, Traits]) -> list[Change]:
    """What makes one the other."""
    return list(_changes(before, after))


def _changes(before: Mapping[str, Traits], after: Mapping[str, Traits]) -> Iterator[Change]:
    for name in sorted({**before, **after}):
        moves = tuple(_moves(before.get(name, {}), after.get(name, {})))
        if name not in before:
            yield Change(id=name, change=NEW, moves=moves)
        elif name not in after:
            yield Change(id=name, change=GONE, moves=moves)
        elif moves:
            yield Change(id=name, change=CHANGED, moves=moves)


def _moves(before: Traits, after: Traits) -> Iterator[Move]:
    for field in {**before, **after}:
        one, other = before.get(field), after.get(field)
        if one != other:
            yield Move(field=field, before=one, after=other)


# ---- what can change about what ---------------------------------------------------------------------------------


def agent_traits(row: AgentRow) -> Traits:
    """A node: what it is, not what is used of it."""
    return {"state": row.state, "hostname": row.hostname, "total": str(row.total), "attributes": row.attributes}


def framework_traits(row: FrameworkRow) -> Traits:
    """A scheduler: how it stands."""
    return {"state": row.state, "name": row.name, "role": row.role, "failover_timeout_s": row.failover_timeout_s}


def app_traits(row: AppRow) -> Traits:
    """An app: every field of its description, and how many of its instances run."""
    return {**_flat(row.app), "version": row.app_version, "running": row.running, "waiting": row.waiting}


def instance_traits(row: InstanceRow) -> Traits:
    """An instance of an app: what it does, and where."""
    ports = " ".join(map(str, row.ports))
    return {"state": row.state or "waiting", "agent": row.agent, "ports": ports, "replaces": row.replaces}


def job_traits(row: JobRow) -> Traits:
    """A job: every field of its description, and how its runs went."""
    counts = {"active": row.active, "successes": row.successes, "failures": row.failures}
    return {**_flat(row.job), **counts, "next run": date(row.next_run_at)}


def run_traits(row: RunRow) -> Traits:
    """A run of a job."""
    tasks = " ".join(f"{status.task}:{status.state}" for status in row.tasks)
    return {"state": row.state, "job": row.job, "agent": row.agent, "message": row.message, "tasks": tasks}


class Kind(NamedTuple):
    """How rows of one kind are told apart and looked at."""

    name: Callable[[Any], str]
    traits: Callable[[Any], Traits]

    def of(self, rows: Iterable[Any]) -> dict[str, Traits]:
        """Rows by name."""
        return {self.name(row): self.traits(row) for row in rows}


KINDS: dict[str, Kind] = {
    "agents": Kind(lambda row: row.agent, agent_traits),
    "frameworks": Kind(lambda row: row.framework, framework_traits),
    "apps": Kind(lambda row: row.app.id, app_traits),
    "instances": Kind(lambda row: row.task, instance_traits),
    "jobs": Kind(lambda row: row.job.id, job_traits),
    "runs": Kind(lambda row: row.run, run_traits),
}
"""Everything that has rows; tasks move too fast for that."""


def _flat(document: object) -> dict[str, object]:
    """Every field by its path, as it is written: `portDefinitions.0.port`."""
    found = dict(_paths("", msgspec.to_builtins(document)))
    found.pop("id", None)
    return found


def _paths(path: str, value: object) -> Iterator[tuple[str, object]]:
    inner: Sequence[tuple[Any, object]] = ()
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        inner = list(enumerate(value))
    if not inner:
        yield path, value
    for key, each in inner:
        yield from _paths(f"{path}.{key}" if path else str(key), each)
