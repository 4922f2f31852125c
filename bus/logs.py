"""Structured logs: lines for a person at a terminal, JSON for everybody else.

Rule of this room: set up once, where a process begins; who logs only calls `logs.get_logger()`. Written here and not
taken from a package: structlog is 92 modules, rich among them, which is 40 ms and 4.6 MB in each process of a
datacenter and in each command.
"""

from __future__ import annotations

import json as json_
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

LEVELS = ("debug", "info", "warning", "error")
"""What can be left out: everything less grave than the chosen one."""
event_width = 30
"""Of what happened, in lines for people: what comes after it is in one column."""


class Line(NamedTuple):
    """One thing that is logged."""

    level: str
    event: str
    fields: dict[str, Any]
    error: BaseException | None = None


class Form(NamedTuple):
    """What becomes of lines."""

    levels: frozenset[str]
    """Which are told at all."""
    tell: Callable[[Line], None]


class Log:
    """Who logs: what happened, and the values that tell more."""

    def debug(self, event: str, **fields: Any) -> None:
        """What only helps to find a fault."""
        _tell("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """What an operator may want to know later."""
        _tell("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What an operator should know."""
        _tell("warning", event, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: Any) -> None:
        """What somebody has to look after; with the traceback of `error`, if that is given."""
        _tell("error", event, fields, error)

    def exception(self, event: str, **fields: Any) -> None:
        """The same, with the traceback of the exception that is handled now."""
        _tell("error", event, fields, sys.exception())


def get_logger() -> Log:
    """Whom a module calls."""
    return Log()


def configure(json: bool | None = None, level: str = "info") -> None:
    """Set the form of this process's log, on stderr: JSON or not; None asks whether stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    use(Form(frozenset(LEVELS[LEVELS.index(level) :]), _for_programs if as_json else _for_people))


def use(form: Form) -> Form:
    """Set what becomes of lines; what became of them before."""
    global _form
    before, _form = _form, form
    return before


def _tell(level: str, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
    if level in _form.levels:
        _form.tell(Line(level, event, fields, error))


def _for_programs(line: Line) -> None:
    said = line.fields | {"event": line.event, "level": line.level, "timestamp": f"{datetime.now(UTC):%FT%T.%fZ}"}
    if line.error is not None:
        said["exception"] = _traceback(line.error)
    _write(json_.dumps(said, default=repr))


def _for_people(line: Line) -> None:
    values = " ".join(f"{name}={_plain(value)}" for name, value in line.fields.items())
    _write(f"{datetime.now():%FT%T.%f} [{line.level:<7}] {line.event:<{event_width}} {values}".rstrip())
    if line.error is not None:
        _write(_traceback(line.error))


def _plain(value: object) -> str:
    """A value in one word, or quoted: it may come from others."""
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(value)


def _traceback(error: BaseException) -> str:
    """Where it was raised; no values of local variables, which may hold the bus's password."""
    return "".join(traceback.format_exception(error)).rstrip()


def _write(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


SILENT = Form(frozenset(), _for_people)
"""Nothing is told."""
_form = Form(frozenset({"error"}), _for_people)
"""Of a process that said nothing else: a command, not a component."""
