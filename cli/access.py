"""`busbar access`: who may come in, as what, and who may not any more.

Rule of this room: keys are made where they are used. A token carries its own key to one person, and is good once.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from bus.access import (
    IdentityRequested,
    IdentityRevoked,
    IdentityWithdrawn,
    TokenIssued,
    TokenRequested,
)
from bus.credentials import Credentials, write_credentials
from bus.nkey import For, Key
from bus.nouns import Refusal
from bus.permits import PEOPLE, PREFIXES, Permit, Role, permits
from bus.queries import IdentityRow, Passport, TokenRow
from bus.subjects import CLUSTER, Author, Kind
from cli.address import connected_as
from cli.output import Failure, Output, Table, date, wrong_usage
from cli.past import Asked, Listed, at_any_time
from cli.request import talking
from cli.session import THE_MASTER, Session, exactly, json_option, on_cluster, the_reach

PREFIX = "busbar-join-"
ttl_default = "1h"
passport_tries_max = 20
passport_pause_s = 0.1
_TTL = re.compile(r"(\d{1,7})([smhd])")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_KEY_SHOWN = 8
"""Letters of a key in a table."""


@click.group()
def access() -> None:
    """Say who may speak on the bus, as what, and who may not any more.

    \b
    Example:
        busbar access token create --agent a9 --ttl 10m
        busbar access join TOKEN -o a9.json
        busbar access list
        busbar access revoke a9
    """


# ---- the table ---------------------------------------------------------------------------------------------------


@access.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), help="Only this role.")
@click.option("--cluster", default=CLUSTER, show_default=True, metavar="NAME", help="The cluster's name.")
@json_option
def table(role: str | None, cluster: str, as_json: bool) -> None:
    """Print what each role may say, hear, and how much: what the servers of the bus enforce.

    {me} is the identity's name, {agent} the agent an executor belongs to, {slot} one of its readers.

    \b
    Example:
        busbar access table --role executor
    """
    rows = [permit for permit in permits(cluster).values() if role is None or permit.role == role]
    content = [permit._asdict() for permit in rows]
    parts: list[Any] = []
    for permit in rows:
        parts += [f"{permit.role}: {permit.about}", Table(("may", "what"), list(_cells(permit))), ""]
    Output(as_json).show(content, *parts)


def _cells(permit: Permit) -> list[list[str]]:
    some = [permit.subscriptions, permit.connections, permit.messages_s]
    bounds = ["any number of" if each <= 0 else str(each) for each in some]
    return [
        *(["say", each] for each in permit.publish),
        *(["never say", each] for each in permit.never),
        *(["hear", each] for each in permit.subscribe),
        ["hold", f"{bounds[0]} subscriptions, {bounds[1]} connections"],
        ["say", f"{bounds[2]} messages a second"],
    ]


# ---- who is in ---------------------------------------------------------------------------------------------------


@access.command("list")
@at_any_time
async def list_(asked: Asked) -> None:
    """List everybody who is let in, or was.

    \b
    Example:
        busbar access list
        busbar access list --at -1d
    """
    asked.out.show(*await identities(asked))


async def identities(asked: Asked) -> Listed:
    """Every identity, for programs and for people."""
    rows = await asked.ask(THE_MASTER, "identities", list[IdentityRow])
    columns = ("name", "role", "state", "since", "revoked", "by", "key")
    return Listed(rows, Table(columns, [_row(row) for row in rows], empty="nobody is let in"))


def _row(row: IdentityRow) -> list[str]:
    state = "revoked" if row.revoked_at is not None else "let in"
    by = row.by or "founder"
    return [row.name, row.role, state, date(row.since), date(row.revoked_at), by, f"{row.public[:_KEY_SHOWN]}..."]


@access.command()
@click.argument("name", required=False)
@click.option("--key", "public", metavar="PUBLIC", help="Only this key of it; `access list --json` shows them whole.")
@on_cluster
async def revoke(session: Session, name: str | None, public: str | None) -> None:
    """Let somebody in no more: all its keys or one; its connections are closed at once. Of an agent, its executor too.

    \b
    Example:
        busbar access revoke u-bob
        busbar access revoke --key UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4
    """
    if (name is None) == (public is None):
        raise wrong_usage("name somebody, or one key with --key PUBLIC")
    async with talking(session, THE_MASTER) as talk:
        answer = await talk.ask(IdentityWithdrawn(name=name or "", public=public or ""), hints=_HINTS)
    fact = answer.fact
    assert isinstance(fact, IdentityRevoked), f"{fact.type} is no answer to this"
    content = {"name": fact.name, "role": fact.role, "keys": fact.publics, "position": answer.position}
    keys = f"{len(fact.publics)} key{'s' if len(fact.publics) > 1 else ''}"
    session.out.show(content, f"{fact.name} ({fact.role}) is let in no more: {keys} revoked")


_HINTS = {
    Refusal.FORBIDDEN: "busbar access list shows who is an admin",
    Refusal.LAST_ONE: "busbar access token create --client NAME --role admin",
    Refusal.NOT_FOUND: "busbar access list",
    Refusal.TOKEN_USED: "ask an admin for another: busbar access token create",
    Refusal.TOKEN_EXPIRED: "ask an admin for another: busbar access token create",
}


# ---- tokens ------------------------------------------------------------------------------------------------------


@access.group()
def token() -> None:
    """Join tokens: each makes one bearer somebody, once, for a while.

    \b
    Example:
        busbar access token create --client bob --role operator
    """


@token.command()
@click.option("--agent", metavar="NAME", help="A node of this name, and its executor.")
@click.option("--framework", metavar="NAME", help="A scheduler of this name.")
@click.option("--client", metavar="NAME", help="A person of this name; see --role.")
@click.option("--gateway", metavar="NAME", help="A gateway of this name.")
@click.option("--role", type=click.Choice([role.value for role in PEOPLE]), help="Of a person; viewer unless given.")
@click.option("--ttl", default=ttl_default, show_default=True, metavar="TIME", help="Until it expires: 30s, 10m, 1d.")
@on_cluster
async def create(session: Session, ttl: str, role: str | None, **named: str | None) -> None:
    """Make a join token, and print it: whoever has it first becomes what it says.

    \b
    Example:
        busbar access token create --agent a9 --ttl 10m
        busbar access token create --client bob --role operator
    """
    ttl_s, (name, as_role) = _ttl(ttl), _wanted(role, named)
    key = Key.new(For.USER)
    asked = TokenRequested(token=key.public, name=name, role=as_role, ttl_s=ttl_s)
    async with talking(session, THE_MASTER) as talk:
        fact = (await talk.ask(asked, hints=_HINTS)).fact
    assert isinstance(fact, TokenIssued), f"{fact.type} is no answer to this"
    passport = await _passport(session, key.public)
    assert session.credentials is not None, "a person's session"
    known = session.credentials()
    bearer = msgspec.structs.replace(known, name=fact.id, role=Role.JOINER, passport=passport.passport, seed=key.seed)
    text = Invitation(bearer=bearer, name=name, role=as_role).text
    content = {"token": text, "id": fact.id, "name": name, "role": as_role, "expires_at": fact.expires_at}
    session.out.note(
        f"good once, until {date(fact.expires_at)}, to become {name} ({as_role}): busbar access join TOKEN"
    )
    session.out.show(content, text)


def _ttl(text: str) -> int:
    found = _TTL.fullmatch(text)
    if found is None:
        raise wrong_usage(f"--ttl {text!r} is not a length of time: expected a number and s, m, h or d, e.g. 10m")
    return int(found[1]) * _UNITS_S[found[2]]


def _wanted(role: str | None, named: dict[str, str | None]) -> tuple[str, Role]:
    """Whom a token is for. Raises click.UsageError."""
    given = [(kind, name) for kind, name in named.items() if name is not None]
    if len(given) != 1:
        raise wrong_usage("name one of --agent, --framework, --client and --gateway")
    [(kind, name)] = given
    if kind != "client" and role is not None:
        raise wrong_usage(f"--role goes with --client, not with --{kind}")
    as_role = Role(role or Role.VIEWER) if kind == "client" else Role(kind)
    prefix = PREFIXES.get(as_role, "")
    return name if name.startswith(prefix) else f"{prefix}{name}", as_role


@token.command("list")
@at_any_time
async def list_tokens(asked: Asked) -> None:
    """List the tokens that were issued of late, used or not.

    \b
    Example:
        busbar access token list
    """
    rows = await asked.ask(THE_MASTER, "tokens", list[TokenRow])
    columns = ("id", "for", "role", "expires", "used", "by")
    cells = [[row.id, row.name, row.role, date(row.expires_at), date(row.used_at), row.by] for row in rows]
    asked.out.show(*Listed(rows, Table(columns, cells, empty="no token was issued")))


class Invitation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a join token says: what it opens, and whom it makes its bearer."""

    bearer: Credentials
    name: str
    role: Role

    @property
    def text(self) -> str:
        """To be handed to one person."""
        return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()


