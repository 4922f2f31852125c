"""Writes `ops/events.md` from the classes of `bus.events` and `bus.services`; `--check` compares."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import msgspec

import bus.codec  # noqa: F401  every fact is declared by its being imported
from bus.events import FACTS, RETIRED, Fact
from bus.nouns import MOVES, Noun, Reason, Refusal, Rescinded

PAGE = Path(__file__).parent / "events.md"


def page() -> str:
    """The whole reference."""
    return "\n".join([*_head(), *_facts(), *_tables()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Events"
    yield ""
    yield "Everything that can be said on the bus. Generated from `bus/events.py`, `bus/services.py` and"
    yield "`bus/secrets.py` by `make docs`."
    yield ""
    yield "The subject of an event is `<cluster>.<kind>.<id>.<noun>.<participle>.<addressee>`; its body is a"
    yield "MessagePack map with `v`, `type`, `by`, `to`, `n`, `prev`, `epoch`, `last`, `heard`, `cause`,"
    yield "`at` (microseconds), `actor`, `trace`, `request`, `seen` and `data`, the fields below."
    yield ""
    yield f"Retired names, never used again: {', '.join(sorted(RETIRED)) or 'none'}."


def _facts() -> Iterator[str]:
    for name, cls in sorted(FACTS.items()):
        if not cls.__module__.startswith("bus."):
            continue
        yield f"\n## {name}\n"
        yield inspect.cleandoc(cls.__doc__ or "")
        yield f"\nVersion {cls.version}. Said by {cls.said}.\n"
        yield from _fields(cls)


def _fields(cls: type[Fact]) -> Iterator[str]:
    fields = msgspec.structs.fields(cls)
    if not fields:
        yield "No fields."
        return
    hints = get_type_hints(cls)
    yield "| field | type | default |"
    yield "|---|---|---|"
    for field in fields:
        yield f"| `{field.encode_name}` | {_name(hints[field.name])} | {_default(field)} |"


def _name(hint: object) -> str:
    text = getattr(hint, "__name__", None) if not getattr(hint, "__args__", None) else None
    text = text or str(hint)
    text = re.sub(r"bus\.(nouns|documents\.\w+)\.|typing\.", "", text)
    return text.replace("|", "or").replace("NoneType", "None")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return "empty"
    return f"`{field.default!r}`" if not isinstance(field.default, Noun) else "empty"


def _tables() -> Iterator[str]:
    yield "\n# Task states\n"
    yield "| from | to |"
    yield "|---|---|"
    for state, following in MOVES.items():
        yield f"| {state} | {', '.join(sorted(following)) or 'terminal'} |"
    for title, closed in (("Reasons", Reason), ("Refusals", Refusal), ("Why an offer is rescinded", Rescinded)):
        yield f"\n# {title}\n"
        yield ", ".join(f"`{value}`" for value in closed)


def main() -> int:
    """Write the page, or with `--check` compare it."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page())
        return 0
    if PAGE.read_text() == page():
        return 0
    print(f"{PAGE.name} does not match bus/events.py and bus/services.py: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
