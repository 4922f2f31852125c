"""The check of an app from which nothing follows: what it finds is told. (Marathon: `types/check.raml`)

Rule of this room: as in `bus.documents`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta

from bus.documents.base import Argv, Complaint, Document, Line, Steps, WholeSeconds

PortIndex = Annotated[int, Meta(ge=0, le=99)]


class CheckCommand(Document, frozen=True):
    """A shell line, or a program and its arguments."""

    shell: Line | None = None
    argv: Argv | None = None


class ExecCheck(Document, frozen=True):
    """A command in the instance's sandbox: its exit code is found."""

    command: CheckCommand


class HttpCheck(Document, frozen=True):
    """A GET: the status of the answer is found."""

    port_index: PortIndex = 0
    path: Annotated[str, Meta(max_length=1024, pattern=r"^/[^\x00-\x20]*\Z")] = "/"
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"


class TcpCheck(Document, frozen=True):
    """A connection: whether it was taken is found."""

    port_index: PortIndex = 0


class AppCheck(Document, frozen=True):
    """How an instance's executor looks at it, only to tell what it finds. One of the three."""

    http: HttpCheck | None = None
    tcp: TcpCheck | None = None
    exec: ExecCheck | None = None
    interval_seconds: WholeSeconds = 60
    timeout_seconds: WholeSeconds = 20
    delay_seconds: WholeSeconds = 15


def check_rules(check: AppCheck | None, ports: int) -> Iterator[Complaint]:
    """What is wrong with a check of an app with so many ports."""
    if check is None:
        return
    at: Steps = ("check",)
    given = [name for name in ("http", "tcp", "exec") if getattr(check, name) is not None]
    if len(given) != 1:
        yield Complaint(f"expected one of http, tcp and exec, found {', '.join(given) or 'none'}", at)
    for name, one in (("http", check.http), ("tcp", check.tcp)):
        if one is not None and one.port_index >= ports:
            has = f"the app has {ports} port{'' if ports == 1 else 's'}"
            yield Complaint(f"no port {one.port_index}: {has}, counted from 0", (*at, name, "portIndex"))
    if check.exec is not None:
        command = check.exec.command
        if (command.shell is None) == (command.argv is None):
            yield Complaint("expected either shell or argv", (*at, "exec", "command"))
