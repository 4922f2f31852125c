"""The options of a command that asks for a change.

Rule of this room: no more than options: a group of which only some commands change anything pays for nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import click

from bus.nouns import RequestId
from cli.numbers import FiniteRange
from cli.output import wrong_usage

C = TypeVar("C", bound=Callable[..., object])

_REQUEST = re.compile(r"[a-z0-9-]{1,64}")


def request_option(command: C) -> C:
    """Give a command `--request`; `on_cluster` takes it from there."""
    return click.option(
        "--request",
        metavar="ID",
        callback=_request_id,
        help="Ask again for what was asked for under this id: it is done once.",
    )(command)


def _request_id(_context: click.Context, _parameter: click.Parameter, text: str | None) -> RequestId | None:
    if text is not None and not _REQUEST.fullmatch(text):
        raise wrong_usage(f"--request {text!r}: expected the id that a command named, [a-z0-9-], at most 64 characters")
    return RequestId(text) if text else None


def wait_options(default_s: float) -> Callable[[C], C]:
    """Give a command that asks for a change `--timeout`, `--no-wait` and `--request`."""

    def add(command: C) -> C:
        command = request_option(command)
        command = click.option(
            "--timeout",
            "timeout_s",
            type=FiniteRange(min=0.1, max=86_400),
            default=default_s,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for it to be done.",
        )(command)
        return click.option("--no-wait", is_flag=True, help="Return once the request is answered.")(command)

    return add