def read_token(text: str) -> Invitation:
    """What a token says. Raises Failure, which does not repeat it."""
    body = text.strip().removeprefix(PREFIX)
    try:
        if not text.strip().startswith(PREFIX):
            raise ValueError
        found = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=Invitation)
        found.bearer.key  # noqa: B018  # it must have one
    except ValueError:
        raise Failure("this is not a join token, or not all of it", next_="busbar access token create") from None
    return found


# ---- joining -----------------------------------------------------------------------------------------------------


@access.command()
@click.argument("token", default="-")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the credentials go, mode 0600.")
@json_option
def join(token: str, output: str, as_json: bool) -> None:
    """Exchange a join token for an identity: a new key is made here, and its public half is signed in.

    The token is read from standard input unless it is given. An agent's executor gets its own file beside: for a9.json,
    a9-cmd.json.

    \b
    Example:
        busbar access join -o ~/.busbar.json < token
        busbar run agent --id a9 --credentials a9.json
    """
    text = sys.stdin.read() if token == "-" else token
    out, file = Output(as_json), Path(output).absolute()
    invitation = read_token(text)
    if file.exists():
        raise Failure(f"{file} exists already, and a key is never written over", next_="name another file with -o")
    if not file.parent.is_dir():
        raise Failure(f"{file.parent} is not a directory", next_="name another file with -o")
    the_reach().run(_join(invitation, file, out))


