"""The route table: every method and path that is answered, by whom, with what, said once.

Requests are matched by it, the OpenAPI description is printed from it, and the fuzzer walks along it.

Rule of this room: pure. `{id}` in a path is an id with slashes in it; every other name is one segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

MARATHON, METRONOME, BOTH = "marathon", "metronome", "both"
"""Whose route it is: each has a port of its own if asked."""
ALIASES = {"/service/marathon": MARATHON, "/service/metronome": METRONOME}
"""Prefixes under which the originals are found behind DC/OS' proxy. (Admin Router)"""
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path."""

    method: str
    path: str
    handler: Callable[..., Any]
    about: str
    api: str = MARATHON
    body: Any = None
    """The type of what is sent, for the description; whether there is anything to send."""
    answers: Mapping[int, Any]
    """By code: the type of the answer, or what it is in words."""
    query: Sequence[str] = ()
    """Names of the parameters behind the question mark."""
    changes: bool = False
    """Whether it asks for a change: who may only look is refused."""
    public: bool = False
    """Whether it is answered to everybody."""

    @property
    def names(self) -> list[str]:
        """The parameters in the path."""
        return _NAME.findall(self.path)


class Match(NamedTuple):
    """What a path means: the handlers by method, and the parameters."""

    routes: Mapping[str, Route]
    params: Mapping[str, str]


class Table:
    """All routes, found by path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        by_path: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            methods = by_path.setdefault(route.path, {})
            assert route.method not in methods, f"{route.method} {route.path} is there twice"
            methods[route.method] = route
        self._paths = [
            (_pattern(path), methods) for path, methods in sorted(by_path.items(), key=lambda each: -_literal(each[0]))
        ]

    def find(self, path: str, api: str = BOTH) -> Match | None:
        """The most specific pattern that a path fits; None if there is none on this port."""
        for pattern, methods in self._paths:
            found = pattern.fullmatch(path)
            if found is not None:
                routes = {
                    name: route for name, route in methods.items() if BOTH in (api, route.api) or route.api == api
                }
                return Match(routes, found.groupdict()) if routes else None
        return None


def _literal(path: str) -> int:
    return len(_NAME.sub("", path))


def _pattern(path: str) -> re.Pattern[str]:
    parts = _NAME.split(path)
    text = "".join(
        re.escape(part) if index % 2 == 0 else f"(?P<{part}>{'.+?' if part == 'id' else '[^/]+'})"
        for index, part in enumerate(parts)
    )
    return re.compile(text, re.DOTALL)


def plain(path: str) -> tuple[str, str]:
    """A path without doubled slashes, a slash at its end and an alias in front; and whose API the alias names.

    (PyPI marathon asks for `/v2/apps//web`)
    """
    path = re.sub(r"/{2,}", "/", path)
    for prefix, api in ALIASES.items():
        if path == prefix or path.startswith(prefix + "/"):
            return path[len(prefix) :].rstrip("/") or "/", api
    return path.rstrip("/") or "/", BOTH
