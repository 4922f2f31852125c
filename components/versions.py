"""Which code folds a log: a hash that differs where a state could.

It is of the source of everything the fold can reach, of the classes a state is made of, and of the state before the
first event, where a component keeps the settings its fold looks at.
Rule of this room: rather another version too often than the same once too often: it only costs a fold.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from enum import Enum
from functools import cache, partial
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
    """The name and the source's hash of every module of ours that the roots import."""
    ours = {root.partition(".")[0] for root in roots}
    found: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            digest, imported = _source(module)
            waiting += [name for name in imported if name.partition(".")[0] in ours]
            yield f"{module} {digest}"


@cache
def _source(module: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's source, and the modules it imports."""
    file = sys.modules[module].__file__
    assert file is not None, f"{module} has no source"
    source = Path(file).read_bytes()
    return sha256(source).hexdigest(), tuple(_imported(ast.parse(source)))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in (node.module, *inner) if name in sys.modules)


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
