"""Structured logs: lines for a person at a terminal, JSON for everybody else.

Rule of this room: set up once, where a process begins; who logs only calls `structlog.get_logger()`.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

LEVELS = ("debug", "info", "warning", "error")
"""What can be left out: everything less grave than the chosen one."""


def configure(json: bool | None = None, level: str = "info") -> None:
    """Set the form of this process's log, on stderr: JSON or not; None asks whether stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=as_json),
            *(_for_programs() if as_json else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _for_programs() -> list[Processor]:
    told = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals may hold the bus's password
    return [structlog.processors.ExceptionRenderer(told), structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
