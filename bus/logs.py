"""Structured logs: lines for a person at a terminal, JSON for everybody else. structlog writes them.

Rule of this room: set up once, where a process begins; who logs only calls `logs.get_logger()`, and structlog is loaded
by processes that write logs, not by commands that import a module of theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

LEVELS = ("debug", "info", "warning", "error")
"""What can be left out: everything less grave than the chosen one."""


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
    use(Form(frozenset(LEVELS[LEVELS.index(level) :]), _written(as_json)))


def use(form: Form) -> Form:
    """Set what becomes of lines; what became of them before."""
    global _form
    before, _form = _form, form
    return before


def _tell(level: str, event: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
    if level in _form.levels:
        _form.tell(Line(level, event, fields, error))


def _written(as_json: bool) -> Callable[[Line], None]:
    """What writes lines on stderr."""
    structlog = _structlog()
    if as_json:
        told = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals may hold the bus's password
        form = [structlog.processors.ExceptionRenderer(told), structlog.processors.JSONRenderer()]
    else:
        form = [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    stamps = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=as_json)]
    writer = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=stamps + form,
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        cache_logger_on_first_use=True,
    )

    def write(line: Line) -> None:
        error = {} if line.error is None else {"exc_info": line.error}
        getattr(writer, line.level)(line.event, **line.fields, **error)

    return write


def _structlog() -> Any:
    """structlog without rich, which it loads for tracebacks in colour where it is installed: 77 modules of nearly 200.
    (structlog 26: `dev.py`)"""
    absent = "rich" not in sys.modules
    if absent:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's word for "not to be had"
    try:
        import structlog
    finally:
        if absent:
            del sys.modules["rich"]
    return structlog


def _unconfigured(line: Line) -> None:
    """Of a process that said nothing else: a command, not a component."""
    _written(False)(line)


SILENT = Form(frozenset(), _unconfigured)
"""Nothing is told."""
_form = Form(frozenset({"error"}), _unconfigured)
