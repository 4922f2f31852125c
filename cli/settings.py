"""`KEY=VALUE`: some fields of a document changed by hand.

Rule of this room: what comes of it is held against the document's own rules, before anything is said on the bus.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bus.documents import AppSpec, DocumentError, Given, check_document, merged, parse_partial
from cli.output import Failure, wrong_usage

_MAPS = ("env", "labels", "secrets")
"""Fields whose keys are people's own, and may have dots in them."""


def with_settings(app: AppSpec, settings: tuple[str, ...]) -> Given:
    """The fields of an app that some settings change. Raises Failure, click.UsageError."""
    fields: dict[str, Any] = msgspec.to_builtins(app)
    changed: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise wrong_usage(f"{setting!r}: expected KEY=VALUE, e.g. instances=3 or env.LOG_LEVEL=debug")
        first, _, rest = key.partition(".")
        if first == "id":
            raise wrong_usage("an app's id cannot be changed: add it under another one")
        steps = [first, rest] if first in _MAPS and rest else key.split(".")
        _set(fields, steps, _value(value), setting)
        changed[first] = fields.get(first, _default(first))
    try:
        given = parse_partial(json.dumps(changed).encode(), at=app.id)
        check_document(merged(app, given))
    except DocumentError as error:
        first_, *others = map(str, error.complaints)
        raise Failure(first_, also=others, next_=f"busbar app show {app.id}") from None
    return given


def _default(field: str) -> Any:
    """What stands for a field that is taken away."""
    known = {each.encode_name: each for each in msgspec.structs.fields(AppSpec)}
    return msgspec.to_builtins(known[field].default) if field in known else None


def _value(text: str) -> Any:
    """JSON if it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(fields: dict[str, Any], steps: list[str], value: Any, setting: str) -> None:
    here = fields
    for step in steps[:-1]:
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            raise wrong_usage(f"{setting!r}: {step} has no parts that could be set one by one")
        here = inner
    if isinstance(value, int | float | bool) and steps[0] in ("env", "labels"):
        value = json.dumps(value)  # variables and labels are text
    if value is None:
        here.pop(steps[-1], None)
    else:
        here[steps[-1]] = value