async def _join(invitation: Invitation, file: Path, out: Output) -> None:
    keys = {file: Key.new(For.USER)}
    if invitation.role is Role.AGENT:
        keys[file.with_name(f"{file.stem}-cmd{file.suffix}")] = Key.new(For.USER)
    bearer = invitation.bearer
    async with connected_as(bearer) as bus, exactly():
        session = Session(bus, Author(Kind.CLIENT, bearer.name), bearer.name, out)
        own, *executor = [key.public for key in keys.values()]
        async with talking(session, THE_MASTER) as talk:
            await talk.ask(IdentityRequested(public=own, executor="".join(executor)), hints=_HINTS)
        for path, key in keys.items():
            given = await _passport(session, key.public)
            mine = msgspec.structs.replace(
                bearer, name=given.name, role=given.role, passport=given.passport, seed=key.seed
            )
            write_credentials(path, mine)
    content = {"name": invitation.name, "role": invitation.role, "files": [str(path) for path in keys]}
    out.show(content, f"this is {invitation.name} ({invitation.role}) now", *(f"  {path}" for path in keys))


async def _passport(session: Session, public: str) -> Passport:
    """The passport of a key that was just granted."""
    for _ in range(passport_tries_max):
        try:
            return await session.ask(THE_MASTER, "passport", Passport, public)
        except Failure as failure:
            if "nobody's here" not in failure.message:
                raise
        await asyncio.sleep(passport_pause_s)
    raise Failure("the master has granted it and does not sign it", next_="was it started with --issuer FILE?")
