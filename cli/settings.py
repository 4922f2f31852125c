"""`KEY=VALUE`: some fields of a document changed by hand.

Rule of this room: what comes of it is held against the document's own rules, before anything is said on the bus.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from bus.documents import AppSpec, DocumentError
from bus.documents.reading import Given, parse_document
from cli.output import Failure, wrong_usage

_MAPS = ("env", "labels", "secrets")
"""Fields whose keys are people's own, and may have dots in them."""
OLDER = {"ports": "portDefinitions", "uris": "fetch"}
"""Fields that are kept as others."""


def with_settings(app: AppSpec, settings: tuple[str, ...]) -> Given:
    """An app as some settings make it, and the fields they change. Raises Failure, click.UsageError."""
    fields: dict[str, Any] = msgspec.to_builtins(app)
    changed: dict[str, None] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise wrong_usage(f"{setting!r}: expected KEY=VALUE, e.g. instances=3 or env.LOG_LEVEL=debug")
        first, _, rest = key.partition(".")
        if first == "id":
            raise wrong_usage("an app's id cannot be changed: add it under another one")
        _set(fields, [first, rest] if first in _MAPS and rest else key.split("."), _value(value), setting)
        changed[OLDER.get(first, first)] = None
        if first in OLDER:
            fields.pop(OLDER[first], None)
    try:
        return Given(parse_document(json.dumps(fields).encode(), AppSpec), tuple(changed))
    except DocumentError as error:
        wrong, *others = map(str, error.complaints)
        raise Failure(wrong, also=others, next_=f"busbar app show {app.id}") from None


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
