"""`busbar secret`: values that apps and jobs refer to by name.

Rule of this room: a value comes by standard input, file or hidden prompt, never by an argument, which everybody on the
machine can read; it leaves this process sealed, and nothing printed here holds any of it.
"""

from __future__ import annotations

import sys
from typing import IO

import click

from bus.nouns import Refusal
from bus.secrets import (
    SecretGiven,
    SecretKept,
    SecretRow,
    SecretWithdrawn,
    name_invalid,
    value_bytes_max,
)
from cli.asking import request_option
from cli.output import Failure, Table, date, is_terminal, wrong_usage
from cli.past import Asked, Listed, at_any_time
from cli.request import talking
from cli.session import THE_MASTER, Session, on_cluster
from components.sealing import SealRefused, seal

_LIST = {Refusal.NOT_FOUND: "busbar secret list"}


@click.group()
def secret() -> None:
    """Keep passwords and keys for apps and jobs, which refer to them by name.

    \b
    Example:
        busbar secret set db/password
        busbar secret list
    """


def _none_here(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> None:
    if given:  # not said again: it is on one command line too many already
        raise wrong_usage("a value is not given as an argument, which others can read: use standard input or --file")


@secret.command("set")
@click.argument("name")
@click.argument("value", nargs=-1, callback=_none_here, expose_value=False, metavar="")
@click.option("--file", type=click.File("rb"), metavar="FILE", help="Take the value from FILE instead, as it is.")
@request_option
@on_cluster
async def set_(session: Session, name: str, file: IO[bytes] | None) -> None:
    """Keep a value under NAME: from standard input, every byte of it, or asked for without showing it.

    Tasks launched from now on get it; those that run keep what they have. A line break at the end is part of it: use
    `printf %s`, not `echo`.

    \b
    Example:
        printf %s "$PASSWORD" | busbar secret set db/password
        busbar secret set tls/key --file key.pem
    """
    _check(name)
    value = _value(file)
    public = await session.ask(THE_MASTER, "sealing", str)
    try:
        sealed = seal(public, name, value)
    except SealRefused as refused:
        raise Failure(str(refused)) from None
    async with talking(session, THE_MASTER) as talk:
        answer = (await talk.ask(SecretGiven(name=name, sealed=sealed, key=public))).fact
    assert isinstance(answer, SecretKept), f"the master answered {answer.type}"
    replaced = "" if answer.number == 1 else f", its value number {answer.number}: restart what is to use it"
    session.out.show({"name": name, "version": answer.number}, f"secret {name} is kept{replaced}")


def _check(name: str) -> None:
    wrong = name_invalid(name)
    if wrong is not None:
        raise Failure(wrong, next_="busbar secret set --help")


def _value(file: IO[bytes] | None) -> bytes:
    """The value. Raises Failure, click.Abort."""
    if file is None and is_terminal(sys.stdin):
        return str(click.prompt("value", hide_input=True, confirmation_prompt=True, err=True)).encode()
    try:
        value = (file or sys.stdin.buffer).read(value_bytes_max + 1)
    except OSError as error:
        raise Failure(f"the value cannot be read: {error.strerror}") from None
    if len(value) > value_bytes_max:
        raise Failure(f"the value has more than {value_bytes_max} bytes", next_="keep less of it, or in parts")
    return value


@secret.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List the secrets: who set them, when, how large they are. Never what they are.

    \b
    Example:
        busbar secret list
    """
    asked.out.show(*await secrets(asked))


async def secrets(asked: Asked) -> Listed:
    """Every secret without its value, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "vault", list[SecretRow])
    columns = ("name", "since", "set by", "version", "bytes", "state")
    return Listed(rows, Table(columns, [_cells(row) for row in rows], empty="there is no secret"))


def _cells(row: SecretRow) -> list[str]:
    state = "LOST: sealed to another key, set it again" if row.lost else "kept"
    return [row.name, date(row.since), row.by, str(row.version), str(row.size), state]


@secret.command()
@click.argument("name")
@request_option
@on_cluster
async def remove(session: Session, name: str) -> None:
    """Remove a secret. Tasks that run keep it; none that refers to it is launched any more.

    \b
    Example:
        busbar secret remove db/password
    """
    _check(name)
    async with talking(session, THE_MASTER) as talk:
        answer = (await talk.ask(SecretWithdrawn(name=name), hints=_LIST)).fact
    session.out.show(answer, f"secret {name} is removed")
