"""A plan before it is carried out: which steps, and what changes in which app, field by field.

Rule of this room: what is shown is Marathon's own plan; asking for it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from bus.app_rows import ChangeRow, PlanQuestion, PlanRow
from bus.documents import AppSpec, PodSpec
from bus.events import Fact
from cli.deploying import say_step
from cli.output import Failure, Part
from cli.session import MARATHON, Session

value_chars_max = 80


async def show_plan(session: Session, fact: Fact) -> None:
    """Print what a request would lead to. Raises Failure if it would be refused."""
    question = PlanQuestion(type=fact.type, fields=msgspec.to_builtins(fact))
    row = await session.ask(MARATHON, "plan", PlanRow, question)
    if row.refused is not None:
        raise Failure(f"it would be refused: {row.refused}: {row.message}", next_="busbar deployment list")
    session.out.show(row, *plan_parts(row))


def plan_parts(row: PlanRow) -> list[Part]:
    """A plan for people: changes first, then the steps."""
    if not row.plan.steps:
        return ["nothing would change"]
    lines = [line for change in row.changes for line in say_change(change)]
    lines += [f"deployment {each} would be stopped for it" for each in row.cancels]
    lines += ["", *(f"step {index}: {say_step(step)}" for index, step in enumerate(row.plan.steps, 1))]
    return [*lines]


def say_change(change: ChangeRow) -> Iterator[str]:
    """What becomes of an app or a pod."""
    before = _flat(change.app_before or change.pod_before)
    after = _flat(change.app_after or change.pod_after)
    sign = "+" if not before else "-" if not after else "~"
    yield f"{sign} {change.id}"
    if not after:
        return
    for name in sorted(before.keys() | after.keys()):
        if name != "id" and before.get(name) != after.get(name):
            yield f"    {_say_field(name, before, after)}"


def changed_fields(before: AppSpec | PodSpec | None, after: AppSpec | PodSpec | None) -> list[str]:
    """The fields in which two differ, by their paths."""
    old, new = _flat(before), _flat(after)
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def _say_field(name: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    if name not in before:
        return f"+ {name}: {_short(after[name])}"
    if name not in after:
        return f"- {name}: {_short(before[name])}"
    return f"~ {name}: {_short(before[name])} -> {_short(after[name])}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= value_chars_max else f"{text[: value_chars_max - 3]}..."


def _flat(spec: AppSpec | PodSpec | None) -> dict[str, Any]:
    """A document's fields by their paths; lists as a whole. Defaults are left out, as in what people write."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else key)
        elif path:
            found[path] = value

    walk({} if spec is None else msgspec.to_builtins(spec), "")
    return found
