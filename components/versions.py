"""Which code folds a log: a hash that differs where a state could.

It is of the source of everything around the fold, of the classes a state is made of, and of the state before the
first event, where a component keeps the settings its fold looks at.
Rule of this room: rather another version too often than the same once too often: it only costs a fold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import msgspec

from bus import codec
from components import component as common
from components.component import Component, S, state_hash

_COMMON = (codec.__name__, common.__name__)
"""What reads every log and folds what all components remember."""


def version_of(component: Component[S]) -> str:
    """SHA-256 (hex): equal versions fold the same log into the same state."""
    state = component.start()
    roots = {*_COMMON, _module(component.fold), _module(component.start), type(state).__module__}
    told = sha256(state_hash(state).encode())
    for part in (*sorted(_sources(roots)), *sorted(_structure(type(state)))):
        told.update(part.encode() + b"\0")
    return told.hexdigest()


def _module(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(function.__module__)


# ---- sources ----------------------------------------------------------------------------------------------------


def _sources(roots: set[str]) -> Iterator[str]:
    """The name and the hash of every source file beside the roots: what a fold imports lies there, or reads the log."""
    for file in sorted({file for root in roots for file in _beside(root)}):
        yield f"{file.parent.name}/{file.name} {sha256(file.read_bytes()).hexdigest()}"


def _beside(module: str) -> list[Path]:
    """The files of a module's package."""
    source = sys.modules[module].__file__
    assert source is not None, f"{module} has no source"
    return sorted(Path(source).parent.glob("*.py"))


# ---- structure --------------------------------------------------------------------------------------------------


def _structure(root: type) -> Iterator[str]:
    """Every class a state is made of, with its fields and their types."""
    found: set[Any] = set()
    waiting: list[Any] = [root]
    while waiting:
        hint = waiting.pop()
        if hint in found:
            continue
        found.add(hint)
        fields = _fields(hint)
        if fields:
            yield f"{hint} {fields}"
        waiting += [*fields.values(), *_parts(hint)]


def _parts(hint: Any) -> list[Any]:
    """The types a type is made of."""
    inner = getattr(hint, "__supertype__", None)
    return [part for part in (*get_args(hint), inner) if isinstance(part, type) or get_args(part) or inner is part]


def _fields(hint: Any) -> dict[str, Any]:
    if not isinstance(hint, type):
        return {}
    if issubclass(hint, Enum):
        return {member.name: repr(member.value) for member in hint}
    if is_dataclass(hint) or issubclass(hint, msgspec.Struct) or (issubclass(hint, tuple) and hint is not tuple):
        hints = get_type_hints(hint, include_extras=True)
        return {name: each for name, each in hints.items() if get_origin(each) is not ClassVar}
    return {}
